"""The table of metrics: melodies counted by hand, and plain loops over random ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from seqtutor_envs import metrics
from seqtutor_envs.melody import MelodyTask
from seqtutor_envs.melody.metrics import PAPER_TABLE_1, table
from seqtutor_envs.melody.rules import RULE_NAMES
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import TablePrior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

FRACTIONS = [
    "excessively_repeated", "repeated_pitches", "long_holds", "not_in_key", "in_motif", "in_repeated_motif",
    "starts_with_tonic", "leaps_resolved", "unique_maximum", "unique_minimum", "distinct",
]
RHYTHM = {
    "sixteenths", "eighths", "dotted_eighths", "quarters", "longer_notes", "holds", "notes", "pitches", "pitch_range",
    "length_entropy", "interval_entropy", "commonest_opening",
}


@pytest.fixture
def tokens() -> np.ndarray:
    """300 melodies, 100 of them loops of eight steps; every metric is defined and none is 0."""
    rng = np.random.default_rng(3)
    free = rng.choice([0, 1, 1, 1, 1, 1, 7, 14, 14, 15, 18, 21, 28], size=(300, 32))
    free[:100] = np.tile(free[:100, :8], 4)
    free[7] = free[8]
    free[9, :12] = 14
    return free


def two_step_prior(seed: int = 0) -> TablePrior:
    return TablePrior(MELODY_VOCAB, np.random.default_rng(seed).normal(size=(39, 38)), length=2)


def test_four_melodies_counted_by_hand() -> None:
    row = table(
        [
            [14, 21, 19, 16, 14, 1, 15, 16],  # up a fifth, back: resolved. C# is out of key. Motif: C G F D C#: k = 5
            [14, 14, 14, 14, 14, 14, 14, 28],  # the 6th and 7th C are excessive; up a ninth, pending; not in a motif
            [0, 0, 0, 0, 14, 21, 28, 28],  # the 3rd and 4th off are excessive; a doubled leap; C G D: k = 3
            [14, 14, 14, 14, 14, 14, 14, 28],  # the second once more
        ]
    )
    assert row["excessively_repeated"] == 6 / 32
    assert row["repeated_pitches"] == 4 / 32 and row["long_holds"] == 2 / 32
    assert row["not_in_key"] == 1 / 32
    assert row["in_motif"] == 2 / 32 and row["in_repeated_motif"] == 0
    assert row["starts_with_tonic"] == 3 / 4
    assert row["leaps_resolved"] == 1 / 2
    assert row["unique_maximum"] == 3 / 4  # the third has two D5
    assert row["unique_minimum"] == 1 / 4  # the third, whose only C is its lowest pitch
    assert row["distinct_melodies"] == 3 and row["distinct"] == 3 / 4
    # first: 5 different; second and fourth: CCCC and CCCD; third: 0000, 000C, 00CG, 0CGD, CGDD
    assert row["distinct_4grams"] == 5 + 2 + 5
    assert row["term_key"] == -1 / 4 and row["term_repetition"] == -600 / 4
    assert row["term_leap"] == 0 and row["term_motif"] == pytest.approx((3.6 + 3) / 4)


def plain(tokens: np.ndarray, task: MelodyTask) -> dict[str, float]:
    """The table once more, melody by melody."""
    n, horizon = tokens.shape
    terms = task.terms(tokens)
    fires = {name: [bool(terms[name][i, t]) for i in range(n) for t in range(horizon)] for name in RULE_NAMES}
    is_pitch = [tokens[i, t] > 1 for i in range(n) for t in range(horizon)]
    leaps = [value for value in terms["leap"].ravel() if value]
    unique_max = [sorted(melody)[-1] != sorted(melody)[-2] for melody in tokens.tolist()]
    pitches = [sorted(token for token in melody if token > 1) for melody in tokens.tolist()]
    coefficients: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for melody in tokens:
        d = melody - melody.mean()
        for lag in (1, 2, 3):
            if d.any():
                coefficients[lag].append(float(np.dot(d[lag:], d[:-lag]) / np.dot(d, d)))
    returns = [sum(task.weights[name] * terms[name][i].sum() for name in terms) for i in range(n)]
    excessive = fires["repetition"]
    return {
        "excessively_repeated": np.mean(excessive),
        "repeated_pitches": np.mean([e and p for e, p in zip(excessive, is_pitch)]),
        "long_holds": np.mean([e and not p for e, p in zip(excessive, is_pitch)]),
        "not_in_key": np.mean(fires["key"]),
        "in_motif": np.mean(fires["motif"]),
        "in_repeated_motif": np.mean(fires["repeated_motif"]),
        "starts_with_tonic": np.mean([melody[0] == 14 for melody in tokens]),
        "leaps_resolved": np.mean([value > 0 for value in leaps]),
        "unique_maximum": np.mean(unique_max),
        "unique_minimum": np.mean([len(p) == 1 or len(p) > 1 and p[0] != p[1] for p in pitches]),
        **{f"autocorrelation_{lag}": np.mean(values) for lag, values in coefficients.items()},
        "distinct_melodies": len({tuple(melody) for melody in tokens.tolist()}),
        "distinct": len({tuple(melody) for melody in tokens.tolist()}) / n,
        "distinct_4grams": len({tuple(m[t:t + 4]) for m in tokens.tolist() for t in range(horizon - 3)}),
        "task_return": np.mean(returns),
        "task_return_se": math.sqrt(sum((r - np.mean(returns)) ** 2 for r in returns) / (n - 1) / n),
        **{f"term_{name}": terms[name].sum() / n for name in terms},
    }


@pytest.mark.parametrize("rows", [2**18, 1000, 1])
def test_table_equals_plain_loops(tokens: np.ndarray, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ROWS", rows)  # in one part, in several of unequal size, melody by melody
    task = MelodyTask(weights={"motif": 0.5, "late": 3}, rules={"late": lambda tokens, step: float(step > 20)})
    row = table(tokens, task=task)
    expected = plain(tokens, task)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row.keys() - expected.keys() == RHYTHM  # test_melody_rhythm.py's
    assert all(row[name] > 0 for name in FRACTIONS) and row["term_late"] == 11
    assert row["repeated_pitches"] + row["long_holds"] == pytest.approx(row["excessively_repeated"])


def test_paper_columns_have_the_tables_rows(tokens: np.ndarray) -> None:
    row = table(tokens)
    assert list(PAPER_TABLE_1) == ["prior", "Q", "Psi", "G", "prior_rerun"]
    assert all(len(column) == 11 and set(column) <= set(row) for column in PAPER_TABLE_1.values())
    psi = PAPER_TABLE_1["Psi"]
    assert psi["excessively_repeated"] == 0.0002 and psi["in_motif"] == 0.738 and psi["leaps_resolved"] == 0.9


def test_kl_and_j_are_means_with_standard_errors() -> None:
    tokens, log_pi, c = np.array([[14, 1], [14, 1], [2, 37]]), np.array([-1.0, -1.5, -9.0]), 0.5
    prior = two_step_prior()
    log_p = []
    for first, second in tokens.tolist():
        rows = prior.log_probs(np.array([[first, second]]))[0]
        log_p.append(float(rows[0, first]) + float(rows[1, second]))
    # C4 hold: tonic 3 + 3; interval 1.5; autocorrelation -1.5; C4 is the highest token and the lowest pitch: 6
    # C3 B5: autocorrelation -1.5; interval -5; unique extremes 6; in key; a leap with none pending
    returns = [12.0, 12.0, -0.5]
    row = table(tokens, prior=prior, log_probs=log_pi, c=c)
    kl = [pi - p for pi, p in zip(log_pi, log_p)]
    j = [r / c - k for r, k in zip(returns, kl)]
    for name, values in {"task_return": returns, "log_p": log_p, "kl": kl, "j": j}.items():
        assert row[name] == pytest.approx(sum(values) / 3), name
        assert row[f"{name}_se"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(3)), name
    assert row["log_p_per_step"] == pytest.approx(sum(log_p) / 6)
    assert row["j"] == pytest.approx(row["task_return"] / c - row["kl"])


def test_log_p_needs_a_prior_and_kl_log_pi(tokens: np.ndarray) -> None:
    assert not {"log_p", "kl", "j"} & set(table(tokens))
    alone = table([[14, 1]], two_step_prior())
    assert "log_p" in alone and not {"kl", "j"} & set(alone)


def test_what_is_undefined_is_nan() -> None:
    row = table([[14] * 8])  # one melody, no leap, no variance
    undefined = {"leaps_resolved", "task_return_se", "autocorrelation_1", "autocorrelation_2", "autocorrelation_3"}
    assert {name for name, value in row.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5, 70])
def test_any_number_of_melodies_of_any_length(n: int, horizon: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 38, size=(n, horizon))
    row = table(tokens)
    assert all(0 <= row[name] <= 1 or name == "leaps_resolved" and math.isnan(row[name]) for name in FRACTIONS)
    windows = {tuple(m[t:t + 4]) for m in tokens.tolist() for t in range(horizon - 3)}
    assert row["distinct_4grams"] == len(windows) and all(isinstance(value, (int, float)) for value in row.values())


class LowNotes(Task):
    """A reward of somebody's own: 1 for each pitch below middle C."""

    vocab, length, weights = MELODY_VOCAB, 4, {"low": 2.0}

    def step_terms(self, tokens: np.ndarray, steps: np.ndarray) -> np.ndarray:
        chosen = tokens[np.arange(len(tokens)), steps]
        return ((chosen > 1) & (chosen < 14)).astype(float)[:, None]


def test_another_task_is_judged_by_its_own_reward_and_the_same_table() -> None:
    tokens = [[2, 4, 14, 3], [14, 1, 1, 1]]
    row = table(tokens, task=LowNotes())
    assert row["task_return"] == (6 + 0) / 2 and row["term_low"] == 3 / 2 and "term_key" not in row
    assert row["not_in_key"] == 1 / 8 and row["starts_with_tonic"] == 1 / 2


@pytest.mark.parametrize(
    "kwargs, match",
    [
        ({"tokens": [14, 1]}, r"\[N, T\]"),
        ({"tokens": np.zeros((0, 32), int)}, "at least 1"),
        ({"tokens": np.zeros((3, 0), int)}, "at least 1"),
        ({"tokens": [[14, 38]]}, r"0\.\.37"),
        ({"task": MelodyTask(length=32)}, "2 steps.*32"),
        ({"log_probs": [-1.0]}, "prior="),
        ({"log_probs": [-1.0, -2.0], "prior": two_step_prior()}, r"\[1\].*\[2\]"),
        ({"prior": TablePrior(TokenVocab(("a", "b")), np.zeros((3, 2)), 2)}, "38 tokens against 2"),
        ({"c": 0.0}, "c must be a positive, finite number"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_so(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        table(**({"tokens": [[14, 1]]} | kwargs))
