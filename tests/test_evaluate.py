"""The judge of agents: against plain loops, against the enumeration, and for agents that only predict."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from agent_toys import AGENTS, EXACT, made
from env_toys import ToyTask, toy_prior
from stable_baselines3 import PPO

from agents import PsiLearning
from agents.baselines import FixedPolicy, UniformPolicy
from agents.evaluate import evaluate, rollout
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.exact import objective
from seqtutor_envs.sb3 import make_sb3

KWARGS = {"vocab_size": 3, "length": 3, "seed": 2, "c": 0.7}


def exact():
    return gym.make(EXACT, **KWARGS).unwrapped


def within(figures, name, expected, errors=4):
    return abs(figures[name] - expected) < errors * figures[f"{name}_se"]


@pytest.mark.parametrize("agent_class", AGENTS)
def test_j_and_kl_are_those_of_the_enumeration(agent_class):
    """Within four standard errors; the seed is fixed."""
    agent = made(agent_class, EXACT, n_envs=16, env_kwargs=KWARGS, learning_rate=1e-2).learn(1000)
    solution = exact().solution()
    log_pi = agent.log_prob(solution["sequences"])
    p = np.exp(log_pi)
    figures = evaluate(agent, EXACT, 4000, seed=1, env_kwargs=KWARGS)
    assert within(figures, "j", objective(solution, log_pi))
    assert within(figures, "kl", float(p @ (log_pi - solution["prior_log_probs"])))
    assert within(figures, "task_return", float(p @ solution["task_returns"]))
    assert within(figures, "log_p", float(p @ solution["prior_log_probs"]))
    assert figures["term_prefix"] == pytest.approx(figures["task_return"])
    assert figures["j"] == pytest.approx(figures["task_return"] / 0.7 - figures["kl"], abs=1e-4)


def test_a_plain_loop_through_the_environment_gives_the_same_figures():
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS).learn(500)
    tokens, lengths = agent.sample(50, seed=3)
    log_pi = agent.log_prob(tokens, lengths)
    returns, log_ps = [], []
    for row in tokens:
        env, total, log_p = exact(), 0.0, 0.0
        env.reset()
        for token in row:
            _, _, _, _, info = env.step(int(token))
            total, log_p = total + info["terms"]["prefix"], log_p + info["prior_log_prob"]
        returns.append(total)
        log_ps.append(log_p)
    j = np.array(returns) / 0.7 + log_ps - log_pi
    figures = evaluate(agent, EXACT, 50, seed=3, env_kwargs=KWARGS)
    assert figures["task_return"] == pytest.approx(np.mean(returns), abs=1e-5)
    assert figures["log_p"] == pytest.approx(np.mean(log_ps), abs=1e-5)
    assert figures["kl"] == pytest.approx(np.mean(log_pi - log_ps), abs=1e-5)
    assert figures["j"] == pytest.approx(j.mean(), abs=1e-5)
    assert figures["j_se"] == pytest.approx(j.std(ddof=1) / 50**0.5, abs=1e-5)
    assert figures["distinct"] == len({tuple(row) for row in tokens}) / 50


def test_the_prior_has_no_kl_and_uniform_tokens_have_a_known_one():
    env = exact()
    prior = FixedPolicy(env.prior, 3)
    assert evaluate(prior, EXACT, 500, env_kwargs=KWARGS)["kl"] == pytest.approx(0.0, abs=1e-5)
    uniform = FixedPolicy(UniformPolicy(env.prior.vocab, 3), 3)
    solution = env.solution()
    log_pi = np.full(27, -3 * np.log(3))
    assert within(evaluate(uniform, EXACT, 4000, env_kwargs=KWARGS), "j", objective(solution, log_pi))


def test_the_same_seed_gives_the_same_figures():
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS)
    first = evaluate(agent, EXACT, 100, seed=1, env_kwargs=KWARGS)
    assert first == evaluate(agent, EXACT, 100, seed=1, env_kwargs=KWARGS)
    assert first != evaluate(agent, EXACT, 100, seed=2, env_kwargs=KWARGS)


class Predictor:
    """Somebody else's agent: only `predict`, as stable-baselines3 has it."""

    def __init__(self, agent):
        self.agent = agent

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.agent.predict(observation, state, episode_start, deterministic)


def test_an_agent_that_only_predicts_is_judged_without_kl():
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS, learning_rate=1e-2).learn(1000)
    solution = exact().solution()
    p = np.exp(agent.log_prob(solution["sequences"]))
    figures = evaluate(Predictor(agent), EXACT, 3000, env_kwargs=KWARGS)
    assert within(figures, "task_return", float(p @ solution["task_returns"]))
    assert within(figures, "log_p", float(p @ solution["prior_log_probs"]))
    assert not {"kl", "j"} & set(figures)


def test_stable_baselines3s_own_agents_are_judged():
    kwargs = {**KWARGS, "obs_mode": "prefix"}
    env = make_sb3(EXACT, 8, **kwargs)
    ppo = PPO("MlpPolicy", env, n_steps=6, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(200)
    figures = evaluate(ppo, EXACT, 300, env_kwargs=kwargs)
    returns = exact().solution()["task_returns"]
    assert returns.min() <= figures["task_return"] <= returns.max()
    assert 1 / 300 < figures["distinct"] <= 27 / 300, "it acts stochastically"


class Script:
    """Writes by heart: as its n-th sequence n % 5 times "a", then the end token; sequences have 1 to 5 tokens."""

    def __init__(self, num_envs):
        self.written = np.zeros(num_envs, np.int64)
        self.number = np.arange(num_envs)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.number[episode_start] += len(self.number) * (self.written[episode_start] > 0)
        self.written[episode_start] = 0
        actions = np.where(self.written < self.number % 5, 0, 3)
        self.written += 1
        return actions, state


@pytest.mark.parametrize("n", [1, 7, 16, 40])
def test_predicted_sequences_of_unequal_length_are_put_together_whole(n):
    env = SequenceTutorVectorEnv(ToyTask(), toy_prior(), num_envs=7, c=1.0, autoreset_mode="SameStep", infos="end")
    tokens, lengths = rollout(Script(7), env, n, seed=0)
    expected = [[0] * (i % 5) + [3] for i in range(n)]
    assert [row[:length].tolist() for row, length in zip(tokens, lengths)] == expected


def test_short_sequences_are_not_favoured():
    """Every environment writes the same number of them: the mean length is the policy's."""
    env = SequenceTutorVectorEnv(ToyTask(), toy_prior(), num_envs=7, c=1.0, autoreset_mode="SameStep", infos="end")
    _, lengths = rollout(Script(7), env, 35, seed=0)
    assert lengths.mean() == 3.0


def test_keywords_of_the_environment_can_be_given_directly():
    agent = FixedPolicy(gym.make(EXACT, length=2, c=3.0).unwrapped.prior, 2)
    assert evaluate(agent, EXACT, 50, length=2, c=3.0) == evaluate(agent, EXACT, 50, env_kwargs={"length": 2, "c": 3.0})
