"""Speed of stable-baselines3's door: our VecEnv beside the native batch and SB3's own DummyVecEnv."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env

from benchmarks.domains import MELODY, SMILES
from benchmarks.speed.melody import quotient, rate
from benchmarks.speed.turns import in_turns
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.sb3 import make_vec_env

BATCHES = (1, 8, 64, 1024)
SEED = 0
UNIT = "Thousand steps per CPU second, one thread"
HEADS = {
    "vec_env": "The native batch; our make_vec_env for SB3, also with infos='full'; SB3's own (DummyVecEnv, Monitor)"
}
Figures = dict[str, float]


def measurements(prior: RecurrentPrior, seconds: float) -> Iterator[tuple[str, str, Figures]]:
    """Section, row, figures, one after the other; of molecules, if the prior writes them."""
    env_id = MELODY if prior.vocab == MELODY_VOCAB else SMILES
    for n in BATCHES:
        yield "vec_env", str(n), compared(env_id, prior, n, seconds)


def compared(env_id: str, prior: Prior, n: int, seconds: float) -> Figures:
    """All four write the same samples of the prior to n sequences; scores of molecules are known after the first time,
    so that RDKit's time is no part of it."""
    made: dict[str, Any] = {
        "native": gym.make_vec(env_id, num_envs=n, autoreset_mode="SameStep", infos="end", prior=prior),
        "sb3": make_vec_env(env_id, n, prior=prior),
        "sb3_full": make_vec_env(env_id, n, infos="full", prior=prior),
        "dummy": make_dummy_vec_env(env_id, n, env_kwargs={"prior": prior}),
    }
    steps = made["native"].task.length
    columns = written(prior, n, steps)

    def all_steps(env: Any) -> None:
        env.reset()
        for column in columns:
            env.step(column)

    times = in_turns({name: partial(all_steps, env) for name, env in made.items()}, seconds)
    return {
        **{f"{name}_ksteps": rate(n * steps, taken) for name, taken in times.items()},
        "sb3_to_native": quotient(times["native"], times["sb3"]),
        "sb3_to_dummy": quotient(times["dummy"], times["sb3"]),
        "sb3_full_to_dummy": quotient(times["dummy"], times["sb3_full"]),
    }


def written(prior: Prior, n: int, steps: int) -> list[NDArray[np.int64]]:
    """`steps` arrays [N]: the prior's samples of at most `steps` tokens, one after the other in each of n rows."""
    tokens, lengths = prior.sample(4 * n, SEED, steps)
    samples = cycle([row[:length] for row, length in zip(tokens, lengths)])
    rows = []
    for _ in range(n):
        row = next(samples)
        while len(row) < steps:
            row = np.concatenate([row, next(samples)])
        rows.append(row[:steps])
    return list(np.ascontiguousarray(np.array(rows).T))
