"""Forbidden tokens: the same rows everywhere, and no agent that writes one."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

from agents import GLearning, PsiLearning, QLearning
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.metrics import evaluate_samples
from seqtutor_envs.prior import token_log_probs
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, MaskedPrior, mask_prior
from toys.env_toys import ToyTask, toy_prior

LENGTH = 4


def masked_env(num_envs=16):
    return SequenceTutorVectorEnv(ToyTask(LENGTH, masked=True), toy_prior(LENGTH), num_envs=num_envs, c=1.0)


def legal_sequences():
    """Every sequence that the masked ToyTask allows, with its length; written from its description alone."""
    found = []
    for length in range(1, LENGTH + 1):
        for letters in itertools.product(range(4), repeat=length):
            ends = letters[-1] == 3 and 3 not in letters[:-1]
            whole = ends or (length == LENGTH and 3 not in letters)
            if whole and letters[0] != 3 and all(a != b for a, b in zip(letters, letters[1:])):
                found.append((letters + (0,) * (LENGTH - length), length))
    return np.array([tokens for tokens, _ in found]), np.array([length for _, length in found])


def test_a_masked_prior_gives_the_environments_rows():
    env = masked_env(4)
    prior = mask_prior(env.prior, env.task)
    tokens = np.array([[0, 1, 0, 1], [1, 3, 0, 0], [2, 0, 2, 1], [1, 0, 3, 0]])
    rows = prior.log_probs(tokens)
    _, infos = env.reset()
    live = np.ones(4, bool)
    for t in range(LENGTH):
        np.testing.assert_allclose(rows[live, t], infos["prior_log_probs"][live], atol=1e-6)
        _, _, over, _, infos = env.step(tokens[:, t])
        live &= ~over
    assert np.isclose(rows[0, 1, 0], LOG_PROB_FLOOR), "the token just written is forbidden"


def test_a_task_without_masks_leaves_the_prior_alone():
    prior = toy_prior()
    assert mask_prior(prior, ToyTask()) is not prior, "ToyTask defines action_mask"
    assert mask_prior(prior, None) is prior
    from seqtutor_envs.melody import MelodyTask

    assert mask_prior(prior, MelodyTask()) is prior


def test_the_masked_prior_is_a_distribution_over_the_legal_sequences():
    tokens, lengths = legal_sequences()
    prior = MaskedPrior(toy_prior(LENGTH, impossible=False), ToyTask(LENGTH, masked=True))
    log_p = token_log_probs(prior.log_probs(tokens, lengths), tokens, lengths).sum(1)
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("agent_class", [PsiLearning, GLearning, QLearning])
def test_no_agent_writes_a_forbidden_token(agent_class):
    agent = agent_class(masked_env(), seed=0).learn(2_000)
    tokens, lengths = legal_sequences()
    assert np.exp(agent.log_prob(tokens, lengths)).sum() == pytest.approx(1.0, abs=1e-5)
    written, ends = agent.sample(500, seed=1)
    legal = {tuple(row[:end]) for row, end in zip(tokens.tolist(), lengths)}
    assert {tuple(row[:end]) for row, end in zip(written.tolist(), ends)} <= legal
    assert all(parameter.isfinite().all() for parameter in agent.learner.network.parameters())


@pytest.mark.parametrize("agent_class", [PsiLearning, GLearning, QLearning])
def test_no_agent_writes_what_the_prior_holds_impossible(agent_class):
    """Of `toy_prior` that is the third letter at the start: in learning, in samples and in log pi."""
    env = SequenceTutorVectorEnv(ToyTask(LENGTH), toy_prior(LENGTH), num_envs=16, c=1.0)
    agent = agent_class(env, seed=0).learn(2_000)
    tokens, lengths = agent.sample(2_000, seed=1)
    assert not (tokens[:, 0] == 2).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_policy = agent.log_prob(tokens, lengths)
    metrics = evaluate_samples(env.task, tokens, lengths, env.prior, log_policy)
    assert np.isfinite(metrics["j"]) and abs(metrics["kl"] - agent.training_metrics()["kl"]) < 0.5
    assert agent.log_prob(np.array([[2, 0, 0, 0]]), np.array([4]))[0] < -80


def test_kl_of_the_masked_prior_to_itself_is_zero():
    env = masked_env()
    prior = mask_prior(env.prior, env.task)
    tokens, lengths = prior.sample(200, seed=0)
    log_p = token_log_probs(prior.log_probs(tokens, lengths), tokens, lengths).sum(1)
    figures = evaluate_samples(env.task, tokens, lengths, env.prior, log_p)
    assert figures["kl"] == pytest.approx(0.0, abs=1e-9)


class Strict(ToyTask):
    """A masked ToyTask that allows nothing after the end token: its mask may not be asked there."""

    def action_mask(self, tokens, steps):
        assert not (tokens == self.vocab.end).any()
        return super().action_mask(tokens, steps)


def test_a_mask_is_not_asked_where_a_sequence_is_over():
    """Evaluation feeds filler there, of which the environment never asks."""
    task, prior = Strict(LENGTH, masked=True), toy_prior(LENGTH)
    env = SequenceTutorVectorEnv(task, prior, num_envs=8, c=1.0)
    tokens, lengths = legal_sequences()
    masked = mask_prior(env.prior, task)
    log_p = token_log_probs(masked.log_probs(tokens, lengths), tokens, lengths).sum(1)
    loose = mask_prior(prior, ToyTask(LENGTH, masked=True))
    same = token_log_probs(loose.log_probs(tokens, lengths), tokens, lengths).sum(1)
    np.testing.assert_array_equal(log_p, same)
    metrics = evaluate_samples(task, tokens[log_p > -50], lengths[log_p > -50], prior, log_p[log_p > -50])
    assert metrics["kl"] == 0.0 and np.isfinite(metrics["j"])


def test_filler_that_the_prior_holds_impossible_costs_nothing():
    rows = np.full((1, 3, 2), [-np.inf, 0.0], np.float32)
    found = token_log_probs(rows, np.array([[1, 1, 0]]), np.array([2]))
    assert found.tolist() == [[0.0, 0.0, 0.0]]
