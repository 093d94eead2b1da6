"""Tables as data: the page and the Markdown write the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report.rows import Row
from benchmarks.report.suite import columns
from benchmarks.report.suite.data import Arm, by_task, has, pairs, settled
from benchmarks.statistics import Interval, apart, probability_of_improvement

FEW_TASKS = 3  # up to so many have a table each; more share one
SIGN_TEST = 6  # pairs, the fewest of which all on one side have a two-sided p below .05 (2 / 2^6 = .03)


@dataclass(frozen=True)
class Head:
    """A column's head."""

    title: str
    meaning: str = ""
    better: str = ""


@dataclass(frozen=True)
class Cell:
    """One figure or name.

    Attributes:
        text, under: what stands in it, and smaller beneath it.
        order: what the column is sorted by; None comes last.
        best: whether it is marked.
        arm: the label whose colour it has; "".
    """

    text: str
    under: str = ""
    order: float | str | None = None
    best: bool = False
    arm: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        sorts: whether its reader can sort it; `sorted_by` is the column that it comes sorted by, the best first.
        names: how many of a row's cells name it; the page keeps the first in sight, on a phone with the second in it.
        folded: whether the page shows it at a click only.
    """

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    sorts: bool = False
    sorted_by: int | None = None
    folded: bool = False


def best_of(row: Row, intervals: Sequence[Interval]) -> int | None:
    """Which one has an interval, is best and apart from every other; None where none is, or no direction is better."""
    known = [k for k, one in enumerate(intervals) if math.isfinite(one.value)]
    if row.better not in ("higher", "lower", "near 0") or len(known) < 2:
        return None
    goodness: Mapping[str, Callable[[Interval], float]] = {
        "higher": lambda one: one.value,
        "lower": lambda one: -one.value,
        "near 0": lambda one: -abs(one.value),
    }
    first = max(known, key=lambda k: goodness[row.better](intervals[k]))
    if intervals[first].n < 2:
        return None  # a point: others may be worse for certain, but nothing says how it would do again
    rest = [_folded(row, intervals[k]) for k in known if k != first]
    return first if all(apart(_folded(row, intervals[first]), other) for other in rest) else None


def _folded(row: Row, one: Interval) -> Interval:
    """Distances from nought where the one nearest to it is best."""
    if row.better != "near 0":
        return one
    low, high = abs(one.low), abs(one.high)
    nearest = 0.0 if one.low <= 0 <= one.high else min(low, high)
    return Interval(abs(one.value), nearest if math.isfinite(low) else low, max(low, high), one.n)


def cell(row: Row, found: Interval, runs: int, best: bool = False) -> Cell:
    """A figure over its interval. Where fewer than the arm's runs have it, or only one, it says of how many it is."""
    if found.n == 0:
        return Cell("–", "" if row.key in columns.SPENT else "not known")
    under = columns.bounds(row, found) or ("one run" if found.n == 1 else "one run a task")
    if row.key in columns.SPENT and not found.high > found.low:
        under = ""  # a budget that is the same for all runs
    under += f", n = {found.n}" if 1 < found.n < runs else ""
    return Cell(columns.told(row, found.value), under, found.value, best)


def main_tables(arms: list[Arm]) -> list[Table]:
    """One for each task; with many tasks one for each domain, with a column that names them."""
    tasks = by_task(arms)
    if len(tasks) <= FEW_TASKS:
        return [_main(f"{task}: mean over seeds, 95% interval", members, False) for task, members in tasks.items()]
    alike: dict[str, list[Arm]] = {}
    for members in tasks.values():
        alike.setdefault(columns.domain(members), []).extend(members)
    return [_main(f"All {name}tasks: mean over seeds, 95% interval", members, True) for name, members in alike.items()]


def _main(caption: str, arms: list[Arm], named: bool) -> Table:
    rows = columns.headline(arms)
    lines = [line for members in by_task(arms).values() for line in _lines(members, rows, named)]
    first = [Head("Agent")] + ([Head("Task")] if named else [])
    heads = (*first, Head("Seeds", "runs"), *(Head(row.title, row.meaning, row.better) for row in rows))
    return Table(caption, heads, tuple(lines), len(first), True, None if named or not rows else len(first) + 1)


def _lines(arms: list[Arm], rows: Sequence[Row], named: bool) -> list[tuple[Cell, ...]]:
    """The lines of one task, by falling first figure."""
    best = {row.key: best_of(row, [settled(arm, row.key) for arm in arms]) for row in rows}
    lines = []
    for k, arm in enumerate(arms):
        task = [Cell(arm.task, order=arm.task)] if named else []
        figures = [cell(row, arm.interval(row.key), len(arm.runs), best[row.key] == k) for row in rows]
        n = len(arm.runs)
        lines.append((Cell(arm.label, order=arm.label, arm=arm.label), *task, Cell(str(n), order=n), *figures))
    return sorted(lines, key=lambda line: _falling(line[len(line) - len(rows)])) if rows else lines


def _falling(one: Cell) -> float:
    return -one.order if isinstance(one.order, float) else math.inf


def figure_table(
    caption: str, arms: list[Arm], rows: Sequence[Row], paper: Mapping[str, Mapping[str, float]], folded: bool = False
) -> Table:
    """Figures down, agents of one task across, and what a paper printed beside them; the best of ours is marked."""
    known = [row for row in rows if has(arms, row.key)]
    lines = []
    for row in known:
        best = best_of(row, [settled(arm, row.key) for arm in arms])
        ours = [cell(row, arm.interval(row.key), len(arm.runs), best == k) for k, arm in enumerate(arms)]
        theirs = [Cell(columns.told(row, column.get(row.key))) for column in paper.values()]
        arrow = f"{row.better} is better" if row.better else ""
        lines.append((Cell(row.title, " · ".join(filter(None, (row.meaning, arrow)))), *ours, *theirs))
    heads = (Head("Figure"), *(Head(arm.label, _runs(len(arm.runs))) for arm in arms), *(Head(name) for name in paper))
    return Table(caption, heads, tuple(lines), folded=folded)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"


def improvement_table(arms: list[Arm], folded: bool = False) -> Table | None:
    """How often a row's agent has a higher J than a column's, at the same seed; None with fewer than two agents."""
    known = [arm for arm in arms if len(arm.values("j"))]
    if len(known) < 2:
        return None
    lines = [(Cell(x.label, arm=x.label), *(_improvement(x, y) for y in known)) for x in known]
    caption = f"{known[0].task}: probability that the row’s J is higher than the column’s"
    return Table(caption, (Head("Agent"), *(Head(y.label) for y in known)), tuple(lines), folded=folded)


def _improvement(x: Arm, y: Arm) -> Cell:
    ours, theirs = pairs(x, y, "j")
    if x is y or not len(ours):
        return Cell("" if x is y else "–", "" if x is y else "no pairs")
    found = probability_of_improvement([ours], [theirs])
    percent = Row("", "", "", "", True, 0)
    ends = f"{columns.bounds(percent, found)}, " if found.high > found.low else ""  # all pairs agree: no width, no news
    under = f"{ends}{found.value * found.n:g} of {found.n}"
    return Cell(columns.told(percent, found.value), under, found.value, found.n >= SIGN_TEST and found.low > 0.5)
