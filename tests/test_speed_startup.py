"""The section "startup" of the speed report: what a process is asked, and what is made of its answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.speed import startup
from benchmarks.speed.options import Options

TOY = """
from numba import njit

@njit(cache=True)
def twice(x):
    return 2 * x

twice(3)
"""


def test_peak_memory_is_the_new_processes_own():
    block = np.ones(200 * 2**17)  # 200 MiB here
    took, empty = startup.started("")
    _, full = startup.started("block = bytearray(100 * 2**20)")
    assert 0 < took < np.inf and 1 < empty < 100, "not what this process holds"
    assert full - empty == pytest.approx(100, abs=10)
    del block


def test_a_cold_start_compiles_into_the_given_folder(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import toy"
    startup.started(code, str(tmp_path / "empty"))
    assert list((tmp_path / "empty").rglob("*.nbi"))
    assert not list((tmp_path / "__pycache__").glob("*.nbi"))


@pytest.mark.parametrize("id", ["SeqTutor-Melody-v0", "SeqTutor-SMILES-v0", "SeqTutor-Exact-v0"])
def test_the_step_is_taken(id):
    code = startup.STEP.format(id=id, kwargs=json.dumps({}))
    assert startup.started(f"{code}\nassert env.action_space.contains(0) and env.unwrapped.spec.id == {id!r}")[1] > 1


def test_what_fails_in_a_process_is_said():
    with pytest.raises(RuntimeError, match="AssertionError: no"):
        startup.started("assert False, 'no'")


def test_rows_from_known_starts(monkeypatch):
    """Sixteen seconds more for a cold start, thirty MiB for each second of a warm one."""
    started, clocks = [], {startup.LEAST: 1.0, startup.OURS: 1.2, startup.NUMBA: 2.0}

    def start(code, cache=None):
        started.append((code, cache))
        seconds = clocks.get(code, 1.4 if "Exact" in code else 1.6)
        return (seconds if cache is None else seconds + 16), 30 * seconds

    monkeypatch.setattr(startup, "started", start)
    monkeypatch.setattr(startup, "TURNS", 3)
    rows = {row.name: row for row in startup.rows(Options())}
    assert len(rows) == 13 and len(started) == 6 + 3 * 6 + 3
    assert started[6:12] == started[12:18], "they take turns"
    warm = [rows[f"SeqTutor-{name}-v0, warm"] for name in ("Melody", "SMILES", "Exact")]
    assert [(row.value, row.ratio) for row in warm] == [(1.6, 1.6), (1.6, 1.6), (1.4, 1.4)]
    assert [row.met() for row in warm] == [False, False, True]
    cold = rows["SeqTutor-Exact-v0, cold"]
    assert (cold.value, cold.limit, cold.aim) == (17.4, 1.4, None)
    peak = rows["import gymnasium, seqtutor_envs, peak"]
    assert (peak.value, peak.limit, peak.unit) == (36.0, 30.0, "MiB")
