"""How far agents stay from the optimum: exact gaps over tasks, and what bounds of log Z say elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.report import metrics
from benchmarks.report.data import Arm, Scores, TaskResults


@dataclass(frozen=True)
class Gaps:
    """Hold the gaps of one label in all exact tasks.

    Attributes:
        gaps: nats, an array of runs for each task.
        learns: whether it learns in any task.
        closed: shares of the prior's gap that are closed, in the same form; None without a prior.
    """

    label: str
    gaps: list[Scores]
    learns: bool
    closed: list[Scores] | None


def gaps_over_tasks(tasks: Sequence[TaskResults]) -> tuple[list[Gaps], list[str]]:
    """Collect the gaps of every label that has one in every exact task, and name the labels that have not.

    An upper bound of a gap, that of a sampler, is none.
    """
    exact = [task for task in tasks if task.is_exact]
    zeros = {task.name: float(task.prior.values("gap").mean()) for task in exact if task.prior is not None}
    # a share of the prior's gap needs the prior in every task, and a gap that is not 0
    known = len(zeros) == len(exact) and all(zeros.values())
    made, absent = [], []
    for label in dict.fromkeys(arm.label for task in exact for arm in task.arms):
        same = [arm for task in exact for arm in task.arms if arm.label == label]
        own = [arm for arm in same if len(arm.values("gap")) and not arm.j_is_bound]
        gaps = [np.asarray(arm.values("gap"), np.float64) for arm in own]
        closed = [1 - gap / zeros[arm.task] for gap, arm in zip(gaps, own)] if known else None
        # a mean over other tasks cannot be compared
        if len(own) == len(exact):
            made.append(Gaps(label, gaps, any(arm.learns for arm in own), closed))
        else:
            absent.append(label)
    return made, absent


def best_arm(task: TaskResults) -> Arm | None:
    """Return the arm with the highest mean J, samplers of the optimum left out; None if no arm has a J."""
    known = [arm for arm in task.arms if len(arm.values("j")) and not arm.samples_optimum]
    return max(known, key=lambda arm: arm.interval("j").value, default=None)


def describe_share(arm: Arm, prior: Arm | None) -> str:
    """Say which share of log Z - J(prior) an arm has closed: "≈ 91%", "at most 78%" if only a lower bound is known.

    "none" where it has gained nothing; "" without the prior, or if nothing is known.
    """
    if arm.gap is None or prior is None or prior is arm:
        return ""
    # log Z - J(prior) is what the arm has gained and what it leaves
    gained = arm.interval("j").value - prior.interval("j").value
    if gained <= 0:
        # a bound may lie below what was gained
        return "" if arm.j_is_bound else "none"
    # where J is a lower bound more may have been gained
    for left, words in ((arm.gap.estimate, "≳" if arm.j_is_bound else "≈"), (arm.gap.low, "at most")):
        if math.isfinite(left):
            return f"{words} {metrics.CLOSED.format(gained / (gained + left))}"
    return ""
