"""A round written by the networks themselves: the numpy loop's tokens, rows and log pi, on whatever device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agent_toys import sung_batch
from recurrent_toys import TEXTS, random_weights

from agents import rollouts
from agents.device_writing import DeviceWriter, cut, drawn, written
from agents.networks import FORBIDDEN, Policy, ValueNetwork
from agents.rollouts import Rollouts
from seqtutor_envs import loops
from seqtutor_envs.masking import LOG_PROB_FLOOR, mask_prior
from seqtutor_envs.network import RecurrentNetwork
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.vocab import TokenVocab

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
    """As `written`, by the steps of Policy and Prior in numpy."""
    policy, tokens, rows, log_policy = Policy(network, prior, HORIZON), [], [], []
    n = draws.shape[1]
    state, prior_state, last = policy.initial_state(n), prior.initial_state(n), np.full(n, prior.vocab.start)
    for draw in draws:
        prior_rows, prior_state = prior.step(last, prior_state)
        prior_rows = np.maximum(prior_rows, LOG_PROB_FLOOR)
        policy_rows, state = policy.step(last, state, prior_rows)
        last = loops.drawn(policy_rows, draw)
        tokens.append(last)
        rows.append(prior_rows)
        log_policy.append(policy_rows[np.arange(n), last])
    return tuple(np.stack(parts, axis=1) for parts in (tokens, rows, log_policy))


def written_here(network, prior, draws):
    prior_network = RecurrentNetwork.from_weights(prior.weights, prior.cell)
    return tuple(tensor.numpy() for tensor in written(network, prior_network, torch.from_numpy(draws)))


@pytest.mark.parametrize("residual", [False, True], ids=["psi", "g"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_networks_write_what_their_steps_in_numpy_write(cell, num_layers, residual):
    prior = prior_of(cell, num_layers)
    network = network_of(prior, residual)
    draws = np.random.default_rng(0).random((HORIZON, N))
    draws[:, 0], draws[:, 1] = 0.0, LAST_DRAW
    tokens, rows, log_policy = stepped(network, prior, draws)
    found = written_here(network, prior, draws)
    np.testing.assert_array_equal(found[0], tokens)
    np.testing.assert_allclose(found[1], rows, atol=1e-5)
    np.testing.assert_allclose(found[2], log_policy, atol=1e-5)
    assert set(np.unique(tokens)) == set(range(5)) - {NEVER}, "all tokens occur, but for the forbidden one"
    assert (found[1][..., NEVER] == np.float32(LOG_PROB_FLOOR)).all()


def test_writing_never_waits_for_a_gpu():
    """A "meta" tensor has no value that could be looked at: to try is an error."""
    prior = prior_of()
    networks = network_of(prior, True).to("meta"), RecurrentNetwork.from_weights(prior.weights, "lstm").to("meta")
    outputs = written(*networks, torch.zeros(HORIZON, N, dtype=torch.float64, device="meta"))
    assert [tuple(output.shape) for output in outputs] == [(N, HORIZON), (N, HORIZON, 5), (N, HORIZON)]
    assert not any(output.requires_grad for output in outputs)


# -- one token --------------------------------------------------------------------------------------------------------


def test_a_draw_takes_the_first_token_at_which_the_sum_of_probabilities_passes_it():
    row = torch.log(torch.tensor([0.0, 0.5, 0.0, 0.25, 0.25, 0.0]))
    draws = [0.0, 0.25, 0.4999, 0.5, 0.7499, 0.75, LAST_DRAW]
    expected = [1, 1, 1, 3, 3, 4, 4]
    many = row.expand(len(draws), 6)
    assert drawn(many, torch.tensor(draws, dtype=torch.float64)).tolist() == expected
    assert drawn(many + 300.0, torch.tensor(draws, dtype=torch.float64)).tolist() == expected, "not normalised"


def test_tokens_are_drawn_as_on_the_cpu():
    rng = np.random.default_rng(2)
    rows = rng.normal(0.0, 3.0, (5000, 38)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.3] = FORBIDDEN
    draws = np.concatenate([rng.random(4800), np.zeros(100), np.full(100, LAST_DRAW)])
    tokens = drawn(torch.from_numpy(rows), torch.from_numpy(draws)).numpy()
    np.testing.assert_array_equal(tokens, loops.drawn(rows, draws))
    assert (rows[np.arange(5000), tokens] > FORBIDDEN).all()


# -- a round ----------------------------------------------------------------------------------------------------------


def test_what_follows_the_first_end_token_is_cut_away():
    tokens = np.array([[0, 4, 2, 4], [1, 2, 3, 0], [4, 4, 0, 1], [2, 2, 2, 4]])
    rows = np.ones((4, 4, 5), np.float32)
    log_policy = -np.array([[1, 2, 4, 8]] * 4, np.float32)
    sequences, log_policies = cut(tokens, rows, log_policy, END)
    assert sequences.tokens.tolist() == [[0, 4, 0, 0], [1, 2, 3, 0], [4, 0, 0, 0], [2, 2, 2, 4]]
    assert sequences.lengths.tolist() == [2, 4, 1, 4]
    assert log_policies.tolist() == [-3.0, -15.0, -1.0, -15.0]
    np.testing.assert_array_equal(sequences.prior_log_probs.sum(axis=2), 5.0 * (np.arange(4) < [[2], [4], [1], [4]]))
    assert not sequences.task_rewards.any()
    whole, log_policies = cut(tokens, rows, log_policy, None)
    np.testing.assert_array_equal(whole.tokens, tokens)
    assert whole.lengths.tolist() == [4] * 4 and log_policies.tolist() == [-15.0] * 4
    types = [array.dtype for array in whole.arrays()]
    assert types == [array.dtype for array in rollouts.empty(4, 4, 5).arrays()]


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
    writer = DeviceWriter(network, prior)
    before = writer(N, HORIZON, np.random.default_rng(0))
    with torch.no_grad():
        network.core.head.bias[2] = 9.0
    after = writer(N, HORIZON, np.random.default_rng(0))
    expected = stepped(network, prior, np.random.default_rng(0).random((HORIZON, N)))
    np.testing.assert_array_equal(after[0], expected[0])
    assert (before[0] != after[0]).mean() > 0.2


class OwnPolicy(Policy):
    """One whose `step` may be anything."""


class OwnPrior(RecurrentPrior):
    """Likewise."""


def test_only_what_the_networks_can_do_alone_is_written_by_them(monkeypatch):
    def refused(*arguments):
        raise AssertionError("written by the networks")

    monkeypatch.setattr(rollouts, "DeviceWriter", refused)
    env, masked = sung_batch(), sung_batch(masked=True)
    prior = env.prior
    with pytest.raises(AssertionError, match="written by the networks"):
        as_on_a_gpu(env, network_of(prior))
    as_on_a_gpu(env, network_of(prior), epsilon=0.5)
    as_on_a_gpu(env, network_of(prior), policy_class=OwnPolicy)
    as_on_a_gpu(env, network_of(prior), prior=OwnPrior(prior.weights, prior.cell, prior.vocab, prior.length))
    judged = mask_prior(masked.prior, masked.task)
    as_on_a_gpu(masked, network_of(judged), prior=judged)
    wrapped = sung_batch(autoreset_mode="SameStep")
    monkeypatch.setattr(rollouts, "has_own_dynamics", lambda env: False)
    as_on_a_gpu(wrapped, network_of(prior))
