"""PPO with a KL penalty: estimates of a round by a plain loop, epochs, and what each place and kind of KL teaches."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import KLPPO, Reinvent
from agents.losses import KL_KINDS
from agents.rivals.kl_ppo import PLACES
from agents.store.replay import Sequences
from seqtutor_envs.prior.network import adam_steps
from toys.agent_toys import EXACT, assert_same_agents, sung_batch, toy_batch


def plain_log_probs(agent, tokens, length):
    """log pi and log p [t, V] of one sequence."""
    return (model.log_probs(tokens[None, :length])[0].astype(float) for model in (agent.policy(), agent.prior))


def plain_kl(kind, policy, prior, tokens):
    """The estimate at each step of one sequence, as Schulman writes it."""
    found = []
    for t, token in enumerate(tokens[: len(policy)]):
        log_ratio = prior[t, token] - policy[t, token]
        found.append(
            {
                "k1": -log_ratio,
                "k2": log_ratio**2 / 2,
                "k3": np.exp(log_ratio) - 1 - log_ratio,
                "exact": float(np.exp(policy[t]) @ (policy[t] - np.maximum(prior[t], -100.0))),
            }[kind]
        )
    return found


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KL_KINDS)
@pytest.mark.parametrize("env", [toy_batch, sung_batch])
def test_every_place_and_estimate_learns_and_is_saved(place, kind, env, tmp_path):
    agent = KLPPO(env(), kl=place, estimator=kind, seed=2)
    before = agent.state_arrays()["network.core.head.weight"].copy()
    agent.learn(120)
    loaded = KLPPO.load(agent.save(tmp_path / "agent"), env())
    assert_same_agents(loaded, agent)
    assert (loaded.settings["kl"], loaded.settings["estimator"]) == (place, kind)
    assert all(np.isfinite(array).all() for array in agent.state_arrays().values())
    assert np.abs(agent.state_arrays()["network.core.head.weight"] - before).max() > 1e-4


@pytest.mark.parametrize("kind", KL_KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_estimates_of_a_round_are_those_of_a_plain_loop(place, kind):
    """With gamma = lam = 1 the values' targets are what is paid from there on, whatever v."""
    agent = KLPPO(sung_batch(), kl=place, estimator=kind, lam=1.0, seed=3)
    agent.learn(300)
    rollout, log_pi = agent.collect()
    rollout = rollout.cut()
    old, advantages, targets, weight = (part.numpy().astype(float) for part in agent._estimate(rollout.tensors()))
    with torch.no_grad():
        tensors = rollout.tensors()
        values = agent.network(tensors.tokens, tensors.prior_log_probs)[1].numpy()
    expected = []
    for i, length in enumerate(rollout.lengths.tolist()):
        policy, prior = plain_log_probs(agent, rollout.tokens[i], length)
        kl = plain_kl(kind, policy, prior, rollout.tokens[i])
        paid = [float(rollout.task_rewards[i, t]) - (kl[t] if place == "reward" else 0.0) for t in range(length)]
        to_come = [sum(paid[t:]) for t in range(length)]
        np.testing.assert_allclose(targets[i, :length], to_come, atol=2e-3)
        expected += [(i, t, to_come[t] - values[i, t]) for t in range(length)]
        np.testing.assert_allclose(old[i, :length].sum(), log_pi[i], atol=1e-3)
        for part in (old, advantages, targets, weight):
            assert not part[i, length:].any()
    plain = np.array([advantage for _, _, advantage in expected])
    found = np.array([advantages[i, t] for i, t, _ in expected])
    np.testing.assert_allclose(found, (plain - plain.mean()) / plain.std(), atol=2e-3)
    # a KL in the loss is on the scale of the advantages
    np.testing.assert_allclose([weight[i, t] for i, t, _ in expected], 1 / plain.std(), rtol=1e-2)


def test_v_begins_at_the_mean_return():
    agent = KLPPO(sung_batch(), kl="loss")
    rollout, _ = agent.collect()
    agent._estimate(rollout.tensors())
    to_come = [
        float(rollout.task_rewards[i, t:length].sum())
        for i, length in enumerate(rollout.lengths.tolist())
        for t in range(length)
    ]
    assert agent.network.state_value[-1].bias.item() == pytest.approx(np.mean(to_come), abs=1e-4)


@pytest.mark.parametrize("batch_size, sizes", [(None, [4, 4, 4, 4]), (7, [7, 7, 2]), (40, [16])])
def test_each_epoch_is_about_every_sequence_once(batch_size, sizes):
    agent = KLPPO(EXACT, n_envs=16, epochs=3, batch_size=batch_size, c_start=4.0)
    received, update = [], agent.learner.update
    agent.learner.update = lambda batch, *further: received.append((batch, further)) or update(batch, *further)
    agent.learn(64)
    assert [len(batch.lengths) for batch, _ in received] == sizes * 3
    assert adam_steps(agent.learner.optimizer) == 3 * len(sizes)
    expected = sorted(map(tuple, agent.newest.tokens.tolist()))
    orders = set()
    for epoch in range(3):
        parts = received[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        rows = [tuple(row) for batch, _ in parts for row in batch.tokens.tolist()]
        assert sorted(rows) == expected
        orders.add(tuple(rows))
        # what was estimated goes with its sequence: log pi as it was sampled, in whatever order
        old = np.sort(np.concatenate([further[0].sum(1).numpy() for _, further in parts]))
        first = np.sort(np.concatenate([further[0].sum(1).numpy() for _, further in received[: len(sizes)]]))
        np.testing.assert_array_equal(old, first)
    assert len(orders) == 3


def test_a_part_has_the_estimates_of_its_own_sequences():
    agent = KLPPO(EXACT, n_envs=16, epochs=2).learn(128)
    rollout, _ = agent.collect()
    whole = agent._estimate(rollout.tensors())
    received = []
    agent.learner.update = lambda batch, *further: received.append((batch, further)) or {"loss": 0.0}
    agent._learn_from(rollout)
    rows = {tuple(row): i for i, row in enumerate(rollout.tokens.tolist())}
    for batch, further in received:
        for j, row in enumerate(batch.tokens.tolist()):
            for part, of_all in zip(further, whole, strict=True):
                torch.testing.assert_close(part[j], of_all[rows[tuple(row)]])


def gradients_of_kl(agent, kind):
    """The expected gradient, by all sequences with their probabilities, of the KL in the loss alone."""
    solution = gym.make(EXACT).unwrapped.solution()
    tokens = solution["sequences"]
    rows = agent.prior.log_probs(tokens)
    every = Sequences(tokens, solution["lengths"], np.zeros(tokens.shape, np.float32), rows).tensors()
    chances = torch.from_numpy(np.exp(agent.log_prob(tokens))).float()
    nothing = torch.zeros(tokens.shape)
    agent.learner.estimator, agent.learner.value_weight = kind, 0.0
    weight = (chances * len(chances))[:, None].expand(tokens.shape)
    loss, _ = agent.learner._loss(every, nothing, nothing, nothing, weight)
    agent.network.zero_grad()
    loss.backward()
    found = [part.grad for part in agent.network.core.parameters()]
    return torch.cat([grad.flatten() for grad in found])


def test_in_the_loss_k1_teaches_nothing_and_k2_what_the_exact_kl_does():
    agent = KLPPO(EXACT, n_envs=16, kl="loss", seed=1, learning_rate=5e-3).learn(2000)
    found = {kind: gradients_of_kl(agent, kind) for kind in KL_KINDS}
    size = found["exact"].norm()
    assert size > 0.01
    assert found["k1"].norm() < 1e-4 * size
    assert (found["k2"] - found["exact"]).norm() < 1e-3 * size
    assert (found["k3"] - found["exact"]).norm() > 0.05 * size  # that of KL(p || pi)


@pytest.mark.parametrize("kind", KL_KINDS)
def test_a_kl_in_the_reward_has_no_gradient_of_its_own(kind):
    """Where the advantages are 0, only v learns; the policy stays as it is."""
    agent = KLPPO(sung_batch(), estimator=kind, seed=1).learn(100)
    rollout, _ = agent.collect()
    tensors = rollout.cut().tensors()
    nothing = torch.zeros(tensors.tokens.shape)
    agent.network.zero_grad()
    loss, _ = agent.learner._loss(tensors, *[nothing] * 4)
    loss.backward()
    assert all(part.grad is None or not part.grad.any() for part in agent.network.core.parameters())
    assert any(part.grad.any() for part in agent.network.state_value.parameters())


def test_a_file_of_another_rival_is_refused(tmp_path):
    path = KLPPO(EXACT, n_envs=4).save(tmp_path / "agent")
    with pytest.raises(ValueError, match="holds KLPPO; load it with that class, not Reinvent"):
        Reinvent.load(path)
