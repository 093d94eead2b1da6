"""One environment as `gym.make` gives it; and the native batch against batches of such single environments."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env

import seqtutor_envs  # noqa: F401  (registers the ids)
from benchmarks.domains import MELODY
from benchmarks.speed import bare
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row
from benchmarks.speed.turns import in_turns
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.prior import Prior, load_prior

HEAD = "One environment, against the bare prior; the native batch, against batches of single environments (full infos)"
AIM = Aim(40_000, of="value")
BATCHES = (8, 64)
ASYNC_BATCH = 8  # a process each
# A forked worker has everything imported already. Elsewhere a worker imports the caller's script anew.
CONTEXT = "fork" if sys.platform == "linux" else "spawn"


def rows(options: Options) -> Iterator[Row]:
    """One sequence, then batches of 8 and 64."""
    prior = load_prior(options.melody_prior)
    yield from alone(prior, options.seconds)
    for n in BATCHES:
        yield from beside_batches(prior, n, options.seconds)
    yield beside_processes(prior, ASYNC_BATCH, options.seconds)


def alone(prior: Prior, seconds: float) -> Iterator[Row]:
    """gym.make's environment, its wrappers included, and the bare one, in turns with the prior on one sequence."""
    columns = bare.sampled(prior, 1, LENGTH)
    actions = [int(column[0]) for column in columns]
    wrapped, unwrapped = gym.make(MELODY, prior=prior), gym.make(MELODY, prior=prior).unwrapped

    def episode(env: Any) -> None:
        env.reset()
        for action in actions:
            env.step(action)

    sides: dict[str, Callable[[], Any]] = {
        "make": partial(episode, wrapped),
        "unwrapped": partial(episode, unwrapped),
        "prior": lambda: bare.written(prior, columns),
    }
    times = in_turns(sides, seconds)
    for side, name in (("make", "one melody, as gym.make gives it"), ("unwrapped", "one melody, unwrapped")):
        yield rate_row(name, times, side, "prior", LENGTH, "steps/s", "bare prior, one sequence", AIM)


def beside_batches(prior: Prior, n: int, seconds: float) -> Iterator[Row]:
    """The native batch beside Gymnasium's SyncVectorEnv and stable-baselines3's DummyVecEnv, each in the rival's own
    autoreset mode."""
    columns = bare.sampled(prior, n, LENGTH)
    kwargs: dict[str, Any] = {"num_envs": n, "prior": prior}
    made: dict[str, Any] = {
        "native": gym.make_vec(MELODY, **kwargs),
        "sync": gym.make_vec(MELODY, vectorization_mode="sync", **kwargs),
        "native, SameStep": gym.make_vec(MELODY, autoreset_mode="SameStep", **kwargs),
        "dummy": make_dummy_vec_env(MELODY, n, env_kwargs={"prior": prior}),
    }
    times = in_turns({name: partial(bare.episodes, env, columns) for name, env in made.items()}, seconds)
    for side, rival, name in (("native", "sync", "SyncVectorEnv"), ("native, SameStep", "dummy", "SB3's DummyVecEnv")):
        yield rate_row(f"melodies, batch of {n}, {side}", times, side, rival, n * LENGTH, "steps/s", name)


def beside_processes(prior: Prior, n: int, seconds: float) -> Row:
    """The native batch beside AsyncVectorEnv, whose environments are processes: by the wall's clock."""
    columns = bare.sampled(prior, n, LENGTH)
    native = gym.make_vec(MELODY, num_envs=n, prior=prior)
    workers = gym.make_vec(
        MELODY, num_envs=n, vectorization_mode="async", vector_kwargs={"context": CONTEXT}, prior=prior
    )
    try:
        sides = {"native": partial(bare.episodes, native, columns), "async": partial(bare.episodes, workers, columns)}
        times = in_turns(sides, seconds, time.perf_counter)
    finally:
        workers.close()
    name = f"melodies, batch of {n}, native (wall)"
    return rate_row(name, times, "native", "async", n * LENGTH, "steps/s", "AsyncVectorEnv")
