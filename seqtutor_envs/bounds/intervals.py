"""Bounds on the mean of independent numbers that hold with a stated probability, and intervals for log Z.

Bounds bet against a hypothetical mean m: prod_i (1 + lambda (x_i - m)) has mean 1 if m is the mean of each x_i, so it
exceeds 1 / delta with probability delta at most, by Markov (Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", 2024). The stake lambda is chosen on a pilot: the first tenth, which then counts no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from seqtutor_envs.vocab import Floats

PILOT = 10  # one number in so many
LEAST = 100  # numbers, below which nothing is said
MOST_STAKE = 0.95  # of what keeps every factor above 0
COVERAGE = 0.95  # of intervals


def bound_mean_above(values: Floats, delta: float) -> float:
    """Return a number that the mean of independent values [n] in [0, 1] exceeds with probability delta at most."""
    pilot, rest = _split(values)
    if not len(rest):
        return 1.0
    stake = min(MOST_STAKE, _best_stake(pilot, len(rest), delta))

    def growth(m: float) -> float:
        return float(np.log1p(-stake * (rest - m)).sum())

    # growth rises with m; the mean itself is refuted nowhere
    return 1.0 if growth(1.0) < -math.log(delta) else _solve(growth, float(rest.mean()), 1.0, -math.log(delta))


def bound_mean_below(values: Floats, delta: float) -> float:
    """Return a number that the mean of independent values [n] >= 0 is below with probability delta at most.

    Values are cut off where the pilot expects the best bound: that only lowers their mean.
    """
    pilot, rest = _split(values)
    if not len(rest) or not pilot.any():
        return 0.0
    candidates = pilot.mean() * 2.0 ** np.arange(0, 40)
    cut = float(max(candidates, key=lambda cut: _expect_bound(np.minimum(pilot, cut), cut, len(rest), delta)))
    pilot, rest = np.minimum(pilot, cut) / cut, np.minimum(rest, cut) / cut
    # the pilot alone decides, else the bet would know its outcome; factors stay above 0 for every m up to `most`
    stake = min(MOST_STAKE / max(float(pilot.mean()), 1e-300), _best_stake(pilot, len(rest), delta))
    most = min(float(rest.mean()), MOST_STAKE / stake)

    def growth(m: float) -> float:
        return float(np.log1p(stake * (rest - m)).sum())

    if growth(0.0) < -math.log(delta):
        return 0.0
    return cut * (most if growth(most) >= -math.log(delta) else _solve(growth, 0.0, most, -math.log(delta)))


def bounds_of_share(hits: int, samples: int, delta: float) -> tuple[float, float]:
    """Return a lower and an upper bound on the probability of a hit, each wrong with probability delta at most.

    Clopper and Pearson 1934.
    """
    least = float(betaincinv(hits, samples - hits + 1, delta)) if hits else 0.0
    most = float(betaincinv(hits + 1, samples - hits, 1.0 - delta)) if hits < samples else 1.0
    return least, most


def interval_of_runs(log_z: Floats) -> tuple[float, float]:
    """Compute a 95% interval for log Z from log Z_hat [M] of independent runs: it spans two intervals.

    log Z_hat of many particles is normal with mean log Z - variance / 2 (Berard, Del Moral and Doucet 2014), which
    gives Cox's interval for a log-normal mean. The other is that of the mean of Z_hat. On enumerated tasks each alone
    covers log Z too seldom, in 0 to 80% of cases, where runs are uneven: few particles break the one, few runs the
    other.
    The upper end is infinite if a run found nothing.
    """
    low, high = interval_of_weights(log_z)
    if not np.isfinite(log_z).all():
        return low, math.inf
    runs, variance = len(log_z), float(log_z.var(ddof=1))
    middle = float(log_z.mean()) + variance / 2
    error = math.sqrt(variance / runs + variance**2 / (2 * (runs - 1)))
    half = float(stdtrit(runs - 1, (1 + COVERAGE) / 2)) * error
    return min(middle - half, low), max(middle + half, high)


def interval_of_weights(log_weights: Floats) -> tuple[float, float]:
    """Compute a 95% interval for the log of the mean of independent weights, by the delta method.

    It is infinite if all weights are 0.
    """
    if (top := log_weights.max()) == -np.inf:
        return -math.inf, math.inf
    weights = np.exp(log_weights - top)
    mean = weights.mean()
    half = float(ndtri((1 + COVERAGE) / 2)) * float(weights.std(ddof=1) / (mean * math.sqrt(len(weights))))
    middle = float(top + math.log(mean))
    return middle - half, middle + half


def _split(values: Floats) -> tuple[Floats, Floats]:
    """Return the pilot and the rest; no rest where there are too few."""
    first = len(values) // PILOT
    return (values[:first], values[first:]) if len(values) >= LEAST else (values, values[:0])


def _best_stake(pilot: Floats, n: int, delta: float) -> float:
    """Return the stake that wins most on n numbers of the pilot's variance."""
    return math.sqrt(-2 * math.log(delta) / (n * max(float(pilot.var()), 1e-300)))


def _expect_bound(pilot: Floats, cut: float, n: int, delta: float) -> float:
    """Return the lower bound that n numbers like the pilot's would give, by Bernstein's inequality."""
    nats = -math.log(delta)
    return float(pilot.mean() - math.sqrt(2 * float(pilot.var()) * nats / n) - cut * nats / (3 * n))


def _solve(growth: Callable[[float], float], low: float, high: float, target: float) -> float:
    """Return where a monotone function reaches the target between low and high, on the side that it refutes."""
    rising = growth(high) > growth(low)
    for _ in range(50):
        middle = (low + high) / 2
        if (growth(middle) >= target) == rising:
            high = middle
        else:
            low = middle
        if high - low <= 1e-6 * high:
            break
    # the outer end: a bound may be loose by a millionth, but not wrong
    return high if rising else low
