"""Melodies need no RDKit, molecules no pretty_midi; what needs them says in one line what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from toys.commands import ROOT

# an import of the first argument fails as where it is not installed; then `python -m MODULE arguments ...` for each of
# the second, and a line of their exit statuses; one process for all of them, as most of the time goes into imports
SCRIPT = """
import json, runpy, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

package, commands = sys.argv[1:]
sys.meta_path.insert(0, Missing())
statuses = []
for sys.argv in json.loads(commands):
    statuses.append(0)
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        statuses[-1] = end.code or 0
print(statuses)
"""
MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"


def run_without(package, folder, *commands):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", SCRIPT, package, json.dumps(commands)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, statuses = done.stdout.splitlines()
    return lines, done.stderr, json.loads(statuses)


@pytest.mark.parametrize("package, env_id", [("rdkit", MELODY), ("pretty_midi", SMILES)])
def test_the_other_domain_works_without_the_package(tmp_path, package, env_id):
    lines, errors, statuses = run_without(
        package,
        tmp_path,
        ["agents", "train", env_id, "--steps", "3000", "--out", "tutor"],
        ["agents", "sample", "tutor", "-n", "3"],
        ["agents", "evaluate", "tutor", "-n", "50"],
    )
    assert statuses == [0, 0, 0], errors
    assert any(line.startswith("task_return") for line in lines)  # the last has shown its figures


@pytest.mark.parametrize(
    "package, line, commands",
    [
        (
            "rdkit",
            "Molecules need RDKit: pip install rdkit",
            [
                ["agents", "train", SMILES, "--steps", "3000", "--out", "tutor"],
                ["agents", "evaluate", "smiles", "-n", "50"],
                ["benchmarks", "demo", "--out", "demo"],
            ],
        ),
        (
            "pretty_midi",
            "MIDI files need pretty_midi: pip install pretty_midi",
            [["agents", "sample", "melody", "-n", "3", "--midi"], ["benchmarks", "demo", "--out", "demo"]],
        ),
    ],
)
def test_a_line_says_what_to_install(tmp_path, package, line, commands):
    _, errors, statuses = run_without(package, tmp_path, *commands)
    assert statuses == [2] * len(commands)
    assert errors.splitlines() == [f"python -m {command[0]}: {line}" for command in commands]
    assert not any(tmp_path.iterdir())
