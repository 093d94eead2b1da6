"""The demonstration: fine-tune shipped priors with Psi-learning, judge before and after, write what to hear, see, read.

Melodies and molecules are a part each, with the same functions: `tutor`, `run`, `commands`, `summary`, `full_text`.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.demo import melodies, molecules
from benchmarks.demo.settings import Settings
from benchmarks.report.page import page
from seqtutor_envs import __version__
from seqtutor_envs.command import INTERRUPTED, installed
from seqtutor_envs.files import finite

__all__ = ["Settings", "commands", "demonstrate"]

MODULES: dict[str, ModuleType] = {"melodies": melodies, "molecules": molecules}
THIS = "this page"


def demonstrate(settings: Settings) -> None:
    """Runs the demonstration and prints a summary.

    Ctrl-C ends the learning of the part in progress; if it ended any, raises SystemExit(130) after the report is
    written.
    """
    begin = time.perf_counter()
    # what cannot be read or written to is known before the work
    agents = {name: MODULES[name].tutor(settings) for name in settings.parts}
    settings.out.mkdir(parents=True, exist_ok=True)
    done = {name: MODULES[name].run(settings, agent) for name, agent in agents.items()}
    results: dict[str, Any] = {
        "commands": commands(settings),
        "settings": {**asdict(settings), "out": str(settings.out)},
        **{name: part for name, (part, _) in done.items()},
        "versions": versions(settings),
    }
    results["wall_seconds"] = time.perf_counter() - begin  # all but the writing, a few seconds
    results = finite(results)
    write(settings.out, results, {name: write_files for name, (_, write_files) in done.items()})
    print(*(f"\n{MODULES[name].summary(results[name])}" for name in settings.parts), sep="\n")
    print(f"\n{settings.out / 'report.html'}")
    if any(results[name]["training"]["interrupted"] for name in settings.parts):
        raise SystemExit(INTERRUPTED)


def commands(settings: Settings) -> dict[str, str]:
    """What was typed, and what may be typed next: purpose -> command line."""
    lines = {THIS: settings.command}
    for name in settings.parts:
        lines |= MODULES[name].commands(settings)
    return lines


def versions(settings: Settings) -> dict[str, str | None]:
    """What this was made with."""
    names = ["torch", "numpy", "gymnasium", "stable-baselines3", "numba"]
    names += ["rdkit"] if "molecules" in settings.parts else []
    packages = {name: installed(name) for name in names}
    return {"seqtutor": installed("seqtutor") or __version__, "python": platform.python_version(), **packages}


def write(out: Path, results: dict[str, Any], parts: dict[str, Callable[[Path], None]]) -> None:
    """Puts all files into `out`. They are made in a folder within it, then moved: Ctrl-C leaves no half of one.

    `parts` write their own files into the folder that they are given.
    """
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as folder:
        staging = Path(folder)
        for write_files in parts.values():
            write_files(staging)
        tables = [results["commands"][THIS], *(MODULES[name].full_text(results[name]) for name in parts)]
        (staging / "table.txt").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
        facts = json.dumps(results, indent=1, allow_nan=False)
        (staging / "results.json").write_text(facts + "\n", encoding="utf-8")
        (staging / "report.html").write_text(page(results, staging), encoding="utf-8")
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out / path.relative_to(staging)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
