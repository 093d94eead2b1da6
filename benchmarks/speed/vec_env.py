"""Stable-baselines3's door: our VecEnv beside the native batch that it wraps, and beside SB3's own DummyVecEnv.

All sides write the same samples of the prior; sequences that end start anew within the step (SameStep). Scores of
molecules are known after the first time, so that RDKit's time is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env

from benchmarks.domains import MELODY, SMILES
from benchmarks.speed import bare
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row
from benchmarks.speed.turns import in_turns
from seqtutor_envs.prior import Prior, load_prior
from seqtutor_envs.sb3 import make_vec_env

HEAD = "make_vec_env for stable-baselines3, against the native batch in SameStep mode and SB3's own DummyVecEnv"
BATCHES = (1, 8, 64, 256, 1024)
AIMS = {64: Aim(0.80), 256: Aim(0.80)}  # of infos="end" against the native batch
MOLECULES = 64
MOST_DUMMIES = 256  # a second for each turn with a thousand; what one of them costs does not depend on their number


def rows(options: Options) -> Iterator[Row]:
    """Melodies in batches of all sizes, molecules in one."""
    melodies = load_prior(options.melody_prior)
    for n in BATCHES:
        yield from compared(MELODY, "melodies", melodies, n, options.seconds)
    yield from compared(SMILES, "molecules", load_prior(options.smiles_prior), MOLECULES, options.seconds)


def compared(env_id: str, what: str, prior: Prior, n: int, seconds: float) -> Iterator[Row]:
    """Each form against the native batch with the same infos, and against DummyVecEnv, which gives all infos."""
    made = sides(env_id, prior, n)
    task = made["native"].task
    columns = bare.stream(prior, n, task.length)
    times = in_turns({name: partial(bare.episodes, env, columns) for name, env in made.items()}, seconds)
    aim = AIMS.get(n) if env_id == MELODY else None
    amount, name = n * task.length, f"{what}, batch of {n:,}"
    yield rate_row(f"{name}, infos='end'", times, "sb3", "native", amount, "steps/s", "native, infos='end'", aim)
    yield rate_row(f"{name}, infos='full'", times, "sb3_full", "native_full", amount, "steps/s", "native, infos='full'")
    for side, infos in (("sb3", "end"), ("sb3_full", "full")) if "dummy" in made else ():
        yield rate_row(f"{name}, infos={infos!r}", times, side, "dummy", amount, "steps/s", "DummyVecEnv (Monitor)")


def sides(env_id: str, prior: Prior, n: int) -> dict[str, Any]:
    """Both forms of both, and SB3's own of single environments, where there are not too many. All share one task, which
    keeps the scores."""
    kwargs: dict[str, Any] = {"num_envs": n, "autoreset_mode": "SameStep", "prior": prior}
    made: dict[str, Any] = {"native": gym.make_vec(env_id, infos="end", **kwargs)}
    shared: dict[str, Any] = {"prior": prior, "task": made["native"].task}
    made |= {
        "native_full": gym.make_vec(env_id, **kwargs, task=shared["task"]),
        "sb3": make_vec_env(env_id, n, **shared),
        "sb3_full": make_vec_env(env_id, n, infos="full", **shared),
    }
    if n <= MOST_DUMMIES:
        made["dummy"] = make_dummy_vec_env(env_id, n, env_kwargs=shared)
    return made
