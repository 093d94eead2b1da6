"""How cost grows with the number of sequences, the horizon, the vocabulary and the network.

The prior reads each token once, whatever the horizon: that is counted. The nine rules read the whole prefix again at
each step, so their share grows with the horizon; it is shown apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents import PsiLearning
from benchmarks.domains import MELODY
from benchmarks.speed import bare
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row, time_row
from benchmarks.speed.turns import in_turns
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import Prior, State, load_prior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

HEAD = "How cost grows; the tokens that the prior reads are counted: each once, no prefix again"
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
HORIZONS = (16, 32, 64, 128, 256, 512)
COUNTED = (16, 512)
VOCABULARIES = (16, 64, 256, 1024)
HIDDEN = (64, 128, 256, 512)
N = 64  # sequences, where something else grows
ONCE = Aim(1.0, at_most=True)


class Counted(Prior):
    """A prior that counts the tokens it is fed."""

    def __init__(self, prior: Prior) -> None:
        self.prior, self.vocab, self.length, self.fed = prior, prior.vocab, prior.length, 0

    def initial_state(self, n: int) -> State:
        return self.prior.initial_state(n)

    def step(self, tokens: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        self.fed += len(tokens)
        return self.prior.step(tokens, state)


class Unjudged(Task):
    """Sequences over any vocabulary, worth nothing: what is left is the environment's own cost."""

    def __init__(self, vocab: TokenVocab, length: int) -> None:
        self.vocab, self.length, self.weights = vocab, length, {"nothing": 1.0}

    def step_terms(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.zeros((len(tokens), 1))


def rows(options: Options) -> Iterator[Row]:
    """One section after the other."""
    prior = load_prior(options.melody_prior)
    for n in BATCHES:
        yield beside_prior(f"melodies, batch of {n:,}", prior, n, None, options.seconds)
    yield from by_horizon(prior, options.seconds)
    for horizon in COUNTED:
        yield from counted(prior, horizon)
    for size in VOCABULARIES:
        vocab = bare.words(size)
        model, task = bare.random_prior("lstm", 128, vocab, LENGTH), Unjudged(vocab, LENGTH)
        yield beside_prior(f"LSTM-128, batch of {N}, {size:,} tokens to choose from", model, N, task, options.seconds)
    for size in HIDDEN:
        model = bare.random_prior("lstm", size, MELODY_VOCAB, LENGTH)
        yield beside_prior(f"LSTM-{size}, melodies, batch of {N}", model, N, None, options.seconds)


def beside_prior(name: str, prior: Prior, n: int, task: Task | None, seconds: float) -> Row:
    """Steps/s of the native batch, all infos, beside the bare prior's."""
    kwargs: dict[str, Any] = {"prior": prior} if task is None else {"prior": prior, "task": task}
    env = gym.make_vec(MELODY, num_envs=n, **kwargs)
    columns = bare.sampled(prior, n, LENGTH)
    sides = {"env": partial(bare.episodes, env, columns), "prior": partial(bare.written, prior, columns)}
    return rate_row(name, in_turns(sides, seconds), "env", "prior", n * LENGTH, "steps/s", "bare prior")


def by_horizon(prior: Prior, seconds: float) -> Iterator[Row]:
    """Microseconds of one step of N sequences, against those at the shortest horizon: 1 where cost is linear in it."""
    make = partial(gym.make_vec, MELODY, num_envs=N, prior=prior)
    made: dict[int, Any] = {horizon: make(length=horizon) for horizon in HORIZONS}
    columns = {horizon: bare.sampled(prior, N, horizon) for horizon in HORIZONS}

    tokens = {horizon: np.stack(columns[horizon], axis=1) for horizon in HORIZONS}

    def rules(horizon: int) -> None:
        task = made[horizon].task
        for step in range(horizon):
            task.step_terms(tokens[horizon], np.full(N, step))

    parts: dict[str, Any] = {
        "environment": lambda horizon: bare.episodes(made[horizon], columns[horizon]),
        "the rules of that": rules,
        "prior.sample": lambda horizon: prior.sample(N, bare.SEED, horizon),
    }
    shortest = str(HORIZONS[0])
    for what, part in parts.items():
        times = in_turns({str(horizon): partial(part, horizon) for horizon in HORIZONS}, seconds)
        a_step = {horizon: taken / int(horizon) for horizon, taken in times.items()}
        for horizon in HORIZONS:
            name = f"{what}, horizon {horizon}, a step of {N}"
            yield time_row(name, a_step, str(horizon), shortest, 1, "us", f"horizon {shortest}")


def counted(prior: Prior, horizon: int) -> Iterator[Row]:
    """Tokens that the prior is fed for each sequence of so many tokens; the limit is that number."""
    model = Counted(prior)
    for what, fed in fed_tokens(model, horizon).items():
        name = f"tokens fed, horizon {horizon}, {what}"
        yield Row(name, fed / N, "tokens", horizon, "the horizon", fed / N / horizon, aim=ONCE)


def fed_tokens(prior: Counted, horizon: int) -> dict[str, int]:
    """Of N sequences: by an episode of the environment, made for it, by `sample`, and by a round of Psi-learning."""
    columns = bare.sampled(prior.prior, N, horizon)

    def environment() -> None:
        env = gym.make_vec(MELODY, num_envs=N, prior=prior, length=horizon)
        bare.episodes(env, columns)

    learner = PsiLearning(MELODY, n_envs=N, env_kwargs={"prior": prior, "length": horizon})
    found = {}
    for what, work in (
        ("environment", environment),
        ("prior.sample", lambda: prior.sample(N, bare.SEED, horizon)),
        ("Psi-learning's round", learner.collect),
    ):
        prior.fed = 0
        work()
        found[what] = prior.fed
    return found
