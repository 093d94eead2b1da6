"""Table 1 of the paper: its rows for any melodies, and its columns as printed.

N melodies, T steps each. Fractions are in 0..1; what is undefined is NaN. `metrics.table` says what each row means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.melody.vocab import MELODY_VOCAB

LAGS = (1, 2, 3)

PAPER_COLUMNS = ("prior", "Q", "Psi", "G", "prior_rerun")
# Table 1 of the paper (100,000 melodies, c = .5), as printed. There the prior's not_in_key and starts_with_tonic have
# changed places, as "prior_rerun" shows (10,000 melodies of the published prior); G's look swapped as well.
_PAPER_ROWS = {
    "excessively_repeated": (0.633, 0.0, 0.0002, 0.0003, 0.635),
    "autocorrelation_1": (-0.16, -0.11, -0.10, 0.55, -0.16),
    "autocorrelation_2": (0.14, 0.03, -0.01, 0.31, 0.15),
    "autocorrelation_3": (-0.13, 0.03, 0.01, 0.17, -0.13),
    "not_in_key": (0.001, 0.01, 0.006, 0.287, 0.0085),
    "starts_with_tonic": (0.009, 0.288, 0.287, 0.0, 0.0011),
    "leaps_resolved": (0.772, 0.911, 0.90, 0.522, 0.758),
    "unique_maximum": (0.647, 0.564, 0.594, 0.371, 0.644),
    "unique_minimum": (0.494, 0.519, 0.583, 0.565, 0.49),
    "in_motif": (0.059, 0.757, 0.738, 0.693, 0.0584),
    "in_repeated_motif": (0.00007, 0.0011, 0.0009, 0.0001, 0.000063),
}
PAPER_TABLE_1: dict[str, dict[str, float]] = {
    column: {name: values[k] for name, values in _PAPER_ROWS.items()} for k, column in enumerate(PAPER_COLUMNS)
}


def compute_rows(tokens: NDArray[np.int64]) -> dict[str, float]:
    """Compute the rows of Table 1: what the nine rules say, whatever the task."""
    # loads numba, which a report of the printed columns does without
    from seqtutor_envs.melody.rules import COUNTED, MIDDLE_C, count_rule_steps, measure_melodies

    counts = dict(zip(COUNTED, count_rule_steps(tokens).tolist()))
    # rule 3 pays both kinds; the table tells them apart
    counts["long_holds"] = counts["excessively_repeated"] - counts["repeated_pitches"]
    resolved, doubled = counts.pop("resolved"), counts.pop("doubled")
    values, unique = measure_melodies(tokens)
    return {
        **{name: count / tokens.size for name, count in counts.items()},
        "starts_with_tonic": float(np.mean(tokens[:, 0] == MIDDLE_C)),
        "leaps_resolved": resolved / (resolved + doubled) if resolved + doubled else np.nan,
        "unique_maximum": float(unique[:, 0].mean()),
        "unique_minimum": float(unique[:, 1].mean()),
        **{f"autocorrelation_{lag}": _mean_of_defined(values[:, k]) for k, lag in enumerate(LAGS)},
        "distinct_4grams": _fourgrams(tokens),
    }


def _fourgrams(tokens: NDArray[np.int64]) -> int:
    """Count how many different runs of four tokens occur."""
    # four tokens as one number in base 38: 2 million flags instead of a set of tuples
    digits = len(MELODY_VOCAB) ** np.arange(4)
    seen = np.zeros(len(MELODY_VOCAB) ** 4, dtype=bool)
    for step in range(tokens.shape[1] - 3):
        seen[tokens[:, step:step + 4] @ digits] = True
    return int(np.count_nonzero(seen))


def _mean_of_defined(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan
