"""Speed of the melody environment, the recurrent cells and an agent. Thousand steps (tokens) per CPU second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents import PsiLearning
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs import cells
from seqtutor_envs.cells import RecurrentStep
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.prior import Prior, RecurrentPrior

ENV = "SeqTutor-Melody-v0"
BATCHES = (64, 256, 1024)
CELL_BATCHES = (1, 2, 4, 8, 16, 64)
SEED = 0
UNIT = "Thousand steps per CPU second, one thread"
HEADS = {
    "environment": "Melody environment, full infos, native batch; share_of_prior: of the bare step's steps/s",
    "single": "One environment, as gym.make gives it",
    "cells": "Recurrent step; compiled_to_numpy above 1: the compiled loop is the faster",
    "agent": "Psi-learning at its defaults: rollouts and updates",
}
Figures = dict[str, float]


def measurements(prior: RecurrentPrior, seconds: float) -> Iterator[tuple[str, str, Figures]]:
    """Section, row, figures, one after the other."""
    for n in BATCHES:
        yield "environment", str(n), environment(prior, n, seconds)
    yield "single", "1", single(prior, seconds)
    for n in CELL_BATCHES:
        yield "cells", str(n), cell(prior, n, seconds)
    yield "agent", "psi", agent(prior, seconds)


def environment(prior: Prior, n: int, seconds: float) -> Figures:
    """The native batch of n with full infos, Gymnasium's default autoreset; the prior's bare step; the rules alone.

    All three write the same n melodies, samples of the prior: a rule's cost depends on what it reads.
    """
    env = gym.make_vec(ENV, num_envs=n, prior=prior)
    assert isinstance(env, SequenceTutorVectorEnv)
    tokens, _ = prior.sample(n, SEED, LENGTH)  # [N, T]
    columns = list(np.ascontiguousarray(tokens.T))
    task = env.task
    env.reset(seed=SEED)

    def episode() -> None:
        for column in columns:
            env.step(column)
        env.step(column)  # NEXT_STEP starts all anew here; it writes no token

    def bare() -> None:
        write(prior, columns)

    def rules() -> None:
        for step in range(LENGTH):
            task.step_terms(tokens, np.full(n, step))

    times = in_turns({"env": episode, "prior": bare, "rules": rules}, seconds)
    return {
        "env_ksteps": rate(n * LENGTH, times["env"]),
        "prior_ksteps": rate(n * LENGTH, times["prior"]),
        "share_of_prior": quotient(times["prior"], times["env"]),
        "rules_share": quotient(times["rules"], times["env"]),
    }


def single(prior: Prior, seconds: float) -> Figures:
    """One environment as gym.make gives it, against the prior's bare step on one sequence."""
    env = gym.make(ENV, prior=prior)
    tokens, _ = prior.sample(1, SEED, LENGTH)
    actions = tokens[0].tolist()

    def episode() -> None:
        env.reset()
        for action in actions:
            env.step(action)

    times = in_turns({"env": episode, "prior": lambda: write(prior, list(tokens.T))}, seconds)
    return {
        "env_ksteps": rate(LENGTH, times["env"]),
        "prior_ksteps": rate(LENGTH, times["prior"]),
        "share_of_prior": quotient(times["prior"], times["env"]),
    }


def cell(prior: RecurrentPrior, n: int, seconds: float) -> Figures:
    """The two forms of the recurrent step, numpy and compiled loop, on n sequences."""
    step = RecurrentStep(prior.weights, prior.cell)
    tokens = np.arange(n) % len(prior.vocab)

    def forced(few: int) -> None:
        with few_is(few):
            state = step.initial_state(n)
            for _ in range(LENGTH):
                _, state = step(tokens, state)

    times = in_turns({"numpy": lambda: forced(0), "compiled": lambda: forced(n)}, seconds)
    return {
        "numpy_ksteps": rate(n * LENGTH, times["numpy"]),
        "compiled_ksteps": rate(n * LENGTH, times["compiled"]),
        "compiled_to_numpy": quotient(times["numpy"], times["compiled"]),
    }


def agent(prior: Prior, seconds: float) -> Figures:
    """Psi-learning at its defaults: collecting a round against the updates that follow it."""
    learner = PsiLearning(ENV, seed=SEED, env_kwargs={"prior": prior})
    sequences, _ = learner.collect()
    times = in_turns({"rollout": learner.collect, "update": lambda: learner.improve(sequences)}, seconds)
    tokens = learner.n_envs * LENGTH
    return {
        "ksteps": rate(tokens, times["rollout"] + times["update"]),
        "rollout_ms": 1e3 * typical(times["rollout"]),
        "update_ms": 1e3 * typical(times["update"]),
        "rollout_share": quotient(times["rollout"], times["rollout"] + times["update"]),
    }


def write(prior: Prior, columns: list[NDArray[np.int64]]) -> None:
    """The prior's bare step along given tokens, T arrays [N]: T steps, that of the start token first."""
    n = len(columns[0])
    state: Any = prior.initial_state(n)
    last = np.full(n, prior.vocab.start)
    for column in columns:
        _, state = prior.step(last, state)
        last = column


@contextmanager
def few_is(n: int) -> Iterator[None]:
    """Up to n sequences go through the compiled loop, whatever is best."""
    usual = cells.FEW
    cells.FEW = n
    try:
        yield
    finally:
        cells.FEW = usual


def rate(steps: int, times: NDArray[np.float64]) -> float:
    """Thousand steps per second."""
    return steps / typical(times) / 1e3


def quotient(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Time of a by time of b."""
    return typical(a) / typical(b)
