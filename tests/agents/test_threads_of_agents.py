"""Agents learn, act and are evaluated on one thread; tasks, callbacks and other libraries' learners keep theirs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from agents import GLearning, PsiLearning
from agents.baselines import PolicyGradient
from agents.evaluate import evaluate
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.prior import kernels
from seqtutor_envs.sb3 import SB3VecEnv
from toys.agent_toys import EXACT, Sung, made, sung_batch
from toys.recurrent_toys import random_prior
from toys.sb3_toys import KWARGS, exact_env, learned
from toys.thread_toys import OwnPrior, numbers, spy, two_threads

N = 4


@pytest.fixture(autouse=True)
def both_have_two(monkeypatch):
    monkeypatch.setattr(SB3VecEnv, "_warned", False)
    with two_threads(), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        assert numbers() == (2, 2), "the numbers are as before"


def sb3_batch():
    return SB3VecEnv(sung_batch(N, autoreset_mode="SameStep", infos="end"))


def synced_batch():
    def make():
        return SequenceTutorEnv(Sung(), random_prior(end=4), c=0.5)

    return SyncVectorEnv([make] * N, autoreset_mode=AutoresetMode("SameStep"))


BATCHES = {"native": lambda: sung_batch(N), "SB3": sb3_batch, "SyncVectorEnv": synced_batch}


@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("agent_class", [PsiLearning, GLearning, PolicyGradient])
def test_rollouts_and_updates_have_one_thread(monkeypatch, agent_class, make):
    agent = made(agent_class, make())
    step, update = spy(monkeypatch, agent_class, "policy"), spy(monkeypatch, torch.nn.functional, "one_hot")
    acting = spy(monkeypatch, kernels, "lstm")
    # batches of one row, those of a SyncVectorEnv, need no hold
    monkeypatch.setattr("seqtutor_envs.prior.recurrent_step.SMALL_PRODUCT_OF_ONE", 0)
    agent.learn(48)
    assert step == {(2, 2)} and update == {(1, 1)}
    assert {number for number, _ in acting} == {1} if make is not synced_batch else 1 in {n for n, _ in acting}


def test_rollouts_over_a_prior_of_ones_own_have_one_thread(monkeypatch):
    agent = made(PsiLearning, SequenceTutorVectorEnv(Sung(), OwnPrior(), num_envs=N, c=1.0))
    seen = spy(monkeypatch, OwnPrior, "step")
    agent.learn(48)
    assert seen == {(1, 1)}


def test_callbacks_and_tasks_have_what_the_user_set(monkeypatch):
    agent, told = made(PsiLearning, sung_batch(N)), set()
    asked = spy(monkeypatch, Sung, "step_terms")
    agent.learn(48, callback=lambda *found: told.add(numbers()) or True)
    assert told == asked == {(2, 2)}


def test_predict_sample_and_log_prob_have_one_thread(monkeypatch):
    agent = made(PsiLearning, sung_batch(N)).learn(1)
    seen = spy(monkeypatch, kernels, "lstm")
    agent.predict(np.zeros(N, np.int64))
    agent.predict(np.zeros((N, 6), np.int64))  # prefixes, which are fed
    tokens, lengths = agent.sample(N, 0)
    agent.log_prob(tokens, lengths)
    assert seen == {(1, 1)}


# ---------------------------------------------------------------- evaluation


def test_evaluation_of_ours_has_one_thread(monkeypatch):
    agent = made(PsiLearning, EXACT, n_envs=N).learn(1)
    seen = spy(monkeypatch, kernels, "lstm")
    evaluate(agent, EXACT, n=8)
    assert seen == {(1, 1)}


def test_evaluation_of_other_libraries_agents_has_one_thread(monkeypatch):
    model = learned("PPO", steps=0)
    seen = spy(monkeypatch, model.policy, "get_distribution")
    evaluate(model, EXACT, n=8, env_kwargs=KWARGS)
    assert seen == {(1, 1)}


def test_evaluation_of_functions_and_of_samplers_has_one_thread():
    seen = set()

    def uniform(observation):
        seen.add(numbers())
        return torch.full((len(observation), 3), 1 / 3)

    class Sampler:
        def sample(self, n, seed):
            seen.add(numbers())
            return np.zeros((n, 4), np.int64), np.full(n, 4)

        def log_prob(self, tokens, lengths):
            seen.add(numbers())
            return np.full(len(tokens), -1.0)

    class Actor:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            seen.add(numbers())
            return np.zeros(len(observation), np.int64), None

    evaluate(uniform, EXACT, n=8)
    evaluate(Sampler(), EXACT, n=8)
    with pytest.warns(UserWarning, match="No KL"):
        evaluate(Actor(), EXACT, n=8)
    assert seen == {(1, 1)}


# ---------------------------------------------------------------- what is not ours


@pytest.fixture
def says_two(monkeypatch):
    """torch has one thread and says that it has two: its learners, which are not held, would take minutes with two."""
    torch.set_num_threads(1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 2)
        yield
    torch.set_num_threads(2)


def test_a_learner_of_sb3_is_warned_of_once(says_two):
    with pytest.warns(UserWarning, match=r"PPO learns on 2 threads.* torch\.set_num_threads\(1\) before") as told:
        learned("PPO", VecNormalize(exact_env(), norm_obs=False, norm_reward=False), 8)
        learned("A2C", steps=8)
    assert len(told) == 1


def test_who_has_set_one_thread_is_not_warned():
    torch.set_num_threads(1)
    learned("PPO", steps=8)
    torch.set_num_threads(2)


def test_our_agents_are_not_warned_of():
    env = sb3_batch()
    agent = made(PsiLearning, env).learn(48)
    evaluate_policy(agent, env, 2, deterministic=False)
    agent.learn(48, callback=lambda *found: bool(evaluate_policy(agent, sb3_batch(), 1, deterministic=False)))
