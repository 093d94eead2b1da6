"""The judge of agents: against plain loops, against the enumeration, and for agents of every kind."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import PsiLearning
from agents.baselines import FixedPolicy, UniformPolicy
from agents.evaluate.evaluation import evaluate, roll_out, sample_sequences
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.exact import kl_policy_optimum, objective
from toys.agent_toys import AGENTS, EXACT, made
from toys.env_toys import OBS_MODES, ToyTask, toy_prior

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
    with pytest.warns(UserWarning, match=r"No KL and no J: Predictor.predict does not say .* Give .* log_prob") as said:
        figures = evaluate(Predictor(agent), EXACT, 3000, env_kwargs=KWARGS)
    assert len(said) == 1 and said[0].filename == __file__
    assert within(figures, "task_return", float(p @ solution["task_returns"]))
    assert within(figures, "log_p", float(p @ solution["prior_log_probs"]))
    assert not {"kl", "j", "gap"} & set(figures)
    assert figures["log_z"] == solution["log_z"]


def test_an_agent_that_predicts_and_has_log_prob_is_judged_by_j():
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS)
    judged = Predictor(agent)
    judged.log_prob = agent.log_prob
    figures = evaluate(judged, EXACT, 3000, env_kwargs=KWARGS)
    solution = exact().solution()
    assert within(figures, "j", objective(solution, agent.log_prob(solution["sequences"])))


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
    tokens, lengths, log_probs = roll_out(Script(7), env, n, seed=0)
    assert log_probs is None
    expected = [[0] * (i % 5) + [3] for i in range(n)]
    assert [row[:length].tolist() for row, length in zip(tokens, lengths)] == expected


def test_keywords_of_the_environment_can_be_given_directly():
    agent = FixedPolicy(gym.make(EXACT, length=2, c=3.0).unwrapped.prior, 2)
    assert evaluate(agent, EXACT, 50, length=2, c=3.0) == evaluate(agent, EXACT, 50, env_kwargs={"length": 2, "c": 3.0})


# -- functions from observations to probabilities ---------------------------------------------------------------------


def uniform(observation):
    return np.full((len(observation), 3), 1 / 3)


class Tabled:
    """A policy with any probability of every sequence: from prefixes to the next token's probabilities.

    Args:
        log_pi: [27], log pi of the sequences of the exact task.
    """

    def __init__(self, sequences, log_pi, kind=np.array):
        self.mass, self.kind = {}, kind  # probability of each prefix
        for row, p in zip(sequences.tolist(), np.exp(log_pi)):
            for t in range(4):
                self.mass[tuple(row[:t])] = self.mass.get(tuple(row[:t]), 0.0) + p

    def __call__(self, observation):
        so_far = [tuple(token for token in row if token < 3) for row in observation.tolist()]
        return self.kind([[self.mass[(*one, a)] / self.mass[one] for a in range(3)] for one in so_far])


@pytest.mark.parametrize("obs_mode", OBS_MODES)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_uniform_function_has_the_enumerations_j(obs_mode, kind):
    def policy(observation):
        return kind(uniform(observation["token"] if obs_mode == "dict" else observation))

    figures = evaluate(policy, EXACT, 4000, env_kwargs=KWARGS, obs_mode=obs_mode)
    solution, log_pi = exact().solution(), np.full(27, -3 * np.log(3))
    assert within(figures, "j", objective(solution, log_pi))
    assert within(figures, "kl", float(np.exp(log_pi) @ (log_pi - solution["prior_log_probs"])))
    assert within(figures, "gap", kl_policy_optimum(solution, log_pi))
    assert figures["gap"] == figures["log_z"] - figures["j"]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_the_optimum_has_no_gap(kind):
    """J of every single sequence is then log Z, and log pi is the optimum's: no noise is left but rounding."""
    solution = exact().solution()
    best = Tabled(solution["sequences"], solution["log_probs"], kind)
    log_pi = solution["log_probs"]
    figures = evaluate(best, EXACT, 500, env_kwargs=KWARGS, obs_mode="prefix")
    assert figures["log_z"] == pytest.approx(solution["log_z"])
    assert abs(figures["gap"]) < 4 * figures["gap_se"] + 1e-5 and figures["gap_se"] < 1e-5
    assert within(figures, "kl", float(np.exp(log_pi) @ (log_pi - solution["prior_log_probs"])))
    env = gym.make_vec(EXACT, 64, autoreset_mode="SameStep", infos="end", obs_mode="prefix", **KWARGS)
    tokens, _, log_probs = sample_sequences(best, env, 500, seed=0)
    place = {tuple(row): i for i, row in enumerate(solution["sequences"].tolist())}
    expected = log_pi[[place[tuple(row)] for row in tokens.tolist()]]
    np.testing.assert_allclose(log_probs, expected, atol=1e-6)


def test_the_seed_alone_decides_what_a_function_writes():
    before = np.random.get_state()[1].tolist()
    first = evaluate(uniform, EXACT, 300, 1, KWARGS)
    assert first == evaluate(uniform, EXACT, 300, 1, KWARGS) != evaluate(uniform, EXACT, 300, 2, KWARGS)
    assert np.random.get_state()[1].tolist() == before


def test_the_gap_is_left_out_where_the_task_is_not_exact_or_too_large():
    figures = evaluate(lambda seen: np.full((len(seen), 38), 1 / 38), "SeqTutor-Melody-v0", 3, length=4)
    assert "j" in figures and not {"log_z", "gap"} & set(figures)
    large = {"task": ToyTask(length=40), "prior": FixedPrior()}
    figures = evaluate(lambda seen: np.full((len(seen), 4), 1 / 4), EXACT, 3, **large)
    assert "j" in figures and not {"log_z", "gap"} & set(figures)


class FixedPrior(UniformPolicy):
    def __init__(self):
        super().__init__(ToyTask.vocab, 40)


def test_nothing_is_warned_of_where_j_is_known():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(uniform, EXACT, 20, env_kwargs=KWARGS)
