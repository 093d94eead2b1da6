"""Melodies need no RDKit, molecules no pretty_midi; what needs them says in one line what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from toys.commands import ROOT

# an import of the first argument fails as where it is not installed; then `python -m MODULE arguments ...` for each of
# the second, until one fails
SCRIPT = """
import json, runpy, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

package, commands = sys.argv[1:]
sys.meta_path.insert(0, Missing())
for sys.argv in json.loads(commands):
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""
MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
NO_RDKIT = "Molecules need RDKit: pip install rdkit\n"
NO_MIDI = "MIDI files need pretty_midi: pip install pretty_midi\n"


def run_without(package, folder, *commands):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", SCRIPT, package, json.dumps(commands)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("package, env_id", [("rdkit", MELODY), ("pretty_midi", SMILES)])
def test_the_other_domain_works_without_the_package(tmp_path, package, env_id):
    done = run_without(
        package,
        tmp_path,
        ["agents", "train", env_id, "--steps", "3000", "--out", "tutor"],
        ["agents", "sample", "tutor", "-n", "3"],
        ["agents", "evaluate", "tutor", "-n", "50"],
    )
    assert done.returncode == 0, done.stderr
    assert "task_return" in done.stdout, done.stdout  # the last has shown its figures


@pytest.mark.parametrize(
    "package, command, line",
    [
        ("rdkit", ["agents", "train", SMILES, "--steps", "3000", "--out", "tutor"], NO_RDKIT),
        ("rdkit", ["agents", "evaluate", "smiles", "-n", "50"], NO_RDKIT),
        ("rdkit", ["benchmarks", "demo", "--out", "demo"], NO_RDKIT),
        ("pretty_midi", ["agents", "sample", "melody", "-n", "3", "--midi"], NO_MIDI),
        ("pretty_midi", ["benchmarks", "demo", "--out", "demo"], NO_MIDI),
    ],
)
def test_a_line_says_what_to_install(tmp_path, package, command, line):
    done = run_without(package, tmp_path, command)
    assert (done.returncode, done.stderr) == (2, f"python -m {command[0]}: {line}")
    assert not any(tmp_path.iterdir())
