"""Models of stable-baselines3 and sb3-contrib, of few updates each, for the tests of what judges and loads them."""

from __future__ import annotations

import importlib

import pytest

from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 3, "seed": 2, "c": 0.7}
ON_POLICY = {"n_steps": 6, "batch_size": 6, "learning_rate": 0.003}
OFF_POLICY = {"buffer_size": 100, "learning_starts": 8, "batch_size": 8, "train_freq": 1}
SMALL_LSTM = {"policy_kwargs": {"lstm_hidden_size": 8}}
# class -> its module, policy class, settings
MODELS = {
    "PPO": ("stable_baselines3", "Policy", ON_POLICY),
    "A2C": ("stable_baselines3", "Policy", {"n_steps": 6, "learning_rate": 0.002}),
    "DQN": ("stable_baselines3", "Policy", OFF_POLICY),
    "TRPO": ("sb3_contrib", "Policy", {"n_steps": 6, "batch_size": 6}),
    "QRDQN": ("sb3_contrib", "Policy", OFF_POLICY),
    "MaskablePPO": ("sb3_contrib", "Policy", ON_POLICY),
    "RecurrentPPO": ("sb3_contrib", "LstmPolicy", ON_POLICY | SMALL_LSTM),
}


def algorithm(name):
    """The class; skips the test where sb3-contrib is not installed."""
    module = MODELS[name][0]
    if module == "sb3_contrib":
        pytest.importorskip(module, reason=f"{name} is sb3-contrib's, which is optional")
    return getattr(importlib.import_module(module), name)


def exact_env(obs_mode="prefix", n_envs=4):
    return make_vec_env(EXACT, n_envs, env_kwargs={**KWARGS, "obs_mode": obs_mode})


def learned(name, env=None, steps=72, policy=None, **settings):
    """A model after `steps` steps in `env`, the exact task with prefix observations where none is given."""
    env = exact_env() if env is None else env
    env = SB3VecEnv(env) if isinstance(env, SequenceTutorVectorEnv) else env
    _, kind, own = MODELS[name]
    input_kind = "MultiInput" if hasattr(env.observation_space, "spaces") else "Mlp"
    made = algorithm(name)(policy or input_kind + kind, env, seed=0, device="cpu", **{**own, **settings})
    return made.learn(steps) if steps else made
