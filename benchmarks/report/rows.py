"""The rows of the demonstration's tables: what each figure means, and which direction is good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NEAR_ZERO = 0.12  # autocorrelations up to here count as good: the paper's largest is .10
Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        key: its name in the judge's table; "term_" + a rule's name for the mean that a rule pays a melody.
        title, meaning: in words.
        better: "higher", "lower", "near 0", or "" where neither is better by itself.
        percent: whether it is a share.
        digits: after the point; None: two, or one where there are two before it.
    """

    key: str
    title: str
    meaning: str
    better: str
    percent: bool = False
    digits: int | None = None


OBJECTIVE = (
    Row("j", "J, in nats", "what the tutor learns to maximise: E[R / c] − KL", "higher"),
    Row("task_return", "Return R", "what the nine rules pay a melody, in all", "higher"),
    Row("kl", "KL from the prior", "how far the writer has moved away from the prior, in nats a melody", "lower"),
    Row("log_p", "log p of a melody", "how probable the prior finds it, in nats", ""),
    Row("log_p_per_step", "log p of a step", "the same for each sixteenth", ""),
    Row("distinct", "Distinct melodies", "share of different ones; few would mean a collapsed writer", "higher", True),
)

TABLE_1 = (
    Row("excessively_repeated", "Excessively repeated", "steps that repeat a token too often", "lower", True),
    Row("not_in_key", "Not in key", "steps that play a note outside C major", "lower", True),
    Row("starts_with_tonic", "Starts with tonic", "melodies that begin on middle C", "higher", True),
    Row("leaps_resolved", "Leaps resolved", "of leaps (a fifth or more) resolved or doubled", "higher", True),
    Row("unique_maximum", "Unique maximum", "melodies that touch their highest note once", "higher", True),
    Row("unique_minimum", "Unique minimum", "melodies that touch their lowest note once", "higher", True),
    Row("in_motif", "In a motif", "steps at which the last eight hold three or more pitches", "higher", True),
    Row("in_repeated_motif", "In a repeated motif", "steps at which such a motif is heard again", "higher", True),
    Row("autocorrelation_1", "Autocorrelation, lag 1", "likeness of neighbouring steps", "near 0"),
    Row("autocorrelation_2", "Autocorrelation, lag 2", "likeness of steps two apart", "near 0"),
    Row("autocorrelation_3", "Autocorrelation, lag 3", "likeness of steps three apart", "near 0"),
)

RULES = (
    Row("term_key", "Key", "−1 for a note outside C major", "higher"),
    Row("term_tonic", "Tonic", "+3 for middle C at the start and at the close, and for letting it ring", "higher"),
    Row("term_repetition", "Repetition", "−100 for a token repeated too often", "higher"),
    Row("term_autocorrelation", "Autocorrelation", "−3 |r| for each of three lags with |r| above .15", "higher"),
    Row("term_motif", "Motif", "+3 and more at steps whose last eight hold three or more pitches", "higher"),
    Row("term_repeated_motif", "Repeated motif", "+4 and more where such a motif is heard again", "higher"),
    Row("term_interval", "Interval", "pays steps, thirds, fourths, fifths; punishes more than an octave", "higher"),
    Row("term_leap", "Leap", "+5 for a leap resolved, −5 for one doubled", "higher"),
    Row("term_unique_extremes", "Unique extremes", "+3 each for a highest and a lowest note heard once", "higher"),
)

# What the terminal shows of them
SUMMARY = (*OBJECTIVE[:3], *OBJECTIVE[4:], *TABLE_1[:8])


def shown(row: Row, value: float | None) -> str:
    """A figure in words, with a true minus sign."""
    if value is None or not math.isfinite(value):
        return "–"
    value = 100 * value if row.percent else value
    digits = row.digits if row.digits is not None else 1 if abs(value) >= 9.995 else 2
    text = f"{value:.{digits}f}".replace("-", "−")
    return f"{text}%" if row.percent else text


def shown_error(row: Row, metrics: Metrics) -> str:
    """The figure's standard error; "" where it has none, or none that the figure's digits show."""
    error, digits = metrics.get(f"{row.key}_se") or 0.0, 2 if row.digits is None else row.digits
    return f"± {error:.{digits}f}" if error >= 0.5 * 10**-digits else ""


def as_good(row: Row, value: float | None, paper: float | None) -> bool:
    """Whether a figure is at least as good as the paper's (an autocorrelation: within NEAR_ZERO). None, NaN are not."""
    if value is None or paper is None:
        return False
    if row.better == "near 0":
        return abs(value) <= NEAR_ZERO
    return value >= paper if row.better == "higher" else value <= paper


def known(rows: Sequence[Row], columns: Mapping[str, Metrics]) -> list[Row]:
    """The rows that any column has; novelty, for one, takes a prior that says what it was trained on."""
    return [row for row in rows if any(row.key in metrics for metrics in columns.values())]


def text_table(title: str, rows: Sequence[Row], columns: Mapping[str, Metrics]) -> str:
    """Known rows by columns (heading -> figures), aligned, with a line that says which direction is good."""
    cells = [["", "better", *columns]]
    for row in known(rows, columns):
        figures = (f"{shown(row, metrics.get(row.key))} {shown_error(row, metrics)}" for metrics in columns.values())
        cells.append([row.title, row.better, *(text.rstrip() for text in figures)])
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [_aligned(line, widths) for line in cells]
    return "\n".join([title, "-" * max(map(len, lines)), *lines])


def _aligned(line: list[str], widths: list[int]) -> str:
    """Two columns of words to the left, figures to the right."""
    left = [cell.ljust(width) for cell, width in zip(line[:2], widths)]
    return "  ".join([*left, *(cell.rjust(width) for cell, width in zip(line[2:], widths[2:]))]).rstrip()
