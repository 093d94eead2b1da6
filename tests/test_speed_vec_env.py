"""The section "vec-env": all sides do the same work, and the rows are there."""

from __future__ import annotations

import numpy as np
import pytest
from demo_toys import small_prior
from speed_toys import by_name, one_call, quick, small_options, spied
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.domains import MELODY, SMILES
from benchmarks.speed import vec_env
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.sb3 import SB3VecEnv
from seqtutor_envs.smiles.vocab import smiles_vocab


@pytest.mark.parametrize(("env_id", "vocab"), [(MELODY, MELODY_VOCAB), (SMILES, smiles_vocab(["C", "O", "N"]))])
def test_the_sides_are_what_they_are_called_and_write_the_same(tmp_path, monkeypatch, env_id, vocab):
    taken, sides = {}, vec_env.sides

    def watched(*args):
        made = sides(*args)
        kinds = [SequenceTutorVectorEnv] * 2 + [SB3VecEnv] * 2 + [DummyVecEnv]
        assert all(isinstance(env, kind) for env, kind in zip(made.values(), kinds)) and len(made) == 5
        native = [made["native"], made["native_full"], made["sb3"].native, made["sb3_full"].native]
        assert [env.infos for env in native] == ["end", "full", "end", "full"]
        assert all(env.task is native[0].task for env in native), "scores are known to all"
        return {name: spied(env, taken.setdefault(name, [])) for name, env in made.items()}

    monkeypatch.setattr(vec_env, "sides", watched)
    monkeypatch.setattr(vec_env, "in_turns", one_call)
    prior = RecurrentPrior.load(small_prior(tmp_path / "small", vocab, 32))
    rows = list(vec_env.compared(env_id, "sequences", prior, 2, 0.0))
    steps = 32 if env_id == MELODY else 100
    # one_call: native 1 s, native_full 2 s, sb3 3 s, sb3_full 4 s, dummy 5 s
    assert [row.ratio for row in rows] == pytest.approx([1 / 3, 1 / 2, 5 / 3, 5 / 4])
    assert rows[0].value == pytest.approx(2 * steps / 3)
    expected = taken["dummy"]
    assert len(expected) == steps
    for name, found in taken.items():
        assert [actions for actions, _ in found] == [actions for actions, _ in expected], name
        np.testing.assert_allclose([paid for _, paid in found], [paid for _, paid in expected], rtol=1e-5, atol=1e-5)


def test_rows_and_their_aims(tmp_path, monkeypatch):
    assert vec_env.BATCHES == (1, 8, 64, 256, 1024)
    assert {n: aim.bound for n, aim in vec_env.AIMS.items()} == {64: 0.80, 256: 0.80}
    quick(monkeypatch)
    for name, value in (("BATCHES", (2, 3)), ("AIMS", {3: vec_env.AIMS[64]}), ("MOLECULES", 2), ("MOST_DUMMIES", 2)):
        monkeypatch.setattr(vec_env, name, value)
    found = by_name(vec_env.rows(small_options(tmp_path)))
    counts = {name: len(rows) for name, rows in found.items()}
    pairs = [(what, infos) for what in ("melodies, batch of 2", "molecules, batch of 2") for infos in ("end", "full")]
    expected = {f"{what}, infos={infos!r}": 2 for what, infos in pairs}
    expected |= {f"melodies, batch of 3, infos={infos!r}": 1 for infos in ("end", "full")}
    assert counts == expected
    aims = [row.name for rows in found.values() for row in rows if row.aim]
    assert aims == ["melodies, batch of 3, infos='end'"]
