"""Make the report's tables as data, which HTML, Markdown and plain text show alike."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from tabulate import tabulate

from benchmarks.report import metrics
from benchmarks.report.data import Arm, TaskResults, pair_by_seed, point_if_fixed
from benchmarks.report.gaps import best_arm, describe_share, gaps_over_tasks
from benchmarks.report.metrics import Metric, Values
from benchmarks.report.statistics import Interval, Statistic, apart, interval, iqm, mean, probability_of_improvement

FEW_TASKS = 3  # up to so many have a table each; more share one
SIGN_TEST = 6  # pairs, the fewest of which all on one side have a two-sided p below .05 (2 / 2^6 = .03)
STATISTICS: Mapping[str, Statistic] = {"mean": mean, "IQM": iqm}


@dataclass(frozen=True)
class Cell:
    """One number or name, or the head of a column.

    Attributes:
        text, under: what stands in it, and smaller beneath it (of a sorted column's head: what is shown on hovering).
        order: what the column is sorted by; None comes last.
        best: whether it is marked.
        arm: the label whose colour it has.
        better: of a metric's name, which direction is better.
        verdict: "better", "worse" or "same" where it is compared with another column, else "".
    """

    text: str
    under: str = ""
    order: float | str | None = None
    best: bool = False
    arm: str = ""
    better: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        names: how many of a row's cells name it; they are aligned left, and the first stays in sight.
        sorts: whether readers can sort it; `sorted_by` is the column that it comes sorted by, the best first.
    """

    caption: str
    heads: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    sorts: bool = False
    sorted_by: int | None = None

    @property
    def compares(self) -> bool:
        """Check whether any cell says that it is better or worse than another column's."""
        return any(cell.verdict for row in self.rows for cell in row)


def best_of(metric: Metric, intervals: Sequence[Interval]) -> int | None:
    """Return the index of the best interval if it overlaps no other, else None.

    None also for a metric without a better direction, for a single agent, and for a best one with a single run.
    """
    # the best of one is no finding
    known = [k for k, one in enumerate(intervals) if math.isfinite(one.value)]
    if not metric.better or len(known) < 2:
        return None
    first = max(known, key=lambda k: metric.rate(intervals[k].value))
    # a single run is a point: nothing says how well another run would do
    if intervals[first].n < 2:
        return None
    # -0.1 and 0.1 are equally good where 0 is the aim
    compared = [_distance(one) if metric.better == "near 0" else one for one in intervals]
    return first if all(apart(compared[first], compared[k]) for k in known if k != first) else None


def _distance(one: Interval) -> Interval:
    """Turn an interval into one of distances from 0."""
    low, high = sorted((abs(one.low), abs(one.high)))
    return Interval(abs(one.value), 0.0 if one.low <= 0 <= one.high else low, high, one.n)


def metric_cells(
    metric: Metric, intervals: Sequence[Interval], compared: Sequence[Interval], runs: Sequence[int]
) -> list[Cell]:
    """Make the cells of one metric: the mean over its interval, the best by the intervals `compared` marked."""
    best = best_of(metric, compared)
    is_cost, cells = metric in metrics.COSTS, []
    for k, (one, n) in enumerate(zip(intervals, runs)):
        under = metric.format_bounds(one) or ("one run" if one.n == 1 else "one run a task" if one.n else "not known")
        if is_cost and not one.high > one.low:
            under = ""  # a budget that is the same for all runs
        under += f", n = {one.n}" if 1 < one.n < n else ""
        cells.append(Cell(metric.format(one.value), under, one.value if one.n else None, best == k))
    return cells


def _arm_cells(metric: Metric, arms: Sequence[Arm]) -> list[Cell]:
    intervals = [arm.interval(metric.key) for arm in arms]
    compared = [arm.compared_interval(metric.key) for arm in arms]
    cells = metric_cells(metric, intervals, compared, [len(arm.runs) for arm in arms])
    return [replace(cell, text=arm.sign(metric.key) + cell.text) for arm, cell in zip(arms, cells)]


def _gap_cells(arms: Sequence[Arm]) -> list[Cell]:
    """Make the cells of the gap: exact where the optimum is known, else by an estimate and by bounds of log Z."""
    cells, write = _arm_cells(metrics.GAP, arms), metrics.J.format
    for k, arm in enumerate(arms):
        if arm.samples_optimum:
            cells[k] = Cell("0", "samples the optimum", 0.0)
        elif arm.gap is not None and not len(arm.values("gap")):
            # nothing is marked: J orders the agents of a task alike
            order = next(filter(math.isfinite, (arm.gap.estimate, arm.gap.low)), None)
            cells[k] = Cell(arm.gap.describe(write), arm.gap.describe_bounds(write), order)
    return cells


def _name(label: str) -> Cell:
    return Cell(label, order=label, arm=label)


def _count(n: int) -> Cell:
    return Cell(str(n), order=n)


def headline(task: TaskResults) -> list[Metric]:
    """List the metrics of the main table that any run has."""
    exact = (metrics.EXACT_J, metrics.GAP, metrics.KL, task.return_metric)
    always = exact if task.is_exact else (metrics.J, metrics.GAP, metrics.KL, task.return_metric, metrics.DISTINCT)
    costs = (metrics.TOKENS, metrics.WALL if task.domain == "molecule" else metrics.CPU)
    # where the calls of a score are limited, what was found with them says most
    budget = metrics.BUDGET if task.has(metrics.AUC.key) else ()
    every = (*budget, *always, *metrics.HEADLINES.get(task.domain, ()), *costs)
    has_bounds = any(arm.gap is not None for arm in task.arms)
    return [one for one in every if task.has(one.key) or one is metrics.GAP and has_bounds]


def main_tables(tasks: Sequence[TaskResults]) -> list[Table]:
    """Make a table for each task; with many tasks one for each domain, with a column that names the task."""
    if len(tasks) <= FEW_TASKS:
        return [_main_table(f"{task.name}: mean over seeds, 95% interval", [task], False) for task in tasks]
    # domains have different metrics, so each gets a table of its own
    alike: dict[str, list[TaskResults]] = {}
    for task in tasks:
        alike.setdefault(task.domain or ("exact" if task.is_exact else ""), []).append(task)
    kinds = {f"{domain} tasks".strip(): some for domain, some in alike.items()}
    return [_main_table(f"All {kind}: mean over seeds, 95% interval", some, True) for kind, some in kinds.items()]


def _main_table(caption: str, tasks: Sequence[TaskResults], named: bool) -> Table:
    shown = headline(TaskResults("", [arm for task in tasks for arm in task.arms]))
    heads = [Cell("Agent"), Cell("Task"), Cell("Seeds", "runs")] if named else [Cell("Agent"), Cell("Seeds", "runs")]
    # the cells that name a row stand left of its metrics
    names = len(heads) - 1
    heads += [Cell(one.short or one.title, one.meaning, better=one.better) for one in shown]
    rows: list[Sequence[Cell]] = []
    for task in tasks:
        columns = [[_name(arm.label) for arm in task.arms]]
        if named:
            columns.append([Cell(task.name, order=task.name) for _ in task.arms])
        columns.append([_count(len(arm.runs)) for arm in task.arms])
        columns += [_gap_cells(task.arms) if one is metrics.GAP else _arm_cells(one, task.arms) for one in shown]
        found = list(zip(*columns))
        rows += _sort(found, names + 1) if shown else found  # the highest first metric first
    return Table(caption, heads, rows, names, True, None if named or not shown else names + 1)


def _sort(rows: Sequence[Sequence[Cell]], column: int, ascending: bool = False) -> list[Sequence[Cell]]:
    """Sort rows by a column; unknown values come last."""
    order = pd.Series([row[column].order for row in rows], dtype=float)
    return [rows[k] for k in order.sort_values(ascending=ascending, kind="stable").index]


def metric_table(caption: str, arms: Sequence[Arm], shown: Sequence[Metric], paper: Mapping[str, Values] = {}) -> Table:
    """Make a table with a row for each metric, a column for each arm, and the paper's columns beside them."""
    known = [one for one in shown if any(len(arm.values(one.key)) for arm in arms)]
    rows = [
        [_metric_name(one), *_arm_cells(one, arms), *(Cell(one.format(of.get(one.key))) for of in paper.values())]
        for one in known
    ]
    heads = [Cell(arm.label, "1 run" if len(arm.runs) == 1 else f"{len(arm.runs)} runs") for arm in arms]
    return Table(caption, [Cell("Metric"), *heads, *map(Cell, paper)], rows)


def column_table(
    caption: str,
    shown: Sequence[Metric],
    columns: Mapping[str, Values],
    base: str = "",
    compared: Collection[str] = (),
    n: int = 1,
) -> Table:
    """Make a table of metrics by columns of single results, with standard errors.

    Metrics that no column has are left out: novelty, for one, takes a prior that names its training data.

    Args:
        base, compared: each cell of the columns `compared` says whether it is better or worse than the column `base`.
        n: sequences that each of these columns is about.
    """
    rows = []
    for one in shown:
        if any(one.key in values for values in columns.values()):
            verdicts = {name: one.compare(columns[name], columns[base], n) for name in compared}
            rows.append([
                _metric_name(one),
                *(
                    Cell(one.format(of.get(one.key)), one.format_error(of), verdict=verdicts.get(name, ""))
                    for name, of in columns.items()
                ),
            ])
    return Table(caption, [Cell("Metric"), *map(Cell, columns)], rows)


def _metric_name(metric: Metric) -> Cell:
    return Cell(metric.title, metric.meaning, better=metric.better)


def improvement_table(task: TaskResults) -> Table | None:
    """Make a table of how often a row's agent has a higher J than a column's; None with fewer than two agents."""
    # how often a lower bound is the higher one says nothing
    known = [arm for arm in task.arms if len(arm.values("j")) and not arm.j_is_bound]
    rows = [[Cell(x.label, arm=x.label), *(_improvement_cell(x, y) for y in known)] for x in known]
    caption = f"{task.name}: probability that the row’s J is higher than the column’s"
    return Table(caption, [Cell("Agent"), *(Cell(y.label) for y in known)], rows) if len(known) > 1 else None


def _improvement_cell(x: Arm, y: Arm) -> Cell:
    if x is y:
        return Cell("")
    # by seed, because runs of one seed share the random numbers of their evaluation
    ours, theirs = pair_by_seed(x, y, "j")
    if not len(ours):
        return Cell("–", "no pairs")
    found = probability_of_improvement([ours], [theirs])
    # if all pairs agree the interval has no width and says nothing
    ends = f"{metrics.WINS.format_bounds(found)}, " if found.high > found.low else ""
    under = f"{ends}{found.value * found.n:g} of {found.n}"
    return Cell(metrics.WINS.format(found.value), under, found.value, found.n >= SIGN_TEST and found.low > 0.5)


def aggregate_table(tasks: Sequence[TaskResults]) -> Table | None:
    """Make a table of the gap and the share closed over all exact tasks; None with fewer than two such tasks."""
    found, _ = gaps_over_tasks(tasks)
    count = sum(task.is_exact for task in tasks)
    if not found or count < 2:
        return None
    heads = [Cell("Agent"), Cell("Runs", "in all tasks")]
    columns = [[_name(one.label) for one in found], [_count(sum(map(len, one.gaps))) for one in found]]
    closed = [one.closed for one in found if one.closed]
    for metric, of_labels in ((metrics.GAP, [one.gaps for one in found]), (metrics.CLOSED, closed)):
        if not of_labels:
            continue
        for name, statistic in STATISTICS.items():
            heads.append(Cell(f"{metric.title}, {name}", metric.meaning, better=metric.better))
            intervals = [interval(statistic, one) for one in of_labels]
            compared = [point_if_fixed(value, one.learns) for value, one in zip(intervals, found)]
            columns.append(metric_cells(metric, intervals, compared, [one.n for one in intervals]))
    caption = f"Over {count} tasks: 95% intervals of the stratified bootstrap"
    return Table(caption, heads, _sort(list(zip(*columns)), 2, ascending=True), sorts=True, sorted_by=2)


def log_z_table(tasks: Sequence[TaskResults]) -> Table:
    """Make a table of what is known of log Z in each task, and of what the agent with the highest J leaves of it."""
    heads = [Cell("Task"), Cell("log Z", "the greatest J, estimated"), Cell("At least"), Cell("At most")]
    heads += [Cell("Nearest agent"), Cell("Nats left", "log Z − J"), Cell("Of the way", "from the prior’s J")]
    rows = [row for task in tasks if (row := _log_z_row(task))]
    return Table("log Z, and the agent that comes nearest", heads, rows)


def _log_z_row(task: TaskResults) -> list[Cell]:
    """Make a row of `log_z_table`; empty where no agent has a J."""
    arm, bounds, write = best_arm(task), task.bounds, metrics.J.format
    if arm is None or arm.gap is None or bounds is None:
        return []
    within = metrics.J.format_bounds(Interval(bounds.estimate, *bounds.interval, 0))
    estimate = Cell(write(bounds.estimate), within) if math.isfinite(arm.gap.estimate) else Cell("not known")
    return [
        Cell(task.name),
        estimate,
        _bound_cell(bounds.lower, bounds.lower_method, bounds.lower_probability),
        _bound_cell(bounds.upper, bounds.upper_method, bounds.upper_probability),
        Cell(arm.label, f"J {arm.sign('j')}{write(arm.interval('j').value)}"),
        Cell(arm.gap.describe(write), arm.gap.describe_bounds(write)),
        Cell(describe_share(arm, task.prior) or "–"),
    ]


def _bound_cell(value: float, method: str, probability: float) -> Cell:
    under = method if probability == 1 else f"{method}, p = {probability:g}"
    return Cell(metrics.J.format(value), under) if math.isfinite(value) else Cell("not known")


def format_text(table: Table) -> str:
    """Format a table of metrics as aligned text, with a column that says which direction is better."""
    lines = [["", "better", *(head.text for head in table.heads[1:])]]
    for name, *cells in table.rows:
        # words, as a terminal may have no colours
        words = (" ".join(filter(None, (cell.text, cell.under, cell.verdict))) for cell in cells)
        lines.append([name.text, name.better, *words])
    align = ("left", "left", *["right"] * (len(lines[0]) - 2))
    text = tabulate(lines, tablefmt="plain", colalign=align, disable_numparse=True)
    rows = [line.rstrip() for line in text.splitlines()]
    return "\n".join([table.caption, "-" * max(map(len, [table.caption, *rows])), *rows])
