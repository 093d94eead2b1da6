"""What the figures answer, in a sentence: no more than their intervals allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.report import rows
from benchmarks.report.rows import Row
from benchmarks.report.suite import columns, exact
from benchmarks.report.suite.curves import clock_of, points
from benchmarks.report.suite.data import Arm, by_task, has, prior_among, settled
from benchmarks.report.suite.tables import FEW_TASKS, best_of
from benchmarks.statistics import apart, interval, mean
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

SOME = 2  # rivals that a sentence names
NEAR = 0.9  # of the way from the prior's J to the best one that counts as nearly there


def who_wins(arms: Sequence[Arm]) -> str:
    """Whose J is highest and apart from all others', by task."""
    if not arms:
        return "No experiment has ended yet."
    tasks = by_task(arms)
    if len(tasks) == 1:
        return _winner(list(arms))
    if len(tasks) <= FEW_TASKS:
        return "\n".join(f"{task}: {_winner(members)}" for task, members in tasks.items())
    winners: dict[str, list[str]] = {}
    for task, members in tasks.items():
        if (label := _apart(members)[0]) is not None:
            winners.setdefault(label, []).append(task)
    counted = sum(map(len, winners.values()))
    if not counted:
        return f"On none of {len(tasks)} tasks does one agent’s J lie apart from all others’."
    told = "; ".join(
        f"{label} on {_named(won)}" for label, won in sorted(winners.items(), key=lambda one: -len(one[1]))
    )
    rest = f" On {len(tasks) - counted} none does." if counted < len(tasks) else ""
    return f"One agent’s J lies apart from all others’ on {counted} of {len(tasks)} tasks: {told}.{rest}"


def _named(tasks: Sequence[str]) -> str:
    """How many tasks, and which if they are few."""
    return f"{len(tasks)} ({', '.join(tasks)})" if len(tasks) <= 2 * FEW_TASKS else f"{len(tasks)}"


def _key(arms: Sequence[Arm]) -> Row:
    return columns.J if has(arms, "j") else columns.return_row(list(arms))


def _apart(arms: Sequence[Arm]) -> tuple[str | None, list[Arm]]:
    """The label that wins one task, None if none does, and all with the figure, best first."""
    row = _key(arms)
    known = [arm for arm in arms if len(arm.values(row.key))]
    best = best_of(row, [settled(arm, row.key) for arm in known])
    ranked = sorted(known, key=lambda arm: -arm.interval(row.key).value)
    return None if best is None else known[best].label, ranked


def _winner(arms: list[Arm]) -> str:
    row, (label, ranked) = _key(arms), _apart(arms)
    told = {arm.label: f"{arm.label} {columns.with_bounds(row, arm.interval(row.key))}" for arm in ranked}
    unknown = [arm.label for arm in arms if arm.label not in told]
    rest = f" Not known of {', '.join(unknown)}." if unknown else ""
    if not ranked:
        return f"{row.title} is not known of any agent."
    first, *others = ranked
    value = f"{row.title}, {columns.with_bounds(row, first.interval(row.key))}"
    if not others:
        return f"Only one agent has a {row.title}: {told[first.label]}.{rest}"
    if label is not None:
        value += f" over {n} runs" if (n := first.interval(row.key).n) > 1 else ""
        return f"{label} has the highest {value}, apart from all others’; next {told[others[0].label]}.{rest}"
    meeting = [one for one in others if not apart(settled(first, row.key), settled(one, row.key))]
    rivals = _some([told[one.label] for one in meeting])
    return f"Nobody for certain: {first.label} has the highest {value}, but not apart from {rivals}.{rest}"


def _some(told: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(told) - SOME
    return ", ".join(told[:SOME]) + (f" and {more} more" if more > 0 else "")


def how_far(arms: Sequence[Arm]) -> str:
    """Which agent is nearest to the optimum, over exact tasks; of those that learn, where any does."""
    every = exact.over_tasks(arms)
    found = [one for one in every if one.learns] or every
    if not found:
        return "No agent has a gap in every task."
    intervals = {one.label: interval(mean, one.gaps) for one in found}
    first, *others = sorted(intervals, key=lambda label: intervals[label].value)
    told = {label: f"{label} {columns.with_bounds(columns.GAP, one)}" for label, one in intervals.items()}
    value = f"{first} is nearest, with a mean gap of {told[first].removeprefix(first).strip()} nats"
    meeting = [label for label in others if not apart(intervals[first], intervals[label])]
    if meeting:
        return f"{value}, but not apart from {_some([told[label] for label in meeting])}."
    return f"{value}, apart from all others that learn; next {told[others[0]]}." if others else f"{value}."


def how_fast(arms: Sequence[Arm]) -> str:
    """Who is first nearly as good as the best ends, by task; of many tasks in the first."""
    tasks = list(by_task(arms).items())
    shown = tasks if len(tasks) <= FEW_TASKS else tasks[:1]
    return "\n".join((f"{task}: " if len(tasks) > 1 else "") + _fastest(members) for task, members in shown)


def _fastest(arms: Sequence[Arm]) -> str:
    goal = nearly(arms)
    if goal is None:
        return "J is not known while learning."
    clock = clock_of(arms)
    reached = {arm.label: crossings(arm, goal, clock) for arm in arms if arm.learns}
    known = [(label, *found) for label, found in reached.items() if found[1]]
    unit = "tokens" if clock == "timesteps" else "s"
    told = [_reached(*one, unit) for one in sorted(known, key=_most_and_soonest) if one[1]]
    never = [label for label, found, _ in known if not found]
    told += [f"no run of {' or '.join(never) if len(never) <= FEW_TASKS else f'the other {len(never)}'}"] * bool(never)
    level = f"{goal:.1f}".replace("-", "−")
    return f"Nine tenths of the way from the prior’s J to the best one at the end (to J {level}): {'; '.join(told)}."


def _most_and_soonest(one: tuple[str, list[float], int]) -> tuple[float, float]:
    _, found, n = one
    return -len(found) / n, float(np.mean(found)) if found else math.inf


def _reached(label: str, found: list[float], n: int, unit: str) -> str:
    if len(found) == n:
        return f"{label} after {np.mean(found):,.0f} {unit}" + (" on average" if n > 1 else "")
    return f"{label} in {len(found)} of {n} runs"


def nearly(arms: Sequence[Arm]) -> float | None:
    """NEAR of the way from where the prior is (without it: where learning begins) to the best mean J at the end."""
    prior, ends = prior_among(arms), [arm.interval("j").value for arm in arms if arm.learns and len(arm.values("j"))]
    curves = [run.result["curve"] for arm in arms for run in arm.runs if run.result.get("curve")]
    starts = [curve[0]["j"] for curve in curves if curve[0].get("j") is not None]
    if not ends or not starts:
        return None
    low = float(np.median(starts)) if prior is None else prior.interval("j").value
    return low + NEAR * (max(ends) - low)


def crossings(arm: Arm, goal: float, clock: str) -> tuple[list[float], int]:
    """Tokens or seconds after which curves are first at the goal, of runs that come to it; and how many have curves."""
    known = [points(run.result["curve"], "j", clock) for run in arm.runs if run.result.get("curve")]
    firsts = [next((place for place, j in curve.tolist() if j >= goal), None) for curve in known]
    return [first for first in firsts if first is not None], len(firsts)


def what_return_costs(lines: dict[str, list[Arm]]) -> str:
    """Each label's return and KL at its smallest c."""
    told = []
    for label, (arm, *_) in lines.items():
        earned = columns.with_bounds(columns.return_row([arm]), arm.interval("task_return"))
        spent = columns.with_bounds(columns.KL, arm.interval("kl"))
        told.append(f"{label} earns {earned} for {spent} nats (c = {arm.runs[0].result['c']:g})")
    return f"At its smallest c {'; '.join(told)}."


def which_terms(arms: Sequence[Arm], terms: Sequence[Row]) -> str:
    """What the best-paid agent of a task gains most from, beside the prior."""
    prior, paid = prior_among(arms), [arm for arm in arms if arm.learns and len(arm.values("task_return"))]
    if prior is None or not paid:
        return "Means of each term, with intervals."
    best = max(paid, key=lambda arm: arm.interval("task_return").value)
    gains = {row.title: best.interval(row.key).value - prior.interval(row.key).value for row in terms}
    first = max(gains, key=lambda title: np.nan_to_num(gains[title], nan=-math.inf))
    total = best.interval("task_return").value - prior.interval("task_return").value
    more, part = (f"{value:+.3g}".replace("-", "−") for value in (total, gains[first]))
    return f"{best.label} is paid most: {more} beside the prior. The term that gains most is “{first}” ({part})."


def beside_the_paper(arms: Sequence[Arm]) -> str:
    """In how many rows of Table 1 each label's mean is at least as good as the paper's Psi."""
    paper = PAPER_TABLE_1["Psi"]
    told = []
    for arm in arms:
        good = sum(rows.as_good(row, arm.interval(row.key).value, paper[row.key]) for row in columns.TABLE_1)
        told.append(f"{arm.label} {good}")
    return f"Rows of {len(columns.TABLE_1)} in which the mean is at least as good as the paper’s Ψ: {', '.join(told)}."
