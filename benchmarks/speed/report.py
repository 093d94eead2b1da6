"""All measurements in one run, as a table and as JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.base import installed
from benchmarks.speed import melody
from benchmarks.speed.turns import FEWEST_TURNS
from seqtutor_envs.files import write_atomically
from seqtutor_envs.prior import RecurrentPrior, load_prior

HEADS = {
    "environment": "Melody environment, full infos, native batch; share_of_prior: of the bare step's steps/s",
    "single": "One environment, as gym.make gives it",
    "cells": "Recurrent step; compiled_to_numpy above 1: the compiled loop is the faster",
    "agent": "Psi-learning at its defaults: rollouts and updates",
}


def measure_all(out: Path, seconds: float, name: str) -> None:
    """Measures for `seconds` each, prints as it goes, writes `out`. Raises ValueError on what cannot be measured."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"--seconds must be above 0, not {seconds:g}.")
    if out.is_dir():
        raise ValueError(f"--out must be a file, and {out} is a folder.")
    prior = load_prior(name)
    assert isinstance(prior, RecurrentPrior)  # names and paths give no other
    out.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written to is known before the work
    model = f"{prior.num_layers} x {prior.cell.upper()}-{prior.hidden_size}"
    print(f"Prior: {model}. Thousand steps per CPU second, one thread;", end=" ")
    print(f"the first quartile of {FEWEST_TURNS} or more turns.")
    results: dict[str, dict[str, melody.Figures]] = {}
    for section, row, figures in measurements(prior, seconds):
        if section not in results:
            print("", HEADS[section], f"{'':>11}" + "".join(f"{key:>20}" for key in figures), sep="\n")
        results.setdefault(section, {})[row] = figures
        cells = (f"{value:20.3f}" if value < 10 else f"{value:20.1f}" for value in figures.values())
        print(f"{row:>11}" + "".join(cells), flush=True)
    settings = {"prior": name, "model": model, "seconds": seconds}
    content = {"settings": settings, "versions": versions(), "results": results}
    write_atomically(out, (json.dumps(content, indent=1) + "\n").encode())
    print(f"\n{out}")


def measurements(prior: RecurrentPrior, seconds: float) -> Iterator[tuple[str, str, melody.Figures]]:
    """Section, row, figures, one after the other."""
    for n in melody.BATCHES:
        yield "environment", str(n), melody.environment(prior, n, seconds)
    yield "single", "1", melody.single(prior, seconds)
    for n in melody.CELL_BATCHES:
        yield "cells", str(n), melody.cell(prior, n, seconds)
    yield "agent", "psi", melody.agent(prior, seconds)


def versions() -> dict[str, Any]:
    """What was measured, and on what."""
    names = ("seqtutor", "numpy", "numba", "torch", "gymnasium")
    packages = {name: installed(name) for name in names}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}
