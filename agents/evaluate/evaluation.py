"""Evaluate any agent: sample sequences from it and compute metrics.

An agent is one of these, tried in this order:
- `sample_with_log_prob(n, seed) -> tokens, lengths, log_probs [n]`: samplers (agents/samplers.py), which know log pi of
  their own samples alone, or a number in its place; their `j_kind` says what J is then;
- `sample(n, seed) -> tokens, lengths` and `log_prob(tokens, lengths) -> [n]`: ours, or any like them;
- a model of stable-baselines3 or sb3-contrib, or its policy (agents/evaluate/policies.py);
- `predict(observation, state, episode_start, deterministic)`: no KL and no J, unless it has `log_prob` as well;
- a function from observations of N sequences to probabilities [N, V], arrays or torch tensors;
- a Prior, which is then the environment's prior too, unless another one is given;
- the path of a saved one: a file or folder of ours, a stable-baselines3 zip, or a prior's file or shipped name.

n sequences, T tokens at most, V tokens in the vocabulary; log pi in nats.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.error import Error as GymnasiumError
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.baselines import FixedPolicy
from agents.evaluate import checks as agent_checks
from agents.evaluate import load, policies
from agents.evaluate.gaps import find_log_z
from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.metrics import evaluate_samples
from seqtutor_envs.prior import Prior
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.prior.recurrent_step import sample_tokens
from seqtutor_envs.threads import one_thread

PARALLEL = 256  # sequences generated at once by an agent that has no `sample`


class Samples(NamedTuple):
    """Hold n sequences of an agent."""

    tokens: NDArray[np.int64]  # [n, T]
    lengths: NDArray[np.int64]  # [n]
    log_probs: NDArray[np.float64] | None  # [n], log pi of whole sequences; None if the agent does not give it


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
    """Evaluate an agent on n of its sequences in the environment `env_id`; return metrics by name.

    Metrics are the task's own (for melodies the paper's Table 1), mean return, each term's mean, mean log p, distinct
    sequences, and with log pi KL(pi || p) and J = E[R / c] - KL in nats; standard errors as `<name>_se`. If an agent
    gives actions only, a warning says so and what would help. If the environment knows its optimum, as
    SeqTutor-Exact-v0 and SeqTutor-Planted-v0 do, also `log_z`, the greatest J, and `gap` = log_z - J, which is
    KL(pi || optimum). Where only bounds of log Z are known, as for the other shipped environments, `log_z_lower` and
    `log_z_upper`, which may be infinite, and `log_z_estimate`, or NaN. Of a sampler whose `j_kind` is "lower bound", kl
    and gap are upper bounds in the mean.

    Args:
        agent: see above; it acts stochastically. A Prior is also the environment's prior, unless `prior` is given.
        env_id: of a registered environment of this library.
        n: how many sequences.
        seed: of the sampling: same seed, same metrics. No global generator is used here, but an agent that gives
            actions only may use one of its own.
        env_kwargs, more_env_kwargs: as for gym.make; the mapping is for keywords that `evaluate` has too, such as the
            `seed` of SeqTutor-Exact-v0. The default `obs_mode` is that of the agent's observation_space.
        trust: whether a stable-baselines3 zip may be loaded, which holds pickles that can run any code, and whether
            the programs, modules and paths that a file of ours names may be used.

    Raises:
        ValueError, FileNotFoundError, ImportError: in one line, if this is no agent, or none of this environment, or
            cannot be loaded. A forbidden token is the environment's own error.
    """
    kwargs = {**(env_kwargs or {}), **more_env_kwargs}
    if isinstance(agent, (str, os.PathLike)):
        path, agent = agent, load.load(agent, trust)
        if isinstance(agent, Prior):
            kwargs.setdefault("prior", os.fspath(path))  # by its path, beside which its Bloom filter lies
    with closing(make_env(agent, env_id, n, kwargs)) as env:
        metrics = evaluate_in_env(env, agent, n, seed)[0]
    return metrics if "log_z" in metrics else metrics | find_log_z(agent, env_id, kwargs)


def evaluate_in_env(
    env: SequenceTutorVectorEnv, agent: Any, n: int, seed: int, task_metrics: bool = True
) -> tuple[dict[str, float], Samples]:
    """Evaluate in a batch that `make_env` made for the agent; return metrics and the sequences."""
    samples = sample_sequences(agent, env, n, seed)
    if samples.log_probs is None:
        warnings.warn(f"No KL and no J: {agent_checks.explain_missing_log_pi(agent)}", stacklevel=3)
    return compute_metrics(env, samples, task_metrics), samples


def make_env(agent: Any, env_id: str, n: int, kwargs: Mapping[str, Any]) -> SequenceTutorVectorEnv:
    """Make the batch to evaluate an agent in.

    Raises:
        ValueError: this is no agent, the environment is unknown, or its tokens or observations are not the agent's.
    """
    checks.positive_integer("n", n)
    agent_checks.check_agent(agent)
    # an agent with `sample` sees no observations; a model of SB3 fails on those of another obs_mode
    mode = None if hasattr(agent, "sample") else policies.find_obs_mode(agent)
    own = {"prior": agent} if isinstance(agent, Prior) else {}
    kwargs = ({} if mode is None else {"obs_mode": mode}) | own | dict(kwargs)
    try:
        # SameStep, so that every step gives a token; infos at ends only, since nothing here reads them
        env = gym.make_vec(env_id, num_envs=min(n, PARALLEL), autoreset_mode="SameStep", infos="end", **kwargs)
    except GymnasiumError as error:
        raise ValueError(str(error)) from None
    except TypeError as error:
        fix = " To evaluate a prior, its class needs the keyword `prior`, as the shipped ones have it." if own else ""
        raise ValueError(f"{env_id} cannot be made as an environment of this library: {error}.{fix}") from error
    if not isinstance(env, SequenceTutorVectorEnv):
        env.close()
        raise ValueError(f"{env_id} is no environment of this library: it has no native batch.")
    try:
        agent_checks.check_spaces(agent, env)
    except ValueError:
        env.close()
        raise
    return env


def sample_sequences(agent: Any, env: SequenceTutorVectorEnv, n: int, seed: int) -> Samples:
    """Sample n sequences of the agent."""
    seed = checks.SEED.check("seed", seed)
    if isinstance(agent, Prior):
        agent = FixedPolicy(mask_prior(agent, env.task), env.task.length)
    if hasattr(agent, "sample_with_log_prob"):
        with one_thread():
            return Samples(*agent.sample_with_log_prob(n, seed))
    if hasattr(agent, "sample"):
        with one_thread():
            tokens, lengths = agent.sample(n, seed)
        samples = Samples(tokens, lengths, None)
    else:
        samples = roll_out(agent, env, n, seed)
    if samples.log_probs is None and hasattr(agent, "log_prob"):
        with one_thread():
            log_probs = agent_checks.ask_log_probs(agent, samples.tokens, samples.lengths)
        return samples._replace(log_probs=log_probs)
    return samples


def roll_out(agent: Any, env: SequenceTutorVectorEnv, n: int, seed: int) -> Samples:
    """Sample n sequences by stepping the environment, which must reset in the same step.

    Every environment generates ceil(n / num_envs) sequences, so that no sequence is favoured for being short.
    """
    policy = policies.find_log_policy(agent) or policies.Predictor(agent)
    rng = np.random.default_rng(seed)
    rounds = -(-n // env.num_envs)
    tokens = np.full((env.num_envs, rounds, env.task.length), env.task.vocab.start)
    lengths = np.zeros((env.num_envs, rounds), np.int64)
    log_probs = np.zeros((env.num_envs, rounds))
    which = np.zeros(env.num_envs, np.int64)  # the number of the sequence that each environment is at
    # an environment that has generated its share is stepped on, but not recorded
    every = np.arange(env.num_envs)
    observation, _ = env.reset(seed=seed)
    state, start = None, np.ones(env.num_envs, bool)
    while (which < rounds).any():
        live = every[which < rounds]
        now = which[live]
        if isinstance(policy, policies.Predictor):
            with one_thread():
                actions, state = policy.step(observation, state, start)
        else:
            with one_thread():
                rows, state = policy.step(observation, state, start, env.action_masks())
            agent_checks.check_num_actions(rows.shape[1], env)
            # float32 is what `sample_tokens` reads; log pi is summed in float64
            actions = sample_tokens(rows.astype(np.float32), rng)
            log_probs[live, now] += rows[live, actions[live]]
        observation, _, terminated, truncated, _ = env.step(actions)
        if truncated[live].any():
            raise ValueError("The objective's budget of calls is spent before all is evaluated: give a greater one.")
        tokens[live, now, lengths[live, now]] = actions[live]
        lengths[live, now] += 1
        start = terminated | truncated
        which += start
    # round by round, so that the cut to n takes sequences of the last round, whatever their length
    tokens, lengths = tokens.swapaxes(0, 1).reshape(-1, env.task.length)[:n], lengths.T.reshape(-1)[:n]
    return Samples(tokens, lengths, None if isinstance(policy, policies.Predictor) else log_probs.T.reshape(-1)[:n])


def compute_metrics(env: SequenceTutorVectorEnv, samples: Samples, task_metrics: bool = True) -> dict[str, float]:
    """Compute the metrics that `evaluate` returns, without the task's own if they are not wanted."""
    tokens, lengths, log_probs = samples
    row = evaluate_samples(env.task, tokens, lengths, env.prior, log_probs, env.c, task_metrics)
    if hasattr(env, "solution"):
        try:
            row["log_z"] = env.solution()["log_z"]
        except ValueError:  # a task of the user's own that is too large to enumerate, or another weight than 1
            return row
        if "j" in row:
            row |= {"gap": row["log_z"] - row["j"], "gap_se": row["j_se"]}
    return row
