"""When, where and with what a result was computed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import seqtutor_envs
from benchmarks.runner import provenance as module
from benchmarks.runner.provenance import collect_provenance, read_git_state

ROOT = Path(__file__).parents[2]


def test_versions_machine_and_time_are_facts_of_json():
    found = collect_provenance()
    assert json.loads(json.dumps(found)) == found and set(found) == {"versions", "machine", "finished"}
    versions, machine = found["versions"], found["machine"]
    assert versions["python"] == platform.python_version()
    for name in ("torch", "numpy", "gymnasium", "stable-baselines3", "rdkit"):
        assert versions[name] == version(name)
    assert versions["seqtutor"] == seqtutor_envs.__version__
    assert machine["cpu"] and machine["host"] and machine["os"] == platform.platform()
    assert 1 <= machine["cores"] <= os.cpu_count() and machine["memory_gib"] > 0.5
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found["finished"])) < timedelta(minutes=1)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda name: None)
    versions = collect_provenance()["versions"]
    assert versions["sb3-contrib"] is None and versions["seqtutor"] == seqtutor_envs.__version__


def git(*words, cwd):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_known_and_whether_the_code_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "benchmarks" / "runner" / "provenance.py"))
    code = tmp_path / "benchmarks" / "runner" / "provenance.py"
    code.parent.mkdir(parents=True)
    code.write_text("1\n")
    (tmp_path / "other.py").write_text("1\n")
    git("init", cwd=tmp_path)
    git("add", ".", cwd=tmp_path)
    git("commit", "-m", "first", cwd=tmp_path)
    commit = git("rev-parse", "HEAD", cwd=tmp_path)
    assert len(commit) == 40 and read_git_state() == {"commit": commit, "dirty": False}
    (tmp_path / "results.json").write_text("{}")
    assert read_git_state() == {"commit": commit, "dirty": False}, "results in the checkout are no change of the code"
    (tmp_path / "other.py").write_text("2\n")
    assert read_git_state() == {"commit": commit, "dirty": True}


def test_without_a_checkout_or_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "runner" / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_git_state() is None
    monkeypatch.setattr(module, "__file__", str(ROOT / "benchmarks" / "runner" / "provenance.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_state() is None
