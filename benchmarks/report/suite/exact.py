"""Tasks whose optimum is known: how far from it agents stay, over tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.report.rows import Row
from benchmarks.report.suite import columns
from benchmarks.report.suite.data import Arm, Scores, as_compared, by_task, labels, prior_among
from benchmarks.report.suite.tables import Cell, Head, Table, best_of, cell
from benchmarks.statistics import Interval, interval, iqm, mean

CLOSED = Row("closed", "Closed", "share of log Z − J(prior) that is closed", "higher", True)
STATISTICS: Mapping[str, Callable[[Sequence[Scores]], float]] = {"mean": mean, "IQM": iqm}


@dataclass(frozen=True)
class Exact:
    """One label over all exact tasks.

    Attributes:
        gaps: nats, by task and run.
        learns: whether it does in any task.
        closed: which share of the prior's gap is closed, the same way; None where the prior is not there.
    """

    label: str
    gaps: list[Scores]
    learns: bool
    closed: list[Scores] | None


def exact_arms(arms: Sequence[Arm]) -> list[Arm]:
    """Those of exact tasks."""
    return [arm for members in by_task(arms).values() if columns.is_exact(members) for arm in members]


def over_tasks(arms: Sequence[Arm]) -> list[Exact]:
    """Every label that has a gap in every exact task; they alone can be compared over tasks."""
    tasks = by_task(exact_arms(arms))
    priors = {task: prior for task, members in tasks.items() if (prior := prior_among(members))}
    zeros = {task: float(np.mean(prior.values("gap"))) for task, prior in priors.items()}
    made = []
    for label in labels(exact_arms(arms)):
        own = [arm for members in tasks.values() for arm in members if arm.label == label and len(arm.values("gap"))]
        if len(own) == len(tasks):
            known = len(zeros) == len(tasks) and all(zeros.values())
            closed = [1 - arm.values("gap") / zeros[arm.task] for arm in own] if known else None
            made.append(Exact(label, [arm.values("gap") for arm in own], any(arm.learns for arm in own), closed))
    return made


def left_out(arms: Sequence[Arm]) -> list[str]:
    """Labels that lack an exact task."""
    kept = {one.label for one in over_tasks(arms)}
    return [label for label in labels(exact_arms(arms)) if label not in kept]


def aggregate_table(arms: Sequence[Arm]) -> Table | None:
    """Mean and interquartile mean of the gap, and of the share closed, over two exact tasks or more; else None."""
    found, tasks = over_tasks(arms), by_task(exact_arms(arms))
    if not found or len(tasks) < 2:
        return None
    figures = [(columns.GAP, [one.gaps for one in found])]
    figures += [(CLOSED, shares)] if all(shares := [one.closed or [] for one in found]) else []
    heads, made = [Head("Agent"), Head("Runs", "in all tasks")], []
    for row, scores in figures:
        for name, what in STATISTICS.items():
            heads.append(Head(f"{row.title}, {name}", row.meaning, row.better))
            made.append(_column(row, found, [interval(what, one) for one in scores]))
    names = [(Cell(one.label, order=one.label, arm=one.label), _runs(one)) for one in found]
    lines = [(*name, *cells) for name, cells in zip(names, zip(*made))]
    lines.sort(key=lambda line: float(line[2].order or 0.0))
    caption = f"Over {len(tasks)} tasks: 95% intervals of the stratified bootstrap"
    return Table(caption, tuple(heads), tuple(lines), 1, sorts=True, sorted_by=2)


def _runs(one: Exact) -> Cell:
    n = sum(map(len, one.gaps))
    return Cell(str(n), order=n)


def _column(row: Row, found: Sequence[Exact], intervals: Sequence[Interval]) -> list[Cell]:
    """One figure of every label."""
    best = best_of(row, [as_compared(one, label.learns) for one, label in zip(intervals, found)])
    return [cell(row, one, one.n, best == k) for k, one in enumerate(intervals)]
