"""What the tests of agents share: all agents on small tasks, quickly trained, and comparisons to the bit."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env as dummy_vec_env

from agents import GLearning, PsiLearning, QLearning, RLOnly
from agents.baselines import PolicyGradient
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.sb3 import SB3VecEnv
from seqtutor_envs.task import Task
from toys.env_toys import AUTORESET_MODES, ToyTask, toy_prior
from toys.recurrent_toys import random_prior

EXACT = "SeqTutor-Exact-v0"
AGENTS = (PsiLearning, GLearning, QLearning, RLOnly, PolicyGradient)
SMALL = {"batch_size": 16, "buffer_size": 64, "updates_per_round": 2}  # settings of a tutor that learns in no time


class Sung(Task):
    """Sequences over the tokens of `random_prior`; "do" is worth 1."""

    def __init__(self, length=6, end=4):
        self.vocab, self.length = random_prior(end=end).vocab, length
        self.weights = {"do": 1.0}

    def step_terms(self, tokens, steps):
        return (tokens[np.arange(len(tokens)), steps] == 0)[:, None].astype(float)


class SungWithoutRepeats(Sung):
    """No token may follow itself."""

    def action_mask(self, tokens, steps):
        mask = np.ones((len(tokens), len(self.vocab)), np.int8)
        later = np.flatnonzero(steps > 0)
        mask[later, tokens[later, steps[later] - 1]] = 0
        return mask


def toy_batch(num_envs=16, masked=False, c=1.0, **kwargs):
    """A native batch of variable length (a table as prior, so that networks start afresh)."""
    prior = toy_prior(impossible=not masked)
    return SequenceTutorVectorEnv(ToyTask(masked=masked), prior, num_envs=num_envs, c=c, **kwargs)


def single_toy(masked=False, c=1.0, **kwargs):
    """One environment as those of `toy_batch`."""
    return SequenceTutorEnv(ToyTask(masked=masked), toy_prior(impossible=not masked), c=c, **kwargs)


def synced_toys(mode="NextStep", **kwargs):
    return SyncVectorEnv([partial(single_toy, **kwargs)] * 16, autoreset_mode=AutoresetMode(mode))


KINDS = {  # every kind of environment of 16 toy sequences, as a function of `masked` and `c`
    **{f"native {mode}": partial(toy_batch, autoreset_mode=mode) for mode in AUTORESET_MODES},
    **{f"native {mode}, few infos": partial(toy_batch, autoreset_mode=mode, infos="end") for mode in AUTORESET_MODES},
    **{f"SyncVectorEnv {mode}": partial(synced_toys, mode) for mode in AUTORESET_MODES},
    "SB3, native": lambda **kwargs: SB3VecEnv(toy_batch(autoreset_mode="SameStep", infos="end", **kwargs)),
    "SB3, DummyVecEnv": lambda **kwargs: dummy_vec_env(partial(single_toy, **kwargs), n_envs=16),
    "prefix": partial(toy_batch, obs_mode="prefix"),
    "dict": partial(synced_toys, obs_mode="dict"),
}


def sung_batch(num_envs=16, masked=False, cell="lstm", end=4, length=6, **kwargs):
    """A native batch over a recurrent prior."""
    task = (SungWithoutRepeats if masked else Sung)(length, end)
    return SequenceTutorVectorEnv(task, random_prior(cell, end=end, length=length), num_envs=num_envs, c=0.5, **kwargs)


def made(agent_class, env=None, **kwargs):
    """An agent with small settings, in a toy batch where no environment is given."""
    settings = {} if agent_class is PolicyGradient else SMALL
    return agent_class(toy_batch() if env is None else env, **{**settings, **kwargs})


def enumerated_log_probs(log_pi, id, solution, obs_mode, **kwargs):
    """log pi of every enumerated sequence, each written in an environment of its own.

    `log_pi(t, observation, infos, actions)` returns a tensor, log pi of the actions at step t.
    """
    sequences, lengths = solution["sequences"], solution["lengths"]
    env = gym.make_vec(id, num_envs=len(sequences), obs_mode=obs_mode, autoreset_mode="SameStep", **kwargs)
    (observation, infos), total = env.reset(), np.zeros(len(sequences))
    for t in range(sequences.shape[1]):
        going, anything = t < lengths, infos["action_mask"].argmax(axis=1)
        actions = np.where(going, sequences[:, t], anything)  # after its end another one is written, and not counted
        with torch.no_grad():
            total += going * log_pi(t, observation, infos, torch.as_tensor(actions)).double().numpy()
        observation, _, _, _, infos = env.step(actions)
    assert abs(np.exp(total).sum() - 1) < 1e-4
    return total


def weights(agent):
    """All arrays that learning goes on from, and the generator's state."""
    return agent.state_arrays(), agent.rng.bit_generator.state


def assert_same_agents(a, b):
    """Bit for bit."""
    (arrays, state), (others, other_state) = weights(a), weights(b)
    assert arrays.keys() == others.keys()
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    assert state == other_state
    assert (a.num_timesteps, a.rounds) == (b.num_timesteps, b.rounds)
