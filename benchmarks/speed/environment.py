"""The native environment against the bare prior's step: what is left for the environment itself.

All sides write the same samples of the prior. The environment's side also starts all sequences anew (NEXT_STEP, which
takes one more call in 33), and saves one of the prior's 32 steps, as all sequences begin with the same row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

import seqtutor_envs  # noqa: F401  (registers the ids)
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed import bare
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row, time_row
from benchmarks.speed.turns import in_turns
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.prior import Prior, load_prior

HEAD = "The native batch, all infos or those of ends alone, against the bare prior's step along the same tokens"
AIMS = {64: (0.70, None), 256: (0.80, 0.90), 1024: (0.85, 0.90)}  # batch -> of infos="full", of infos="end"
MOLECULE_BATCHES = (64, 256)
INFOS = ("full", "end")


def rows(options: Options) -> Iterator[Row]:
    """Melodies, with the rules' share; then molecules, whose scores are known after the first time."""
    melodies = load_prior(options.melody_prior)
    for n in AIMS:
        yield from of_melodies(melodies, n, options.seconds)
    molecules = load_prior(options.smiles_prior)
    task: Any = None  # one for all: it keeps the scores
    for n in MOLECULE_BATCHES:
        sides = molecule_sides(molecules, n, task)
        task = sides["full"].task
        yield from of_molecules(sides, n, options.seconds)


def of_melodies(prior: Prior, n: int, seconds: float) -> Iterator[Row]:
    """Full infos, infos at ends alone, and the rules alone, in turns with the bare prior."""
    columns = bare.sampled(prior, n, LENGTH)
    tokens = np.stack(columns, axis=1)
    made: dict[str, Any] = {infos: gym.make_vec(MELODY, num_envs=n, infos=infos, prior=prior) for infos in INFOS}
    for env in made.values():
        env.reset(seed=bare.SEED)
    steps = [np.full(n, step) for step in range(LENGTH)]

    def episode(env: Any) -> None:
        for column in columns:
            env.step(column)
        env.step(columns[-1])  # NEXT_STEP starts all anew here; it writes no token

    def rules() -> None:
        for at in steps:
            made["full"].task.step_terms(tokens, at)

    sides = {
        "full": lambda: episode(made["full"]),
        "end": lambda: episode(made["end"]),
        "prior": lambda: bare.written(prior, columns),
        "rules": rules,
    }
    times = in_turns(sides, seconds)
    for infos, bound in zip(INFOS, AIMS[n]):
        aim = None if bound is None else Aim(bound)
        name = f"melodies, batch of {n:,}, infos={infos!r}"
        yield rate_row(name, times, infos, "prior", n * LENGTH, "steps/s", "bare prior", aim)
    name = f"melodies, batch of {n:,}, a step of the rules"
    yield time_row(name, times, "rules", "full", LENGTH, "us", "a step, infos='full'")


def molecule_sides(prior: Prior, n: int, task: Any = None) -> dict[str, Any]:
    """Environments over one task; sequences that end start anew within the step."""
    kwargs: dict[str, Any] = {"num_envs": n, "autoreset_mode": "SameStep", "prior": prior}
    full: Any = gym.make_vec(SMILES, **kwargs, **({} if task is None else {"task": task}))
    return {"full": full, "end": gym.make_vec(SMILES, **kwargs, infos="end", task=full.unwrapped.task)}


def of_molecules(made: dict[str, Any], n: int, seconds: float) -> Iterator[Row]:
    """As melodies. The bare side reads as many tokens, n at each step, and does not start sequences anew."""
    prior, length = made["full"].prior, made["full"].task.length
    columns = bare.stream(prior, n, length)

    sides = {
        "full": lambda: bare.episodes(made["full"], columns),
        "end": lambda: bare.episodes(made["end"], columns),
        "prior": lambda: bare.written(prior, columns),
    }
    times = in_turns(sides, seconds)
    for infos in INFOS:
        name = f"molecules, batch of {n:,}, infos={infos!r}"
        yield rate_row(name, times, infos, "prior", n * length, "steps/s", "bare prior; the scores are known")
