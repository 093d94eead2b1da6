"""Run the demonstration: both parts, then the page and all files beside it.

Melodies and molecules are a part each, with the same methods: `run`, `write`.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.demo.melodies import Melodies
from benchmarks.demo.molecules import OBJECTIVE, C, Molecules
from benchmarks.demo.settings import DemoSettings
from benchmarks.report.demo_page import part_tables, render_demo, summary_table, trainings
from benchmarks.report.tables import format_text
from seqtutor_envs import __version__
from seqtutor_envs.command import INTERRUPTED, installed
from seqtutor_envs.files import finite
from seqtutor_envs.files.writing import naming
from seqtutor_envs.prior import list_shipped

THIS = "this page"


def demonstrate(settings: DemoSettings) -> None:
    """Run the demonstration and print a summary.

    Ctrl-C ends the learning of the part in progress; if it ended any, raises SystemExit(130) after the report is
    written.
    """
    begin = time.perf_counter()
    # bad priors and an unusable folder are errors before the work
    parts = {name: (Melodies if name == "melodies" else Molecules)(settings) for name in settings.parts}
    settings.out.mkdir(parents=True, exist_ok=True)
    packages = ["torch", "numpy", "gymnasium", "stable-baselines3", "numba"]
    packages += ["rdkit"] if "molecules" in parts else []
    versions = {"seqtutor": installed("seqtutor") or __version__, "python": platform.python_version()}
    results: dict[str, Any] = {
        "commands": commands(settings),
        "settings": {**asdict(settings), "out": str(settings.out)},
        **{name: part.run() for name, part in parts.items()},
        "versions": {**versions, **{name: installed(name) for name in packages}},
    }
    results["wall_seconds"] = time.perf_counter() - begin  # without writing the files, a few seconds
    results = finite(results)
    write_files(settings.out, results, parts)
    print(*(f"\n{format_text(summary_table(name, results[name]))}" for name in parts), sep="\n")
    print(f"\n{settings.out / 'report.html'}")
    if any(one["interrupted"] for name in parts for one in trainings(results[name]).values()):
        raise SystemExit(INTERRUPTED)


def commands(settings: DemoSettings) -> dict[str, str]:
    """Map purposes to command lines: what was typed, and what may be typed next."""
    out, again = settings.out, f"--seed {settings.seed + 1}"
    lines = {THIS: settings.command}
    if "melodies" in settings.parts:
        folder, trust = shlex.quote(str(out)), say_trust(settings.prior)
        whose = "our own" if settings.paper else "the paper’s"
        other = replace(settings, paper=not settings.paper, only="melodies", out=Path(f"{out}-2"))
        midi = shlex.quote(str(out / "melodies" / "after_1.mid"))
        lines |= {
            f"the melodies with {whose} temperature, discount and targets": other.command,
            "more melodies of this tutor, as text and MIDI": f"python -m agents sample {folder} -n 20 --midi{trust}",
            "evaluate it on other melodies": f"python -m agents evaluate {folder} -n {settings.n} {again}{trust}",
            "what each rule pays a MIDI file, bar by bar": f"python -m seqtutor_envs.melody score {midi}",
        }
    if "molecules" in settings.parts:
        folder, n = shlex.quote(str(out / "molecules")), settings.evaluated_molecules
        trust = say_trust(settings.molecule_prior)
        lines |= {
            "more molecules of this tutor": f"python -m agents sample {folder} -n 20{trust}",
            "evaluate it on other molecules": f"python -m agents evaluate {folder} -n {n} {again}{trust}",
            "the same for as long as you like": f"python -m agents train SeqTutor-SMILES-v0 --objective {OBJECTIVE}"
            f" --c {C:g} --steps 2000000 --out {shlex.quote(f'{out}-longer')}",
        }
    return lines


def say_trust(prior: str) -> str:
    """Return the option without which no command opens a prior that an agent's file names."""
    return "" if prior in list_shipped() else " --trust"


def write_files(out: Path, results: Mapping[str, Any], parts: Mapping[str, Melodies | Molecules]) -> None:
    """Write all files into `out`. They are made in a folder within it, then moved: Ctrl-C leaves no half of one."""
    with naming(out), tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as folder:
        staging = Path(folder)
        for name, part in parts.items():
            part.write(staging, results[name])
        tables = [table for name in parts for table in part_tables(name, results[name]).values()]
        text = "\n\n".join([results["commands"][THIS], *map(format_text, tables)])
        (staging / "table.txt").write_text(text + "\n", encoding="utf-8")
        facts = json.dumps(results, indent=1, allow_nan=False)
        (staging / "results.json").write_text(facts + "\n", encoding="utf-8")
        (staging / "report.html").write_text(render_demo(results), encoding="utf-8")
        # within one file system, so that each move is atomic
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out / path.relative_to(staging)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
