"""The sentences that answer a report's questions; they claim no more than the intervals allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import metrics
from benchmarks.report.data import Arm, Task, gaps_over_tasks
from benchmarks.report.metrics import Metric
from benchmarks.report.tables import FEW_TASKS, best_of
from benchmarks.report.statistics import apart, interval, mean
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

SOME = 2  # rivals that a sentence names
NEAR = 0.9  # of the way from the prior's J to the best one that counts as nearly there


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _name_some(texts: Sequence[str]) -> str:
    more = len(texts) - SOME
    return ", ".join(texts[:SOME]) + (f" and {more} more" if more > 0 else "")


def who_wins(tasks: Sequence[Task]) -> str:
    """Say whose J is highest and apart from all others', by task."""
    if not tasks:
        return "No experiment has finished yet."
    if len(tasks) == 1:
        return _winner(tasks[0])
    if len(tasks) <= FEW_TASKS:
        return "\n".join(f"{task.name}: {_winner(task)}" for task in tasks)
    won: dict[str, list[str]] = {}
    for task in tasks:
        if (label := _rank(task)[1]) is not None:
            won.setdefault(label, []).append(task.name)
    counted = sum(map(len, won.values()))
    if not counted:
        return f"On none of {len(tasks)} tasks is one agent’s J apart from all others’."
    ranked = sorted(won.items(), key=lambda one: -len(one[1]))
    names = [
        f"{label} on {len(some)}" + (f" ({', '.join(some)})" if len(some) <= 2 * FEW_TASKS else "")
        for label, some in ranked
    ]
    rest = f" On {len(tasks) - counted} none is." if counted < len(tasks) else ""
    return f"One agent’s J is apart from all others’ on {counted} of {len(tasks)} tasks: {'; '.join(names)}.{rest}"


def _rank(task: Task) -> tuple[Metric, str | None, list[Arm]]:
    """Return what agents are ranked by, the label that wins (None if none does), and all arms that have the metric."""
    metric = metrics.J if task.has("j") else task.return_metric
    known = [arm for arm in task.arms if len(arm.values(metric.key))]
    best = best_of(metric, [arm.compared_interval(metric.key) for arm in known])
    ranked = sorted(known, key=lambda arm: -arm.interval(metric.key).value)
    return metric, None if best is None else known[best].label, ranked


def _winner(task: Task) -> str:
    metric, label, ranked = _rank(task)
    texts = {arm.label: f"{arm.label} {metric.format_interval(arm.interval(metric.key))}" for arm in ranked}
    unknown = [arm.label for arm in task.arms if arm.label not in texts]
    rest = f" Unknown for {', '.join(unknown)}." if unknown else ""
    if not ranked:
        return f"{metric.title} is not known for any agent."
    first, *others = ranked
    value = f"{metric.title}, {metric.format_interval(first.interval(metric.key))}"
    if not others:
        return f"Only one agent has a {metric.title}: {texts[first.label]}.{rest}"
    if label is not None:
        value += f" over {n} runs" if (n := first.interval(metric.key).n) > 1 else ""
        return f"{label} has the highest {value}, apart from all others’; next {texts[others[0].label]}.{rest}"
    own = first.compared_interval(metric.key)
    rivals = [texts[one.label] for one in others if not apart(own, one.compared_interval(metric.key))]
    return f"No clear winner: {first.label} has the highest {value}, but not apart from {_name_some(rivals)}.{rest}"


def how_far(tasks: Sequence[Task]) -> str:
    """Say which agent is nearest to the optimum over the exact tasks, among those that learn if any does."""
    every, _ = gaps_over_tasks(tasks)
    found = [one for one in every if one.learns] or every
    if not found:
        return "No agent has a gap in every task."
    intervals = {one.label: interval(mean, one.gaps) for one in found}
    first, *others = sorted(intervals, key=lambda label: intervals[label].value)
    texts = {label: metrics.GAP.format_interval(one) for label, one in intervals.items()}
    value = f"{first} is nearest, with a mean gap of {texts[first]} nats"
    rivals = [f"{label} {texts[label]}" for label in others if not apart(intervals[first], intervals[label])]
    if rivals:
        return f"{value}, but not apart from {_name_some(rivals)}."
    return f"{value}, apart from all others that learn; next {others[0]} {texts[others[0]]}." if others else f"{value}."


def how_fast(tasks: Sequence[Task]) -> str:
    """Say which agent is first nearly as good as the best one ends, by task; of many tasks the first only."""
    shown = tasks if len(tasks) <= FEW_TASKS else tasks[:1]
    return "\n".join((f"{task.name}: " if len(tasks) > 1 else "") + _fastest(task) for task in shown)


def _fastest(task: Task) -> str:
    goal = _near_best(task)
    if goal is None:
        return "J is not known while learning."
    unit = "tokens" if task.clock == "timesteps" else "s"
    reached = {arm.label: _crossings(arm, goal, task.clock) for arm in task.arms if arm.learns and arm.curves}
    some = [label for label, places in reached.items() if np.isfinite(places).any()]
    some.sort(key=lambda label: (-np.isfinite(reached[label]).mean(), np.nanmean(reached[label])))  # most, soonest
    texts = [_reached(label, reached[label], unit) for label in some]
    never = [label for label in reached if label not in some]
    texts += [f"no run of {' or '.join(never) if len(never) <= FEW_TASKS else f'the other {len(never)}'}"] * bool(never)
    level = f"{goal:.1f}".replace("-", "−")
    return f"Nine tenths of the way from the prior’s J to the best final J (to J {level}): {'; '.join(texts)}."


def _near_best(task: Task) -> float | None:
    """Compute the J at NEAR of the way from the prior's (else the median start) to the best mean J at the end."""
    ends = [arm.interval("j").value for arm in task.arms if arm.learns and len(arm.values("j"))]
    curves = [curve for arm in task.arms for curve in arm.curves if "j" in curve]
    starts = [curve["j"].iloc[0] for curve in curves if pd.notna(curve["j"].iloc[0])]
    if not ends or not starts:
        return None
    low = float(np.median(starts)) if task.prior is None else task.prior.interval("j").value
    return low + NEAR * (max(ends) - low)


def _crossings(arm: Arm, goal: float, clock: str) -> NDArray[np.float64]:
    """Return the tokens or seconds after which each run's J is first at the goal; NaN if it never is."""
    points = [curve_points(curve, "j", clock) for curve in arm.curves]
    return np.array([next((place for place, j in one.tolist() if j >= goal), math.nan) for one in points])


def _reached(label: str, places: NDArray[np.float64], unit: str) -> str:
    count = int(np.isfinite(places).sum())
    if count < len(places):
        return f"{label} in {count} of {len(places)} runs"
    return f"{label} after {places.mean():,.0f} {unit}" + (" on average" if len(places) > 1 else "")


def curve_points(curve: pd.DataFrame, key: str, clock: str) -> NDArray[np.float64]:
    """Return the known points of a metric's curve [K, 2]: tokens or seconds, and value."""
    known = curve[[clock, key]].dropna() if {clock, key} <= set(curve) else pd.DataFrame()
    return known.to_numpy(dtype=np.float64).reshape(-1, 2)


def what_return_costs(lines: Mapping[str, list[Arm]], metric: Metric) -> str:
    """Say each label's return and KL at its smallest c."""
    texts = [
        f"{label} earns {metric.format_interval(arm.interval('task_return'))} for "
        f"{metrics.KL.format_interval(arm.interval('kl'))} nats (c = {arm.c:g})"
        for label, (arm, *_) in lines.items()
    ]
    return f"At its smallest c {'; '.join(texts)}."


def which_terms(task: Task, terms: Sequence[Metric]) -> str:
    """Say which term the agent with the highest return gains most from, compared with the prior."""
    prior, paid = task.prior, [arm for arm in task.arms if arm.learns and len(arm.values("task_return"))]
    if prior is None or not paid:
        return "Means of each term, with intervals."
    best = max(paid, key=lambda arm: arm.interval("task_return").value)
    gains = {one.title: best.interval(one.key).value - prior.interval(one.key).value for one in terms}
    first = max(gains, key=lambda title: np.nan_to_num(gains[title], nan=-math.inf))
    total = best.interval("task_return").value - prior.interval("task_return").value
    earns = f"{best.label} has the highest return: {_signed(total)} compared with the prior."
    return f"{earns} The term that gains most is “{first}” ({_signed(gains[first])})."


def beside_the_paper(task: Task) -> str:
    """Say in how many rows of Table 1 each label's mean is at least as good as the paper's Psi."""
    paper, rows = PAPER_TABLE_1["Psi"], metrics.TABLE_1
    counts = [
        f"{arm.label} {sum(row.is_as_good(arm.interval(row.key).value, paper[row.key]) for row in rows)}"
        for arm in task.arms
    ]
    return f"Rows of {len(rows)} in which the mean is at least as good as the paper’s Ψ: {', '.join(counts)}."
