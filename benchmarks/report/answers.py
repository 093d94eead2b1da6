"""Write the sentences that answer a report's questions; they claim no more than the intervals allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.report import metrics
from benchmarks.report.data import Arm, TaskResults, curve_points
from benchmarks.report.gaps import best_arm, gaps_over_tasks
from benchmarks.report.metrics import Metric
from benchmarks.report.statistics import apart, interval, mean
from benchmarks.report.tables import FEW_TASKS, best_of
from seqtutor_envs.melody.paper_table import PAPER_TABLE_1

SOME = 2  # rivals that a sentence names
NEAR = 0.9  # of the way from the prior's J to the best one that counts as nearly there


def _name_some(texts: Sequence[str]) -> str:
    more = len(texts) - SOME
    return ", ".join(texts[:SOME]) + (f" and {more} more" if more > 0 else "")


def who_wins(tasks: Sequence[TaskResults]) -> str:
    """Say whose J is highest with an interval that overlaps no other, by task."""
    if not tasks:
        return "No experiment has finished yet."
    found = {task.name: _rank(task) for task in tasks}
    if len(tasks) == 1:
        return found[tasks[0].name][1]
    if len(tasks) <= FEW_TASKS:
        return "\n".join(f"{name}: {text}" for name, (_, text) in found.items())
    # with many tasks a sentence each would hide the pattern: count the wins instead
    won = pd.Series({name: label for name, (label, _) in found.items() if label is not None}, dtype=object)
    if won.empty:
        return f"On none of {len(tasks)} tasks has one agent the best J with an interval that overlaps no other."
    names = [
        f"{label} on {n}" + (f" ({', '.join(won.index[won == label])})" if n <= 2 * FEW_TASKS else "")
        for label, n in won.value_counts().items()
    ]
    rest = f" On the other {len(tasks) - len(won)} no agent has." if len(won) < len(tasks) else ""
    clear = f"On {len(won)} of {len(tasks)} tasks one agent has the best J with an interval that overlaps no other"
    return f"{clear}: {'; '.join(names)}.{rest}"


def _rank(task: TaskResults) -> tuple[str | None, str]:
    """Return the label whose best J has an interval that overlaps no other, and a sentence about it.

    In place of J stands the AUC where calls of a score are limited, and the return where J is not known.
    """
    metric = next((one for one in (metrics.AUC, metrics.J) if task.has(one.key)), task.return_metric)
    known = [arm for arm in task.arms if len(arm.values(metric.key))]
    if not known:
        return None, f"{metric.title} is not known for any agent."
    best = best_of(metric, [arm.compared_interval(metric.key) for arm in known])
    texts = {arm.label: arm.describe(metric) for arm in known}
    unknown = [arm.label for arm in task.arms if arm.label not in texts]
    rest = f" Unknown for {', '.join(unknown)}." if unknown else ""
    # by the mean; whether that is a win is for the intervals to say; the optimum needs none
    first, *others = sorted(known, key=lambda arm: (not arm.samples_optimum, -arm.interval(metric.key).value))
    rivals = [f"{arm.label} {texts[arm.label]}" for arm in others]
    if first.samples_optimum and others:
        optimum = f"{first.label} samples the optimum: no J is higher than its own, {texts[first.label]}"
        return first.label, f"{optimum}; next {rivals[0]}.{rest}"
    if not others:
        return None, f"Only one agent has a {metric.title}: {first.label} {texts[first.label]}.{rest}"
    value = f"{first.label} has the highest {metric.title}, {texts[first.label]}"
    if best is not None:
        value += f" over {n} runs" if (n := first.interval(metric.key).n) > 1 else ""
        return known[best].label, f"{value}, and its interval overlaps no other; next {rivals[0]}.{rest}"
    own = first.compared_interval(metric.key)
    near = [text for text, arm in zip(rivals, others) if not apart(own, arm.compared_interval(metric.key))]
    if not near:
        # a point above all intervals: nothing says how well another run would do
        return None, f"{value}, and next {rivals[0]}.{rest}"
    return None, f"No clear winner: {value}, but not clearly above {_name_some(near)}.{rest}"


def how_far(tasks: Sequence[TaskResults]) -> str:
    """Say which agent is nearest to the optimum over the exact tasks, among those that learn if any does."""
    every, _ = gaps_over_tasks(tasks)
    # the uniform policy and the prior would only make the list longer
    found = [one for one in every if one.learns] or every
    if not found:
        return "No agent has a gap in every task."
    intervals = {one.label: interval(mean, one.gaps) for one in found}
    first, *others = sorted(intervals, key=lambda label: intervals[label].value)
    texts = {label: metrics.GAP.format_interval(one) for label, one in intervals.items()}
    value = f"{first} is nearest, with a mean gap of {texts[first]} nats"
    rivals = [f"{label} {texts[label]}" for label in others if not apart(intervals[first], intervals[label])]
    if rivals:
        return f"{value}, but not clearly nearer than {_name_some(rivals)}."
    if not others:
        return f"{value}."
    return f"{value}, and its interval overlaps no other agent’s that learns; next {others[0]} {texts[others[0]]}."


def what_is_left(tasks: Sequence[TaskResults]) -> str:
    """Say how many nats the agent with the highest J leaves in each task."""
    best = {task.name: arm for task in tasks if (arm := best_arm(task)) is not None and arm.gap is not None}
    texts = [
        (f"{name}: " if len(tasks) > 1 else "") + f"{arm.label} {arm.gap.describe(metrics.J.format)}"
        for name, arm in best.items() if arm.gap is not None
    ]
    return f"Nats that the agent with the highest J leaves: {'; '.join(texts)}."


def how_fast(tasks: Sequence[TaskResults]) -> str:
    """Say which agent is first nearly as good as the best one ends, by task; of many tasks the first only."""
    shown = tasks if len(tasks) <= FEW_TASKS else tasks[:1]
    return "\n".join((f"{task.name}: " if len(tasks) > 1 else "") + _fastest(task) for task in shown)


def _fastest(task: TaskResults) -> str:
    # one goal for all, else a poor agent would be quick to reach its own end
    goal = _near_best(task)
    if goal is None:
        return "J is not known while learning."
    if goal == -math.inf:
        return "No agent that learns ends above the prior’s J."
    unit = "tokens" if task.clock == "timesteps" else "s"
    reached = {}  # label -> by run the tokens or seconds after which J is first at the goal; NaN if it never is
    for arm in (arm for arm in task.arms if arm.learns and arm.curves):
        points = [curve_points(curve, "j", task.clock) for curve in arm.curves]
        reached[arm.label] = np.array([next((x for x, j in one.tolist() if j >= goal), math.nan) for one in points])
    some = [label for label, places in reached.items() if np.isfinite(places).any()]
    some.sort(key=lambda label: (-np.isfinite(reached[label]).mean(), np.nanmean(reached[label])))  # most, soonest
    texts = []
    for label in some:
        places, count = reached[label], int(np.isfinite(reached[label]).sum())
        if count < len(places):
            texts.append(f"{label} in {count} of {len(places)} runs")
        else:
            average = " on average" if count > 1 else ""
            texts.append(f"{label} after {places.mean():,.0f} {unit}{average}")
    if never := [label for label in reached if label not in some]:
        texts.append(f"no run of {' or '.join(never) if len(never) <= FEW_TASKS else f'the other {len(never)}'}")
    level = f"{goal:.1f}".replace("-", "−")
    return f"Nine tenths of the way from the prior’s J to the best final J (to J {level}): {'; '.join(texts)}."


def _near_best(task: TaskResults) -> float | None:
    """Compute the J at NEAR of the way from the prior's (else the median start) to the best mean J at the end.

    None where J is not known; -inf where the best end is not above the prior's J.
    """
    ends = [arm.interval("j").value for arm in task.arms if arm.learns and len(arm.values("j"))]
    curves = [curve for arm in task.arms for curve in arm.curves if "j" in curve]
    starts = [curve["j"].iloc[0] for curve in curves if pd.notna(curve["j"].iloc[0])]
    if not ends or not starts:
        return None
    # without a prior the median start stands for it: most agents start near the prior
    low = float(np.median(starts)) if task.prior is None else task.prior.interval("j").value
    return low + NEAR * (max(ends) - low) if max(ends) > low else -math.inf


def what_return_costs(lines: Mapping[str, list[Arm]], metric: Metric) -> str:
    """Say each label's return and KL at its smallest c."""
    texts = [
        f"{label} earns {arm.describe(metric)} for {arm.describe(metrics.KL)} nats (c = {arm.c:g})"
        for label, (arm, *_) in lines.items()
    ]
    return f"At its smallest c {'; '.join(texts)}."


def which_terms(task: TaskResults, terms: Sequence[Metric]) -> str:
    """Say which term the agent with the highest return gains most from, compared with the prior."""
    prior, paid = task.prior, [arm for arm in task.arms if arm.learns and len(arm.values("task_return"))]
    if prior is None or not paid:
        return "Means of each term, with intervals."
    best = max(paid, key=lambda arm: arm.interval("task_return").value)
    titles = {one.key: one.title for one in terms}
    gains = {key: best.interval(key).value - prior.interval(key).value for key in ("task_return", *titles)}
    texts = {key: f"{gain:+.3g}".replace("-", "−") for key, gain in gains.items()}
    # a term that is not known is never the first
    first = max(titles, key=lambda key: np.nan_to_num(gains[key], nan=-math.inf))
    earns = f"{best.label} has the highest return: {texts['task_return']} compared with the prior."
    return f"{earns} The term that gains most is “{titles[first]}” ({texts[first]})."


def beside_the_paper(task: TaskResults) -> str:
    """Say in how many rows of Table 1 each label's mean is at least as good as the paper's Psi."""
    paper, rows = PAPER_TABLE_1["Psi"], metrics.TABLE_1
    counts = [
        f"{arm.label} {sum(row.is_as_good(arm.interval(row.key).value, paper[row.key]) for row in rows)}"
        for arm in task.arms
    ]
    return f"Rows of {len(rows)} in which the mean is at least as good as the paper’s Ψ: {', '.join(counts)}."
