"""What cannot be evaluated, or not there: one clear line each, before any metric is made up."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

from agents import PsiLearning
from agents.evaluate.evaluation import evaluate, roll_out
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import EXACT, made
from toys.env_toys import ToyTask, toy_prior

MELODY = "SeqTutor-Melody-v0"


def uniform(observation):
    return np.full((len(observation), 3), 1 / 3)


class Ours:
    """As our own agents, with any log_prob."""

    def __init__(self, log_prob):
        self.log_prob = lambda tokens, lengths: log_prob(len(tokens))

    def sample(self, n, seed):
        return np.zeros((n, 3), np.int64), np.full(n, 3)


def ppo(env_id=EXACT, **kwargs):
    return PPO("MlpPolicy", make_vec_env(env_id, 2, env_kwargs=kwargs), n_steps=8, batch_size=16, device="cpu")


@pytest.mark.parametrize(
    "agent, says",
    [
        (3, "An object of type int is no agent: it needs sample"),
        (None, "An object of type NoneType is no agent"),
        (PPO, "PPO is a class: pass an agent that was made from it"),
        (
            lambda seen: np.full((len(seen), 4), 0.25),
            "chooses among 4 actions, SeqTutor-Exact-v0 has 3 tokens: evaluate",
        ),
        (Ours(lambda n: np.full(n, np.nan)), "log_prob gives nan for 20 of 20 sequences that the agent wrote"),
        (Ours(lambda n: np.full(n, -np.inf)), "log_prob gives -inf for 20 of 20"),
        (Ours(lambda n: np.full(n, 0.2)), "log_prob gives 0.2 for 20 of 20 .*: log pi must be finite and not above 0"),
        (Ours(lambda n: np.zeros((n, 3))), r"log_prob must return log pi of each sequence, \[20\], not \[20, 3\]"),
        (Ours(lambda n: "no"), "log_prob must return numbers, not str"),
    ],
)
def test_what_is_no_agent_of_the_environment_is_one_clear_line(agent, says):
    with pytest.raises(ValueError, match=says) as caught:
        evaluate(agent, EXACT, 20, length=3)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "made, env_id, kwargs, says",
    [
        ({"env_id": MELODY}, "SeqTutor-SMILES-v0", {}, "among 38 actions, SeqTutor-SMILES-v0 has 25 tokens: evaluate"),
        ({"obs_mode": "prefix"}, EXACT, {"length": 5}, r"observations Box\(0, 3, \(4,\).* shows Box\(0, 3, \(5,\)"),
        ({"obs_mode": "prefix"}, EXACT, {"obs_mode": "token"}, r"shows Discrete\(4\): evaluate it with the keywords"),
    ],
)
def test_a_model_of_another_environment_is_one_clear_line(made, env_id, kwargs, says):
    with pytest.raises(ValueError, match=says):
        evaluate(ppo(**made), env_id, 20, env_kwargs=kwargs)


@pytest.mark.parametrize(
    "env, kwargs, says",
    [
        (EXACT, {"env_kwargs": {"vocab_size": 5}, "n_envs": 4}, "among 5 actions, SeqTutor-Exact-v0 has 4 tokens"),
        (None, {}, "must have the same vocabulary; task against prior: token 0 is 't0' against 'a'"),
    ],
)
def test_our_agents_of_other_tokens_are_refused(env, kwargs, says):
    with pytest.raises(ValueError, match=says):
        evaluate(made(PsiLearning, env, **kwargs), EXACT, 5, vocab_size=4)


@pytest.mark.parametrize(
    "env_id, n, kwargs, says",
    [
        ("SeqTutor-Exakt-v0", 5, {}, "doesn't exist. Did you mean: `SeqTutor-Exact`"),
        ("no such id", 5, {}, "Malformed environment ID"),
        ("CartPole-v1", 5, {}, "CartPole-v1 cannot be made as an environment of this library"),
        (EXACT, 5, {"lenght": 3}, "unexpected keyword argument 'lenght'"),
        (EXACT, 0, {}, "n must be an integer of at least 1, not 0"),
        (EXACT, 2.5, {}, "n must be an integer of at least 1, not 2.5"),
    ],
)
def test_a_mistaken_argument_is_one_clear_line(env_id, n, kwargs, says):
    with pytest.raises(ValueError, match=says) as caught:
        evaluate(uniform, env_id, n, **kwargs)
    assert len(str(caught.value).splitlines()) == 1


def test_a_prior_needs_an_environment_that_takes_one():
    class WithoutPrior(SequenceTutorVectorEnv):
        def __init__(self, *, c=1.0, **keywords):
            super().__init__(ToyTask(), toy_prior(), c=c, **keywords)

    gym.register("WithoutPrior-v0", vector_entry_point=WithoutPrior)
    try:
        assert evaluate(lambda seen: np.full((len(seen), 4), 0.25), "WithoutPrior-v0", 5)["kl"] > 0
        with pytest.raises(ValueError, match="its class needs the keyword `prior`") as caught:
            evaluate(toy_prior(), "WithoutPrior-v0", 5)
    finally:
        del gym.registry["WithoutPrior-v0"]
    assert len(str(caught.value).splitlines()) == 1


def test_a_budget_that_is_spent_is_no_evaluation():
    class Budgeted(ToyTask):
        spent = False

        def step_terms(self, tokens, steps):
            self.spent = True
            return super().step_terms(tokens, steps)

    env = SequenceTutorVectorEnv(Budgeted(), toy_prior(), num_envs=7, c=1.0, autoreset_mode="SameStep", infos="end")
    with pytest.raises(ValueError, match="budget of calls is spent before all is evaluated"):
        roll_out(lambda seen: np.full((len(seen), 4), 1 / 4), env, 14, seed=0)
