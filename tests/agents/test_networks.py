"""The value network's start, and the policy in numpy against the network in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.networks import Policy, ValueNetwork
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.network import RecurrentNetwork


@pytest.fixture(params=["lstm", "gru"])
def prior(request):
    torch.manual_seed(0)
    return RecurrentPrior(RecurrentNetwork(38, 16, 2, request.param).weights(), request.param, MELODY_VOCAB, 6)


def made(prior, residual, prior_weight=1.0):
    return ValueNetwork(prior, residual, prior_weight, torch.Generator().manual_seed(1))


def rows_of(prior):
    tokens, _ = prior.sample(5, seed=0)
    return torch.from_numpy(tokens), torch.from_numpy(prior.log_probs(tokens))


def test_q_and_psi_start_at_log_p(prior):
    tokens, rows = rows_of(prior)
    torch.testing.assert_close(made(prior, False).values(tokens, rows), rows, rtol=0, atol=1e-5)


def test_g_starts_at_zero_and_its_policy_at_p(prior):
    tokens, rows = rows_of(prior)
    network = made(prior, True)
    torch.testing.assert_close(network.values(tokens, rows), torch.zeros_like(rows), rtol=0, atol=1e-5)
    policy = Policy(network, prior, 6)
    np.testing.assert_allclose(policy.log_probs(tokens.numpy()), rows.numpy(), atol=1e-5)


def test_the_other_head_starts_psi_uniform_and_g_at_p_squared(prior):
    tokens, rows = rows_of(prior)
    psi = ValueNetwork(prior, False, 1.0, torch.Generator().manual_seed(0), head="zero")
    uniform = torch.full_like(rows, -np.log(len(prior.vocab)))
    torch.testing.assert_close(psi(tokens, rows)[0], uniform, atol=1e-5, rtol=0)
    g = ValueNetwork(prior, True, 1.0, torch.Generator().manual_seed(0), head="prior")
    torch.testing.assert_close(g(tokens, rows)[0], (2 * rows).log_softmax(-1), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="head must be prior or zero, not 'ones'"):
        ValueNetwork(prior, True, 1.0, torch.Generator(), head="ones")


def test_logsumexp_of_psi_is_v(prior):
    tokens, rows = rows_of(prior)
    network = disturbed(made(prior, False))
    _, state_values = network(tokens, rows)
    torch.testing.assert_close(network.values(tokens, rows).logsumexp(-1), state_values)


@pytest.mark.parametrize("residual, weight", [(False, 1.0), (True, 1.0), (True, 0.4)])
def test_the_policy_in_numpy_is_the_networks(prior, residual, weight):
    tokens, rows = rows_of(prior)
    network = disturbed(made(prior, residual, weight))
    log_policy, _ = network(tokens, rows)
    stepped = Policy(network, prior, 6).log_probs(tokens.numpy())
    np.testing.assert_allclose(stepped, log_policy.detach().numpy(), atol=2e-5)
    values = network.values(tokens, rows) + (weight * rows if residual else 0.0)
    torch.testing.assert_close(values.log_softmax(-1), log_policy, rtol=0, atol=1e-5)


def test_v_sends_no_gradient_into_a_learned_core(prior):
    tokens, rows = rows_of(prior)
    network = disturbed(made(prior, False))
    network(tokens, rows)[1].sum().backward()
    assert all(parameter.grad is None for parameter in network.core.parameters())
    assert all(parameter.grad is not None for parameter in network.state_value.parameters())


def disturbed(network):
    """The network after a jolt to every weight, so that nothing is zero by construction."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    return network
