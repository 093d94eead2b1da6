"""Spellings and children that a store gets, and the KL over molecules."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from agents.evaluate import evaluation
from agents.evaluate.evaluation import Samples
from agents.evaluate.spellings import compute_kl_over_molecules, spell
from agents.store.store import Origin
from agents.tutor import PsiLearning
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.smiles.chem.molecule import parse
from seqtutor_envs.smiles.task import SmilesTask

SMILES = "SeqTutor-SMILES-v0"
CHEAP = {"term_weights": {"qed": 0, "sa": 0, "logp": 0, "ring": 0}}


def make_agent(**settings: Any) -> PsiLearning:
    return PsiLearning(SMILES, seed=0, n_envs=16, env_kwargs=CHEAP, **settings)


def texts_of(agent, origin):
    """Return the stored SMILES of one origin."""
    store, rows = agent.store, np.flatnonzero(agent.store.origins[: agent.store.size] == origin)
    return agent.task.smiles(store.stored.tokens[rows], store.stored.lengths[rows])


def test_spellings_of_the_best_enter_the_store_with_their_molecules_score():
    agent = make_agent(store={"spellings": 12, "parents": 4})
    agent.learn(1_000)
    own, spelled = texts_of(agent, Origin.OWN), texts_of(agent, Origin.SPELLING)
    assert spelled and not set(spelled) & set(own)
    same = {agent.task.scorer([text])[0].canonical for text in own}
    assert {agent.task.scorer([text])[0].canonical for text in spelled} <= same
    rows = np.flatnonzero(agent.store.origins[: agent.store.size] == Origin.SPELLING)
    assert agent.store.returns[rows] == pytest.approx(1.0 / agent.c), "each is a valid molecule"


def test_children_enter_the_store_and_are_new():
    pytest.importorskip("mol_ga")
    agent = make_agent(store={"children": 12})
    agent.learn(2_000)
    children = texts_of(agent, Origin.CHILD)
    assert children and not set(children) & set(texts_of(agent, Origin.OWN))


def test_a_task_that_derives_nothing_says_so_in_one_line():
    agent = PsiLearning("SeqTutor-Exact-v0", seed=0, store={"spellings": 4})
    with pytest.raises(ValueError, match="derives no spelling from sequences: leave that setting at 0") as error:
        agent.learn(100)
    assert "\n" not in str(error.value)


def test_the_task_spells_in_turn_and_knows_its_kinds():
    task, rng = SmilesTask(), np.random.default_rng(0)
    rows = [task.encode(text) for text in ("CCO", "c1ccccc1C", "C((")]
    tokens = np.full((3, max(map(len, rows))), task.vocab.start)
    for filled, row in zip(tokens, rows):
        filled[: len(row)] = row
    lengths = np.array([len(row) for row in rows])
    found = task.derive("spelling", tokens, lengths, np.ones(3), 6, rng)
    assert len(found) == 4, "two of each molecule, none of what is no molecule"
    names = {"CCO": 2, "Cc1ccccc1": 2}
    assert {name: sum(task.scorer([text])[0].canonical == name for text in found) for name in names} == names
    with pytest.raises(ValueError, match="kind"):
        task.derive("cousin", tokens, lengths, np.ones(3), 6, rng)


class Spells:
    """Give each string a log pi of -1 nat a token, but -5 nats more to one spelling."""

    def __init__(self, task: SmilesTask, rare: str) -> None:
        self.task, self.rare = task, rare

    def sample(self, n, seed):
        raise NotImplementedError

    def log_prob(self, tokens, lengths):
        rare = np.array([text == self.rare for text in self.task.smiles(tokens, lengths)])
        return -lengths.astype(float) - 5.0 * rare


def test_the_kl_over_molecules_is_that_of_the_sums_over_spellings():
    """Ethanol has four spellings at most here; a loop over them says the same."""
    agent = make_agent()
    with closing(evaluation.make_env(agent, SMILES, 2, CHEAP)) as env:
        rows = [env.task.encode(text) for text in ("OCC", "C1CC1")]
        tokens = np.full((2, max(map(len, rows))), env.task.vocab.start)
        for filled, row in zip(tokens, rows):
            filled[: len(row)] = row
        samples = Samples(tokens, np.array([len(row) for row in rows]), None)
        policy = Spells(env.task, "CCO")
        found = compute_kl_over_molecules(policy, env, samples, 60, seed=0)
        ratios, numbers = [], []
        for text in ("OCC", "C1CC1"):
            rng = np.random.default_rng(9)
            spelled = {text, *env.task.derive("spelling", *_alone(env.task, text), np.zeros(1), 200, rng)}
            assert all(parse(one) is not None for one in spelled)
            sums = []
            for model in (policy.log_prob, lambda *pair: sequence_log_probs(agent.prior, *pair)):
                sums.append(sum(np.exp(model(*_alone(env.task, one))[0]) for one in spelled))
            ratios.append(np.log(sums[0] / sums[1]))
            numbers.append(len(spelled))
        assert numbers[0] >= 3
        assert found["spellings"] == np.mean(numbers)
        assert found["kl_molecules"] == pytest.approx(np.mean(ratios), abs=1e-4)


def _alone(task, text):
    row = task.encode(text)
    return row[None], np.array([len(row)])


def test_the_prior_is_at_zero_over_molecules_too_and_what_cannot_be_generated_is_left_out():
    agent = make_agent()
    with closing(evaluation.make_env(agent, SMILES, 8, CHEAP)) as env:
        samples = evaluation.sample_sequences(agent, env, 8, 0)
        assert compute_kl_over_molecules(agent, env, samples, 5, 0)["kl_molecules"] == pytest.approx(0.0, abs=1e-3)
        env.task.length = int(samples.lengths.min())
        _, lengths, owners = spell(env.task, samples, 5, np.random.default_rng(0))
        others = np.flatnonzero(np.diff(owners, prepend=-1) == 0)
        assert (lengths[others] <= env.task.length).all() and set(owners.tolist()) == set(range(8))
