"""All measurements in one run, as a table and as JSON."""

from __future__ import annotations

import json
import math
import platform
from pathlib import Path
from typing import Any

from agents.saving import installed
from benchmarks.speed.turns import FEWEST_TURNS
from seqtutor_envs.files import write_atomically
from seqtutor_envs.prior import RecurrentPrior, load_prior


def measure_all(
    out: Path, seconds: float, name: str | None, domain: str = "melody", workers: int | None = None, memory: int = 0
) -> None:
    """Measures for `seconds` each, prints as it goes, writes `out`. Raises ValueError on what cannot be measured."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"--seconds must be above 0, not {seconds:g}.")
    if out.is_dir():
        raise ValueError(f"--out must be a file, and {out} is a folder.")
    if domain != "smiles" and (workers is not None or memory):
        raise ValueError("--workers and --memory are of molecules: add --domain smiles.")
    if memory < 0 or (workers or 0) < 0:
        raise ValueError("--workers and --memory must not be negative.")
    if name is None:
        name = "melody" if domain == "vec-env" else domain  # the shipped priors are called as their domains
    prior = load_prior(name)
    assert isinstance(prior, RecurrentPrior)  # names and paths give no other
    out.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written to is known before the work
    model = f"{prior.num_layers} x {prior.cell.upper()}-{prior.hidden_size}"
    measured, measurements = of_domain(domain, prior, seconds, workers, memory)
    print(f"Prior: {model}. {measured.UNIT}; the first quartile of {FEWEST_TURNS} or more turns.")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for section, row, figures in measurements:
        if section not in results:
            print("", measured.HEADS[section], f"{'':>11}" + "".join(f"{key:>20}" for key in figures), sep="\n")
        results.setdefault(section, {})[row] = figures
        cells = (f"{value:20.3f}" if value < 10 else f"{value:20.1f}" for value in figures.values())
        print(f"{row:>11}" + "".join(cells), flush=True)
    settings = {"domain": domain, "prior": name, "model": model, "seconds": seconds, "workers": workers}
    content = {"settings": settings, "versions": versions(), "results": results}
    write_atomically(out, (json.dumps(content, indent=1) + "\n").encode())
    print(f"\n{out}")


def of_domain(domain: str, prior: RecurrentPrior, seconds: float, workers: int | None, memory: int) -> tuple[Any, Any]:
    """The domain's module and its measurements; imports RDKit for molecules alone."""
    if domain == "melody":
        from benchmarks.speed import melody

        return melody, melody.measurements(prior, seconds)
    if domain == "vec-env":
        from benchmarks.speed import vec_env

        return vec_env, vec_env.measurements(prior, seconds)
    from benchmarks.speed import molecules

    return molecules, molecules.measurements(prior, seconds, workers, memory)


def versions() -> dict[str, Any]:
    """What was measured, and on what."""
    names = ("seqtutor", "numpy", "numba", "torch", "gymnasium", "rdkit", "stable-baselines3")
    packages = {name: installed(name) for name in names}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}
