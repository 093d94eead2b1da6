"""CUDA graphs, and rollouts by the networks themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents import PsiLearning, rollouts
from agents.cuda_graphs import GraphedSampler, choose_by_draws, sample_tensors
from agents.networks import FORBIDDEN, Policy, ValueNetwork
from agents.rollouts import Rollouts
from seqtutor_envs.prior import RecurrentPrior, kernels
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, mask_prior
from seqtutor_envs.prior.network import RecurrentNetwork
from seqtutor_envs.vocab import TokenVocab
from toys.agent_toys import made, sung_batch
from toys.recurrent_toys import TEXTS, random_weights

HAS_GPU = torch.cuda.is_available()


# -- sequences that the networks sample ------------------------------------------------------------------------------

N, HORIZON, NEVER, END = 40, 9, 1, 4
LAST_DRAW = 1.0 - 2.0**-53  # the greatest that numpy's generators give


def prior_of(cell="lstm", num_layers=1, end=None):
    """One that holds the token NEVER impossible."""
    weights = random_weights(cell, num_layers)
    weights["head.bias"][NEVER] = -500.0
    return RecurrentPrior(weights, cell, TokenVocab(TEXTS, end), HORIZON)


def network_of(prior, residual=False):
    """A value network that has gone its own way from the prior; NEVER is likely by its own weights."""
    network = ValueNetwork(prior, residual, 0.7 if residual else 1.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in network.core.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        network.core.head.bias[NEVER] = 3.0
    return network


def stepped(network, prior, draws):
    """As `sample_tensors`, by the steps of Policy and Prior in numpy."""
    policy, tokens, rows, log_policy = Policy(network, prior, HORIZON), [], [], []
    n = draws.shape[1]
    state, prior_state, last = policy.initial_state(n), prior.initial_state(n), np.full(n, prior.vocab.start)
    for draw in draws:
        prior_rows, prior_state = prior.step(last, prior_state)
        prior_rows = np.maximum(prior_rows, LOG_PROB_FLOOR)
        policy_rows, state = policy.step(last, state, prior_rows)
        last = kernels.draw_tokens(policy_rows, draw)
        tokens.append(last)
        rows.append(prior_rows)
        log_policy.append(policy_rows[np.arange(n), last])
    return tuple(np.stack(parts, axis=1) for parts in (tokens, rows, log_policy))


def sampled_here(network, prior, draws):
    prior_network = RecurrentNetwork.from_weights(prior.weights, prior.cell)
    return tuple(tensor.numpy() for tensor in sample_tensors(network, prior_network, torch.from_numpy(draws)))


@pytest.mark.parametrize("residual", [False, True], ids=["psi", "g"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_networks_sample_what_their_steps_in_numpy_sample(cell, num_layers, residual):
    prior = prior_of(cell, num_layers)
    network = network_of(prior, residual)
    draws = np.random.default_rng(0).random((HORIZON, N))
    draws[:, 0], draws[:, 1] = 0.0, LAST_DRAW
    tokens, rows, log_policy = stepped(network, prior, draws)
    found = sampled_here(network, prior, draws)
    np.testing.assert_array_equal(found[0], tokens)
    np.testing.assert_allclose(found[1], rows, atol=1e-5)
    np.testing.assert_allclose(found[2], log_policy, atol=1e-5)
    assert set(np.unique(tokens)) == set(range(5)) - {NEVER}, "all tokens occur, but for the forbidden one"
    assert (found[1][..., NEVER] == np.float32(LOG_PROB_FLOOR)).all()


# -- one token --------------------------------------------------------------------------------------------------------


def test_tokens_are_drawn_as_on_the_cpu():
    rng = np.random.default_rng(2)
    rows = rng.normal(0.0, 3.0, (5000, 38)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.3] = FORBIDDEN
    draws = np.concatenate([rng.random(4800), np.zeros(100), np.full(100, LAST_DRAW)])
    tokens = choose_by_draws(torch.from_numpy(rows), torch.from_numpy(draws)).numpy()
    np.testing.assert_array_equal(tokens, kernels.draw_tokens(rows, draws))
    assert (rows[np.arange(5000), tokens] > FORBIDDEN).all()


# -- a rollout --------------------------------------------------------------------------------------------------------


def as_on_a_gpu(env, network, rounds=1, prior=None, policy_class=Policy, epsilon=None):
    """Rounds of a policy that knows its network, as where that is on a GPU."""
    prior = env.prior if prior is None else prior
    policy, rng = policy_class(network, prior, env.task.length), np.random.default_rng(5)
    policy.network = network
    collector = Rollouts(env, prior, env.task.length)
    return [collector.collect(policy, rng, epsilon) for _ in range(rounds)]


@pytest.mark.parametrize("residual", [False, True], ids=["psi", "g"])
def test_rounds_of_one_length_are_the_cpus(residual):
    env = sung_batch(N, end=None, length=HORIZON)
    network = network_of(env.prior, residual)
    policy, rng = Policy(network, env.prior, HORIZON), np.random.default_rng(5)
    assert policy.network is None, "on the CPU nothing else writes"
    plain = Rollouts(env, env.prior, HORIZON)
    for sequences, log_policy in as_on_a_gpu(env, network, rounds=3):
        expected, expected_log_policy = plain.collect(policy, rng)
        np.testing.assert_array_equal(sequences.tokens, expected.tokens)
        np.testing.assert_array_equal(sequences.lengths, expected.lengths)
        np.testing.assert_array_equal(sequences.task_rewards, expected.task_rewards)
        np.testing.assert_allclose(sequences.prior_log_probs, expected.prior_log_probs, atol=1e-5)
        np.testing.assert_allclose(log_policy, expected_log_policy, atol=1e-4)


def test_rounds_of_many_lengths_are_whole_and_announced():
    env = sung_batch(N, end=END, length=HORIZON)
    announced = []
    env.task.announce = lambda tokens, lengths: announced.append((tokens.copy(), lengths.copy()))
    network = network_of(env.prior)
    (sequences, log_policy), = as_on_a_gpu(env, network)
    draws = np.random.default_rng(5).random((HORIZON, N))
    tokens, rows, log_policies = stepped(network, env.prior, draws)
    assert len(set(sequences.lengths)) > 4
    for i, length in enumerate(sequences.lengths):
        ends = [*np.flatnonzero(tokens[i] == END) + 1, HORIZON]
        assert length == ends[0]
        assert sequences.tokens[i].tolist() == [*tokens[i, :length], *[0] * (HORIZON - length)]
        np.testing.assert_allclose(sequences.prior_log_probs[i, :length], rows[i, :length], atol=1e-5)
        assert not sequences.prior_log_probs[i, length:].any()
        assert log_policy[i] == pytest.approx(log_policies[i, :length].sum(), abs=1e-4)
        assert sequences.task_rewards[i].tolist() == [2.0 * (t < length and tokens[i, t] == 0) for t in range(HORIZON)]
    ((told, lengths),) = announced
    ended = (sequences.tokens == END).any(axis=1)
    assert 2 < ended.sum() < N
    np.testing.assert_array_equal(told, sequences.tokens[ended])
    np.testing.assert_array_equal(lengths, sequences.lengths[ended])


def test_the_weights_count_as_they_are_at_each_call():
    prior = prior_of()
    network = network_of(prior)
    sampler = GraphedSampler(network, prior)
    before = sampler.sample(N, HORIZON, np.random.default_rng(0))
    with torch.no_grad():
        network.core.head.bias[2] = 9.0
    after = sampler.sample(N, HORIZON, np.random.default_rng(0))
    expected = stepped(network, prior, np.random.default_rng(0).random((HORIZON, N)))
    np.testing.assert_array_equal(after[0].tokens, expected[0])
    assert (before[0].tokens != after[0].tokens).mean() > 0.2


class OwnPolicy(Policy):
    """One whose `step` may be anything."""


class OwnPrior(RecurrentPrior):
    """Likewise."""


def test_only_what_the_networks_can_do_alone_is_sampled_by_them(monkeypatch):
    def refused(*arguments):
        raise AssertionError("sampled by the networks")

    monkeypatch.setattr(rollouts, "GraphedSampler", refused)
    env, masked = sung_batch(), sung_batch(masked=True)
    prior = env.prior
    with pytest.raises(AssertionError, match="sampled by the networks"):
        as_on_a_gpu(env, network_of(prior))
    as_on_a_gpu(env, network_of(prior), epsilon=0.5)
    as_on_a_gpu(env, network_of(prior), policy_class=OwnPolicy)
    as_on_a_gpu(env, network_of(prior), prior=OwnPrior(prior.weights, prior.cell, prior.vocab, prior.length))
    judged = mask_prior(masked.prior, masked.task)
    as_on_a_gpu(masked, network_of(judged), prior=judged)
    wrapped = sung_batch(autoreset_mode="SameStep")
    monkeypatch.setattr(rollouts, "has_own_dynamics", lambda env: False)
    as_on_a_gpu(wrapped, network_of(prior))


# -- on a GPU ---------------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")


def learned(device, eager=False, given=None, rounds=8, **settings):
    """An agent after some rounds, its statistics of each, and the sequences: its own, or those given. All have one
    length, as melodies do, and each update is about a whole round, so that the replay draws nothing."""
    whole = {"batch_size": 16, "buffer_size": 16, "updates_per_round": 1}
    agent = made(PsiLearning, sung_batch(16, end=None), device=device, lam=1.0, **whole, **settings)
    if eager:
        agent.learner._graphed_step = agent.learner._graphed_step.function
    statistics, seen = [], []
    agent.total_timesteps = rounds * agent.n_envs * agent.horizon
    for i in range(rounds):
        seen.append(agent.collect()[0] if given is None else given[i])
        statistics.append(agent.improve(seen[-1]))
        agent.num_timesteps += int(seen[-1].lengths.sum())
        agent._policy = None
    return agent, statistics, seen


def assert_captured_updates_are_eager_ones(device, **settings):
    agent, one, seen = learned(device, **settings)
    plain, other, _ = learned(device, eager=True, given=seen, **settings)
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)
    for a, b in zip(agent.learner.network.parameters(), plain.learner.network.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    return agent


def assert_rounds_are_the_cpus(device):
    """While nothing is learned, which would let rounding grow."""
    _, _, here = learned("cpu", learning_rate=1e-9)
    agent, _, there = learned(device, learning_rate=1e-9)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_allclose(a.prior_log_probs, b.prior_log_probs, atol=1e-4)
    return agent


def assert_an_agent_put_back_goes_on_from_there(device):
    agent, _, seen = learned(device)
    arrays = agent.state_arrays()
    expected = agent.improve(seen[-1])
    agent.load_state_arrays(arrays)
    assert not agent.learner._graphed_step._recordings, "a graph would change the moments that were replaced"
    assert agent.improve(seen[-1]) == pytest.approx(expected, rel=1e-4)


def test_what_is_asked_of_a_gpu_below_holds_on_the_cpu():
    """Nothing is captured there, but the comparisons are run."""
    assert_captured_updates_are_eager_ones("cpu", anneal=True)
    assert_rounds_are_the_cpus("cpu")
    assert_an_agent_put_back_goes_on_from_there("cpu")


@needs_gpu
@pytest.mark.parametrize("settings", [{}, {"anneal": True}, {"precision": "bfloat16"}, {"tau": 1.0}])
def test_captured_updates_are_eager_ones(settings):
    agent = assert_captured_updates_are_eager_ones("cuda", **settings)
    assert agent.learner._graphed_step._recordings, "there was a graph"


@needs_gpu
def test_a_captured_round_is_the_cpus():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        agent = assert_rounds_are_the_cpus("cuda")
    assert agent.rollouts._gpu_sampler._sample._recordings, "there was a graph"


@needs_gpu
def test_an_agent_put_back_goes_on_from_there():
    assert_an_agent_put_back_goes_on_from_there("cuda")
