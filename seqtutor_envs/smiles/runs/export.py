"""Exports sampled molecules for other programs (.smi, CSV, SDF), and compares them with a user's file.

n sequences, T tokens at most.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.smiles import metrics
from seqtutor_envs.smiles.chem import drawing
from seqtutor_envs.smiles.metrics import MoleculeSet
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.task import FurtherResults


def export_samples(format: str, agent: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[str, int]:
    """Return sequences [n, T] of an agent as text of a format, and how many of them it cannot hold.

    `smi`: every non-empty string, valid or not, one `SMILES number` per line. `csv`: one row per sequence. `sdf`: valid
    molecules only.
    """
    if format == "smi":
        lines = [f"{text} {n}\n" for n, text in enumerate(agent.task.smiles(tokens, lengths), start=1) if text]
        return "".join(lines), len(tokens) - len(lines)
    rows = describe(agent, tokens, lengths)
    if format == "csv":
        return format_csv(rows), 0
    valid = [row for row in rows if row["valid"]]
    return format_sdf(valid), len(rows) - len(valid)


def describe(agent: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Describe each sequence: its SMILES and canonical SMILES, validity, task_return, raw terms, log p and log pi.

    The objective, if there is one, is asked for its scores.
    """
    task: SmilesTask = agent.task
    smiles = task.smiles(tokens, lengths)
    terms = {name: term.sum(axis=1) for name, term in task.terms(tokens, lengths).items()}
    returns = sum((task.weights[name] * term for name, term in terms.items()), np.zeros(len(smiles)))
    log_p, log_pi = sequence_log_probs(agent.prior, tokens, lengths), agent.log_prob(tokens, lengths)
    return [
        {
            "smiles": text,
            "canonical": score.canonical or "",
            "valid": int(score.canonical is not None),
            "task_return": float(returns[n]),
            **{name: float(term[n]) for name, term in terms.items() if name != "valid"},
            "prior_log_prob": float(log_p[n]),
            "log_prob": float(log_pi[n]),
        }
        for n, (text, score) in enumerate(zip(smiles, task.scorer(smiles)))
    ]


def format_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows of the same keys as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_sdf(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records with a "smiles" as an SDF: 2D coordinates, and all that a record holds as tags, to six digits."""
    return drawing.sdf(
        [
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in record.items()}
            for record in records
        ]
    )


def evaluate_samples(smiles: Sequence[str], reference: MoleculeSet | None) -> FurtherResults:
    """Compare strings with the reference molecules, if there are any, and name their ten commonest Murcko scaffolds."""
    samples = metrics.MoleculeSet(smiles)
    compared: dict[str, float] = {}
    if reference is not None:
        table = metrics.table(samples, reference)
        compared = {name: table[name] for name in table if name.startswith(("snn", "frag", "scaf", "wasserstein"))}
        compared |= metrics.nearest(samples, reference)
    scaffolds = metrics.commonest_scaffolds(samples)
    lines = tuple(f"{'scaffold':28} {count:12,} {scaffold}" for scaffold, count in scaffolds)
    return FurtherResults(compared, {"commonest_scaffolds": scaffolds} if scaffolds else {}, lines)
