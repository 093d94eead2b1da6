"""Samplers that learn nothing: sequential Monte Carlo, rejection, the best of n.

They aim at the optimum pi*(x) = p(x) exp(R(x) / c) / Z, x a whole sequence. n samples, T tokens; natural logs.

None of them knows log pi of a given sequence. With each sample they return a number in its place, such that the mean of
R / c + log p - log pi over samples is J, or what `j_kind` says of it, and its standard error is right.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from agents.envs import AnyEnv, is_batched, make_batch
from agents.rollouts import has_own_dynamics
from seqtutor_envs import checks
from seqtutor_envs.bounds.smc import Twist, check_budget, check_twist, resample, run_smc
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior import Prior, padded
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.rewards import scaled
from seqtutor_envs.task import Task
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens

AT_ONCE = 2**12  # sequences in a batch: four times as many take 1.15 times as long each
LEAST_RATE, PATIENCE = 1e-4, 2**14  # rejection is given up where fewer are accepted after so many draws
QUIET = 5.0  # seconds before a progress bar appears
PARTICLES = checks.Range(1, 2**20, whole=True)
DRAWS = checks.Range(1, 2**20, whole=True)
MAX_RETURN = checks.Range(optional=True)


class Weighted(NamedTuple):
    """Hold n samples."""

    tokens: Tokens  # [n, T], the start id as filler
    lengths: Tokens  # [n]
    log_probs: Floats  # [n], in place of log pi: see above


class Proposals(NamedTuple):
    """Hold n draws of the prior, and what rejection says of each."""

    tokens: Tokens  # [n, T], the start id as filler
    lengths: Tokens  # [n]
    returns: Floats  # [n], R
    rates: Floats  # [n], probability of acceptance
    accepted: NDArray[np.bool_]  # [n]


class Sampler(ABC):
    """Sample sequences without learning. `agents.evaluate.evaluate` and experiments take it as an agent.

    Args:
        env: an id, a single environment of ours, or a native batch; only its task, prior and c are used.
        seed: of `sample` where that has none.
        env_kwargs: keywords of the environment if `env` is an id.

    Attributes:
        env, task, prior, c: the environment and what it is made of; the prior with the task's masks.
        num_timesteps: tokens drawn so far.
        scored: sequences scored so far; one that is drawn twice counts twice.
        j_kind: what the mean J of its samples is: "exact", an "estimate", or a "lower bound" of the sampler's own J.
    """

    j_kind: ClassVar[str]

    def __init__(self, env: AnyEnv, *, seed: int, env_kwargs: dict[str, Any] | None) -> None:
        self.env, self.recipe = make_batch(env, None if is_batched(env) else 1, env_kwargs)
        if not has_own_dynamics(self.env):
            found = f"{type(self).__name__} reads task, prior and c of an environment, which {type(self.env).__name__}"
            raise ValueError(f"{found} may change: pass an id, a single environment, or a native batch.")
        self.task: Task = self.env.task
        self.prior: Prior = mask_prior(self.env.prior, self.task)
        self.c: float = self.env.c
        self.rng = np.random.default_rng(checks.SEED.check("seed", seed))
        self.num_timesteps = self.scored = 0

    def sample(self, n: int, seed: int | None = None) -> tuple[Tokens, Tokens]:
        """Sample n independent sequences: tokens [n, T] and lengths [n]. Same seed, same tokens."""
        return self.sample_with_log_prob(n, seed)[:2]

    @one_thread()
    def sample_with_log_prob(self, n: int, seed: int | None = None) -> Weighted:
        """Sample n independent sequences, with a number each in place of log pi: see above."""
        return self._sample(checks.positive_integer("n", n), self._generator(seed))

    @abstractmethod
    def _sample(self, n: int, rng: np.random.Generator) -> Weighted:
        """Sample n independent sequences."""

    def log_prob(self, tokens: Tokens, lengths: Tokens | None = None) -> NoReturn:
        """Raise ValueError: log pi of a given sequence is a sum over all that could have been drawn beside it."""
        name = type(self).__name__
        raise ValueError(f"{name} knows no log pi of given sequences: sample_with_log_prob is what evaluate asks.")

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> NoReturn:
        """Raise ValueError: sequences are chosen as a whole."""
        raise ValueError(f"{type(self).__name__} chooses whole sequences, not the next token: call sample(n, seed).")

    def _generator(self, seed: int | None) -> np.random.Generator:
        return self.rng if checks.SEED_OR_NONE.check("seed", seed) is None else np.random.default_rng(seed)

    def _draw_from_prior(self, n: int, rng: np.random.Generator) -> tuple[Tokens, Tokens, Floats]:
        """Draw n sequences of the prior: tokens [n, T], lengths [n] and returns R [n]."""
        drawn, lengths = self.prior.sample(n, rng, self.task.length)
        returns = self.task.reward(padded(drawn, lengths), lengths).sum(axis=1)
        tokens = np.full((n, self.task.length), self.task.vocab.start)
        tokens[:, : drawn.shape[1]] = drawn
        self.num_timesteps += int(lengths.sum())
        self.scored += n
        check_budget(self.task)
        checks.check_paid(scaled(returns, self.c))
        return tokens, lengths, returns


class SMCSampler(Sampler):
    """Sample by sequential Monte Carlo from the prior, or from a learned twist: one run of N particles for each sample.

    A sample is one particle of its run, by its weight. Its distribution nears the optimum as N grows, and its J is at
    least E[log Z_hat], the mean of which over the runs is what `evaluate` reports.

    Args:
        env, seed, env_kwargs: see Sampler.
        particles: N.
        twist: proposals and values, such as `agent.twist()`; None takes the prior alone.
    """

    j_kind = "lower bound"

    def __init__(
        self,
        env: AnyEnv,
        *,
        particles: int = 256,
        twist: Twist | None = None,
        seed: int = 0,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(env, seed=seed, env_kwargs=env_kwargs)
        self.particles, self.twist = PARTICLES.check("particles", particles), twist
        check_twist(self.task, twist)

    def sample(self, n: int, seed: int | None = None, per_run: int = 1) -> tuple[Tokens, Tokens]:
        """Sample n sequences: tokens [n, T] and lengths [n]. Same seed, same tokens.

        Args:
            n, seed: as for every sampler.
            per_run: sequences taken from each run, which then cost so many times less. Those of one run depend on each
                other, and repeat each other where few particles have most of the weight.
        """
        n, per_run = checks.positive_integer("n", n), PARTICLES.check("per_run", per_run)
        return self._sample(n, self._generator(seed), per_run)[:2]

    def _sample(self, n: int, rng: np.random.Generator, per_run: int = 1) -> Weighted:
        found, steps = sample_by_smc(self.task, self.prior, self.c, n, rng, self.particles, self.twist, per_run)
        self.num_timesteps += steps
        self.scored += -(-n // per_run) * self.particles
        return found


class RejectionSampler(Sampler):
    """Sample the optimum exactly: accept a sample of the prior with probability exp((R - R_max) / c).

    J is log Z, which all draws together estimate. 1 / acceptance draws are needed for a sample, exp(R_max / c) / Z.

    Args:
        env, seed, env_kwargs: see Sampler.
        max_return: R_max, a number that no return R (undivided) exceeds. None takes the bound that the task has proved
            of itself.
    """

    j_kind = "exact"

    def __init__(
        self,
        env: AnyEnv,
        *,
        max_return: float | None = None,
        seed: int = 0,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(env, seed=seed, env_kwargs=env_kwargs)
        given = MAX_RETURN.check("max_return", max_return)
        self.max_return: float = self.task.max_return() if given is None else given
        if not math.isfinite(self.max_return):
            name = f"no bound for rejection: {type(self.task).__name__} has proved no greatest return"
            raise ValueError(f"There is {name}; pass max_return=, or use SMCSampler.")

    def _sample(self, n: int, rng: np.random.Generator) -> Weighted:
        kept: list[tuple[Tokens, Tokens, Floats]] = []
        rates: list[Floats] = []  # probability of acceptance of each draw
        accepted: list[NDArray[np.bool_]] = []  # which draws were
        draws = found = 0
        with show_progress(n, "rejection") as bar:
            while found < n:
                # as many as will do at the present rate, and a fifth more
                size = int(min(AT_ONCE, max(64, 1.2 * (n - found) * (draws + 1) / (found + 1))))
                drawn = self.propose(size, rng)
                rates.append(drawn.rates)
                accepted.append(drawn.accepted)
                rows = np.flatnonzero(drawn.accepted)
                kept.append((drawn.tokens[rows], drawn.lengths[rows], drawn.returns[rows]))
                draws, found = draws + size, found + len(rows)
                bar.update(min(n, found) - bar.n)
                self._check_rate(sum(float(rate.sum()) for rate in rates), draws)
        tokens, lengths, returns = (np.concatenate(parts)[:n] for parts in zip(*kept))
        values = self._estimate_log_z(np.concatenate(rates), np.flatnonzero(np.concatenate(accepted))[:n])
        log_p = sequence_log_probs(self.prior, tokens, lengths)
        return Weighted(tokens, lengths, log_p + scaled(returns, self.c) - values)

    def propose(self, n: int, rng: np.random.Generator) -> Proposals:
        """Draw n sequences of the prior, and accept some. Raise ValueError where one returns more than max_return."""
        tokens, lengths, returns = self._draw_from_prior(n, rng)
        self._check_bound(returns)
        rates = np.exp(np.minimum(scaled(returns - self.max_return, self.c), 0.0))
        return Proposals(tokens, lengths, returns, rates, rng.random(n) < rates)

    def _estimate_log_z(self, rates: Floats, ends: Tokens) -> Floats:
        """Estimate log Z from all draws: numbers [n] with the estimate as their mean and its error as their own.

        Between two acceptances lie independent stretches of draws. The mean rate is a ratio of their sums, and what
        each stretch adds to the error of its log is linear (delta method).

        Args:
            rates: [draws], probabilities of acceptance.
            ends: [n], which draws were accepted.
        """
        begins = np.concatenate([[0], ends[:-1] + 1])
        draws = ends + 1 - begins
        sums = np.add.reduceat(rates[: ends[-1] + 1], begins)
        log_z = scaled(self.max_return, self.c) + np.log(sums.sum() / draws.sum())
        return np.asarray(log_z + sums / sums.mean() - draws / draws.mean())

    def _check_bound(self, returns: Floats) -> None:
        highest = float(returns.max())
        # sums of many terms round otherwise than the bound
        if highest > self.max_return + 1e-9 * max(1.0, abs(self.max_return)):
            raise ValueError(f"A sequence returns {highest:.6g}, above max_return={self.max_return:.6g}: give a bound.")

    def _check_rate(self, expected: float, draws: int) -> None:
        """Raise ValueError once it is clear that almost nothing is accepted; `expected` is the sum of the rates."""
        if draws >= PATIENCE and expected < LEAST_RATE * draws:
            found = f"Rejection accepts {expected / draws:.1g} of the prior's samples at c={self.c:g}"
            raise ValueError(f"{found}, too few: raise c, give a smaller max_return, or use SMCSampler.")


class BestOfN(Sampler):
    """Draw n sequences of the prior for each sample, and keep the one with the greatest return.

    KL(pi || p) <= log n - (n - 1) / n whatever the task (Beirami et al. 2024), so J is at least E[R / c] minus that:
    what `evaluate` reports.

    Args:
        env, seed, env_kwargs: see Sampler.
        n: draws for each sample.
    """

    j_kind = "lower bound"

    def __init__(self, env: AnyEnv, *, n: int, seed: int = 0, env_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(env, seed=seed, env_kwargs=env_kwargs)
        self.n = DRAWS.check("n", n)
        self.most_kl = math.log(self.n) - (self.n - 1) / self.n

    def _sample(self, n: int, rng: np.random.Generator) -> Weighted:
        parts = []
        at_once = max(1, AT_ONCE // self.n)
        with show_progress(n, f"best of {self.n}") as bar:
            for begin in range(0, n, at_once):
                count = min(at_once, n - begin)
                tokens, lengths, returns = self._draw_from_prior(count * self.n, rng)
                best = returns.reshape(count, self.n).argmax(axis=1) + self.n * np.arange(count)
                parts.append((tokens[best], lengths[best]))
                bar.update(count)
        tokens, lengths = (np.concatenate(part) for part in zip(*parts))
        return Weighted(tokens, lengths, sequence_log_probs(self.prior, tokens, lengths) + self.most_kl)


def sample_by_smc(
    task: Task,
    prior: Prior,
    c: float,
    n: int,
    rng: np.random.Generator,
    particles: int,
    twist: Twist | None,
    per_run: int = 1,
) -> tuple[Weighted, int]:
    """Sample by sequential Monte Carlo, `per_run` sequences of each run; return them and the tokens of all particles.

    In place of log pi stands log p + R / c - log Z_hat of the run, so that the mean of J is that of log Z_hat.
    """
    n, particles = checks.positive_integer("n", n), PARTICLES.check("particles", particles)
    parts, steps = [], 0
    runs, at_once = -(-n // per_run), max(1, AT_ONCE // particles)
    with show_progress(n, "SMC") as bar:
        for begin in range(0, runs, at_once):
            count = min(at_once, runs - begin)
            found = run_smc(task, prior, c, runs=count, particles=particles, rng=rng, twist=twist)
            # in random order: the first n are kept
            chosen = rng.permuted(resample(found.log_weights, rng, per_run), axis=1)
            run = np.repeat(np.arange(count), per_run)
            which = (run, chosen.reshape(-1))
            log_pi = found.log_p[which] + scaled(found.returns[which], c) - found.log_z[run]
            parts.append((found.tokens[which], found.lengths[which], log_pi))
            steps += int(found.lengths.sum())
            bar.update(count * per_run)
    tokens, lengths, log_pi = (np.concatenate(arrays)[:n] for arrays in zip(*parts))
    return Weighted(tokens, lengths, log_pi), steps


def show_progress(n: int, name: str) -> Any:
    """Make a progress bar of n samples, which appears if they take long."""
    return make_bar(desc=name, total=n, unit="sample", delay=QUIET, leave=False)
