"""Figures over tasks and runs, with intervals, after Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021.

Scores are one array [n_i] for each task i, a finite number for each run (seed) of it. Tasks may have different numbers
of runs. All else raises ValueError with one line. The inner functions work along the last axis, the runs.

Intervals are those of the stratified bootstrap: runs are drawn again with replacement within each task, tasks are not,
so an interval is about other seeds on these tasks. Its ends are the 2.5 and 97.5 percentiles over the draws. With few
runs that is too short: of normal scores on one task, nominal 95% cover the true mean in about 75, 84 and 90 of 100
cases with 3, 5 and 10 runs (92 on two tasks of 10, 91 on ten of 5). Where all runs agree, as when every pair is won, it
has no width, however few there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = Sequence[NDArray[np.float64]]
Statistic = Callable[[Scores], float]

ENDS = (2.5, 97.5)  # percentiles over the draws: 95% lie between them
DRAWS = 2000  # another seed then moves an end by about 1.5% of the interval's width (standard deviation)


class Interval(NamedTuple):
    """Hold a statistic and its 95% interval. Both ends are NaN if no task has two runs."""

    value: float
    low: float
    high: float
    n: int  # runs (or pairs of runs) in all


class Profile(NamedTuple):
    """Hold the shares of runs above K thresholds, each with its own 95% interval; NaN as in `Interval`."""

    values: NDArray[np.float64]  # [K]
    low: NDArray[np.float64]  # [K]
    high: NDArray[np.float64]  # [K]


def mean(scores: Scores) -> float:
    """Average each task's mean over tasks: a task counts once, however many runs it has."""
    return float(_mean(_checked(scores)))


def iqm(scores: Scores) -> float:
    """Compute the interquartile mean: of all runs pooled, without the lowest and highest quarters (rounded down)."""
    return float(_iqm(_checked(scores)))


def interval(statistic: Statistic, scores: Scores, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Compute a statistic (mean, iqm, or any function of scores) with its interval. Same seed, same interval."""
    runs = _checked(scores)
    low, high = _ends(_of_draws(statistic, _drawn(runs, draws, seed)), runs)
    return Interval(float(statistic(runs)), float(low), float(high), sum(map(len, runs)))


def probability_of_improvement(x: Scores, y: Scores, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Estimate how often x scores higher than y: the mean over tasks of P(x > y) + P(x = y) / 2.

    Run i of x is compared with run i of y, of the same seed, and pairs are drawn together. (The paper compares each run
    of x with each of y; its runs share no seeds.)
    """
    runs_x, runs_y = _checked(x), _checked(y)
    if len(runs_x) != len(runs_y):
        raise ValueError(f"x has {len(runs_x)} tasks and y has {len(runs_y)}: give both the same tasks.")
    for task, (a, b) in enumerate(zip(runs_x, runs_y)):
        if len(a) != len(b):
            raise ValueError(f"Task {task} has {len(a)} runs of x and {len(b)} of y: give both the same seeds.")
    return interval(mean, [(a > b) + (a == b) / 2 for a, b in zip(runs_x, runs_y)], draws=draws, seed=seed)


def performance_profile(scores: Scores, thresholds: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Profile:
    """Compute the share of runs with a score above each threshold [K], averaged over tasks."""
    runs, limits = _checked(scores), np.asarray(thresholds, np.float64)
    above = [task > limits[:, None] for task in runs]  # [K, n_i] each
    low, high = _ends(_mean(_drawn(above, draws, seed)), runs)
    return Profile(_mean(above), low, high)


def optimality_gap(scores: Scores, best: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Compute how far runs are below each task's best score: the mean over tasks of max(0, best - score).

    A score above `best`, where it is estimated from sequences, makes up for no score below it.
    """
    runs = _checked(scores)
    if len(best) != len(runs) or not np.isfinite(best).all():
        raise ValueError(f"best must be a finite number for each of the {len(runs)} tasks, not {list(best)}.")
    return interval(mean, [np.maximum(0.0, b - task) for b, task in zip(best, runs)], draws=draws, seed=seed)


def apart(a: Interval, b: Interval) -> bool:
    """Check whether the intervals do not overlap. Return False if either is unknown."""
    return a.high < b.low or b.high < a.low


def _mean(scores: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Average over runs, then over tasks: [..., n_i] each -> [...]."""
    of_tasks = np.array([task.mean(axis=-1) for task in scores])
    return np.asarray(of_tasks.mean(axis=0))


def _iqm(scores: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Average the middle half of all runs: [..., n_i] each -> [...]."""
    pooled = np.sort(np.concatenate(list(scores), axis=-1), axis=-1)
    # rounded down, so that three runs are not cut at all
    cut = pooled.shape[-1] // 4
    return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))


def _drawn(scores: Sequence[NDArray[Any]], draws: int, seed: int) -> Iterator[NDArray[Any]]:
    """Draw runs with replacement: [..., n_i] each -> [..., draws, n_i] each, one task at a time to save memory."""
    # a fixed seed: the same results give the same report
    generator = np.random.default_rng(seed)
    for task in scores:
        n = task.shape[-1]
        yield np.take(task, generator.integers(n, size=(draws, n)), axis=-1)


def _of_draws(statistic: Statistic, drawn: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Compute a statistic of each draw: [draws, n_i] each -> [draws]."""
    # ours take all draws at once; another function gets one draw at a time
    if statistic is mean or statistic is iqm:
        return _mean(drawn) if statistic is mean else _iqm(drawn)
    return np.array([statistic(scores) for scores in zip(*drawn)])


def _ends(values: NDArray[np.float64], runs: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take both ends of the intervals: [..., draws] -> low and high, [...] each."""
    # of single runs each draw is the same, which says nothing of other seeds
    if max(map(len, runs)) < 2:
        return np.full(values.shape[:-1], math.nan), np.full(values.shape[:-1], math.nan)
    low, high = np.percentile(values, ENDS, axis=-1)
    return low, high


def _checked(scores: Scores) -> list[NDArray[np.float64]]:
    """Return the scores as float64. Raises ValueError where a task has no runs, or a run no score."""
    runs = [np.asarray(task, np.float64) for task in scores]
    if not runs:
        raise ValueError("There are no scores: give one array for each task, with a number for each run.")
    for i, task in enumerate(runs):
        if task.ndim != 1:
            raise ValueError(f"Task {i} has scores of shape {task.shape}: give one array [runs] for each task.")
        if not len(task):
            raise ValueError(f"Task {i} has no runs: leave the task out.")
        if not np.isfinite(task).all():
            run = int(np.argmin(np.isfinite(task)))
            raise ValueError(f"Task {i}, run {run}: the score is {task[run]}; leave out runs that have none.")
    return runs
