"""Which figures stand in which table, and how a number is written; where the demonstration has rows, they are its."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from benchmarks.report import molecule_rows, rows
from benchmarks.report.rows import Row
from benchmarks.report.suite.data import Arm, has
from benchmarks.statistics import Interval

J = Row("j", "J", "what is maximised: E[R / c] − KL, in nats", "higher")
KL = Row("kl", "KL", "how far from the prior, in nats a sequence", "")
RETURN = Row("task_return", "Return R", "what the task pays a sequence", "higher")
SCORE = Row("task_return", "Score R", "what the task pays a molecule, 0 to 1", "higher", digits=3)
EXACT_J = replace(J, digits=4)  # gaps are small beside J
DISTINCT = Row("distinct", "Distinct", "share of different sequences", "higher", True)
GAP = Row("gap", "Gap", "log Z − J = KL(π ‖ optimum), in nats", "lower")
TOKENS = Row("timesteps", "Tokens", "learned from", "")
CPU = Row("learning_cpu", "CPU", "seconds of learning, this process", "")
CLOCK = Row("learning_wall", "Clock", "seconds of learning, by the clock", "")

MELODY = (
    Row("excessively_repeated", "Repeated", "steps that repeat a token too often", "lower", True),
    Row("starts_with_tonic", "Tonic start", "melodies that begin on middle C", "higher", True),
    Row("leaps_resolved", "Leaps resolved", "of leaps resolved or doubled", "higher", True),
    Row("in_motif", "In a motif", "steps in a motif", "higher", True),
)
MOLECULE = (
    Row("valid", "Valid", "strings that are a molecule", "higher", True),
    Row("unique", "Unique", "different ones of the valid", "higher", True),
    Row("novelty", "Novel", "not in the training data", "", True),
    Row("distinct_mean_qed", "QED", "mean over distinct ones", "higher", digits=3),
    Row("internal_diversity_1", "Diversity", "1 − mean similarity of two", "higher", digits=3),
)
SPENT = ("timesteps", "learning_cpu", "learning_wall")
TABLE_1, RULES = rows.TABLE_1, rows.RULES
MOLECULES = (*molecule_rows.WRITES, *molecule_rows.DISTINCT)
TERMS = molecule_rows.TERMS


def is_melody(arms: Iterable[Arm]) -> bool:
    """Whether the judge of melodies has spoken."""
    return has(arms, "excessively_repeated")


def is_molecule(arms: Iterable[Arm]) -> bool:
    """Whether the judge of molecules has spoken."""
    return has(arms, "internal_diversity_1") or has(arms, "mean_qed")


def is_exact(arms: Iterable[Arm]) -> bool:
    """Whether the optimum is known."""
    return has(arms, "gap")


def domain(arms: list[Arm]) -> str:
    """What kind of task it is, with a blank; "" for one that is not known."""
    kinds = {"melody ": is_melody(arms), "molecule ": is_molecule(arms), "exact ": is_exact(arms)}
    return next((name for name, known in kinds.items() if known), "")


def return_row(arms: list[Arm]) -> Row:
    """How R is called and written in these arms' domain."""
    return SCORE if is_molecule(arms) else RETURN


def headline(arms: list[Arm]) -> list[Row]:
    """The figures of the main table, those that any run has."""
    domain = (MELODY if is_melody(arms) else ()) + (MOLECULE if is_molecule(arms) else ())
    always = (EXACT_J, GAP, KL, return_row(arms)) if is_exact(arms) else (J, KL, return_row(arms), DISTINCT)
    known = [row for row in (*always, *domain) if has(arms, row.key)]
    return [*known, *(row for row in (TOKENS, CLOCK if is_molecule(arms) else CPU) if has(arms, row.key))]


def significant(value: float) -> str:
    """Two significant digits and no exponent, 0.0021, but no more than five after the point."""
    if value == 0:
        return "0"
    digits = max(1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{min(digits, 5)}f}".replace("-", "−")


def seconds(value: float) -> str:
    """14.1 s; 1,234 s."""
    return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"


WRITTEN: dict[str, Callable[[float], str]] = {
    "gap": significant,
    "timesteps": lambda value: f"{value:,.0f}",
    "learning_cpu": seconds,
    "learning_wall": seconds,
}


def told(row: Row, value: float | None) -> str:
    """A figure in words, with a true minus sign; "–" where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = WRITTEN[row.key](value) if row.key in WRITTEN else rows.shown(row, value)
    return text.removeprefix("−") if not any(digit in text for digit in "123456789") else text  # no −0.00


def bounds(row: Row, found: Interval) -> str:
    """The interval's ends, "[1.2, 1.4]"; "" where there is none."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    low, high = (told(row, end).rstrip("% s") for end in (found.low, found.high))
    return f"[{low}, {high}]"


def with_bounds(row: Row, found: Interval) -> str:
    """A figure with its interval, for sentences: "61.4 [61.3, 61.5]"; "61.4 (one run)"."""
    return f"{told(row, found.value)} {bounds(row, found) or '(one run)'}"
