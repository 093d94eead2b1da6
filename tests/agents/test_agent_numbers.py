"""Agents take numpy's numbers, sample nothing where nothing is asked for, and learn from no reward beyond float32."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from agents import PsiLearning
from agents.baselines import FixedPolicy, PolicyGradient
from agents.evaluate import evaluate
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import AGENTS, EXACT, made, toy_batch
from toys.env_toys import ToyTask, toy_prior


class Huge(ToyTask):
    """The second step pays 1e300, which is infinite as float32."""

    def step_terms(self, tokens, steps):
        return super().step_terms(tokens, steps) + [[0.0, 1e300]] * (steps == 1)[:, None]


@pytest.mark.parametrize("agent_class", AGENTS)
def test_a_reward_beyond_float32_stops_an_agent_before_it_learns(agent_class):
    env = SequenceTutorVectorEnv(Huge(), toy_prior(), num_envs=8, c=1.0)
    agent = made(agent_class, env)
    before = agent.state_arrays()
    with pytest.raises(ValueError, match=r"Huge must pay finite rewards .* term step is 1e\+300 \(weight 1, c 1\)"):
        agent.learn(100)
    for name, array in agent.state_arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("bad", [1e300, np.nan, -np.inf])
def test_so_does_one_that_a_wrapper_pays(bad):
    class Bad(gym.vector.VectorWrapper):
        def step(self, actions):
            observations, rewards, *rest = self.env.step(actions)
            rewards[1] = bad
            return observations, rewards, *rest

    agent = made(PsiLearning, Bad(toy_batch(4)))
    with pytest.raises(ValueError, match=f"The environment paid {bad:g}; rewards must be finite".replace("+", r"\+")):
        agent.learn(10)


def test_a_prior_that_goes_wrong_after_its_first_step_stops_an_agent():
    class Late(type(toy_prior())):
        def step(self, tokens, state):
            rows, state = super().step(tokens, state)
            return (rows if (tokens == self.vocab.start).all() else rows + np.float32(np.nan)), state

    env = SequenceTutorVectorEnv(ToyTask(), Late(ToyTask.vocab, np.zeros((341, 4)), 5), num_envs=8, c=1.0)
    with pytest.raises(ValueError, match="The prior's step must return .*, in nats; it returned nan"):
        made(PsiLearning, env).learn(100)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_nothing_asked_for_is_nothing_sampled(agent_class):
    agent = made(agent_class)
    for one in (agent, FixedPolicy(agent.policy(), 5)):
        tokens, lengths = one.sample(0, seed=0)
        assert tokens.shape == (0, 0) and lengths.shape == (0,) and tokens.dtype == lengths.dtype == np.int64
        assert one.log_prob(tokens, lengths).shape == (0,)


@pytest.mark.parametrize("obs_mode", ["token", "prefix", "dict"])
def test_no_observations_get_no_actions(obs_mode):
    agent = made(PsiLearning, toy_batch(4, obs_mode=obs_mode))
    observation, _ = agent.env.reset()
    none = {name: part[:0] for name, part in observation.items()} if obs_mode == "dict" else observation[:0]
    actions, state = agent.predict(none)
    assert actions.shape == (0,) and actions.dtype == np.int64
    actions, _ = agent.predict(none, state, np.zeros(0, bool), deterministic=True)
    assert actions.shape == (0,)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_numpys_numbers_make_the_same_agent_and_the_same_file(agent_class, tmp_path):
    plain = {"gamma": 0.5, "learning_rate": 0.25, "max_grad_norm": 2.0}
    given = {name: np.float32(value) for name, value in plain.items()}  # exact in float32
    agents = [
        agent_class(EXACT, seed=np.int64(3), n_envs=np.int32(8), **given),
        agent_class(EXACT, seed=3, n_envs=8, **plain),
    ]
    for agent in agents:
        agent.learn(64)
        assert json.dumps(agent.settings) and type(agent.seed) is int
        agent_class.load(agent.save(tmp_path / "agent"))
    assert agents[0].settings == agents[1].settings
    for name, array in agents[1].state_arrays().items():
        np.testing.assert_array_equal(agents[0].state_arrays()[name], array)
    for found, expected in zip(agents[0].sample(np.int64(5), np.uint8(2)), agents[1].sample(5, 2), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_evaluate_and_make_vec_env_take_them_too():
    agent = made(PolicyGradient, EXACT)
    assert evaluate(agent, EXACT, np.int64(20), np.int64(4)) == evaluate(agent, EXACT, 20, 4)
    env = make_vec_env(EXACT, np.int64(2), seed=np.int64(5))
    assert env.num_envs == 2 and env.action_space.sample() == make_vec_env(EXACT, 2, seed=5).action_space.sample()
