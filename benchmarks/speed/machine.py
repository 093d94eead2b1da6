"""The machine, and what is installed on it: speed means nothing without them."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info

from benchmarks.circumstances import cpu, memory_gib
from seqtutor_envs.command import installed, usable_cores

PACKAGES = ("seqtutor", "numpy", "numba", "torch", "gymnasium", "rdkit", "stable-baselines3")


def described() -> dict[str, Any]:
    """Facts by name; None where the system does not tell."""
    return {
        "cpu": cpu(),
        "cores": usable_cores(),
        "cores_in_all": os.cpu_count(),
        "memory_gib": memory_gib(),
        "load_before": load(),
        "os": platform.platform(),
        "python": platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
        "threads": threads(),
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts as a reader wants them."""
    memory = "memory not known" if facts["memory_gib"] is None else f"{facts['memory_gib']} GiB of memory"
    busy = "not known" if facts["load_before"] is None else f"{facts['load_before']:.2f}"
    versions = ", ".join(f"{package} {facts[package] or 'not installed'}" for package in PACKAGES)
    used = "; ".join(f"{name}: {number}" for name, number in facts["threads"].items())
    return [
        f"Machine: {facts['cpu']}; {facts['cores']} of {facts['cores_in_all']} cores usable; {memory}; {facts['os']}.",
        f"Load before: {busy} (average of one minute). Threads: {used}.",
        f"Python {facts['python']}, {versions}.",
    ]


def load() -> float | None:
    """Processes that ran or waited to run in the last minute, on average."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def threads() -> dict[str, int]:
    """Threads of each library that has some, as they are set now; BLAS by its name and version."""
    found = {f"torch's own {torch.__version__}": torch.get_num_threads()}
    for pool in threadpool_info():
        name = " ".join(str(part) for part in (pool["internal_api"], pool["version"]) if part)
        found[f"{name} ({Path(pool['filepath']).parent.name.removesuffix('.libs')})"] = pool["num_threads"]
    return found
