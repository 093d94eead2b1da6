"""The sections "environment" and "single": all sides write the same, the aims stand where they belong, lines add up."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
from speed_toys import by_name, one_call, quick, small_options, spied

from benchmarks.domains import MELODY
from benchmarks.speed import bare, environment, lines, single
from seqtutor_envs.prior import load_prior


@pytest.fixture
def options(tmp_path):
    return small_options(tmp_path)


def test_the_aims_are_those_asked_for():
    assert environment.AIMS == {64: (0.70, None), 256: (0.80, 0.90), 1024: (0.85, 0.90)}
    assert (single.AIM.bound, single.AIM.of, single.AIM.at_most) == (40_000, "value", False)
    assert single.BATCHES == (8, 64)


def test_rows_of_the_environment(options, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(environment, "AIMS", {3: (0.5, None), 5: (0.6, 0.7)})
    monkeypatch.setattr(environment, "MOLECULE_BATCHES", (2, 4))
    found = by_name(environment.rows(options))
    aims = {name: None if row[0].aim is None else row[0].aim.bound for name, row in found.items()}
    assert aims == {
        "melodies, batch of 3, infos='full'": 0.5,
        "melodies, batch of 3, infos='end'": None,
        "melodies, batch of 3, a step of the rules": None,
        "melodies, batch of 5, infos='full'": 0.6,
        "melodies, batch of 5, infos='end'": 0.7,
        "melodies, batch of 5, a step of the rules": None,
        **{f"molecules, batch of {n}, infos={infos!r}": None for n in (2, 4) for infos in ("full", "end")},
    }


def test_the_environment_writes_what_the_bare_prior_reads(options, monkeypatch):
    """An episode of the batch: the prior's own samples, paid as a batch of SyncVectorEnv is."""
    prior, taken = load_prior(options.melody_prior), {}
    make_vec = gym.make_vec

    def watched(env_id, infos, **kwargs):
        return spied(make_vec(env_id, infos=infos, **kwargs), taken.setdefault(infos, []))

    monkeypatch.setattr(environment, "in_turns", one_call)
    monkeypatch.setattr(environment.gym, "make_vec", watched)
    monkeypatch.setattr(environment, "AIMS", {3: (None, None)})
    rows = list(environment.of_melodies(prior, 3, 0.0))
    monkeypatch.undo()
    sync = gym.make_vec(MELODY, num_envs=3, vectorization_mode="sync", prior=prior)
    sync.reset()
    expected = [(column.tolist(), sync.step(column)[1]) for column in bare.sampled(prior, 3, 32)]
    for infos in ("full", "end"):
        assert [actions for actions, _ in taken[infos][:32]] == [actions for actions, _ in expected]
        np.testing.assert_allclose([paid for _, paid in taken[infos][:32]], [paid for _, paid in expected], atol=1e-5)
        assert len(taken[infos]) == 33 and taken[infos][32][1] == [0.0, 0.0, 0.0], "the last call starts anew"
    # one_call: full took 1 s, end 2 s, the prior 3 s, the rules 4 s
    assert [(row.value, row.ratio) for row in rows] == [(96.0, 3.0), (48.0, 1.5), (4e6 / 32, 4.0)]


def test_molecules_are_scored_once(options):
    sides = environment.molecule_sides(load_prior(options.smiles_prior), 2)
    assert sides["full"].task is sides["end"].task and (sides["full"].infos, sides["end"].infos) == ("full", "end")
    more = environment.molecule_sides(load_prior(options.smiles_prior), 4, sides["full"].task)
    assert more["end"].task is sides["full"].task


def test_rows_of_single_environments(options, monkeypatch):
    quick(monkeypatch)
    monkeypatch.setattr(single, "BATCHES", (2, 3))
    monkeypatch.setattr(single, "ASYNC_BATCH", 2)
    found = by_name(single.rows(options))
    limits = [row.limit_name for rows in found.values() for row in rows]
    assert limits == 2 * ["bare prior, one sequence"] + 2 * ["SyncVectorEnv", "SB3's DummyVecEnv"] + ["AsyncVectorEnv"]
    aims = [name for name, rows in found.items() if rows[0].aim]
    assert aims == ["one melody, as gym.make gives it", "one melody, unwrapped"]


def test_the_processes_end_even_after_an_error(options, monkeypatch):
    made = []

    def failing(sides, seconds, clock):
        made.append(sides["async"].args[0])
        raise RuntimeError("stop")

    monkeypatch.setattr(single, "in_turns", failing)
    with pytest.raises(RuntimeError, match="stop"):
        single.beside_processes(load_prior(options.melody_prior), 2, 0.0)
    assert made[0].closed and not any(process.is_alive() for process in made[0].processes)


def test_lines_are_shares_of_the_step(options):
    pytest.importorskip("line_profiler")
    found = lines.step_lines(load_prior(options.melody_prior), 16)
    assert all(0.01 <= line.share < 1 and line.source for line in found)
    assert found[0].function == "env.step", "the dearest first"
    by_function = {}
    for line in found:
        by_function[line.function] = by_function.get(line.function, 0) + line.share
    assert 0.5 < by_function["env.step"] <= 1.0 and max(by_function.values()) == by_function["env.step"]
    assert len(by_function) > 2, "what step calls is there, too"


def test_lines_without_line_profiler_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "line_profiler", None)
    with pytest.raises(ValueError, match="pip install line_profiler"):
        lines.profiler_class()
