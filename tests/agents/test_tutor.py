"""Every agent is a sequence model: predict, sample and log_prob agree with each other and with the enumeration."""

from __future__ import annotations

import inspect

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from stable_baselines3.common.evaluation import evaluate_policy

from agents import GLearning, PsiLearning, QLearning, RLOnly
from agents.baselines import PolicyGradient
from agents.envs import read_last_tokens
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.exact import solve
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import AGENTS, EXACT, made, sung_batch, toy_batch

ENVS = {
    "toy": toy_batch,
    "toy, masked": lambda: toy_batch(masked=True),
    "sung": sung_batch,
    "sung, masked": lambda: sung_batch(masked=True),
    "sung, gru": lambda: sung_batch(cell="gru", end=None),
}


CASES = [(agent, env) for agent in (PsiLearning, GLearning, QLearning) for env in ENVS]
CASES += [(RLOnly, "sung"), (PolicyGradient, "sung, masked")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def agent(request):
    """Every agent in toy environments after a few updates."""
    agent_class, env = request.param
    return made(agent_class, ENVS[env](), learning_rate=1e-2).learn(300)


def test_probabilities_of_all_sequences_sum_to_one(agent):
    env = agent.get_env()
    solution = solve(env.task, env.prior, env.c)
    log_probs = agent.log_prob(solution["sequences"], solution["lengths"])
    assert np.exp(log_probs).sum() == pytest.approx(1.0, abs=1e-4)


def test_samples_have_the_log_prob_of_their_steps(agent):
    tokens, lengths = agent.sample(40, seed=1)
    log_probs = agent.log_prob(tokens, lengths)
    policy = agent.policy()
    for i, (row, length) in enumerate(zip(tokens, lengths)):
        state, last, total = policy.initial_state(1), agent.prior.vocab.start, 0.0
        for token in row[:length]:
            rows, state = policy.step(np.array([last]), state)
            total, last = total + float(rows[0, token]), token
        assert log_probs[i] == pytest.approx(total, abs=1e-4)
    ended = tokens[np.arange(40), lengths - 1] == agent.prior.vocab.end
    assert (ended | (lengths == agent.horizon)).all()


def test_samples_are_legal_and_reproducible(agent):
    tokens, lengths = agent.sample(200, seed=5)
    again, _ = agent.sample(200, seed=5)
    np.testing.assert_array_equal(tokens, again)
    other, _ = agent.sample(200, seed=6)
    assert tokens.shape != other.shape or (tokens != other).any()
    task = agent.get_env().task
    for t in range(tokens.shape[1]):
        going = lengths > t
        mask = task.action_mask(tokens[going], np.full(going.sum(), t))
        assert mask is None or mask[np.arange(going.sum()), tokens[going, t]].all()


def test_frequencies_of_samples_are_the_probabilities():
    """Chi-square over the 81 sequences of the exact task; level .001, seeds fixed."""
    agent = made(PsiLearning, EXACT, n_envs=16).learn(2000)
    solution = gym.make(EXACT).unwrapped.solution()
    n, index = 20_000, 3 ** np.arange(3, -1, -1)
    expected = n * np.exp(agent.log_prob(solution["sequences"]))

    def p_value(tokens):
        counts = np.bincount(tokens @ index, minlength=81)
        assert expected.min() > 5, "so that chi-square holds"
        return chisquare(counts, expected * counts.sum() / expected.sum()).pvalue

    assert p_value(agent.sample(n, seed=0)[0]) > 0.001
    observation, state, written = np.full(n, 3), None, []
    for _ in range(4):
        observation, state = agent.predict(observation, state)
        written.append(observation)
    assert p_value(np.stack(written, axis=1)) > 0.001
    assert p_value(agent.sample(n, seed=0, temperature=0.7)[0]) < 0.001


def test_a_low_temperature_writes_the_best_token():
    agent = made(PsiLearning, EXACT, n_envs=16).learn(600)
    tokens, _ = agent.sample(20, seed=0, temperature=1e-5)
    observation, state = np.array([3]), None
    for t in range(4):
        observation, state = agent.predict(observation, state, deterministic=True)
        assert (tokens[:, t] == observation[0]).all()


# -- predict, as stable-baselines3 calls it ---------------------------------------------------------------------------


def walk(agent, obs_mode, batched):
    """Four deterministic episodes, written side by side or one after the other, in an environment of this obs_mode."""
    task, prior = agent.get_env().task, agent.get_env().prior
    envs = [SequenceTutorEnv(task, prior, c=1.0, obs_mode=obs_mode) for _ in range(4)]
    sequences = []
    for group in [envs] if batched else [[env] for env in envs]:
        observations, state, over = [env.reset()[0] for env in group], None, np.zeros(len(group), bool)
        rows = [[] for _ in group]
        start = np.ones(len(group), bool)
        while not over.all():
            seen = stacked(observations) if batched else observations[0]
            actions, state = agent.predict(seen, state, start, deterministic=True)
            assert np.shape(actions) == ((len(group),) if batched else ())
            for i in np.flatnonzero(~over):
                action = actions[i] if batched else actions
                observations[i], _, over[i], _, _ = group[i].step(action)
                rows[i].append(int(action))
            start[:] = False
        sequences += rows
    return sequences


def stacked(observations):
    if isinstance(observations[0], dict):
        return {key: np.stack([one[key] for one in observations]) for key in observations[0]}
    return np.stack(observations)


@pytest.mark.parametrize("agent_class", [PsiLearning, GLearning])
@pytest.mark.parametrize("trained_in", ["token", "prefix", "dict", "one_hot"])
def test_prediction_is_the_same_in_all_observation_modes(agent_class, trained_in):
    agent = made(agent_class, toy_batch(obs_mode=trained_in)).learn(600)
    expected = walk(agent, trained_in, batched=False)
    assert expected == walk(agent, trained_in, batched=True)
    other = {"token": "dict", "prefix": "one_hot", "dict": "token", "one_hot": "prefix"}[trained_in]
    assert expected == walk(agent, other, batched=True), "the environment judged in need not be the one learned in"


START = 4  # the start token of four tokens, and what fills a prefix


@pytest.mark.parametrize(
    "observation, prefix, expected, single",
    [
        (np.int64(2), False, [2], True),
        (np.int64(2), True, [2], True),
        (np.array([START, 1, 3]), False, [START, 1, 3], False),
        (np.array([2, 0, 1, START, START]), True, [1], True),
        (np.array([START, START, START]), True, [START], True),
        (np.array([[2, 0, START], [START, START, START], [1, 3, 0]]), True, [0, START, 0], False),
        (np.array([[2, 0, START], [1, 3, 0]]), False, [0, 0], False),
        (np.eye(5, dtype=np.float32)[[2, 0, START]].ravel(), False, [0], True),
        (np.eye(5)[[[2, 0, START], [START, START, START], [1, 3, 0]]].reshape(3, 15), False, [0, START, 0], False),
        ({"token": np.int64(3), "step": np.int64(2)}, False, [3], True),
        ({"token": np.array([3, START]), "step": np.array([2, 0])}, True, [3, START], False),
    ],
)
def test_the_last_token_is_read_from_any_observation(observation, prefix, expected, single):
    tokens, found_single = read_last_tokens(observation, START, prefix)
    assert (tokens.tolist(), found_single) == (expected, single)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_episode_start_begins_anew_in_its_own_row(agent_class):
    agent = made(agent_class).learn(300)
    start = agent.prior.vocab.start
    _, state = agent.predict(np.array([start, start]), deterministic=True)
    _, state = agent.predict(np.array([0, 1]), state, np.array([False, False]))
    policy = agent.policy()
    fresh, _ = policy.step(np.array([start]), policy.initial_state(1))
    kept, _ = policy.step(np.array([2]), tuple(part[1:] for part in state))
    actions, after = agent.predict(np.array([start, 2]), state, np.array([True, False]), deterministic=True)
    np.testing.assert_array_equal(actions, [fresh.argmax(), kept.argmax()])
    _, first = policy.step(np.array([start]), policy.initial_state(1))
    assert all(np.allclose(part[:1], new, atol=1e-6) for part, new in zip(after, first))


def test_predict_changes_neither_state_nor_observation():
    agent = made(GLearning).learn(300)
    observation = np.array([4, 4])
    _, state = agent.predict(observation)
    before = [part.copy() for part in state]
    agent.predict(np.array([0, 1]), state, np.array([True, False]))
    assert all(np.array_equal(a, b) for a, b in zip(before, state))
    assert observation.tolist() == [4, 4]


@pytest.mark.parametrize("env", [lambda: make_vec_env(EXACT, 8), lambda: gym.make(EXACT)])
def test_evaluate_policy_of_stable_baselines3_judges_an_agent(env):
    agent = made(PsiLearning, EXACT, n_envs=16).learn(4000)
    solution = gym.make(EXACT).unwrapped.solution()
    returns = solution["prior_log_probs"] + solution["task_returns"]
    p = np.exp(agent.log_prob(solution["sequences"]))
    mean, spread = float(p @ returns), float(np.sqrt(p @ returns**2 - (p @ returns) ** 2))
    n = 400
    found, _ = evaluate_policy(agent, env(), n, deterministic=False, warn=False)
    assert abs(found - mean) < 4 * spread / n**0.5


# -- where they start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", AGENTS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_agent_starts_as_its_recurrent_prior(agent_class, cell):
    env = sung_batch(cell=cell)
    agent = made(agent_class, env)
    tokens, lengths = env.prior.sample(30, seed=0)
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    np.testing.assert_allclose(
        agent.policy().log_probs(tokens, lengths)[inside], env.prior.log_probs(tokens, lengths)[inside], atol=1e-5
    )


@pytest.mark.parametrize("agent_class, share", [(RLOnly, 0.0), (QLearning, 1.0)])
def test_reinforcement_learning_alone_has_no_log_p_in_its_targets(agent_class, share):
    """One step: the values become r_T / c (2 for the first token) plus the share of log p."""
    env = sung_batch(num_envs=64, end=None, length=1)
    agent = made(agent_class, env, learning_rate=3e-2, epsilon_end=1.0).learn(6400)
    tokens = np.array([[0]])
    log_p = torch.from_numpy(env.prior.log_probs(tokens))
    values = agent.learner.network.values(torch.from_numpy(tokens), log_p).detach()
    expected = torch.tensor([2.0, 0.0, 0.0, 0.0, 0.0]) + share * log_p[0, 0]
    torch.testing.assert_close(values[0, 0], expected, rtol=0.0, atol=0.1)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_every_argument_stands_in_the_signature_and_files_keep_those_that_shape_learning(agent_class):
    parameters = inspect.signature(agent_class).parameters
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    apart = {"env", "seed", "n_envs", "prior", "env_kwargs", "device", "verbose", "tensorboard_log"}
    settings = agent_class(EXACT).settings
    assert list(settings) == [name for name in parameters if name not in apart]
    free = {"scores": "free", "tau": 0.1, "max_grad_norm": 1.0, "huber": 20.0}
    chosen = {} if agent_class is PolicyGradient else free
    assert settings == {name: parameters[name].default for name in settings} | chosen


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="above 0"):
        made(PsiLearning).sample(3, seed=0, temperature=temperature)
