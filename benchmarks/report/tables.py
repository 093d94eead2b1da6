"""The report's tables as data: HTML, Markdown and plain text show the same ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from benchmarks.report import metrics
from benchmarks.report.data import Arm, Task, gaps_over_tasks, pair_by_seed, point_if_fixed
from benchmarks.report.metrics import Metric, Values
from benchmarks.report.statistics import Interval, Statistic, apart, interval, iqm, mean, probability_of_improvement

FEW_TASKS = 3  # up to so many have a table each; more share one
SIGN_TEST = 6  # pairs, the fewest of which all on one side have a two-sided p below .05 (2 / 2^6 = .03)
ARROWS = {"higher": "↑", "lower": "↓", "near 0": "→ 0"}
GOODNESS: Mapping[str, Callable[[float], float]] = {
    "higher": lambda value: value,
    "lower": lambda value: -value,
    "near 0": lambda value: -abs(value),
}
COSTS = {one.key for one in metrics.COSTS}
STATISTICS: Mapping[str, Statistic] = {"mean": mean, "IQM": iqm}


@dataclass(frozen=True)
class Head:
    """The head of a column; `better` is a direction of `Metric.better`."""

    title: str
    meaning: str = ""
    better: str = ""


@dataclass(frozen=True)
class Cell:
    """One number or name.

    Attributes:
        text, under: what stands in it, and smaller beneath it.
        order: what the column is sorted by; None comes last.
        best: whether it is marked.
        arm: the label whose colour it has.
        better: of a metric's name, which direction is better.
    """

    text: str
    under: str = ""
    order: float | str | None = None
    best: bool = False
    arm: str = ""
    better: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        names: how many of a row's cells name it; they are aligned left, and the first stays in sight.
        sorts: whether readers can sort it; `sorted_by` is the column that it comes sorted by, the best first.
    """

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    sorts: bool = False
    sorted_by: int | None = None


def best_of(metric: Metric, intervals: Sequence[Interval]) -> int | None:
    """Return the index of the best interval if it overlaps no other, else None.

    None also for a metric without a better direction, for a single agent, and for a best one with a single run.
    """
    known = [k for k, one in enumerate(intervals) if math.isfinite(one.value)]
    if metric.better not in GOODNESS or len(known) < 2:
        return None
    first = max(known, key=lambda k: GOODNESS[metric.better](intervals[k].value))
    if intervals[first].n < 2:
        return None  # a point: nothing says how well another run would do
    rest = [_distance(metric, intervals[k]) for k in known if k != first]
    return first if all(apart(_distance(metric, intervals[first]), other) for other in rest) else None


def _distance(metric: Metric, one: Interval) -> Interval:
    """Turn an interval into one of distances from 0 if the value nearest to 0 is best."""
    if metric.better != "near 0":
        return one
    low, high = abs(one.low), abs(one.high)
    nearest = 0.0 if one.low <= 0 <= one.high else min(low, high)
    return Interval(abs(one.value), nearest if math.isfinite(low) else low, max(low, high), one.n)


def metric_cells(
    metric: Metric, intervals: Sequence[Interval], learns: Sequence[bool], runs: Sequence[int]
) -> list[Cell]:
    """Make the cells of one metric: the mean over its interval, the best one marked."""
    best = best_of(metric, [point_if_fixed(one, learn) for one, learn in zip(intervals, learns)])
    return [_metric_cell(metric, one, n, best == k) for k, (one, n) in enumerate(zip(intervals, runs))]


def _metric_cell(metric: Metric, found: Interval, runs: int, best: bool) -> Cell:
    if found.n == 0:
        return Cell("–", "" if metric.key in COSTS else "not known")
    under = metric.format_bounds(found) or ("one run" if found.n == 1 else "one run a task")
    if metric.key in COSTS and not found.high > found.low:
        under = ""  # a budget that is the same for all runs
    under += f", n = {found.n}" if 1 < found.n < runs else ""
    return Cell(metric.format(found.value), under, found.value, best)


def _arm_cells(metric: Metric, arms: Sequence[Arm]) -> list[Cell]:
    runs = [len(arm.runs) for arm in arms]
    return metric_cells(metric, [arm.interval(metric.key) for arm in arms], [arm.learns for arm in arms], runs)


def headline(task: Task) -> list[Metric]:
    """List the metrics of the main table that any run has."""
    exact = (metrics.EXACT_J, metrics.GAP, metrics.KL, task.return_metric)
    always = exact if task.is_exact else (metrics.J, metrics.KL, task.return_metric, metrics.DISTINCT)
    domain = metrics.MELODY_HEADLINE * task.is_melody + metrics.MOLECULE_HEADLINE * task.is_molecule
    costs = (metrics.TOKENS, metrics.WALL if task.is_molecule else metrics.CPU)
    return [one for one in (*always, *domain, *costs) if task.has(one.key)]


def main_tables(tasks: Sequence[Task]) -> list[Table]:
    """Make a table for each task; with many tasks one for each domain, with a column that names the task."""
    if len(tasks) <= FEW_TASKS:
        return [_main_table(f"{task.name}: mean over seeds, 95% interval", [task], False) for task in tasks]
    alike: dict[str, list[Task]] = {}
    for task in tasks:
        alike.setdefault(task.domain, []).append(task)
    return [_main_table(f"All {name}tasks: mean over seeds, 95% interval", some, True) for name, some in alike.items()]


def _main_table(caption: str, tasks: Sequence[Task], named: bool) -> Table:
    shown = headline(Task("", [arm for task in tasks for arm in task.arms]))
    names = [Head("Agent"), *([Head("Task")] if named else [])]
    heads = (*names, Head("Seeds", "runs"), *(Head(one.short or one.title, one.meaning, one.better) for one in shown))
    rows = tuple(row for task in tasks for row in _main_rows(task, shown, named))
    return Table(caption, heads, rows, len(names), True, None if named or not shown else len(names) + 1)


def _main_rows(task: Task, shown: Sequence[Metric], named: bool) -> list[tuple[Cell, ...]]:
    """Make the rows of one task, the highest first metric first."""
    names = [
        (Cell(arm.label, order=arm.label, arm=arm.label), *([Cell(task.name, order=task.name)] if named else []),
         Cell(str(len(arm.runs)), order=len(arm.runs)))
        for arm in task.arms
    ]
    columns = [_arm_cells(one, task.arms) for one in shown]
    rows = [(*name, *(column[k] for column in columns)) for k, name in enumerate(names)]
    return sorted(rows, key=lambda row: _falling(row[-len(shown)])) if shown else rows


def _falling(one: Cell) -> float:
    return -one.order if isinstance(one.order, float) else math.inf


def metric_table(caption: str, arms: Sequence[Arm], shown: Sequence[Metric], paper: Mapping[str, Values] = {}) -> Table:
    """Make a table with a row for each metric, a column for each arm, and the paper's columns beside them."""
    known = [one for one in shown if any(len(arm.values(one.key)) for arm in arms)]
    rows = tuple(
        (name_cell(one), *_arm_cells(one, arms), *(Cell(one.format(column.get(one.key))) for column in paper.values()))
        for one in known
    )
    counts = ["1 run" if len(arm.runs) == 1 else f"{len(arm.runs)} runs" for arm in arms]
    heads = [Head(arm.label, count) for arm, count in zip(arms, counts)]
    return Table(caption, (Head("Metric"), *heads, *(Head(name) for name in paper)), rows)


def name_cell(metric: Metric) -> Cell:
    """Make the cell that names a metric's row."""
    return Cell(metric.title, metric.meaning, better=metric.better)


def improvement_table(task: Task) -> Table | None:
    """Make a table of how often a row's agent has a higher J than a column's; None with fewer than two agents."""
    known = [arm for arm in task.arms if len(arm.values("j"))]
    if len(known) < 2:
        return None
    rows = tuple((Cell(x.label, arm=x.label), *(_improvement_cell(x, y) for y in known)) for x in known)
    caption = f"{task.name}: probability that the row’s J is higher than the column’s"
    return Table(caption, (Head("Agent"), *(Head(y.label) for y in known)), rows)


def _improvement_cell(x: Arm, y: Arm) -> Cell:
    if x is y:
        return Cell("")
    ours, theirs = pair_by_seed(x, y, "j")
    if not len(ours):
        return Cell("–", "no pairs")
    found = probability_of_improvement([ours], [theirs])
    # if all pairs agree the interval has no width and says nothing
    ends = f"{metrics.WINS.format_bounds(found)}, " if found.high > found.low else ""
    under = f"{ends}{found.value * found.n:g} of {found.n}"
    return Cell(metrics.WINS.format(found.value), under, found.value, found.n >= SIGN_TEST and found.low > 0.5)


def aggregate_table(tasks: Sequence[Task]) -> Table | None:
    """Make a table of the gap and the share closed over all exact tasks; None with fewer than two such tasks."""
    (found, _), count = gaps_over_tasks(tasks), sum(task.is_exact for task in tasks)
    if not found or count < 2:
        return None
    heads, columns = [Head("Agent"), Head("Runs", "in all tasks")], []
    scores = {metrics.GAP: [one.gaps for one in found]}
    if all(one.closed for one in found):
        scores[metrics.CLOSED] = [one.closed or [] for one in found]
    for metric, of_labels in scores.items():
        for name, statistic in STATISTICS.items():
            heads.append(Head(f"{metric.title}, {name}", metric.meaning, metric.better))
            intervals = [interval(statistic, one) for one in of_labels]
            columns.append(metric_cells(metric, intervals, [one.learns for one in found], [one.n for one in intervals]))
    runs = [sum(map(len, one.gaps)) for one in found]
    names = [(Cell(one.label, order=one.label, arm=one.label), Cell(str(n), order=n)) for one, n in zip(found, runs)]
    rows = [(*name, *cells) for name, cells in zip(names, zip(*columns))]
    rows.sort(key=lambda row: float(row[2].order or 0.0))
    caption = f"Over {count} tasks: 95% intervals of the stratified bootstrap"
    return Table(caption, tuple(heads), tuple(rows), sorts=True, sorted_by=2)


def column_table(caption: str, shown: Sequence[Metric], columns: Mapping[str, Values]) -> Table:
    """Make a table of metrics by columns of single results, with standard errors.

    Metrics that no column has are left out: novelty, for one, takes a prior that names its training data.
    """
    known = [one for one in shown if any(one.key in values for values in columns.values())]
    rows = tuple(
        (name_cell(one), *(Cell(one.format(of.get(one.key)), one.format_error(of)) for of in columns.values()))
        for one in known
    )
    return Table(caption, (Head("Metric"), *map(Head, columns)), rows)


def format_text(table: Table) -> str:
    """Format a table of metrics as aligned text, with a column that says which direction is better."""
    rows = [
        [name.text, name.better, *(f"{cell.text} {cell.under}".rstrip() for cell in cells)]
        for name, *cells in table.rows
    ]
    heads = ["", "better", *(head.title for head in table.heads[1:])]
    align = ("left", "left", *["right"] * (len(heads) - 2))
    lines = tabulate([heads, *rows], tablefmt="plain", colalign=align, disable_numparse=True).splitlines()
    lines = [line.rstrip() for line in lines]
    return "\n".join([table.caption, "-" * max(map(len, [table.caption, *lines])), *lines])
