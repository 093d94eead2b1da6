"""Twists: an exact one makes every run equal, an agent's are its network's, and they correct the agent.

Every seed is fixed; the chi-square test rejects at 1e-3.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from agents import GLearning, PsiLearning, QLearning, SMCSampler
from agents.baselines import PolicyGradient
from agents.networks import ValueNetwork, ValueTwist
from exact_learning import exact, trained
from seqtutor_envs.bounds import Twist
from seqtutor_envs.exact import kl_policy_optimum
from seqtutor_envs.prior import TablePrior, token_log_probs
from toys.agent_toys import made, sung_batch, toy_batch
from toys.recurrent_toys import random_prior

TASK = {"vocab_size": 3, "length": 4, "seed": 1, "c": 0.5}


class ExactTwist:
    """The optimal policy and the soft value of every prefix, by sums over the enumerated sequences."""

    def __init__(self, env):
        solved = env.solution()
        sequences, (v, length) = solved["sequences"].tolist(), (len(env.task.vocab), env.task.length)
        mass, worth = {}, {}  # of each prefix: sum of pi*, and log p + R / c so far
        for row, log_pi in zip(sequences, solved["log_probs"]):
            for t in range(length + 1):
                mass[tuple(row[:t])] = mass.get(tuple(row[:t]), 0.0) + np.exp(log_pi)
        log_p = token_log_probs(env.prior.log_probs(solved["sequences"]), solved["sequences"])
        rewards = env.task.reward(solved["sequences"]) / env.c
        for row, so_far in zip(sequences, np.cumsum(log_p + rewards, axis=1)):
            worth |= {tuple(row[: t + 1]): so_far[t] for t in range(length)} | {(): 0.0}
        # breadth first, and within a length by the tokens, as a TablePrior numbers prefixes
        nodes = [prefix for t in range(length) for prefix in sorted(one for one in mass if len(one) == t)]
        logits = np.array([[np.log(mass[(*prefix, a)] / mass[prefix]) for a in range(v)] for prefix in nodes])
        self.policy, self.vocab, self.c = TablePrior(env.task.vocab, logits, length), env.task.vocab, env.c
        self.values = np.array([np.log(mass[prefix]) + solved["log_z"] - worth[prefix] for prefix in nodes])

    def initial_state(self, n):
        return self.policy.initial_state(n)

    def step(self, tokens, state):
        rows, state = self.policy.step(tokens, state)
        return rows, self.values[state[0]], state


def test_an_exact_twist_gives_log_z_without_variance_and_samples_of_the_optimum():
    env = exact(TASK)
    solved = env.solution()
    sampler = SMCSampler(env, particles=2, twist=ExactTwist(env))
    tokens, lengths, log_pi = sampler.sample_with_log_prob(6_000, seed=0)
    which = tokens @ [27, 9, 3, 1]  # three tokens: the sequences are numbers to the base 3
    of_each = solved["prior_log_probs"][which] + solved["task_returns"][which] / solved["c"] - log_pi
    np.testing.assert_allclose(of_each, solved["log_z"], atol=1e-4)
    expected = np.exp(solved["log_probs"]) * len(tokens)
    counts, often = np.bincount(which, minlength=81), expected >= 5
    observed = np.append(counts[often], counts[~often].sum())
    assert chisquare(observed, np.append(expected[often], expected[~often].sum())).pvalue > 1e-3


def disturbed(network):
    """The network after a jolt to every weight, so that nothing is zero by construction."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    return network


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("cell, layers", [("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2)])
def test_a_step_gives_the_networks_policy_and_values(cell, layers, residual):
    prior = random_prior(cell, layers)
    network = disturbed(ValueNetwork(prior, residual, 1.0, torch.Generator().manual_seed(1)))
    tokens, _ = prior.sample(7, seed=0)
    log_policy, values = network(torch.from_numpy(tokens), torch.from_numpy(prior.log_probs(tokens)))
    twist = ValueTwist(network, prior, 6, c=1.0)
    state, last = twist.initial_state(7), np.full(7, prior.vocab.start)
    for t in range(tokens.shape[1]):
        rows, found, state = twist.step(last, state)
        np.testing.assert_allclose(rows, log_policy[:, t].detach(), atol=1e-4)
        np.testing.assert_allclose(found, values[:, t].detach(), atol=1e-4)
        last = tokens[:, t]
    assert values.std() > 0.01, "else any step would do"


@pytest.mark.parametrize("make", [toy_batch, sung_batch, lambda: sung_batch(masked=True)])
@pytest.mark.parametrize("kind", [PsiLearning, GLearning, QLearning, PolicyGradient])
def test_every_agent_has_a_twist_that_samples_its_task(kind, make):
    agent = made(kind, make()).learn(200)
    twist = agent.twist()
    assert isinstance(twist, Twist) and twist.c == agent.c and twist.vocab == agent.prior.vocab
    assert bool(twist.notes) == (kind is QLearning)
    tokens, lengths = agent.sample(20, seed=0, particles=4)
    np.testing.assert_array_equal(tokens, agent.sample(20, seed=0, particles=4)[0])
    mask = [agent.task.action_mask(tokens[:, :], np.full(20, t)) for t in range(2)]
    assert mask[1] is None or mask[1][np.arange(20), tokens[:, 1]][lengths > 1].all()


def test_a_twist_says_where_its_v_is_no_soft_value():
    for settings, said in ({"gamma": 0.5}, "gamma=0.5"), ({"prior_weight": 0.2}, "prior_weight=0.2"):
        (note,) = made(PsiLearning, **settings).twist().notes
        assert said in note
    assert made(PsiLearning).twist().notes == ()


def test_particles_correct_a_half_trained_agent():
    """KL to the optimum of the agent by enumeration, of the corrected samples by how often each sequence is there."""
    agent = trained(PsiLearning, TASK, seed=0, timesteps=1_000)
    solved = exact(TASK).solution()
    before = kl_policy_optimum(solved, agent.log_prob(solved["sequences"]))
    by_size = []
    for particles in (4, 32):
        tokens, _ = agent.sample(5_000, 0, particles=particles)
        share = np.bincount(tokens @ [27, 9, 3, 1], minlength=81) / len(tokens)
        # 80 degrees of freedom and as many samples make this too large by 80 / 10,000
        by_size.append(share[share > 0] @ (np.log(share[share > 0]) - solved["log_probs"][share > 0]) - 80 / 10_000)
    assert before > 0.3 and by_size[0] < before / 2 and by_size[1] < before / 10, (before, by_size)


def test_particles_are_those_of_a_sampler_with_the_agent_s_twist():
    agent = made(GLearning, sung_batch()).learn(500)
    tokens, _ = agent.sample(50, 3, particles=4)
    same, other = (SMCSampler(sung_batch(), particles=4, twist=twist) for twist in (agent.twist(), None))
    np.testing.assert_array_equal(tokens, same.sample(50, 3)[0])
    assert not np.array_equal(tokens, other.sample(50, 3)[0])


def test_what_particles_refuse_is_one_line():
    agent = made(PsiLearning)
    cold = {"particles": 4, "temperature": 0.5}
    for said, keywords in (("particles must be", {"particles": 0}), ("at temperature 1 only, not 0.5", cold)):
        with pytest.raises(ValueError, match=said) as error:
            agent.sample(5, 0, **keywords)
        assert "\n" not in str(error.value)
    without_task = made(PsiLearning)
    without_task.task = None
    with pytest.raises(ValueError, match="has no `task`"):
        without_task.sample(5, 0, particles=4)
