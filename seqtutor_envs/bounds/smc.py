"""Sequential Monte Carlo from the prior or from a twist, many independent runs as one batch.

M runs of N particles, T steps, V tokens; natural logs. A run's Z_hat is unbiased: its mean is Z = sum_x p(x) exp(R/c).

With a twist pi, v a particle's weight changes by p(a | s) exp(r_T / c + v(s') - v(s)) / pi(a | s), where v is 0 after
the end: twisted SMC (Zhao, Brekelmans, Makhzani, Grosse, ICML 2024). At v = V* and pi = pi* all weights are Z.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.prior import Prior, State, padded
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.prior.recurrent_step import sample_tokens
from seqtutor_envs.rewards import scaled
from seqtutor_envs.task import Task
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab

RESAMPLE_BELOW = 0.5  # of N, the effective sample size below which a run is resampled
CHECKED = 64  # rows of a twist at each step whose sum is checked: logits in place of log pi are so in every row
MOST_PARTICLES = 2**24  # of all runs together: some 20 GB with the shipped priors


@runtime_checkable
class Twist(Protocol):
    """Propose tokens, and say what a prefix is worth: what an agent has learned, for `run_smc`.

    Attributes:
        vocab: the task's tokens.
        c: temperature at which v was learned; v is multiplied by it over the environment's c. None: leave v as it is.
    """

    vocab: TokenVocab
    c: float | None

    def initial_state(self, n: int) -> State:
        """Return the state of n sequences that have not consumed the start token; arrays [n, ...]."""

    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], Floats, State]:
        """Feed tokens [N]; return log pi of the next one, float32 [N, V], v [N] of what was read, and the state.

        pi must give every token that p allows a probability above 0, or Z_hat is too low.
        """


class Particles(NamedTuple):
    """Hold M runs of N particles.

    A particle of a run, drawn by its weight, is nearly a sample of the optimum; those of one run depend on each other.
    """

    tokens: Tokens  # [M, N, T], the start id as filler
    lengths: Tokens  # [M, N]
    log_weights: Floats  # [M, N], normalised within each run
    log_z: Floats  # [M], log of each run's unbiased Z_hat
    returns: Floats  # [M, N], R, not divided by c
    log_p: Floats  # [M, N], of whole sequences
    effective: Floats  # [T], effective sample size before resampling, as a share of N, mean over the runs
    ancestors: Tokens  # [M], how many particles of the first step still have descendants


class Walk:
    """Extend sequences token by token under the prior, and under a twist if there is one.

    Only sequences that are not over are fed to the models: `live` [L] are their indices, states have L rows.

    Attributes:
        rows: [L, V], log p of the next token, at least LOG_PROB_FLOOR.
        proposal: [L, V], log pi of it; the prior's rows without a twist.
        values: [n], v of each prefix at the present c; 0 after the end.
        log_p, log_pi: [n], so far.
    """

    def __init__(self, task: Task, prior: Prior, c: float, n: int, twist: Twist | None) -> None:
        self.task, self.prior, self.twist = task, prior, twist
        self.scale = 1.0 if twist is None else value_scale(twist, c)
        self.tokens, self.lengths = np.full((n, task.length), task.vocab.start), np.zeros(n, np.int64)
        self.log_p, self.log_pi, self.values = np.zeros(n), np.zeros(n), np.zeros(n)
        self.live, self._last = np.arange(n), np.full(n, task.vocab.start)
        self._states: tuple[State, State] = (prior.initial_state(n), twist.initial_state(n) if twist else ())
        self.step = 0

    def feed(self) -> None:
        """Feed the last tokens to both models."""
        prior_state, state = self._states
        rows, prior_state = self.prior.step(self._last, prior_state)
        self.rows = self.proposal = np.maximum(rows, np.float32(LOG_PROB_FLOOR))
        if self.twist is not None:
            proposal, values, state = self.twist.step(self._last, state)
            self.proposal = np.asarray(proposal, np.float32)  # what `sample_tokens` reads
            values = np.asarray(values, np.float64)
            for what, array, shape in (("log pi", self.proposal, rows.shape), ("v", values, self._last.shape)):
                if array.shape != shape:
                    raise checks.wrong_shape(f"The twist's step, for {what},", array, shape)
            self.values[self.live] = values * self.scale
            checks.check_log_probs(self.proposal, "The twist's step")
            checks.check_normalised(self.proposal[:CHECKED], "The twist's step")
            if not np.isfinite(self.values).all():
                raise ValueError("The twist's values are not finite.")
        self._states = prior_state, state

    def extend(self, chosen: Tokens) -> None:
        """Append chosen [L] to the live sequences, and let go those that end."""
        live, t, each = self.live, self.step, np.arange(len(chosen))
        self.tokens[live, t] = chosen
        self.lengths[live] = t + 1
        self.log_p[live] += self.rows[each, chosen]
        self.log_pi[live] += self.proposal[each, chosen]
        self.step, self._last = t + 1, chosen
        going = chosen != self.task.vocab.end if self.step < self.task.length else np.zeros(len(chosen), bool)
        if not going.all():
            self.values[live[~going]] = 0.0
            self.live, self._last = live[going], chosen[going]
            self._states = tuple(tuple(part[going] for part in state) for state in self._states)  # type: ignore

    def select(self, parents: Tokens) -> None:
        """Replace sequence i by a copy of sequence parents[i], for all i; between `feed` and `extend`."""
        where = np.full(len(parents), -1)  # each sequence's row among the live ones, -1 after its end
        where[self.live] = np.arange(len(self.live))
        rows = where[parents]
        self.live = np.flatnonzero(rows >= 0)
        rows = rows[self.live]
        for name in ("tokens", "lengths", "log_p", "log_pi", "values"):
            setattr(self, name, getattr(self, name)[parents])
        twisted = self.proposal is not self.rows
        self.rows = self.rows[rows]
        self.proposal = self.proposal[rows] if twisted else self.rows
        self._states = tuple(tuple(part[rows] for part in state) for state in self._states)  # type: ignore


@one_thread()
def run_smc(
    task: Task,
    prior: Prior,
    c: float,
    *,
    runs: int,
    particles: int,
    rng: np.random.Generator,
    twist: Twist | None = None,
) -> Particles:
    """Run M independent systems of N particles; resample one (systematically) when its effective size is below N / 2.

    But not while nothing is known of those that are not over: a task that pays at the end alone is importance sampling
    without a twist.

    Args:
        task, prior, c: as an environment's; the prior with the task's mask (`prior.masking.mask_prior`).
        runs, particles: M and N.
        rng: of tokens and resampling.
        twist: proposals and values; None takes the prior's rows and v = 0.

    Raises ValueError where the numbers are not positive integers, the twist has other tokens, or rewards are too large.
    """
    check_size(runs, particles)
    check_twist(task, twist)
    walk = Walk(task, prior, c, runs * particles, twist)
    shape = (runs, particles)
    log_weights, log_z = np.zeros(shape), np.zeros(runs)
    returns, values = np.zeros(runs * particles), np.zeros(runs * particles)
    origins = np.broadcast_to(np.arange(particles), shape).reshape(-1)
    effective = np.full(task.length, np.nan)
    weights_of_terms = np.array(list(task.weights.values()))
    while len(walk.live):
        walk.feed()
        # v of the newest prefixes, in place of that of the ones before
        log_weights += (walk.values - values).reshape(shape)
        sizes = effective_size(log_weights) / particles
        effective[walk.step] = sizes.mean()
        if (poor := (sizes < RESAMPLE_BELOW) & know_something(log_weights, walk.live)).any():
            log_z[poor] += log_mean_exp(log_weights[poor])
            table = np.arange(runs * particles).reshape(shape)
            table[poor] = np.flatnonzero(poor)[:, None] * particles + resample(log_weights[poor], rng)
            parents = table.reshape(-1)
            log_weights[poor] = 0.0
            walk.select(parents)
            returns, origins = returns[parents], origins[parents]
        values = walk.values.copy()
        live = walk.live
        if not len(live):  # all descend from sequences that are over
            break
        before = walk.log_p - walk.log_pi
        walk.extend(sample_tokens(walk.proposal, rng))
        terms = task.step_terms(walk.tokens[live], np.full(len(live), walk.step - 1))
        check_budget(task)
        paid = terms @ weights_of_terms
        checks.check_rewards(task, scaled(paid, c), terms, c)
        returns[live] += paid
        flat = log_weights.reshape(-1)  # a view
        flat[live] += scaled(paid, c) + (walk.log_p - walk.log_pi - before)[live]
    # what ended in the last step is worth nothing more
    log_weights += (walk.values - values).reshape(shape)
    # steps that no sequence reached: nothing changes there
    effective[np.isnan(effective)] = (effective_size(log_weights) / particles).mean()
    log_mean = log_mean_exp(log_weights)
    return Particles(
        walk.tokens.reshape(*shape, -1), walk.lengths.reshape(shape),
        log_weights - log_mean[:, None] - np.log(particles), log_z + log_mean, returns.reshape(shape),
        walk.log_p.reshape(shape), effective, np.array([len(np.unique(row)) for row in origins.reshape(shape)]),
    )


class Draws(NamedTuple):
    """Hold n independent weighted sequences."""

    tokens: Tokens  # [n, T], the start id as filler
    lengths: Tokens  # [n]
    log_weights: Floats  # [n]; the mean of the weights is Z in expectation
    returns: Floats  # [n], R, not divided by c
    log_p: Floats  # [n]
    pays_at_end: bool  # whether no step but the last ones paid anything


@one_thread()
def draw_weighted(
    task: Task, prior: Prior, c: float, *, n: int, rng: np.random.Generator, twist: Twist | None = None
) -> Draws:
    """Draw n sequences for importance sampling: from the prior, or each from it or the twist's policy by a coin.

    The weight is p exp(R / c) / q with q = (p + pi) / 2, at most 2 exp(R / c): defensive importance
    sampling (Hesterberg 1995). Arguments are those of `run_smc`.
    """
    check_twist(task, twist)
    walk = Walk(task, prior, c, n, twist)
    # a coin for each, not every other one: the bounds on means ask for weights of one distribution
    proposed = rng.random(n) < 0.5 if twist is not None else np.zeros(n, np.bool_)
    while len(walk.live):
        walk.feed()
        rows = np.where(proposed[walk.live, None], walk.proposal, walk.rows) if twist is not None else walk.rows
        walk.extend(sample_tokens(rows, rng))
    # all at once, and outside the loop: scoring processes work best on many
    terms = np.stack(list(task.terms(padded(walk.tokens, walk.lengths), walk.lengths).values()), axis=2)  # [n, T, K]
    check_budget(task)
    rewards = terms @ np.array(list(task.weights.values()))
    checks.check_rewards(task, scaled(rewards, c).reshape(-1), terms.reshape(-1, terms.shape[2]), c)
    returns = rewards.sum(axis=1)
    log_weights = scaled(returns, c)
    if twist is not None:
        log_weights = log_weights + walk.log_p - (np.logaddexp(walk.log_p, walk.log_pi) - np.log(2.0))
    before_end = np.arange(task.length) < walk.lengths[:, None] - 1
    return Draws(walk.tokens, walk.lengths, log_weights, returns, walk.log_p, not (rewards * before_end).any())


def check_size(runs: int, particles: int) -> None:
    """Raise ValueError unless both are positive integers whose product fits into memory."""
    runs, particles = checks.positive_integer("runs", runs), checks.positive_integer("particles", particles)
    if runs * particles > MOST_PARTICLES:
        raise ValueError(f"{runs:,} runs of {particles:,} particles are too many: {MOST_PARTICLES:,} in all at most.")


def check_twist(task: Task, twist: Any) -> None:
    """Raise ValueError or TypeError in one line unless this is a twist of the task's tokens, or None."""
    if twist is None:
        return
    if not isinstance(twist, Twist):
        kind = type(twist).__name__
        raise TypeError(f"A twist has vocab, c, initial_state and step, as agent.twist() returns it; {kind} has not.")
    if twist.vocab != task.vocab:
        ours, theirs = len(task.vocab), len(twist.vocab)
        raise ValueError(f"The twist is of another vocabulary ({theirs} tokens) than the task's ({ours} tokens).")
    if twist.c is not None:
        checks.TEMPERATURE.check("The twist's c", twist.c)


def check_budget(task: Task) -> None:
    """Raise ValueError once a task's budget of scores is spent: what it says from then on is no score."""
    if task.spent:
        raise ValueError("The objective's budget of calls is spent: give a greater one, or draw fewer samples.")


def know_something(log_weights: Floats, live: Tokens) -> NDArray[np.bool_]:
    """Return for each run [M] whether the weight [M, N] of any particle that is not over (index in `live`) is not 1.

    Else, as where only ends are paid, to resample would replace them all by the few that ended first.
    """
    going = np.zeros(log_weights.size, np.bool_)
    going[live] = True
    return np.asarray(((log_weights != 0.0) & going.reshape(log_weights.shape)).any(axis=1))


def value_scale(twist: Twist, c: float) -> float:
    """Return what a twist's v is multiplied by at another temperature c: values are returns over c, nearly."""
    return 1.0 if twist.c is None else twist.c / c


def effective_size(log_weights: Floats) -> Floats:
    """Compute (sum w)^2 / sum w^2 along the last axis: how many equal weights say as much."""
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return weights.sum(axis=-1) ** 2 / (weights**2).sum(axis=-1)


def log_mean_exp(values: Floats) -> Floats:
    """Compute the log of the mean of exp along the last axis."""
    return np.logaddexp.reduce(values, axis=-1) - np.log(values.shape[-1])


def resample(log_weights: Floats, rng: np.random.Generator, k: int | None = None) -> Tokens:
    """Choose k of N particles, [M, k], in each run by its weights [M, N], systematically; None is N.

    One draw a run, k equal steps from there: each is chosen as often as expected but for less than one.
    """
    runs, particles = log_weights.shape
    k = particles if k is None else k
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    reached = np.cumsum(weights, axis=1)
    reached /= reached[:, -1:]
    points = (rng.random((runs, 1)) + np.arange(k)) / k
    # one search for all runs: each has its own unit of the number line
    units = np.arange(runs)[:, None]
    found = np.searchsorted((reached + units).reshape(-1), (points + units).reshape(-1), side="right")
    # rounding may carry the last point over the end of its unit
    return np.minimum(found.reshape(runs, k) - units * particles, particles - 1)
