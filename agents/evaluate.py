"""The one judge of any agent, ours or not.

An agent with `sample(n, seed)` and `log_prob(tokens, lengths)` is judged by J itself. Any other needs
stable-baselines3's `predict(observation, state, episode_start, deterministic)`; without log pi there is no KL and no
J, and the rest is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.judge import judged

PARALLEL = 256  # sequences written at once by an agent that has only `predict`


def evaluate(
    agent: Any,
    env_id: str,
    n: int = 10_000,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    **more_env_kwargs: Any,
) -> dict[str, float]:
    """Metrics of n sequences of the agent in the environment `env_id`.

    Returns the task's own metrics (for melodies the paper's Table 1), mean return, each rule's mean, mean log p,
    distinct sequences, and with log pi KL(pi || p) and J = E[R / c] - KL in nats; standard errors as `<name>_se`.

    Args:
        agent: see above; it acts stochastically.
        seed: of the sampling, where the agent has `sample`.
        env_kwargs, more_env_kwargs: as for gym.make; the mapping is for names that stand above, such as the `seed` that
            SeqTutor-Exact-v0 has of its own.
    """
    kwargs = {**(env_kwargs or {}), **more_env_kwargs}
    env = gym.make_vec(env_id, num_envs=min(n, PARALLEL), autoreset_mode="SameStep", infos="end", **kwargs)
    try:
        assert isinstance(env, SequenceTutorVectorEnv)
        tokens, lengths = agent.sample(n, seed) if hasattr(agent, "sample") else rollout(agent, env, n, seed)
        log_probs = agent.log_prob(tokens, lengths) if hasattr(agent, "log_prob") else None
        return judged(env.task, tokens, lengths, env.prior, log_probs, env.c)
    finally:
        env.close()


def rollout(agent: Any, env: SequenceTutorVectorEnv, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """n sequences written through `predict`: tokens [n, T] and lengths [n]. `env` must reset in the same step.

    Every environment writes ceil(n / num_envs) sequences, so that no sequence is favoured for being short.
    """
    rounds = -(-n // env.num_envs)
    tokens = np.full((env.num_envs, rounds, env.task.length), env.task.vocab.start)
    lengths = np.zeros((env.num_envs, rounds), np.int64)
    which = np.zeros(env.num_envs, np.int64)  # the sequence that each environment is writing
    every = np.arange(env.num_envs)
    observation, _ = env.reset(seed=seed)
    state, start = None, np.ones(env.num_envs, bool)
    while (which < rounds).any():
        actions, state = agent.predict(observation, state=state, episode_start=start, deterministic=False)
        writing = every[which < rounds]
        tokens[writing, which[writing], lengths[writing, which[writing]]] = actions[writing]
        lengths[writing, which[writing]] += 1
        observation, _, terminated, truncated, _ = env.step(actions)
        start = terminated | truncated
        which += start
    return tokens.swapaxes(0, 1).reshape(-1, env.task.length)[:n], lengths.T.reshape(-1)[:n]
