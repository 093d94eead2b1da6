"""The collapse temperature: below it, samples of the optimum mostly repeat each other.

Of n = 1,000 independent samples of the optimum pi*, n E[g(pi*(x))] are distinct on average, over x from pi*, with
g(q) = (1 - (1 - q)^n) / (n q). As log pi*(x) = log p + R / c - log Z, a few samples of pi* and log Z give that share,
and bounds of log Z bound it. Natural logs; n sequences, T tokens, K known ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from seqtutor_envs.bounds.certified import fill, score_known
from seqtutor_envs.bounds.estimate import read_problem
from seqtutor_envs.bounds.intervals import bounds_of_share
from seqtutor_envs.bounds.smc import Draws, Particles, draw_weighted, effective_size, log_mean_exp, run_smc
from seqtutor_envs.checks import COUNT, SEED, numbers, temperature
from seqtutor_envs.exact import solve_if_small
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.planted import PlantedTask
from seqtutor_envs.prior import Prior
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Floats, Tokens

N = 1_000  # samples whose distinct ones are counted
PROBABILITY = 0.99  # with which the bounds of a share hold
# each of the two bounds rests on two events, the acceptance rate and the mean, which share the rest
RISK = (1.0 - PROBABILITY) / 4
FEW = 100.0  # effective samples, below which nothing is estimated: the standard error of a share may be .05
RUNS, PARTICLES = 4, 16_384  # of sequential Monte Carlo, where samples of the prior have too few effective ones
# temperatures to look at, in multiples of the environment's own
GRID = 2.0 ** np.arange(5.0, -5.5, -0.5)


@dataclass(frozen=True)
class Variety:
    """Hold the expected share of distinct sequences among 1,000 samples of the optimum at one temperature.

    Attributes:
        c: the temperature.
        share: the estimate; NaN where there are too few effective samples.
        lower, upper: bounds of the share, 0 and 1 where nothing is known.
        probability: with which each of the two holds; 1 after enumeration.
        method: where they come from.
        effective: number of effective samples behind the estimate; infinite after enumeration.
    """

    c: float
    share: float
    lower: float = 0.0
    upper: float = 1.0
    probability: float = 1.0
    method: str = "enumeration"
    effective: float = math.inf


@dataclass(frozen=True)
class Collapse:
    """Hold where the optimum of a task collapses.

    Half is meant of the prior's own share: a prior of 81 sequences has at most .081, all others here have 1.

    Attributes:
        estimate: the temperature at which the share falls below half; NaN if no two temperatures enclose it.
        varied_above: the lowest temperature from which on the lower bound is at least half; infinite if there is none.
        collapsed_below: the highest up to which the upper bound is below half; 0 if there is none.
        prior_share: of distinct sequences among 1,000 samples of the prior.
        varieties: what was measured, from the highest temperature down.
    """

    estimate: float
    varied_above: float
    collapsed_below: float
    prior_share: float
    varieties: tuple[Variety, ...]

    def describe(self) -> str:
        """Return what is known in one line."""
        found = f"no collapse found from c = {self.varieties[0].c:g} to {self.varieties[-1].c:g}"
        if math.isfinite(self.estimate):
            found = f"collapses at about c = {self.estimate:.2g}"
        proved = min(one.probability for one in self.varieties)
        sure = "certain" if proved == 1.0 else f"with probability {proved:g} each"
        if self.varied_above < math.inf:
            found += f"; varied at c >= {self.varied_above:.3g} ({sure})"
        if self.collapsed_below > 0:
            found += f"; collapsed at c <= {self.collapsed_below:.3g} ({sure})"
        return found


def collapse_temperature(
    env: Any, *, temperatures: Sequence[float] | None = None,
    samples: int = 20_000, seed: int = 0, sequences: tuple[Tokens, Tokens] | None = None, progress_bar: bool = False,
) -> Collapse:
    """Find the temperature below which fewer than half of 1,000 samples of the optimum are distinct.

    A small task is enumerated. Where a bound of R is proved, samples of the prior are accepted as exact samples of the
    optimum, which bounds the share with probability .99 at each temperature. All else is an estimate: from weighted
    samples of the prior, or of sequential Monte Carlo where these are too few.

    Args:
        env: an id, an environment or a native batch of ours. Its c only centres the default temperatures.
        temperatures: to look at. Default: from 32 times the environment's c down to a 32nd of it, by factors of
            the root of 2.
        samples: of the prior.
        seed: of all samples.
        sequences: known sequences, tokens [M, T] and lengths [M], that a search may miss at low temperatures.
        progress_bar: whether to show one.

    Raises ValueError where a number is out of its range, and for a planted task, whose optimum no c changes.
    """
    given = numbers({"samples": COUNT, "seed": SEED}, {"samples": samples, "seed": seed})
    task, prior, own = read_problem(env)
    if isinstance(task, PlantedTask):
        raise ValueError("A planted task has no collapse temperature: its optimum is the same policy at every c.")
    asked = own * GRID if temperatures is None else temperatures
    grid = sorted((temperature(c) for c in asked), reverse=True)
    if (solution := solve_if_small(task, prior, 1.0)) is not None:
        log_p = solution["prior_log_probs"]
        varieties = [Variety(c, _share_of(log_p + solution["task_returns"] / c)) for c in grid]
        # enumerated: the estimate is its own bounds
        varieties = [replace(one, lower=one.share, upper=one.share) for one in varieties]
        return _summarize(varieties, _share_of(log_p))
    rng = np.random.default_rng(given["seed"])
    prior = mask_prior(prior, task)
    known = None if sequences is None else _score(task, prior, *sequences)
    # their weights at any one temperature do not matter: R and log p serve all
    draws = draw_weighted(task, prior, max(grid), n=given["samples"], rng=rng)
    thresholds = rng.exponential(size=given["samples"])
    varieties = []
    for c in make_bar(grid, desc="temperatures", disable=not progress_bar):
        estimated = _estimate(task, prior, c, draws, known, rng)
        varieties.append(_bound(estimated, draws, task.max_return(), thresholds))
    return _summarize(varieties, float(np.exp(_log_g(draws.log_p)).mean()))


def _summarize(varieties: Sequence[Variety], prior_share: float) -> Collapse:
    """Read the three temperatures off, from shares at falling temperatures."""
    half = prior_share / 2
    varied = list(takewhile(lambda one: one.lower >= half, varieties))
    collapsed = list(takewhile(lambda one: one.upper < half, reversed(varieties)))
    estimate = math.nan
    for above, below in pairwise(varieties):
        if above.share >= half > below.share:
            # on a straight line in log c
            position = (half - below.share) / (above.share - below.share)
            estimate = below.c * (above.c / below.c) ** position
            break
    return Collapse(
        estimate, varied[-1].c if varied else math.inf, collapsed[-1].c if collapsed else 0.0, prior_share,
        tuple(varieties),
    )


def _log_g(log_probs: Floats) -> Floats:
    """Compute log g of log probabilities: how many distinct sequences one sample adds on average, among N."""
    log_probs = np.minimum(log_probs, 0.0)  # an estimate of log Z that is too low makes some of them positive
    # below this (1 - q)^N is 1 - N q to the last digit
    tiny = log_probs < math.log(1e-12 / N)
    with np.errstate(divide="ignore"):
        seen = -np.expm1(N * np.log1p(-np.exp(log_probs)))
        return np.where(tiny, 0.0, np.log(seen) - log_probs - math.log(N))


def _share_of(log_masses: Floats) -> float:
    """Compute the expected share of distinct ones among N samples of a distribution over all its sequences."""
    log_probs = log_masses - logsumexp(log_masses)
    return float(np.exp(log_probs + _log_g(log_probs)).sum())


class _Known(NamedTuple):
    """Hold K distinct sequences."""

    log_p: Floats  # [K]
    returns: Floats  # [K], R
    names: frozenset[bytes]


def _score(task: Task, prior: Prior, tokens: Tokens, lengths: Tokens) -> _Known:
    """Compute log p and R of the distinct ones of known sequences; leave out what cannot be generated."""
    scored = score_known(task, prior, tokens, lengths)
    firsts = {name: i for i, name in enumerate(_name(task, scored.tokens, scored.lengths))}
    rows = list(firsts.values())
    return _Known(scored.log_p[rows], scored.returns[rows], frozenset(firsts))


def _name(task: Task, tokens: Tokens, lengths: Tokens) -> list[bytes]:
    """Name sequences [n, T] by their tokens, whatever the filler is."""
    return [row.tobytes() for row in fill(tokens, lengths, task.length)]


def _estimate(
    task: Task, prior: Prior, c: float, draws: Draws, known: _Known | None, rng: np.random.Generator
) -> Variety:
    """Estimate the share at one temperature from weighted samples, and from known sequences."""
    found: Draws | Particles = draws
    log_weights = draws.returns / c
    log_z, effective = float(log_mean_exp(log_weights)), float(effective_size(log_weights))
    method = "samples of the prior"
    # a reward that is paid at the end alone cannot guide resampling: the same samples would be drawn again
    if effective < FEW and not draws.pays_at_end:
        found = run_smc(task, prior, c, runs=RUNS, particles=PARTICLES, rng=rng)
        log_weights, method = found.log_weights + found.log_z[:, None], "sequential Monte Carlo"
        log_z = float(log_mean_exp(found.log_z))
        # only particles of different ancestors are independent, and the runs with the greatest Z_hat decide
        shares = np.exp(found.log_z - logsumexp(found.log_z))
        effective = float(effective_size(found.log_z) * (shares @ found.ancestors))
    weights = np.exp(log_weights - logsumexp(log_weights)).reshape(-1)
    log_masses = (found.log_p + found.returns / c).reshape(-1)
    if known is None:
        share = float(weights @ np.exp(_log_g(log_masses - log_z)))
        return Variety(c, share if effective >= FEW else math.nan, method=method, effective=effective)
    # what the known ones hold is certain: only the rest of Z is left to the samples
    names = _name(task, found.tokens.reshape(-1, task.length), found.lengths.reshape(-1))
    others = weights * [name not in known.names for name in names]
    known_masses = known.log_p + known.returns / c
    log_known = float(logsumexp(known_masses))
    with np.errstate(divide="ignore"):
        log_z = float(np.logaddexp(log_known, log_z + np.log(others.sum())))
    held = math.exp(log_known - log_z)
    share = float(np.exp(known_masses - log_z + _log_g(known_masses - log_z)).sum())
    if others.any():
        share += (1.0 - held) * float(others @ np.exp(_log_g(log_masses - log_z)) / others.sum())
    method = f"{method}, {len(known_masses):,} known sequences"
    return Variety(c, share if effective >= FEW or held >= 0.5 else math.nan, method=method, effective=effective)


def _bound(estimated: Variety, draws: Draws, max_return: float, thresholds: Floats) -> Variety:
    """Return an estimate with bounds from exact samples of the optimum, if there are any.

    A sample of the prior is accepted with probability exp((R - max_return) / c); the share of accepted ones bounds Z
    (Clopper and Pearson 1934), and the mean of g over them, a number of 0..1, bounds its expectation (Hoeffding 1963).
    """
    # none if the bound is infinite
    c, n, accepted = estimated.c, len(draws.returns), thresholds >= (max_return - draws.returns) / estimated.c
    if not (m := int(accepted.sum())):
        return estimated
    least, most = bounds_of_share(m, n, RISK)
    log_masses = (draws.log_p + draws.returns / c)[accepted] - max_return / c
    error = math.sqrt(-math.log(RISK) / (2 * m))
    # g falls: with a Z that is too small each sequence seems too probable, and the share too low
    lower = float(np.exp(_log_g(log_masses - math.log(least))).mean()) - error
    upper = float(np.exp(_log_g(log_masses - math.log(most))).mean()) + error
    method = f"{estimated.method}; bounds from {m:,} exact samples"
    return replace(
        estimated, lower=max(lower, 0.0), upper=min(upper, 1.0), probability=PROBABILITY, method=method
    )
