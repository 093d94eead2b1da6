"""Bound and estimate log Z = log sum_x p(x) exp(R(x) / c), the greatest J that any policy can have.

Small tasks are enumerated. For all others: importance sampling, sequential Monte Carlo (smc.py), and the certified sum
over all distinct sequences met (certified.py). Natural logs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from seqtutor_envs import checks
from seqtutor_envs.bounds import intervals
from seqtutor_envs.bounds.certified import CertifiedSum, fill, score_known
from seqtutor_envs.bounds.neighbours import add_neighbours, worth_it
from seqtutor_envs.bounds.result import Bounds
from seqtutor_envs.bounds.smc import (
    Twist,
    check_twist,
    draw_weighted,
    effective_size,
    log_mean_exp,
    resample,
    run_smc,
    value_scale,
)
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.exact import solve_if_small
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.planted import PlantedTask
from seqtutor_envs.prior import Prior
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.registry import PASSIVE
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Floats, Tokens

if TYPE_CHECKING:  # which imports this module
    from seqtutor_envs.bounds.tail import Tail

SAMPLES = checks.Range(256, 2**30, whole=True)
BLOCK = 4_096  # sequences of importance sampling at a time
RUNS = 128  # of sequential Monte Carlo: their mean log Z_hat less log(1 / delta) / RUNS is a lower bound
FEWEST_PARTICLES = 16
BATCH = 2**15  # particles of several runs at a time
MOST_IN_RUNS = 2**20  # particles of all runs: more of them say little more
# that a bound fails: of the upper one, and of both lower ones together; a bracket holds with probability .99
DELTA = 0.005
ROUNDING = 1e-3  # nats by which a weight may exceed its bound: sums of float32 log-probabilities err
WIDE = 0.4  # nats of an interval, that of 100 effective samples, above which importance sampling is not believed
WILD = 1.5  # standard deviation of log Z_hat, in nats, above which sequential Monte Carlo is not believed


def log_z(
    env: str | gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any],
    *,
    samples: int = 65_536,
    seconds: float | None = None,
    seed: int = 0,
    twist: Twist | None = None,
    sequences: tuple[Tokens, Tokens] | None = None,
    tail: Tail | None = None,
    progress_bar: bool = False,
) -> Bounds:
    """Bound log Z of an environment from below and above, and estimate it.

    | method | gives |
    |---|---|
    | construction | log Z of a planted task, 0 |
    | enumeration | log Z, where there are at most 1,000,000 sequences |
    | certified sum | a lower bound: the mass of the sequences given and met, and of the best ones' neighbours |
    | importance sampling | an estimate; a lower bound; an upper one where `task.max_return()` is finite |
    | sequential Monte Carlo | an estimate; a lower bound. Left out where only last steps pay and there is no twist |

    The lower and the upper bound that rest on samples hold with a probability of at least .995 each.

    Args:
        env: an id, or an environment or native batch of ours; its task, prior and c.
        samples: sequences drawn by importance sampling, 256 at least, and by sequential Monte Carlo, there 1,048,576 at
            most; and neighbours scored, where a few sequences have most of Z. This and the seed decide the result.
        seconds: stop early after so long (wall-clock time); what was drawn until then counts. None: never. The first
            4,096 samples of importance sampling and 32,768 of sequential Monte Carlo are drawn whatever it is.
        seed: of all draws.
        twist: an agent's policy and values, which propose sequences (`agent.twist()`). Whatever it is, Z_hat stays
            unbiased, as long as the policy gives every token that p allows a probability above 0.
        sequences: known ones for the certified sum, tokens [n, T] and lengths [n].
        tail: how many of very many samples of this prior return more than a number (`draw_tail`): lowers the upper
            bound.
        progress_bar: whether to show one.

    Raises:
        ValueError, TypeError: in one line: an argument is out of range, the environment is none of ours, a twist or
            sequences are of other tokens, R / c is too large.
    """
    samples, seed = SAMPLES.check("samples", samples), checks.SEED.check("seed", seed)
    seconds = checks.Range(0.0, above=True, optional=True).check("seconds", seconds)
    task, prior, c = read_problem(env)
    check_twist(task, twist)
    if sequences is not None and len(sequences) != 2:
        raise ValueError("sequences must be a pair: tokens [n, T] and lengths [n].")
    exact, method = find_exact(task, prior, c)
    if exact is not None:
        return Bounds(exact, method, 1.0, exact, method, 1.0, exact, method, (exact, exact))
    sampling = _Sampling(task, mask_prior(prior, task), c, samples, seconds, seed, twist, tail, progress_bar)
    return sampling.bound(sequences)


def find_exact(task: Task, prior: Prior, c: float) -> tuple[float | None, str]:
    """Return log Z where it is known exactly, else None; and how."""
    if isinstance(task, PlantedTask) and task.weights["planted"] == 1.0 and (task.prior, task.c) == (prior, c):
        return 0.0, "construction"
    solution = solve_if_small(task, prior, c)
    return (None if solution is None else solution["log_z"]), "enumeration"


def read_problem(env: Any) -> tuple[Task, Prior, float]:
    """Return task, prior (without the task's mask) and c of an id, an environment or a native batch of ours.

    Raises ValueError for another one, and for one in a wrapper.
    """
    if isinstance(env, str):
        with closing(gym.make_vec(env, num_envs=1)) as made:  # a closed task can still be used
            return read_problem(made)
    core = getattr(env, "unwrapped", env)
    if not isinstance(core, (SequenceTutorEnv, SequenceTutorVectorEnv)):
        raise ValueError(f"{type(core).__name__} is no environment of this library: it has no prior and no task.")
    layer = env
    while layer is not core:  # a wrapper may pay other rewards than the task
        if type(layer).__name__ not in PASSIVE:
            raise ValueError(f"{type(layer).__name__} may change rewards or lengths: pass the environment without it.")
        layer = layer.env
    return core.task, core.prior, core.c


class _Sampling:
    """Draw, and put together what the draws say."""

    def __init__(
        self, task: Task, prior: Prior, c: float, samples: int, seconds: float | None, seed: int,
        twist: Twist | None, tail: Tail | None, progress_bar: bool,
    ) -> None:
        self.task, self.prior, self.c, self.seed, self.twist = task, prior, c, seed, twist
        self.samples, self.seconds, self.began = samples, seconds or math.inf, time.perf_counter()
        self.tail, self.progress_bar = tail, progress_bar
        self.known = CertifiedSum(c, task.length)
        self.notes: list[str] = []
        self.diagnostics: dict[str, Any] = {}

    def bound(self, sequences: tuple[Tokens, Tokens] | None) -> Bounds:
        if sequences is not None and len(sequences[0]):
            scored = score_known(self.task, self.prior, *sequences)
            self.known.add(scored.tokens, scored.lengths, scored.log_p, scored.returns)
            if scored.refused:
                self.notes.append(f"{scored.refused:,} of the given sequences cannot be generated and do not count.")
        # what is given counts for certain, so only the rest of Z is left to the draws
        self.base, self.given = self.known.log_sum(), self.known.rows()
        rest, in_tail, pays_at_end = self._sample_importance()
        runs = None if pays_at_end and self.twist is None else self._run_smc()
        certified, near = self.known.log_sum(), 0
        lower = self._bound_below(certified, rest, runs)
        low, high = intervals.interval_of_weights(rest)
        # where importance sampling is believed, known sequences add nothing to it
        if high - low > WIDE and worth_it(self.known, lower[0]):
            near = add_neighbours(self.known, self.task, self.prior, self.samples, self._is_late)
            certified = self.known.log_sum()
            lower = self._bound_below(certified, rest, runs)
        numbers = {"sequences": len(self.known), "given": len(self.given), "neighbours": near}
        self.diagnostics["certified"] = {"log_sum": certified, **numbers}
        self._tell_of_twist()
        upper = self._bound_above(rest, in_tail)
        estimate, method, interval = self._estimate(rest, runs)
        if lower[0] > estimate:
            self.notes.append(f"The estimate of {method}, {estimate:.4g}, is below the lower bound: too few samples.")
            estimate, method, interval = lower[0], lower[1], (lower[0], math.inf)
        self.diagnostics["seconds"] = round(time.perf_counter() - self.began, 3)
        return Bounds(*lower, *upper, estimate, method, interval, self.diagnostics, tuple(self.notes))

    def _is_given(self, tokens: Tokens, lengths: Tokens) -> NDArray[np.bool_]:
        """Return which of sequences [n, T] are among the given ones."""
        if not self.given:
            return np.zeros(len(tokens), np.bool_)
        return np.array([row.tobytes() in self.given for row in fill(tokens, lengths, self.task.length)])

    def _sample_importance(self) -> tuple[Floats, NDArray[np.bool_], bool]:
        """Draw weighted sequences; return log weights, which are in the tail, and whether only last steps paid.

        The weight of a given sequence is 0.
        """
        found, met, tails, pays_at_end = [], [], [], True
        above = math.inf if self.tail is None else self.tail.above

        def draw(block: int) -> int:
            nonlocal pays_at_end
            n = min(BLOCK, self.samples - block * BLOCK)
            rng = np.random.default_rng((self.seed, 0, block))
            draws = draw_weighted(self.task, self.prior, self.c, n=n, rng=rng, twist=self.twist)
            given = self._is_given(draws.tokens, draws.lengths)
            found.append(np.where(given, -np.inf, draws.log_weights))
            met.append(draws.log_weights[given])
            tails.append(draws.returns > above)
            self.known.add(draws.tokens, draws.lengths, draws.log_p, draws.returns)
            pays_at_end &= draws.pays_at_end
            return n

        self._repeat("importance sampling", self.samples, -(-self.samples // BLOCK), draw)
        rest = np.concatenate(found)
        # what the samples alone say of the given sequences
        self.met = float(np.logaddexp.reduce(np.concatenate(met), initial=-np.inf)) - math.log(len(rest))
        weights = np.logaddexp(rest, self.base)
        self.diagnostics["importance_sampling"] = {
            "log_z": float(log_mean_exp(weights)), "samples": len(weights), "effective": float(effective_size(weights)),
        }
        return rest, np.concatenate(tails), pays_at_end

    def _run_smc(self) -> Floats:
        """Return log Z_hat of independent runs, without what was given."""
        total = min(self.samples, MOST_IN_RUNS)
        runs = min(RUNS, total // FEWEST_PARTICLES)
        particles = total // runs
        together = max(1, BATCH // particles)
        clouds: list[tuple[Floats, Floats, Tokens]] = []
        one_each: set[bytes] = set()

        def draw(batch: int) -> int:
            rng = np.random.default_rng((self.seed, 1, batch))
            count = min(together, runs - batch * together)
            cloud = run_smc(self.task, self.prior, self.c, runs=count, particles=particles, rng=rng, twist=self.twist)
            tokens, lengths = cloud.tokens.reshape(-1, self.task.length), cloud.lengths.reshape(-1)
            others = np.where(self._is_given(tokens, lengths).reshape(count, -1), -np.inf, cloud.log_weights)
            log_z = cloud.log_z + np.logaddexp.reduce(others, axis=1)
            clouds.append((log_z, np.repeat(cloud.effective[None], count, axis=0), cloud.ancestors))
            self.known.add(tokens, lengths, cloud.log_p.reshape(-1), cloud.returns.reshape(-1))
            # one of each run by its weight: independent of each other, and nearly samples of the optimum
            chosen = resample(cloud.log_weights, rng, 1)[:, 0]
            one_each.update(cloud.tokens[run, which].tobytes() for run, which in enumerate(chosen))
            return count * particles

        self._repeat("sequential Monte Carlo", runs * particles, -(-runs // together), draw)
        log_z, effective, ancestors = (np.concatenate(part) for part in zip(*clouds))
        self.diagnostics["smc"] = {
            "log_z": float(np.logaddexp(log_mean_exp(log_z), self.base)),
            "spread": float(log_z.std(ddof=1)) if len(log_z) > 1 and np.isfinite(log_z).all() else math.inf,
            "runs": len(log_z), "particles": particles, "distinct": len(one_each) / len(log_z),
            "ancestors": float(ancestors.mean()), "effective": effective.mean(axis=0).round(4).tolist(),
        }
        return log_z

    def _repeat(self, what: str, total: int, times: int, draw: Callable[[int], int]) -> None:
        """Call `draw` so many times, once at least, until `total` is drawn or the seconds are over."""
        with make_bar(desc=what, total=total, unit="", leave=False, disable=not self.progress_bar) as bar:
            for number in range(times):
                if number and self._is_late():
                    self.notes.append(f"Stopped early: {number} of {times} parts of {what} after {self.seconds:g} s.")
                    return
                bar.update(draw(number))

    def _is_late(self) -> bool:
        """Return whether the seconds are over."""
        return time.perf_counter() - self.began > self.seconds

    def _tell_of_twist(self) -> None:
        if self.twist is None:
            return
        start = np.full(1, self.task.vocab.start)
        _, value, _ = self.twist.step(start, self.twist.initial_state(1))
        scale = value_scale(self.twist, self.c)
        self.diagnostics["value_at_start"] = float(value[0]) * scale
        if scale != 1.0:
            self.notes.append(f"The twist was learned at c = {self.twist.c:g}: its v is multiplied by {scale:.4g}.")
        self.notes += getattr(self.twist, "notes", ())

    def _bound_below(self, certified: float, rest: Floats, runs: Floats | None) -> tuple[float, str, float]:
        """Return the best lower bound, its method and its probability."""
        delta = DELTA / (1 if runs is None else 2)
        found = [(certified, "certified sum", 1.0)]
        if (top := float(rest.max())) > -math.inf:
            mean = intervals.bound_mean_below(np.exp(rest - top), delta)
            if mean > 0:
                found.append((np.logaddexp(self.base, top + math.log(mean)), "importance sampling", 1 - DELTA))
        if runs is not None:
            # the product of independent Z_hat / Z has mean 1: Markov's inequality
            mean = float(np.logaddexp(runs, self.base).mean())
            found.append((mean + math.log(delta) / len(runs), "sequential Monte Carlo", 1 - DELTA))
        bound, method, probability = max(found)
        return float(bound), method, probability

    def _bound_above(self, rest: Floats, in_tail: NDArray[np.bool_]) -> tuple[float, str, float]:
        """Return the best upper bound, its method and its probability."""
        most = self.task.max_return() / self.c
        if not math.isfinite(most):
            return math.inf, "none: no bound on the return is known", 1.0
        self.diagnostics["max_return"] = self.task.max_return()
        defensive = 0.0 if self.twist is None else math.log(2.0)  # with a twist the prior is half of the proposal
        # log of the greatest weight
        if (excess := float(rest.max()) - most - defensive) > ROUNDING:
            name = f"{type(self.task).__name__}.max_return()"
            raise ValueError(f"{name} is no bound: a weight is {excess:.3g} nats above what it allows.")
        if self.tail is None:
            found, method = np.logaddexp(self.base, self._bound_mean(rest, most + defensive, DELTA)), ""
        else:
            self.diagnostics["tail"] = self.tail._asdict()
            below = self._bound_mean(np.where(in_tail, -np.inf, rest), self.tail.above / self.c + defensive, DELTA / 2)
            beyond = most + math.log(self.tail.mass(DELTA / 2))
            found, method = np.logaddexp.reduce([self.base, below, beyond]), " and tail"
        if found >= most:
            return most, "greatest return", 1.0
        return float(found), f"importance sampling{method}", 1 - DELTA

    def _bound_mean(self, log_weights: Floats, greatest: float, delta: float) -> float:
        """Return the log of a bound on the mean of weights, the log of none of which can be above `greatest`."""
        shares = np.exp(np.minimum(log_weights - greatest, 0.0))
        return greatest + math.log(intervals.bound_mean_above(shares, delta))

    def _estimate(self, rest: Floats, runs: Floats | None) -> tuple[float, str, tuple[float, float]]:
        """Return the estimate and its method, the one of both with the shorter interval, and an interval.

        The interval spans those of both methods if both are believed: one of them may have missed what the other met.
        What is drawn estimates the rest of Z. Its errors are judged alone: known mass beside it makes them no smaller.
        """
        ends = intervals.interval_of_weights(rest)
        found = [(float(log_mean_exp(rest)), "importance sampling", ends, ends[1] - ends[0] <= WIDE)]
        if runs is not None and len(runs) > 1:
            sure = bool(np.isfinite(runs).all()) and float(runs.std(ddof=1)) <= WILD
            found.append((float(log_mean_exp(runs)), "sequential Monte Carlo", intervals.interval_of_runs(runs), sure))
        # one that is believed first; sequential Monte Carlo where none is
        believed = [one for one in found if one[3]] or found[-1:]
        of_rest, method, ends, sure = min(believed, key=lambda one: one[2][1] - one[2][0])
        ends = min(one[2][0] for one in believed), max(one[2][1] for one in believed)
        estimate, low, high = (float(np.logaddexp(self.base, end)) for end in (of_rest, *ends))
        if not sure:
            self.notes.append(f"The estimate of {method} is doubtful and probably too low: its weights are uneven.")
            high = math.inf
        elif self.base > of_rest and self.met < self.base - 1.0:
            self.notes.append("The samples missed the given sequences, which have most of Z, and may miss others.")
            high = math.inf
        return estimate, method, (min(low, estimate), max(high, estimate))
