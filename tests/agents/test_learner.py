"""One update: who gets gradients, what padding does, how the target network moves."""

from __future__ import annotations


import numpy as np
import pytest
import torch

from agents import PsiLearning
from agents.baselines import PolicyGradient
from agents.cuda_graphs import pad_steps
from agents.learner import LearnerSettings, SoftQLearner
from agents.networks import ValueNetwork
from agents.store.replay import Replay, Sequences
from agents.targets import OBJECTIVES, within
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.network import RecurrentNetwork
from seqtutor_envs.vocab import TokenVocab
from toys.agent_toys import EXACT, made
from toys.recurrent_toys import needs_bfloat16

VOCAB = TokenVocab(("a", "b", "."), end=2)


def prior():
    torch.manual_seed(0)
    return RecurrentPrior(RecurrentNetwork(3, 8).weights(), "lstm", VOCAB, 6)


def learner(name="psi", **settings):
    frozen = prior()
    network = ValueNetwork(frozen, OBJECTIVES[name].residual, 1.0, torch.Generator().manual_seed(1))
    return frozen, SoftQLearner(network, OBJECTIVES[name], LearnerSettings(**settings))


def batch(frozen, filler=0, seed=0):
    tokens, lengths = frozen.sample(12, seed=seed)
    assert len(set(lengths)) > 2, "sequences of different lengths are the point"
    rng = np.random.default_rng(1)
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    rewards = np.where(inside, rng.standard_normal(tokens.shape), 50.0 * filler).astype(np.float32)
    rows = frozen.log_probs(tokens, lengths)
    rows[~inside] = -1.0 - filler
    return Sequences(np.where(inside, tokens, filler), lengths, rewards, rows)


@pytest.mark.parametrize("name", ["q", "psi", "g"])
def test_no_gradient_reaches_target_or_prior(name):
    frozen, one = learner(name, tau=0.0)
    before = {key: array.copy() for key, array in frozen.weights.items()}
    target = [parameter.clone() for parameter in one.target_network.parameters()]
    online = [parameter.clone() for parameter in one.network.parameters()]
    for _ in range(3):
        one.update(batch(frozen))
    assert all(parameter.grad is None for parameter in one.target_network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(target, one.target_network.parameters()))
    assert all(np.array_equal(before[key], array) for key, array in frozen.weights.items())
    assert not all(torch.equal(a, b) for a, b in zip(online, one.network.parameters()))


@pytest.mark.parametrize("name, lam", [("q", 0.0), ("psi", 0.0), ("psi", 1.0), ("g", 0.0), ("g", 1.0)])
def test_filler_changes_neither_loss_nor_weights(name, lam):
    results = []
    for filler in (0, 1):
        frozen, one = learner(name, lam=lam)
        statistics = one.update(batch(frozen, filler))
        results.append((statistics, [parameter.detach() for parameter in one.network.parameters()]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for a, b in zip(results[0][1], results[1][1]):
        torch.testing.assert_close(a, b)


def test_the_target_network_moves_by_tau():
    frozen, one = learner(tau=0.25)
    before = [parameter.clone() for parameter in one.target_network.parameters()]
    one.update(batch(frozen))
    for slow, old, fast in zip(one.target_network.parameters(), before, one.network.parameters()):
        torch.testing.assert_close(slow, 0.75 * old + 0.25 * fast.detach())


def test_without_a_lag_targets_are_the_online_networks():
    """tau = 1 skips the target network's pass; tau just below 1, which does not, gives nearly the same."""
    results = []
    for tau in (1.0, 1.0 - 1e-7):
        frozen, one = learner(tau=tau, lam=0.5, learning_rate=0.05)
        calls = []
        forward = one.target_network.values
        one.target_network.values = lambda *args: calls.append(1) or forward(*args)
        statistics = [one.update(batch(frozen, seed=seed)) for seed in range(5)]
        results.append((statistics, [parameter.detach() for parameter in one.network.parameters()]))
        assert len(calls) == (1 if tau == 1.0 else 6)  # once to raise v, then once an update
        for slow, fast in zip(one.target_network.parameters(), one.network.parameters()):
            torch.testing.assert_close(slow, fast.detach())
    for a, b in zip(*(statistics for statistics, _ in results)):
        assert a == pytest.approx(b, rel=1e-4)
    for a, b in zip(results[0][1], results[1][1]):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["psi", "g"])
def test_whole_returns_do_not_depend_on_v_of_the_target_network(name):
    frozen, one = learner(name, lam=1.0)
    with torch.no_grad():
        for parameter in one.target_network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    tensors = batch(frozen).tensors()
    tokens, rows = tensors.tokens, tensors.prior_log_probs
    values = [one.target_network.values(tokens, rows, with_v).detach() for with_v in (True, False)]
    assert (values[0] - values[1]).abs().max() > 0.1
    online = one.network.values(tokens, rows)
    with_v, without = (one._targets(tensors, online, v) for v in values)
    mask = within(tensors.lengths, tokens.shape[1])
    torch.testing.assert_close(with_v * mask, without * mask)


def test_double_q_lets_the_online_network_choose_among_the_targets_values():
    frozen, one = learner("q", double=True)
    plain = learner("q")[1]
    with torch.no_grad():  # two networks that disagree about the best token
        for network in (one.network, plain.network):
            for parameter in network.parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    tensors = batch(frozen).tensors()
    tokens, lengths, rewards, rows = tensors
    online, target = (net.values(tokens, rows).detach() for net in (one.network, one.target_network))
    y, greedy = one._targets(tensors, online, target), plain._targets(tensors, online, target)
    chosen_apart = 0
    for b in range(len(tokens)):
        for t in range(int(lengths[b])):
            expected = float(rewards[b, t] + rows[b, t, tokens[b, t]])
            if t + 1 < int(lengths[b]):
                best = int(online[b, t + 1].argmax())
                chosen_apart += best != int(target[b, t + 1].argmax())
                expected += one.settings.gamma * float(target[b, t + 1, best])
            assert float(y[b, t]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert chosen_apart
    assert (greedy > y + 1e-3).any() and (greedy >= y - 1e-4).all()  # the maximum is never below


@pytest.mark.parametrize("name", ["psi", "g"])
def test_only_q_learning_has_a_double_form(name):
    with pytest.raises(ValueError, match="double is Q-learning's"):
        learner(name, double=True)


def test_huber_is_squared_inside_and_linear_outside():
    frozen, squared = learner()
    squared_loss = squared.update(batch(frozen))["loss"]
    assert learner(huber=1e6)[1].update(batch(frozen))["loss"] == pytest.approx(squared_loss, rel=1e-5)
    small = learner(huber=1e-4)[1].update(batch(frozen))
    assert small["loss"] == pytest.approx(1e-4 * small["td_error"], rel=1e-2)


def test_updates_reach_the_target_on_a_fixed_batch():
    frozen, one = learner(tau=1.0, learning_rate=1e-2)
    data = batch(frozen)
    # a prefix that occurs twice with different rewards could not be fitted: let rewards be a function of the prefix
    inside = np.arange(data.tokens.shape[1]) < data.lengths[:, None]
    data.task_rewards[:] = np.cumsum(data.tokens, axis=1) / 10 * inside
    errors = [one.update(data)["td_error"] for _ in range(400)]
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("name", ["psi", "g"])
def test_with_whole_returns_v_starts_at_their_mean_and_is_moved_once(name):
    frozen, one = learner(name, lam=1.0, learning_rate=1e-12, max_grad_norm=1e9)
    sequences = batch(frozen)
    tokens, lengths, rewards, _ = sequences.tensors()
    # at first log pi = log p in both, and so the soft return is the sum of rewards to come
    to_come = [rewards[i, t:length].sum() for i, length in enumerate(lengths.tolist()) for t in range(length)]
    expected = float(torch.stack(to_come).mean())
    assert abs(expected) > 0.05
    for _ in range(2):
        one.update(sequences)
        for network in (one.network, one.target_network):
            assert float(network.state_value[-1].bias.detach()) == pytest.approx(expected, abs=1e-4)


@needs_bfloat16
def test_bfloat16_products_change_a_loss_by_little():
    losses = {}
    for precision in ("float32", "bfloat16"):
        frozen, one = learner(precision=precision)
        losses[precision] = one.update(batch(frozen))["loss"]
    assert losses["float32"] != losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16', not 'half'"):
        learner(precision="half")


def test_v_has_a_learning_rate_of_its_own_which_falls_with_the_other():
    _, one = learner(learning_rate=0.01, value_rate=5.0)
    rates = {id(p): group["lr"] for group in one.optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in one.network.core.parameters()} == {0.01}
    assert {rates[id(p)] for p in one.network.state_value.parameters()} == {0.05}
    assert len(rates) == len(list(one.network.parameters()))
    one.set_progress(0.75)
    assert [group["lr"] for group in one.optimizer.param_groups] == pytest.approx([0.0025, 0.0125])


@pytest.mark.parametrize("name, lam", [("q", 0.0), ("psi", 1.0), ("g", 0.5)])
def test_a_batch_padded_for_a_graph_teaches_the_same(name, lam):
    frozen, plain = learner(name, lam=lam)
    _, longer = learner(name, lam=lam)
    expected = plain.update(batch(frozen))
    tensors = pad_steps(batch(frozen).tensors(), 8)
    assert [tuple(tensor.shape) for tensor in tensors] == [(12, 8), (12,), (12, 8), (12, 8, 3)]
    assert all(torch.equal(a, b) for a, b in zip(pad_steps(tensors, 8), tensors)), "8 is a multiple of 8"
    longer._gpu = True
    assert longer.update(batch(frozen)) == pytest.approx(expected, rel=1e-5)
    for a, b in zip(plain.network.parameters(), longer.network.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_with_one_step_targets_v_starts_at_zero():
    frozen, one = learner("psi", lam=0.0, learning_rate=1e-12)
    one.update(batch(frozen))
    assert float(one.network.state_value[-1].bias.detach()) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("agent_class", [PsiLearning, PolicyGradient])
def test_gradient_steps_and_their_rate_are_reported_and_a_loaded_agent_counts_on(agent_class, tmp_path, monkeypatch):
    steps, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda optimizer: steps.append(1) or step(optimizer))
    agent = made(agent_class, EXACT, n_envs=16, learning_rate=0.02).learn(200)
    figures = agent.improve(agent.newest)
    assert (figures["n_updates"], figures["learning_rate"]) == (len(steps), 0.02)
    loaded = agent_class.load(agent.save(tmp_path / "agent"))
    assert loaded.improve(agent.newest)["n_updates"] == len(steps) > figures["n_updates"] > 3


def test_replay_keeps_the_newest_and_draws_each_once():
    replay = Replay(5, horizon=2, vocab_size=3)
    rng = np.random.default_rng(0)

    def round_of(numbers):
        n = len(numbers)
        tokens = np.array(numbers)[:, None] * np.ones((1, 2), np.int64)
        return Sequences(tokens, np.full(n, 2), np.zeros((n, 2), np.float32), np.zeros((n, 2, 3), np.float32))

    replay.add(round_of([0, 1, 2]))
    assert sorted(replay.sample(10, rng).tokens[:, 0]) == [0, 1, 2]
    replay.add(round_of([3, 4, 5, 6]))
    assert sorted(replay.sample(5, rng).tokens[:, 0]) == [2, 3, 4, 5, 6]
    replay.add(round_of(list(range(10, 18))))
    assert sorted(replay.sample(5, rng).tokens[:, 0]) == [13, 14, 15, 16, 17]
    drawn = [tuple(sorted(replay.sample(2, rng).tokens[:, 0])) for _ in range(200)]
    assert len(set(drawn)) == 10, "all pairs occur, none twice in one batch"
