"""The policy gradient against loops and the enumeration; fixed policies; the budget of seconds."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from agents import PsiLearning
from agents.baselines import FixedPolicy, PolicyGradient, UniformPolicy, estimate_advantage
from agents.store.replay import Sequences
from agents.sb3.budget import SecondsBudget
from agents.targets import discounts
from exact_learning import exact
from seqtutor_envs.exact import kl_optimum_policy, kl_policy_optimum
from toys.agent_toys import EXACT, made, sung_batch
from toys.recurrent_toys import random_prior


@pytest.mark.parametrize("lam, gamma", [(0.0, 0.9), (0.7, 1.0), (1.0, 0.9)])
def test_advantages_by_a_plain_loop(lam, gamma):
    """The exponentially weighted mean of all n-step advantages (Schulman et al. 2016, eq. 16)."""
    rng = np.random.default_rng(0)
    lengths = np.array([4, 2, 1])
    reward, values = rng.standard_normal((2, 3, 4))
    discount = discounts(torch.from_numpy(lengths), 4, gamma).double()
    found = estimate_advantage(torch.from_numpy(reward), torch.from_numpy(values), discount, lam)
    for b, length in enumerate(lengths):
        for t in range(length):
            steps = []  # n-step advantages, n = 1, 2, ...
            for n in range(1, length - t + 1):
                after = gamma**n * values[b, t + n] if t + n < length else 0.0
                steps.append(sum(gamma**k * reward[b, t + k] for k in range(n)) + after - values[b, t])
            weights = [(1 - lam) * lam**k for k in range(len(steps) - 1)] + [lam ** (len(steps) - 1)]
            assert found[b, t].item() == pytest.approx(sum(w * s for w, s in zip(weights, steps)))


@pytest.mark.parametrize("filler", [1, 3])
def test_filler_changes_nothing(filler):
    agents = []
    for token in (0, filler):
        agent = made(PolicyGradient, sung_batch(64, length=5), learning_rate=1e-2)
        sequences, _ = agent.collect()
        assert len(set(sequences.lengths)) > 2
        outside = np.arange(sequences.tokens.shape[1]) >= sequences.lengths[:, None]
        tokens, rewards, rows = sequences.tokens.copy(), sequences.task_rewards.copy(), sequences.prior_log_probs.copy()
        tokens[outside], rewards[outside], rows[outside] = token, 9.0 * token, -1.0 - token
        agent.improve(Sequences(tokens, sequences.lengths, rewards, rows))
        agents.append(agent.state_arrays())
    for name in agents[0]:
        np.testing.assert_allclose(agents[0][name], agents[1][name], atol=1e-6, err_msg=name)


def test_the_policy_gradient_nears_the_optimum():
    task = {"vocab_size": 2, "length": 3, "seed": 8}
    agent = PolicyGradient(EXACT, n_envs=64, env_kwargs=task, learning_rate=3e-3)
    solution = exact(task).solution()
    before = kl_policy_optimum(solution, agent.log_prob(solution["sequences"]))
    agent.learn(60_000)
    after = agent.log_prob(solution["sequences"])
    assert kl_policy_optimum(solution, after) < 0.02 < 0.2 < before
    assert kl_optimum_policy(solution, after) < 0.04


def test_uniform_tokens():
    prior = random_prior(end=4, length=6)
    uniform = FixedPolicy(UniformPolicy(prior.vocab, 6), 6)
    tokens, lengths = uniform.sample(4000, seed=0)
    np.testing.assert_allclose(uniform.log_prob(tokens, lengths), -lengths * np.log(5), atol=1e-5)
    # a sequence ends at each step with probability 1/5; four standard deviations
    share = (lengths == 1).mean()
    assert abs(share - 0.2) < 4 * (0.16 / 4000) ** 0.5


def test_a_fixed_policy_is_its_sequence_model():
    prior = random_prior(end=4, length=6)
    fixed = FixedPolicy(prior, 4)
    tokens, lengths = fixed.sample(30, seed=3)
    expected, expected_lengths = prior.sample(30, seed=3, length=4)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(lengths, expected_lengths)
    for row, length, log_p in zip(tokens, lengths, fixed.log_prob(tokens, lengths)):
        rows = prior.log_probs(row[None, :length])[0]
        assert log_p == pytest.approx(rows[np.arange(length), row[:length]].sum(), abs=1e-5)


def test_a_budget_counts_this_processs_seconds_over_several_calls():
    agent, budget = made(PsiLearning), SecondsBudget(0.3)
    begin = time.process_time()
    agent.learn(10**9, callback=budget)
    assert 0.3 <= budget.spent <= time.process_time() - begin
    assert agent.rounds > 1
    budget.seconds = 0.4
    time.sleep(0.2)  # costs nothing
    begin = time.process_time()
    agent.learn(10**9, callback=budget, reset_num_timesteps=False)
    assert 0.4 <= budget.spent
    assert time.process_time() - begin < 0.3, "what was spent before counts"


def test_annealing_ends_at_a_learning_rate_of_zero():
    agent = made(PolicyGradient, anneal=True, learning_rate=0.01)
    agent.learn(400)
    rounds = agent.rounds
    assert rounds > 3
    # the last update saw what was learned from before its round
    left = 1 - (agent.num_timesteps - agent.newest.lengths.sum()) / agent.total_timesteps
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * left)
    assert left < 2 / rounds
