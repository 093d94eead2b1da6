"""The authors' set-up: characters as tokens, a random first one that is fed and dropped, their figures."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from agents import GLearning, PsiLearning, QLearning
from benchmarks.authors_smiles import PrimedPrior, PrimedTask, character_vocab, encode_characters, main, primed
from benchmarks.authors_smiles import read_strings
from benchmarks.runner.perform import perform
from benchmarks.suites import AUTHORS_SMILES
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.smiles import SmilesTask
from toys.commands import refuse
from toys.recurrent_toys import random_weights
from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, GLUCOSE, MACROCYCLE, OSIMERTINIB, by_rdkit

STRINGS = (ASPIRIN, CAFFEINE, BENZENE, GLUCOSE, MACROCYCLE, OSIMERTINIB)
VOCAB = character_vocab(["CC(=O)Nc1"])  # eight characters and the end
K = len(VOCAB) - 1
LENGTH = 8  # without the primer


@cache
def prior():
    """Random weights over a few characters: strings of every kind, some of them molecules."""
    return RecurrentPrior(random_weights("lstm", 1, K + 1, 6, scale=1.0), "lstm", VOCAB, LENGTH)


def batch(num_envs=16, **kwargs):
    task = PrimedTask(SmilesTask(LENGTH, vocab=VOCAB, **kwargs))
    return SequenceTutorVectorEnv(task, PrimedPrior.of(prior()), num_envs=num_envs, c=1.0)


def ids(*strings, length=LENGTH + 1):
    """Primer and string, in characters, ended: tokens [N, T] and lengths [N]."""
    rows = [[VOCAB.tokens.index(character) for character in string] + [VOCAB.end] for string in strings]
    tokens = np.array([row + [VOCAB.start] * (length - len(row)) for row in rows])
    return tokens, np.array([len(row) for row in rows])


def test_a_token_is_a_character():
    vocab = character_vocab(["ClC", "C[nH]c"])
    assert vocab.tokens == ("C", "H", "[", "]", "c", "l", "n", "<end>") and vocab.end == 7
    (row,) = encode_characters(["ClC[nH]"], vocab)
    assert "".join(vocab.decode(row)) == "ClC[nH]<end>" and len(row) == 8


def test_every_character_is_as_likely_to_be_the_first_and_the_end_impossible():
    primed_prior = PrimedPrior.of(prior())
    row = primed_prior.step(np.array([VOCAB.start]), primed_prior.initial_state(1))[0][0]
    np.testing.assert_allclose(row[:K], -np.log(K), rtol=1e-6)
    assert row[VOCAB.end] == np.float32(LOG_PROB_FLOOR) and np.exp(row).sum() == pytest.approx(1)
    tokens, lengths = primed_prior.sample(8_000, seed=1)
    counts = np.bincount(tokens[:, 0], minlength=K + 1)
    assert counts[VOCAB.end] == 0 and lengths.max() == LENGTH + 1
    assert ((counts[:K] - 8_000 / K) ** 2 / (8_000 / K)).sum() < 26  # chi square of K - 1 = 7 degrees, .0005


def test_after_the_first_character_the_network_goes_on_as_it_was_trained():
    tokens, lengths = ids("(CC", "C1cccc", "N=")
    rows, plain = PrimedPrior.of(prior()).log_probs(tokens, lengths), prior().log_probs(tokens, lengths)
    np.testing.assert_array_equal(rows[:, 1:], plain[:, 1:])
    assert not np.allclose(rows[:, 0], plain[:, 0])


@pytest.mark.parametrize("shaping", [None, "prefix"])
def test_the_first_character_is_no_part_of_what_is_scored(shaping):
    """The same rewards as of the strings without it, one step later."""
    strings = [text for text in ("CCO", "CCN", "Cc1cccc", "(CO", "C") if set(text) <= set(VOCAB.tokens)]
    tokens, lengths = ids(*("1" + string for string in strings))
    task = PrimedTask(SmilesTask(LENGTH, vocab=VOCAB, shaping=shaping))
    plain = SmilesTask(LENGTH, vocab=VOCAB, shaping=shaping)
    rewards = task.reward(tokens, lengths)
    assert (rewards[:, 0] == 0).all()
    np.testing.assert_allclose(rewards[:, 1:], plain.reward(tokens[:, 1:], lengths - 1))
    assert len(np.unique(rewards.sum(axis=1))) > 2  # molecules and others
    assert task.smiles(tokens, lengths) == strings
    for t in range(int(lengths.max())):
        live = lengths > t
        steps = task.step_terms(tokens[live], np.full(live.sum(), t)) @ list(task.weights.values())
        np.testing.assert_allclose(steps, rewards[live, t])


@pytest.mark.parametrize("agent_class", [PsiLearning, GLearning, QLearning])
def test_agents_can_neither_choose_the_first_character_nor_pay_for_it(agent_class):
    settings = {"epsilon_start": 0.01, "epsilon_end": 0.01, "learning_rate": 1e-2}
    agent = primed(agent_class)(batch(shaping="prefix"), seed=0, **settings)
    first = set()
    for _ in range(6):
        agent.learn(1, reset_num_timesteps=False)
        first |= set(agent.newest.tokens[:, 0].tolist())
    assert first == set(range(K))  # the greedy one's, too
    tokens, lengths = agent.sample(50, seed=1)
    rows = agent.current_policy().log_probs(tokens, lengths)
    np.testing.assert_array_equal(rows[:, 0], agent.prior.log_probs(tokens, lengths)[:, 0])
    assert not np.allclose(rows[:, 1], agent.prior.log_probs(tokens, lengths)[:, 1], atol=1e-3)  # it has learned


def test_metrics_are_those_of_the_strings_without_their_primers():
    written = [string for string in ("CCO", "C(C", "CCO", "CCN") if set(string) <= set(VOCAB.tokens)]
    tokens, lengths = ids(*("(" + string for string in written))
    found = PrimedTask(SmilesTask(LENGTH, vocab=VOCAB)).metrics(tokens, lengths)
    logp, sa, qed, ring = np.mean([by_rdkit(text) for text in written if text != "C(C"], axis=0)
    expected = {"valid": 1 - 1 / len(written), "mean_logp": logp, "mean_sa": sa, "mean_qed": qed}
    assert {name: found[name] for name in expected} == pytest.approx(expected) and ring == 0


def test_strings_are_drawn_from_all_of_the_file(tmp_path):
    path = tmp_path / "all.smi"
    path.write_text("\n".join(["C" * n for n in range(1, 131)] + ["é", "C C"]) + "\n")
    everything = read_strings(path, None, None, 1_000, seed=0)
    assert sorted(map(len, everything)) == [1, *range(1, 121)]  # up to 120 characters; a name is no part of a string
    some = read_strings(path, None, None, 10, seed=1)
    assert len(set(some)) >= 9 and set(some) < set(everything) and some != read_strings(path, None, None, 10, seed=2)


def test_the_command_trains_the_prior_that_the_suite_tunes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.smi").write_text("\n".join(STRINGS * 20) + "\n")
    main(["train", "--file", "mine.smi", "--epochs", "1"])
    assert "validation nll" in capsys.readouterr().out
    card = json.loads((tmp_path / "authors-prior.json").read_text())
    assert card["strings"] == 120 and card["hidden_size"] == 100
    primed_ones = [one for one in AUTHORS_SMILES if one.seed == 0 and one.label != "prior, not primed"]
    every = {one.agent.partition(":")[2]: one for one in primed_ones}
    assert set(every) == {"prior", "q", "psi", "g"}
    result = perform(replace(every["q"], steps=200, n=10))
    assert result["c"] == pytest.approx(1 / 0.35) and result["timesteps"] >= 200
    assert {"valid", "mean_logp", "kl", "term_prefix"} <= result["metrics"].keys()
    assert perform(replace(every["prior"], n=10))["metrics"]["kl"] == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_is_one_line_and_status_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.smi").write_text("CCO\n")
    assert "one of --file" in refuse(capsys, main, "train")
    assert "one of --file" in refuse(capsys, main, "train", "--moses", "a", "--file", "b")
    assert "nowhere.smi" in refuse(capsys, main, "train", "--file", "nowhere.smi")
    assert "2 are needed" in refuse(capsys, main, "train", "--file", "one.smi")
