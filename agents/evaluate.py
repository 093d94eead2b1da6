"""The one judge of any agent, ours or not.

An agent is one of these, tried in this order:
- `sample(n, seed) -> tokens, lengths` and `log_prob(tokens, lengths) -> [n]`: ours, or any like them;
- a model of stable-baselines3 or sb3-contrib, or its policy (agents/outside.py has what is known of them);
- `predict(observation, state, episode_start, deterministic)`: no KL and no J, unless it has `log_prob` as well;
- a function from observations of N sequences to probabilities [N, V], arrays or torch tensors;
- the path of a saved one: a file or folder of ours, or a stable-baselines3 zip.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import Error as GymnasiumError
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents import admission, loading, outside
from seqtutor_envs import checks
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.judge import evaluate_samples

PARALLEL = 256  # sequences written at once by an agent that has no `sample`
Written = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]


def evaluate(
    agent: Any,
    env_id: str,
    n: int = 10_000,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    **more_env_kwargs: Any,
) -> dict[str, float]:
    """Metrics of n sequences of the agent in the environment `env_id`.

    Returns the task's own metrics (for melodies the paper's Table 1), mean return, each rule's mean, mean log p,
    distinct sequences, and with log pi KL(pi || p) and J = E[R / c] - KL in nats; standard errors as `<name>_se`. Where
    an agent gives actions only, a warning says that and what would help. Where the environment can be solved by
    enumeration, as SeqTutor-Exact-v0 can, also `log_z`, the greatest J, and `gap` = log_z - J.

    Args:
        agent: see above; it acts stochastically.
        n: how many sequences.
        seed: of the sampling: same seed, same figures. It touches no global generator; an agent that gives actions only
            draws them from wherever it does.
        env_kwargs, more_env_kwargs: as for gym.make; the mapping is for names that stand above, such as the `seed` that
            SeqTutor-Exact-v0 has of its own. Without `obs_mode` it is the one that the agent's observation_space is of.
        trust: whether a stable-baselines3 zip may be loaded. It holds pickles, which can run any code.

    Raises:
        ValueError, FileNotFoundError, ImportError: in one line, where the agent is none, or not one of this
            environment, or a saved one cannot be loaded; a forbidden token is the environment's own error.
    """
    if isinstance(agent, (str, os.PathLike)):
        agent = loading.load(agent, trust)
    with closing(environment(agent, env_id, n, {**(env_kwargs or {}), **more_env_kwargs})) as env:
        return judged_in(env, agent, n, seed)[0]


def judged_in(env: SequenceTutorVectorEnv, agent: Any, n: int, seed: int) -> tuple[dict[str, float], Written]:
    """What `evaluate` returns, in a batch that `environment` made for the agent, and the n sequences themselves."""
    sequences = written(agent, env, n, seed)
    if sequences[2] is None:
        warnings.warn(f"No KL and no J: {admission.why_without_log_pi(agent)}", stacklevel=3)
    return figures(env, *sequences), sequences


def environment(agent: Any, env_id: str, n: int, kwargs: Mapping[str, Any]) -> SequenceTutorVectorEnv:
    """The batch to judge an agent in. Raises ValueError where there is none of that id, or it is not the agent's."""
    checks.positive_integer("n", n)
    admission.is_agent(agent)
    mode = None if hasattr(agent, "sample") else outside.obs_mode_of(agent)
    kwargs = ({} if mode is None else {"obs_mode": mode}) | dict(kwargs)
    try:
        env = gym.make_vec(env_id, num_envs=min(n, PARALLEL), autoreset_mode="SameStep", infos="end", **kwargs)
    except GymnasiumError as error:
        raise ValueError(str(error)) from None
    except TypeError as error:
        raise ValueError(f"{env_id} cannot be made as an environment of this library: {error}.") from error
    if not isinstance(env, SequenceTutorVectorEnv):
        env.close()
        raise ValueError(f"{env_id} is no environment of this library: it has no native batch.")
    try:
        admission.fits(agent, env)
    except ValueError:
        env.close()
        raise
    return env


def written(agent: Any, env: SequenceTutorVectorEnv, n: int, seed: int) -> Written:
    """n sequences of the agent: tokens [n, T], lengths [n], and log pi [n] of each whole sequence; None where the agent
    does not give it."""
    if hasattr(agent, "sample"):
        tokens, lengths = agent.sample(n, seed)
        log_probs = None
    else:
        tokens, lengths, log_probs = rollout(agent, env, n, seed)
    if log_probs is None and hasattr(agent, "log_prob"):
        log_probs = admission.own_log_probs(agent, tokens, lengths)
    return tokens, lengths, log_probs


def rollout(agent: Any, env: SequenceTutorVectorEnv, n: int, seed: int) -> Written:
    """As `written`, token by token through the environment, which must reset in the same step.

    Every environment writes ceil(n / num_envs) sequences, so that no sequence is favoured for being short.
    """
    policy, rng = outside.log_policy_of(agent), np.random.default_rng(seed)
    predictor = outside.Predictor(agent) if policy is None else None
    rounds = -(-n // env.num_envs)
    tokens = np.full((env.num_envs, rounds, env.task.length), env.task.vocab.start)
    lengths = np.zeros((env.num_envs, rounds), np.int64)
    log_probs = np.zeros((env.num_envs, rounds))
    which = np.zeros(env.num_envs, np.int64)  # the sequence that each environment is writing
    every = np.arange(env.num_envs)
    observation, _ = env.reset(seed=seed)
    state, start = None, np.ones(env.num_envs, bool)
    while (which < rounds).any():
        writing = every[which < rounds]
        now = which[writing]
        if policy is not None:
            rows, state = policy.step(observation, state, start, env.action_masks())
            admission.same_size(rows.shape[1], env)
            actions = sample_tokens(rows.astype(np.float32), rng)
            log_probs[writing, now] += rows[writing, actions[writing]]
        elif predictor is not None:
            actions, state = predictor.step(observation, state, start)
        observation, _, terminated, truncated, _ = env.step(actions)
        if truncated[writing].any():
            raise ValueError("The objective's budget of calls is spent before all is judged: give a greater one.")
        tokens[writing, now, lengths[writing, now]] = actions[writing]
        lengths[writing, now] += 1
        start = terminated | truncated
        which += start
    tokens, lengths = tokens.swapaxes(0, 1).reshape(-1, env.task.length)[:n], lengths.T.reshape(-1)[:n]
    return tokens, lengths, None if policy is None else log_probs.T.reshape(-1)[:n]


def figures(
    env: SequenceTutorVectorEnv,
    tokens: NDArray[np.int64],
    lengths: NDArray[np.int64],
    log_probs: NDArray[np.float64] | None,
) -> dict[str, float]:
    """What `evaluate` returns, of sequences [n, T], their lengths [n] and log pi [n]."""
    row = evaluate_samples(env.task, tokens, lengths, env.prior, log_probs, env.c)
    if hasattr(env, "solution"):
        try:
            row["log_z"] = env.solution()["log_z"]
        except ValueError:  # a task of the user's own that is too large to enumerate
            return row
        if "j" in row:
            row |= {"gap": row["log_z"] - row["j"], "gap_se": row["j_se"]}
    return row
