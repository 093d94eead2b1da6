"""A task whose budget of scores is spent: running episodes are truncated, and agents stop."""

from __future__ import annotations

import numpy as np
import pytest

from agents import PsiLearning
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from toys.agent_toys import made
from toys.env_toys import AUTORESET_MODES, ToyTask, toy_prior


class Budgeted(ToyTask):
    """Spent once `budget` steps were paid."""

    def __init__(self, budget: int) -> None:
        super().__init__(masked=False)
        self.budget = budget

    def step_terms(self, tokens, steps):
        self.budget -= len(steps)
        self.spent = self.budget <= 0
        return super().step_terms(tokens, steps)


def batch(budget, mode="NextStep"):
    env = SequenceTutorVectorEnv(Budgeted(budget), toy_prior(), num_envs=3, c=1.0, autoreset_mode=mode)
    env.reset(seed=0)
    return env


def tokens_that_end(env, which):
    """An action for each sequence: the end token where `which` says so, else another."""
    end = env.task.vocab.end
    assert end is not None
    return np.where(which, end, 0 if end else 1)


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_all_that_runs_is_truncated_and_what_ends_is_not(mode):
    env = batch(6, mode)
    nothing = tokens_that_end(env, np.zeros(3, bool))
    _, _, terminated, truncated, infos = env.step(nothing)
    assert not terminated.any() and not truncated.any() and "oracle_budget_spent" not in infos
    _, _, terminated, truncated, infos = env.step(tokens_that_end(env, np.array([True, False, False])))
    assert terminated.tolist() == [True, False, False] and truncated.tolist() == [False, True, True]
    over = infos["final_info"] if str(getattr(mode, "value", mode)) == "SameStep" else infos
    assert over["_oracle_budget_spent"].tolist() == [True] * 3 and over["oracle_budget_spent"].all()
    assert [len(sequence) for sequence in over["sequence"]] == [2, 2, 2]


def test_an_episode_that_begins_afterwards_is_truncated_by_its_first_token():
    env = batch(3, "SameStep")
    nothing = tokens_that_end(env, np.zeros(3, bool))
    for _ in range(2):
        observations, _, terminated, truncated, infos = env.step(nothing)
        assert truncated.all() and not terminated.any()
        assert (observations == env.task.vocab.start).all()  # begun anew
        assert [len(sequence) for sequence in infos["final_info"]["sequence"]] == [1, 1, 1]


def test_a_single_environment_says_the_same():
    env = SequenceTutorEnv(Budgeted(2), toy_prior(), c=1.0)
    env.reset()
    assert env.step(0)[2:4] == (False, False)
    *_, terminated, truncated, info = env.step(0)
    assert (terminated, truncated) == (False, True) and info["oracle_budget_spent"] is np.True_
    assert "prior_log_probs" not in info and len(info["sequence"]) == 2


def test_an_agent_stops_and_does_not_learn_from_the_round_that_spent_it():
    env = batch(40)
    agent = made(PsiLearning, env).learn(10**6)
    assert env.task.spent and agent.num_timesteps < 100
    assert agent.replay.size == 3 * (agent.rounds - 1)
    again = agent.rounds
    agent.learn(1000, reset_num_timesteps=False)
    assert agent.rounds == again
