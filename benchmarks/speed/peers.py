"""Libraries from PyPI that do the same work on melodies: tokens written and learned from, and tokens written alone.

CPU time. Each call of each side writes one melody in each of N environments and learns from them: our agents one round,
stable-baselines3's one rollout. PPO and RecurrentPPO are those of benchmarks/contestants.py, tuned: four epochs (the
libraries' own defaults are ten, which take two and a half times as long). The suite `times` says how good they become
in how many seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from agents import PsiLearning
from benchmarks.contestants import made
from benchmarks.domains import MELODY
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Row, rate_row
from benchmarks.speed.turns import STILL, in_turns
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.prior import find_prior

N = 64
HEAD = f"Learning from {N} melodies a time, beside other libraries; stepping alone, beside TorchRL's collector"
SEED = 0
ROOT = Path(__file__).parents[2]
PEERS = {  # factory in benchmarks/contestants.py -> what it is, and the package it takes
    "ppo": ("PPO of stable-baselines3", "stable_baselines3"),
    "recurrent_ppo": ("RecurrentPPO of sb3-contrib", "sb3_contrib"),
}
NOTES = {
    "ppo": "it reads the whole prefix, one-hot; 4 epochs",
    "recurrent_ppo": "an LSTM of the prior's shape; 4 epochs",
}


def rows(options: Options) -> Iterator[Row]:
    """Learning, then stepping; a line for what is not installed."""
    here = {name: what for name, (what, package) in PEERS.items() if find_spec(package)}
    yield from learning(here, options)
    for name in PEERS.keys() - here.keys():
        yield not_installed(*PEERS[name])
    yield stepping(options) if find_spec("torchrl") else not_installed("TorchRL's collector", "torchrl")


def learning(peers: dict[str, str], options: Options) -> Iterator[Row]:
    """Timesteps learned from per second: ours against each of the peers."""
    ours = PsiLearning(MELODY, seed=SEED, n_envs=N, learning_rate=STILL, env_kwargs={"prior": options.melody_prior})
    models: dict[str, Any] = {"psi": ours, **{name: peer(name, options.melody_prior) for name in peers}}
    sides: dict[str, Callable[[], Any]] = {
        name: partial(model.learn, N * LENGTH, reset_num_timesteps=False) for name, model in models.items()
    }
    times = in_turns(sides, options.seconds)
    for name, what in peers.items():
        row = rate_row(f"Psi-learning beside {what.split()[0]}", times, "psi", name, N * LENGTH, "timesteps/s", what)
        yield replace(row, note=NOTES[name])


def peer(name: str, prior: str) -> Any:
    """A model of stable-baselines3 or sb3-contrib in N melody environments; it pays for no callback of ours."""
    settings = {"learning_rate": STILL, "n_envs": N}
    return made(f"benchmarks.contestants:{name}", MELODY, SEED, {"prior": prior}, settings).model


def stepping(options: Options) -> Row:
    """Random tokens through the native batch: a plain loop, and TorchRL's collector, in a process of its own."""
    arguments = [str(options.seconds), str(find_prior(options.melody_prior)), str(N), str(LENGTH)]
    command = [sys.executable, "-m", "benchmarks.speed.torchrl_alone", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if found.returncode:
        note = f"not measured, TorchRL's collector fails: {(found.stderr.strip().splitlines() or ['no word'])[-1]}"
        return Row("native batch, random tokens", 0.0, "steps/s", note=note)
    times = {name: np.array(taken) for name, taken in json.loads(found.stdout.splitlines()[-1]).items()}
    what = "TorchRL's collector over the same"
    return rate_row("native batch, random tokens", times, "native", "torchrl", N * LENGTH, "steps/s", what)


def not_installed(what: str, package: str) -> Row:
    """Says so in the table."""
    note = f"not measured: {package} is not installed; pip install -e '.[third-party]' brings it"
    return Row(what, 0.0, "timesteps/s", note=note)
