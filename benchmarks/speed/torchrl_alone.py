"""Random tokens by TorchRL's collector and by a plain loop, over the same native batch.

`python -m benchmarks.speed.torchrl_alone SECONDS PRIOR N STEPS` prints the seconds of each side's turns as JSON: a
process of its own, since importing torchrl changes how a process starts others. One call of a side is STEPS steps of
all N.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import seqtutor_envs  # noqa: F401  (registers the ids)
from benchmarks.domains import MELODY
from benchmarks.speed.turns import in_turns
from seqtutor_envs.command import one_thread

SEED = 0


def sides(prior: str, n: int, steps: int) -> dict[str, Callable[[], Any]]:
    """Both reset what has ended themselves, as TorchRL wants to; tokens are drawn uniformly."""
    return {"native": native(made(prior, n), steps), "torchrl": collector(made(prior, n), n * steps)}


def made(prior: str, n: int) -> Any:
    return gym.make_vec(MELODY, num_envs=n, prior=prior, autoreset_mode="Disabled")


def native(env: Any, steps: int) -> Callable[[], None]:
    """The plain loop; goes on where its last call stopped."""
    rng, size = np.random.default_rng(SEED), env.single_action_space.n
    env.reset(seed=SEED)

    def call() -> None:
        for _ in range(steps):
            _, _, terminated, truncated, _ = env.step(rng.integers(size, size=env.num_envs))
            if (over := terminated | truncated).any():
                env.reset(options={"reset_mask": over})

    return call


def collector(env: Any, frames: int) -> Callable[[], Any]:
    """The next batch of TorchRL's collector, whose policy is random where none is given."""
    import torchrl.collectors
    from torchrl.envs import GymWrapper

    kind = getattr(torchrl.collectors, "Collector", None) or torchrl.collectors.SyncDataCollector  # its older name
    wrapped = GymWrapper(env, categorical_action_encoding=True)
    batches = iter(kind(wrapped, None, frames_per_batch=frames, total_frames=-1))
    return lambda: next(batches)


def main(seconds: str, prior: str, n: str, steps: str) -> None:
    """The turns of both sides, as JSON on the last line."""
    one_thread()
    times = in_turns(sides(prior, int(n), int(steps)), float(seconds))
    print(json.dumps({name: taken.tolist() for name, taken in times.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
