"""REINVENT, Augmented Hill-Climb, trajectory balance and VarGrad: where they end on small tasks, by enumeration.

The measured gaps stand beside the bounds. With a wrong loss they end far above: without log p at a gap of 1 and more.
"""

from __future__ import annotations

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import lambertw, logsumexp

from agents import KLPPO, AugmentedHillClimb, PsiLearning, Reinvent, TrajectoryBalance
from agents.evaluate import evaluate
from toys.agent_toys import EXACT, SMALL, made, sung_batch, toy_batch

TASK = {"vocab_size": 3, "length": 3, "seed": 31}  # 27 sequences; the prior's gap is 1.6 nats, a fresh network's 1.75
FAST = {"n_envs": 64, "learning_rate": 0.01, "anneal": True}
OWN = {**FAST, "n_envs": 16, "batch_size": 16, "buffer_size": 16, "updates_per_round": 1}  # the newest rollout alone
SEQUENCE_LOSSES = {
    "reinvent": (Reinvent, {}),
    "hill climb": (AugmentedHillClimb, {"share": 0.5}),
    "trajectory balance": (TrajectoryBalance, {}),
    "vargrad": (TrajectoryBalance, {"form": "vargrad"}),
}


def solve(**task):
    return gym.make(EXACT, **{**TASK, **task}).unwrapped.solution()


def find_returns(solution):
    """log p + R / c of all sequences."""
    return solution["prior_log_probs"] + solution["task_returns"] / solution["c"]


def kl(log_a, log_b):
    return float(np.exp(log_a) @ (log_a - log_b))


def find_gap(agent, solution):
    return kl(agent.log_prob(solution["sequences"]), solution["log_probs"])


# -- where they end on samples of their own ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "agent_class, settings, bound",
    [
        (TrajectoryBalance, FAST, 0.02),  # .001
        (TrajectoryBalance, {**FAST, "form": "vargrad"}, 0.02),
        (KLPPO, {**FAST, "batch_size": 64}, 0.06),  # .02
    ],
)
def test_the_optimum_is_learned(agent_class, settings, bound):
    agent, solution = agent_class(EXACT, env_kwargs=TASK, **settings), solve()
    assert find_gap(agent, solution) > 1.0
    agent.learn(12_000)
    gap = find_gap(agent, solution)
    assert gap < bound
    said = evaluate(agent, EXACT, 500, env_kwargs=TASK)  # its own `seed` is another
    assert said["gap"] == pytest.approx(gap, abs=4 * said["gap_se"] + 1e-6)
    if settings.get("form", "learned") == "learned" and agent_class is TrajectoryBalance:
        assert agent.learner.log_z.value.item() == pytest.approx(solution["log_z"], abs=0.1)


def test_reinvent_on_its_own_samples_goes_towards_the_optimum_and_past_its_fixed_point_on_others():
    """.038; its fixed point on uniform samples has a gap of .065."""
    solution = solve()
    elsewhere = kl(reinvent_on_all(find_returns(solution)), solution["log_probs"])
    gaps = [find_gap(agent := Reinvent(EXACT, env_kwargs=TASK, **OWN), solution)]
    for _ in range(2):
        gaps.append(find_gap(agent.learn(9_000, reset_num_timesteps=False), solution))
    assert gaps[0] > 1.0 and gaps[1] < 0.3
    assert gaps[2] < 0.06 < elsewhere


# -- where they end on all sequences alike ----------------------------------------------------------------------------


def reinvent_on_all(returns):
    """log pi where the mean of (log p + R/c - log pi)^2 is least over all sequences, with sum pi = 1.

    By Lagrange log p + R/c - log pi = nu pi, so that pi = W(nu exp(log p + R/c)) / nu, where W is Lambert's function.
    """
    grown = np.exp(returns)
    nu = brentq(lambda nu: lambertw(nu * grown).real.sum() / nu - 1.0, 1e-9, 1e9)
    return np.log(lambertw(nu * grown).real / nu)


def learn_from_all(agent_class, **settings):
    """Every update is about all 27 sequences, each once, out of the store."""
    solution = solve()
    agent = agent_class(
        EXACT, n_envs=4, env_kwargs=TASK, learning_rate=0.01, anneal=True, batch_size=27, updates_per_round=30,
        store={"own": 0.0, "draw": "uniform"}, max_grad_norm=10.0, **settings,
    )  # fmt: skip
    assert agent.offer((solution["sequences"], solution["lengths"])).taken == 27
    return agent.learn(12 * 12), solution


def test_the_fixed_point_of_reinvent_is_a_minimum():
    """What the next tests rest on."""
    returns = find_returns(solve())
    found = reinvent_on_all(returns)
    assert np.exp(found).sum() == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        other = found + 0.05 * rng.standard_normal(len(found))
        other -= logsumexp(other)
        assert np.square(returns - other).mean() > np.square(returns - found).mean()


@pytest.mark.parametrize(
    "agent_class, settings",
    [
        (TrajectoryBalance, {}),
        (TrajectoryBalance, {"form": "vargrad"}),
        (PsiLearning, {"lam": 1.0, "tau": 1.0, "huber": None}),
    ],
)
def test_with_log_z_the_optimum_is_the_fixed_point_on_any_samples(agent_class, settings):
    agent, solution = learn_from_all(agent_class, **settings)
    assert find_gap(agent, solution) < 1e-3
    if settings == {}:
        assert agent.learner.log_z.value.item() == pytest.approx(solution["log_z"], abs=0.01)


def test_without_log_z_it_is_another_one_that_lamberts_function_gives():
    agent, solution = learn_from_all(Reinvent)
    expected, gap = reinvent_on_all(find_returns(solution)), find_gap(agent, solution)
    assert kl(agent.log_prob(solution["sequences"]), expected) < 1e-3
    assert gap == pytest.approx(kl(expected, solution["log_probs"]), abs=0.01) and gap > 0.05


def test_hill_climb_ends_on_the_best_of_its_share():
    agent, solution = learn_from_all(AugmentedHillClimb, share=1 / 3)
    best = np.argsort(-solution["task_returns"], kind="stable")[:9]
    found = agent.log_prob(solution["sequences"])
    assert np.exp(found[best]).sum() > 0.97
    returns = find_returns(solution)[best]
    assert np.exp(returns).sum() > 1.0, "else many policies fit them"
    np.testing.assert_allclose(np.exp(found[best]), np.exp(reinvent_on_all(returns)), atol=0.03)


# -- what an update receives and returns ------------------------------------------------------------------------------


def plain_estimates(agent, batch):
    """log p + R/c - log pi of each sequence of a batch, in a loop over tokens."""
    found = []
    for tokens, length, rewards in zip(batch.tokens, batch.lengths.tolist(), batch.task_rewards):
        rows = agent.policy().log_probs(tokens[None, :length])[0]
        prior = agent.prior.log_probs(tokens[None, :length])[0]
        found.append(sum(float(prior[t, a] + rewards[t] - rows[t, a]) for t, a in enumerate(tokens[:length])))
    return np.array(found)


@pytest.mark.parametrize("name", SEQUENCE_LOSSES)
def test_losses_and_residuals_are_those_of_a_plain_loop(name):
    agent_class, settings = SEQUENCE_LOSSES[name]
    agent = made(agent_class, toy_batch(), **settings).learn(200)
    batch = agent.replay.sample(16, np.random.default_rng(0))
    assert len(set(batch.lengths.tolist())) > 2
    estimates = plain_estimates(agent, batch)
    log_z = {"trajectory balance": agent.learner.log_z.value.item(), "vargrad": estimates.mean()}.get(name, 0.0)
    residuals = estimates - log_z
    if name == "hill climb":
        chosen = residuals[np.argsort(-batch.task_rewards.sum(1), kind="stable")[:8]]
    else:
        chosen = residuals
    statistics = agent.learner.update(batch)
    # of sequences, brought to the scale of tokens
    expected = np.square(chosen).mean() / 2 * 16 / batch.lengths.sum()
    assert statistics["loss"] == pytest.approx(expected, rel=1e-3)
    assert statistics["td_error"] == pytest.approx(np.abs(residuals).mean(), rel=1e-3)


def test_log_z_begins_at_the_mean_estimate_and_is_learned_at_its_own_rate():
    agent = made(TrajectoryBalance, toy_batch(), log_z_rate=0.25)
    rollout, _ = agent.collect()
    estimates = plain_estimates(agent, rollout)
    tensors = rollout.tensors()
    for _ in range(2):  # twice, as where a first step is left out
        agent.learner._begin(tensors)
        assert agent.learner.log_z.value.item() == pytest.approx(estimates.mean(), rel=1e-4)
    with torch.no_grad():
        agent.learner.log_z.value -= 3.0
    agent.learner._begin = lambda batch: None
    agent.learner.update(rollout)
    # Adam's first step has the size of its rate
    assert agent.learner.log_z.value.item() == pytest.approx(estimates.mean() - 3.0 + 0.25, abs=1e-3)
    agent.learner.set_progress(0.5)
    assert [group["lr"] for group in agent.learner.optimizer.param_groups] == pytest.approx([1.5e-3, 1.5e-3, 0.125])


@pytest.mark.parametrize("name", ["reinvent", "hill climb", "vargrad"])
def test_where_log_z_is_no_parameter_it_stays_0(name):
    agent_class, settings = SEQUENCE_LOSSES[name]
    agent = made(agent_class, toy_batch(), **settings).learn(300)
    assert agent.learner.log_z.value.item() == 0.0 and len(agent.learner.optimizer.param_groups) == 2


@pytest.mark.parametrize("name", SEQUENCE_LOSSES)
def test_v_has_no_share(name):
    agent_class, settings = SEQUENCE_LOSSES[name]
    agent = made(agent_class, sung_batch(), **settings)
    before = {key: value.clone() for key, value in agent.network.state_dict().items()}
    tokens, lengths = agent.prior.sample(20, 0)
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    first, prior = (model.log_probs(tokens, lengths)[inside] for model in (agent.policy(), agent.prior))
    np.testing.assert_allclose(first, prior, atol=1e-5)
    agent.learn(300)
    after = agent.network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved and all(key.startswith("core.") for key in moved)


def test_vargrad_needs_two_sequences():
    with pytest.raises(ValueError, match="give it at least 2, not 1"):
        TrajectoryBalance(EXACT, n_envs=1, form="vargrad").learn(4)


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", [Reinvent, AugmentedHillClimb, TrajectoryBalance, KLPPO])
def test_every_argument_stands_in_the_signature_and_files_keep_those_that_shape_learning(agent_class, tmp_path):
    parameters = inspect.signature(agent_class).parameters
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    apart = {"env", "seed", "n_envs", "prior", "env_kwargs", "device", "verbose", "tensorboard_log"}
    agent = agent_class(EXACT, n_envs=4)
    assert list(agent.settings) == [name for name in parameters if name not in apart]
    chosen = {} if agent_class is KLPPO else {"scores": "free"}
    assert agent.settings == {name: parameters[name].default for name in agent.settings} | chosen
    loaded = agent_class.load(agent.save(tmp_path / "agent"))
    assert loaded.settings == agent.settings and loaded.n_envs == 4


@pytest.mark.parametrize(
    "agent_class, given, message",
    [
        (AugmentedHillClimb, {"share": 0.0}, "share must be a finite number above 0 and at most 1, not 0.0"),
        (AugmentedHillClimb, {"share": 1.5}, "share must be"),
        (TrajectoryBalance, {"form": "fixed"}, "form must be one of 'learned', 'vargrad', not 'fixed'"),
        (TrajectoryBalance, {"log_z_rate": 0.0}, "log_z_rate must be a finite number above 0"),
        (Reinvent, {"learning_rate": 0.0}, "learning_rate must be"),
        (Reinvent, {"store": {"size": 3}}, "store= has no setting 'size'"),
        (Reinvent, {"precision": "half"}, "precision must be one of 'float32', 'bfloat16'"),
        (KLPPO, {"kl": "nowhere"}, "kl must be one of 'reward', 'loss', not 'nowhere'"),
        (KLPPO, {"estimator": "k4"}, "estimator must be one of 'k1', 'k2', 'k3', 'exact', not 'k4'"),
        (KLPPO, {"epochs": 0}, "epochs must be an integer of at least 1, not 0"),
        (KLPPO, {"clip_range": 0.0}, "clip_range must be"),
    ],
)
def test_a_wrong_argument_is_one_line(agent_class, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        agent_class(EXACT, n_envs=4, **given)
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_the_horizon():
    short, long = Reinvent(EXACT, n_envs=4), Reinvent(toy_batch(), scores="free")
    assert (short.batch_size, short.replay.capacity, short.updates_per_round) == (128, 8192, 4)
    assert short.learner._rates == [3e-3, 3e-3] == long.learner._rates
    melodies = Reinvent("SeqTutor-Melody-v0", n_envs=4)
    assert (melodies.batch_size, melodies.replay.capacity, melodies.updates_per_round) == (64, 64, 1)
    assert melodies.learner._rates == [1e-3, 1e-3]
    assert made(Reinvent, EXACT, n_envs=32).batch_size == SMALL["batch_size"]
