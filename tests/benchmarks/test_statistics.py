"""Aggregates and their intervals against arithmetic by hand, plain loops, scipy, and all resamples there are."""

import itertools
import math
import re
import statistics as plain
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.report.statistics import Interval, Scores, apart, interval, iqm, mean
from benchmarks.report.statistics import optimality_gap, performance_profile, probability_of_improvement

Lists = list[list[float]]


def arrays(*tasks: Sequence[float]) -> list[NDArray[np.float64]]:
    return [np.array(task, np.float64) for task in tasks]


def random_scores(seed: int, *runs: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(3 * task, 1 + task, n) for task, n in enumerate(runs)]


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest of the sorted values."""
    ordered, place = sorted(values), percent / 100 * (len(values) - 1)
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def loop(statistic: Callable[[Lists], float], scores: Scores, draws: int, seed: int) -> tuple[float, float]:
    """The stratified bootstrap as a plain loop; its places are drawn task by task, as in the code under test."""
    rng = np.random.default_rng(seed)
    places = [rng.integers(len(task), size=(draws, len(task))).tolist() for task in scores]
    values = []
    for draw in range(draws):
        drawn = [[float(task[run]) for run in place[draw]] for task, place in zip(scores, places)]
        values.append(statistic(drawn))
    return percentile(values, 2.5), percentile(values, 97.5)


def loop_mean(tasks: Lists) -> float:
    return plain.fmean(plain.fmean(task) for task in tasks)


def loop_iqm(tasks: Lists) -> float:
    return float(stats.trim_mean([score for task in tasks for score in task], 0.25))


def all_resamples(scores: Scores) -> list[float]:
    """The mean of every stratified resample there is; all are equally likely."""
    of_tasks = [[list(drawn) for drawn in itertools.product(task.tolist(), repeat=len(task))] for task in scores]
    return [loop_mean(list(drawn)) for drawn in itertools.product(*of_tasks)]


def share(values: Sequence[float], condition: Callable[[float], bool]) -> float:
    return plain.fmean(float(condition(one)) for one in values)


def test_mean_counts_each_task_once() -> None:
    assert mean(arrays([1, 2, 6], [10])) == 6.5  # (3 + 10) / 2, not 19 / 4


def test_iqm_by_hand() -> None:
    # Pooled and sorted: −50, 1 | 2, 3, 4, 5 | 7, 900. A quarter of eight is two.
    assert iqm(arrays([1, 900, 3, 4], [5, -50, 7, 2])) == 3.5
    assert iqm(arrays([0, 1, 5])) == 2.0  # a quarter of three is less than one: all remain
    assert iqm(arrays([-9, 1, 2, 3, 90])) == 2.0  # of five, one is left out at each end


def median(scores: Scores) -> float:
    """A statistic of a user's own."""
    return float(np.median(np.concatenate(scores)))


def loop_median(tasks: Lists) -> float:
    return plain.median([score for task in tasks for score in task])


@pytest.mark.parametrize("statistic, slow", [(mean, loop_mean), (iqm, loop_iqm), (median, loop_median)])
@pytest.mark.parametrize("runs", [(5,), (2, 3), (4, 1, 6), (7, 8, 9, 2)])
def test_bootstrap_equals_a_plain_loop(
    statistic: Callable[[Scores], float], slow: Callable[[Lists], float], runs: tuple[int, ...]
) -> None:
    scores = random_scores(2, *runs)
    value, low, high, n = interval(statistic, scores, draws=300, seed=7)
    assert value == pytest.approx(slow([task.tolist() for task in scores]))
    assert (low, high) == pytest.approx(loop(slow, scores, 300, 7))
    assert n == sum(runs) and low < high


@pytest.mark.parametrize("scores", [arrays([1, 2, 4, 8]), arrays([0, 1, 5], [2, 9])])
def test_ends_are_the_percentiles_of_all_resamples(scores: Scores) -> None:
    means = all_resamples(scores)
    low, high = percentile(means, 2.5), percentile(means, 97.5)
    # The share up to an end's value varies by .11% (standard deviation) over 20,000 draws; the steps are wider.
    assert share(means, lambda one: one < low) < 0.02 and share(means, lambda one: one <= low) > 0.03
    assert share(means, lambda one: one > high) < 0.02 and share(means, lambda one: one >= high) > 0.03
    assert min(means) < low < high < max(means)  # not the extremes
    assert interval(mean, scores, draws=20_000)[1:3] == pytest.approx((low, high))


def test_runs_are_drawn_within_their_task() -> None:
    assert interval(mean, arrays([0, 0, 0], [10, 10, 10])) == (5, 5, 5, 6)  # pooled draws would give 0 to 10
    # One task with two runs is enough: the second is as it is, the first is 0 or 1 in a quarter of the draws each.
    assert interval(mean, arrays([0, 1], [5])) == (2.75, 2.5, 3.0, 3)


def test_intervals_of_the_mean_cover_as_often_as_theory_says() -> None:
    """Percentile intervals are too short for few runs. The resampled mean is close to normal around the observed mean,
    with the variance of n runs divided by n where n − 1 would be unbiased. So the mean of two normal tasks of n = 10
    runs is covered if |t| < 1.96 √(9 / 10) = 1.859, t with 2 · 9 degrees of freedom: in 92.1% of cases, not 95%. The
    bounds are a two-sided binomial test of that at the level .001. They leave out 95%, 86% (ends at the percentiles 5
    and 95), and 100% (draws across tasks, whose means are 5 apart)."""
    sets, runs, level = 1000, 10, 0.001
    limit = stats.norm.ppf(0.975) * math.sqrt((runs - 1) / runs)
    expected = 1 - 2 * stats.t.sf(limit, 2 * (runs - 1))
    assert expected == pytest.approx(0.921, abs=0.001)
    fewest, most = stats.binom.ppf([level / 2, 1 - level / 2], sets, expected)
    assert 0.87 < fewest / sets and most / sets < 0.95
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(sets):
        found = interval(mean, [rng.normal(0, 1, runs), rng.normal(5, 1, runs)], draws=1000, seed=seed)
        covered += found.low <= 2.5 <= found.high
    assert fewest <= covered <= most


def test_same_seed_same_interval() -> None:
    scores = random_scores(4, 6, 6)
    assert interval(iqm, scores, seed=3) == interval(iqm, scores, seed=3)
    assert interval(iqm, scores, seed=3) != interval(iqm, scores, seed=4)


def test_one_run_a_task_has_no_interval() -> None:
    ones = arrays([3], [5])
    for found, value in (
        (interval(mean, ones), 4.0),
        (interval(iqm, ones), 4.0),
        (probability_of_improvement(ones, arrays([2], [7])), 0.5),
        (optimality_gap(ones, [4, 9]), 2.5),
    ):
        assert found.value == value and found.n == 2
        assert math.isnan(found.low) and math.isnan(found.high)
    profile = performance_profile(ones, [0, 4])
    assert profile.values.tolist() == [1, 0.5]
    assert np.isnan(profile.low).tolist() == np.isnan(profile.high).tolist() == [True, True]


def test_probability_of_improvement_by_hand() -> None:
    # First task: won, tied, lost, won = 2.5 / 4. Second: lost, tied = .5 / 2.
    x, y = arrays([3, 2, 1, 9], [0, 4]), arrays([1, 2, 5, 8], [1, 4])
    found = probability_of_improvement(x, y)
    assert found.value == (0.625 + 0.25) / 2 and found.n == 6
    reverse = probability_of_improvement(y, x)
    assert (reverse.value, reverse.low, reverse.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))


def test_probability_of_improvement_pairs_runs_of_one_seed() -> None:
    # Seeds differ more than agents do: x wins each pair, but only 6 of the 9 comparisons of any run with any.
    x, y = arrays([1, 11, 21]), arrays([0, 10, 20])
    anyhow = plain.fmean(float(a > b) for a, b in itertools.product(x[0], y[0]))
    assert anyhow == 6 / 9
    assert probability_of_improvement(x, y) == (1, 1, 1, 3)


def test_pairs_are_drawn_together() -> None:
    x, y = random_scores(5, 6, 3), random_scores(6, 6, 3)
    wins = arrays(*([1.0 if a > b else 0.0 for a, b in zip(*task)] for task in zip(x, y)))
    assert 0 < mean(wins) < 1
    found = probability_of_improvement(x, y, draws=200, seed=2)
    assert (found.low, found.high) == pytest.approx(loop(loop_mean, wins, 200, 2))


def test_performance_profile_by_hand() -> None:
    profile = performance_profile(arrays([1, 2, 3, 4], [2, 2]), [0, 2, 3.5, 9])
    assert profile.values.tolist() == [1, 0.25, 0.125, 0]  # a score at the threshold is not above it


def test_performance_profiles_band_equals_a_plain_loop() -> None:
    scores, thresholds = random_scores(7, 5, 3), [-1.0, 0.5, 3.0]
    profile = performance_profile(scores, thresholds, draws=200, seed=4)
    for k, threshold in enumerate(thresholds):
        above = arrays(*([float(score > threshold) for score in task] for task in scores))
        assert (profile.low[k], profile.high[k]) == pytest.approx(loop(loop_mean, above, 200, 4))
    assert (profile.low < profile.high).any()


def test_optimality_gap_by_hand() -> None:
    # First task: 4 and 1 below 5. Second: 2 below 9, and one above it that counts as 0.
    assert optimality_gap(arrays([1, 4], [7, 11]), [5, 9]).value == (2.5 + 1) / 2


def test_optimality_gaps_interval_equals_a_plain_loop() -> None:
    scores, best = random_scores(8, 5, 4), [1.0, 4.0]
    gaps = arrays(*([max(0.0, top - score) for score in task] for task, top in zip(scores, best)))
    found = optimality_gap(scores, best, draws=200, seed=5)
    assert (found.low, found.high) == pytest.approx(loop(loop_mean, gaps, 200, 5))
    assert found.n == 9 and any(0.0 in task for task in gaps)


def test_apart_means_that_intervals_do_not_meet() -> None:
    a = Interval(1, 0, 2, 5)
    assert apart(a, Interval(4, 3, 5, 5)) and apart(Interval(4, 3, 5, 5), a)
    assert not apart(a, Interval(3, 1.5, 4, 5)) and not apart(a, Interval(3, 2, 4, 5))  # overlap; touch
    assert not apart(a, Interval(1, 0.5, 1.5, 5)) and not apart(a, a)  # within; the same
    alone = Interval(99, math.nan, math.nan, 1)
    assert not apart(a, alone) and not apart(alone, a) and not apart(alone, alone)


@pytest.mark.parametrize(
    "scores, message",
    [
        ([], "There are no scores: give one array for each task"),
        (arrays([1, 2], []), "Task 1 has no runs: leave the task out."),
        (arrays([1, 2], [3, math.nan]), "Task 1, run 1: the score is nan; leave out runs"),
        (arrays([-math.inf, 2]), "Task 0, run 0: the score is -inf; leave out runs"),
        ([np.zeros((2, 3))], "Task 0 has scores of shape (2, 3): give one array [runs] for each task."),
    ],
)
def test_scores_that_are_none_are_an_error_in_one_line(scores: Scores, message: str) -> None:
    uses: list[Callable[[], object]] = [
        *(lambda: mean(scores), lambda: iqm(scores), lambda: interval(mean, scores)),
        *(lambda: probability_of_improvement(scores, scores), lambda: performance_profile(scores, [0])),
        lambda: optimality_gap(scores, [1] * len(scores)),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_unequal_runs_of_a_pair_are_an_error_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^Task 1 has 2 runs of x and 3 of y: give both the same seeds\.$"):
        probability_of_improvement(arrays([1], [1, 2]), arrays([1], [1, 2, 3]))
    with pytest.raises(ValueError, match=r"^x has 1 tasks and y has 2: give both the same tasks\.$"):
        probability_of_improvement(arrays([1]), arrays([1], [2]))


@pytest.mark.parametrize("best", [[1.0], [1.0, math.nan]])
def test_a_best_score_that_is_missing_is_an_error_in_one_line(best: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^best must be a finite number for each of the 2 tasks, not \[1\.0.*\]\.$"):
        optimality_gap(arrays([1], [2]), best)


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_2000_draws_of_ten_tasks_take_milliseconds(statistic: Callable[[Scores], float]) -> None:
    scores = random_scores(9, *[5] * 10)
    spent = []
    for _ in range(5):
        start = time.process_time()
        interval(statistic, scores)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # about .002 s; a loop over draws takes more than .2 s
