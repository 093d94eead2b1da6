"""`python -m benchmarks speed --domain vec-env`: all sides do the same work, and the figures are there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from demo_toys import small_prior
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.__main__ import main
from benchmarks.domains import MELODY
from benchmarks.speed import vec_env
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.sb3 import SB3VecEnv
from seqtutor_envs.smiles.vocab import smiles_vocab


@pytest.fixture
def prior(tmp_path):
    return small_prior(tmp_path / "small", MELODY_VOCAB, 32)


def test_each_row_is_the_priors_samples_one_after_the_other(tmp_path):
    vocab = smiles_vocab(["C", "O"])
    prior = RecurrentPrior.load(small_prior(tmp_path / "small", vocab, 20))
    columns = vec_env.written(prior, 5, 20)
    assert len(columns) == 20 and all(column.shape == (5,) for column in columns)
    tokens, lengths = prior.sample(20, vec_env.SEED, 20)
    pool = 3 * [row[:length].tolist() for row, length in zip(tokens, lengths)]
    assert min(lengths) < 20, "some end early, so that others follow"
    for row in np.stack(columns, axis=1).tolist():
        expected = []
        while len(expected) < 20:
            expected += pool.pop(0)
        assert row == expected[:20]


def test_the_sides_are_what_they_are_called_and_write_the_same(prior, monkeypatch):
    sides = {}

    def one_turn(given, seconds):
        for name, side in given.items():
            env = side.args[0]
            step, taken = env.step, []

            def spy(actions, step=step, taken=taken):
                taken.append((actions.tolist(), step(actions)[1].tolist()))

            env.step = spy
            side()
            sides[name] = env, taken
        return {name: np.ones(1) for name in given}

    monkeypatch.setattr(vec_env, "in_turns", one_turn)
    figures = vec_env.compared(MELODY, RecurrentPrior.load(prior), 2, 0.0)
    assert figures["native_ksteps"] == 2 * 32 / 1e3 and figures["sb3_to_dummy"] == 1.0
    kinds = {"native": SequenceTutorVectorEnv, "sb3": SB3VecEnv, "sb3_full": SB3VecEnv, "dummy": DummyVecEnv}
    assert {name: isinstance(env, kinds[name]) for name, (env, _) in sides.items()} == dict.fromkeys(kinds, True)
    infos = [(sides["native"][0]).infos, sides["sb3"][0].native.infos, sides["sb3_full"][0].native.infos]
    assert infos == ["end", "end", "full"]
    expected = sides["dummy"][1]
    assert len(expected) == 32
    for _, taken in sides.values():
        assert [actions for actions, _ in taken] == [actions for actions, _ in expected]
        np.testing.assert_allclose([paid for _, paid in taken], [paid for _, paid in expected], rtol=1e-5, atol=1e-5)


def test_all_figures_are_printed_and_written(tmp_path, capsys, monkeypatch, prior):
    assert vec_env.BATCHES == (1, 8, 64, 1024)
    monkeypatch.setattr(vec_env, "BATCHES", (1, 3))
    out = tmp_path / "speed.json"
    main(["speed", "--domain", "vec-env", "--out", str(out), "--seconds", "0.01", "--prior", str(prior)])
    content = json.loads(out.read_text())
    rows = content["results"]["vec_env"]
    assert set(rows) == {"1", "3"} and content["versions"]["stable-baselines3"]
    assert content["settings"]["domain"] == "vec-env" and content["settings"]["prior"] == str(prior)
    names = [f"{name}_ksteps" for name in ("native", "sb3", "sb3_full", "dummy")]
    names += ["sb3_to_native", "sb3_to_dummy", "sb3_full_to_dummy"]
    assert all(list(row) == names and min(row.values()) > 0 for row in rows.values())
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and str(out) in printed


def test_scoring_processes_are_of_molecules(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["speed", "--domain", "vec-env", "--workers", "2", "--out", str(tmp_path / "speed.json")])
    assert end.value.code == 2 and "--domain smiles" in capsys.readouterr().err
