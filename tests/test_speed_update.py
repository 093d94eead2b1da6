"""The section "update" of the speed report: what its sides do, and what its figures mean."""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import pytest
from recurrent_toys import random_weights

from agents import GLearning, PsiLearning, QLearning
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed import memory, update
from benchmarks.speed.options import Options
from benchmarks.speed.turns import FEWEST_TURNS
from benchmarks.speed.writing import written
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.vocab import smiles_vocab

CHAINS = smiles_vocab(["C", "O", "N"])


pytestmark = pytest.mark.filterwarnings("ignore:Only .* are distinct:UserWarning")  # priors that have learned nothing


@cache
def melodies():
    return RecurrentPrior(random_weights("lstm", 1, len(MELODY_VOCAB), 6, scale=1.0), "lstm", MELODY_VOCAB, 32)


@cache
def molecules():
    return RecurrentPrior(random_weights("lstm", 1, len(CHAINS), 6, scale=1.0), "lstm", CHAINS, 30)


@pytest.fixture
def options(tmp_path):
    priors = melodies().save(tmp_path / "melodies"), molecules().save(tmp_path / "molecules")
    return Options(seconds=0.01, melody_prior=str(priors[0]), smiles_prior=str(priors[1]), workers=0, memory=1)


def fixed(seconds):
    """Turns that took what they are said to take; each side is called once."""

    def in_turns(sides, *_):
        for side in sides.values():
            side()
        return {name: np.full(FEWEST_TURNS, seconds[name]) for name in sides}

    return in_turns


@pytest.mark.parametrize("kind", [PsiLearning, GLearning, QLearning])
def test_the_bare_pass_is_one_forward_and_one_backward_pass_over_the_updates_batch(kind):
    agent = update.still(kind, MELODY, melodies(), 4)
    network, seen, gradients = agent.learner.network, [], []
    batch = agent.collect()[0].cut()
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].tolist()))
    network.state_value[-1].bias.register_hook(lambda gradient: gradients.append(gradient.tolist()))
    before = [parameter.clone() for parameter in network.parameters()]
    update.bare_pass(network, batch)()
    assert seen == [batch.tokens.tolist()] and batch.tokens.shape == (4, 32)
    assert gradients == [pytest.approx([1.0])], "v's bias is a summand of each value, so of their mean too"
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(now.equal(then) for now, then in zip(network.parameters(), before))
    agent.learner.update(batch)
    assert len(seen) == 2 and seen[1] == seen[0], "an update goes over the same batch"


def test_all_turns_find_the_same_policy():
    agent = update.still(PsiLearning, MELODY, melodies(), 4)
    tokens, _ = melodies().sample(5, 0)
    for _ in range(3):
        agent.learn(4 * 32, reset_num_timesteps=False)
    assert agent.rounds == 4
    expected = np.take_along_axis(melodies().log_probs(tokens), tokens[..., None], 2).sum((1, 2))
    np.testing.assert_allclose(agent.log_prob(tokens), expected, rtol=1e-4)
    assert float(agent.learner.network.state_value[-1].bias.detach()) != 0.0, "v has begun at the mean target"


def test_a_round_and_its_parts_are_what_they_are_called(monkeypatch):
    seconds = {"round": 80.0, "collect": 2.0, "writing": 1.0, "both": 6.0, "bare": 3.0}
    monkeypatch.setattr(update, "in_turns", fixed(seconds))
    agent = update.still(PsiLearning, MELODY, melodies(), 16)
    whole, *parts = update.a_round("Psi", agent, 0.0)
    assert agent.rounds == 1 + update.ROUNDS == 11
    assert (whole.value, whole.limit, whole.ratio, whole.unit) == (16 / 8, 16 / 4, 0.5, "melodies/s")
    assert "75%" in whole.note, "collect and improve take 6 of 8 seconds"
    assert [(row.value, row.ratio) for row in parts] == [(2e3, 1 / 4), (1e3, 1 / 8), (4e3, 1 / 2), (3e3, 3 / 8)]
    assert len({row.name for row in parts}) == 4


def test_an_update_is_compared_with_the_bare_pass(monkeypatch):
    agent = update.still(PsiLearning, MELODY, melodies(), 4)
    for took, met in ((1.4, True), (1.6, False)):
        monkeypatch.setattr(update, "in_turns", fixed({"update": took, "bare": 1.0}))
        row = update.update("Psi", agent, 0.0)
        assert (row.value, row.limit, row.ratio, row.met()) == (1e3 * took, 1e3, pytest.approx(took), met)


def test_all_rows_come_with_figures(options, monkeypatch):
    monkeypatch.setattr(update, "MOLECULES", (4,))
    monkeypatch.setattr(update, "MELODIES", 4)
    monkeypatch.setattr(update, "ROUNDS", 2)
    found = list(update.rows(options))
    names = [row.name for row in found]
    assert len(set(names)) == len(names) == 3 + 1 + 3 * 5
    measured = [row for row in found if "improve()" not in row.name]  # that one is a difference of two
    assert all(0 < figure < np.inf for row in measured for figure in (row.value, row.limit, row.ratio, row.low))
    assert all(row.low <= row.ratio <= row.high for row in found)
    assert [row.name for row in found if row.aim] == names[:4]


def test_writing_alone_writes_what_a_round_writes():
    """Tokens of one step each, until all sequences are over; distributed as the prior's samples."""
    agent = update.still(PsiLearning, SMILES, molecules(), 16)
    rng, policy = np.random.default_rng(0), agent.current_policy()
    steps = [written(policy, molecules(), 16, 30, rng) for _ in range(200)]
    assert all(len(columns[0]) == 16 and len(columns) <= 30 for columns in steps)
    for columns in steps:
        for now, after in zip(columns, columns[1:]):
            assert len(after) == (now != CHAINS.end).sum()
    lengths = sum(len(column) for columns in steps for column in columns) / 3_200
    expected = molecules().sample(3_200, 1, 30)[1]
    assert abs(lengths - expected.mean()) < 5 * expected.std() / 3_200**0.5
    assert len(written(policy, molecules(), 16, 1, rng)) == 1


def test_memory_is_looked_at_after_so_many_sequences(options, monkeypatch):
    in_use = iter([100.0, 150.0, 50.0] * 2)
    monkeypatch.setattr(memory, "resident", lambda pid: next(in_use))
    monkeypatch.setattr(memory, "children", lambda pid: [])
    monkeypatch.setattr(memory, "CHECKS", 3)
    monkeypatch.setattr(memory, "MOLECULES", 4)
    found = list(memory.rows(Options(**{**vars(options), "memory": 400})))
    assert [row.name for row in found[:3]] == ["128 melodies", "256 melodies", "384 melodies"]
    assert [row.name for row in found[3:]] == ["132 molecules", "264 molecules", "400 molecules"]
    assert [row.ratio for row in found[:3]] == [1.0, 1.5, 0.5]
    assert all(row.limit == 100.0 for row in found)


def test_memory_in_use_is_seen():
    before = memory.resident(os.getpid())
    block = np.ones(64 * 2**17)  # 64 MiB
    assert memory.resident(os.getpid()) - before == pytest.approx(64, abs=8)
    del block


def test_without_proc_memory_says_so(options, monkeypatch):
    monkeypatch.setattr(memory.Path, "is_file", lambda path: False)
    (row,) = memory.rows(options)
    assert "/proc" in row.note and row.aim is None
