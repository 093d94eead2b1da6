"""Environments that agents learn in: make or accept a batch, read its attributes and observations.

N sequences, L = the horizon.
"""

from __future__ import annotations

import json
from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.infos import prefixes_of_one_hot
from seqtutor_envs.registry import PASSIVE, get_vector_class, native_class

BatchedEnv = gym.vector.VectorEnv[Any, Any, Any] | VecEnv
AnyEnv = str | gym.Env[Any, Any] | BatchedEnv


def is_batched(env: Any) -> TypeGuard[BatchedEnv]:
    """Return whether this is a vector environment of gymnasium's or of stable-baselines3's."""
    return isinstance(env, (gym.vector.VectorEnv, VecEnv))


def get_env_attribute(env: Any, name: str) -> Any:
    """Return an attribute of the environment, looked up through all wrappers; None if there is none.

    For a batch it is the attribute of the first environment.
    """
    try:
        if isinstance(env, VecEnv):
            return env.get_attr(name)[0]
        if isinstance(env, gym.Env):
            return env.get_wrapper_attr(name)
        # a native batch has its own attributes; a SyncVectorEnv only those of its environments
        native = getattr(env.unwrapped, name, None)
        return env.get_attr(name)[0] if native is None and hasattr(env, "get_attr") else native
    except AttributeError:
        return None


# -- make or accept ---------------------------------------------------------------------------------------------------


def make_batch(
    env: AnyEnv, n_envs: int | None = None, env_kwargs: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any] | None]:
    """Make the batched environment to learn in, or accept `env` if it is one.

    Args:
        env: an id, a single environment of ours, or a batch, which is returned as it is.
        n_envs: sequences in the batch; None is the domain's own number.
        env_kwargs: keywords of the environment if `env` is an id.

    Returns:
        The batch, and the JSON recipe (id and keywords) that makes it again; None if only the user can make it.

    Raises:
        ValueError: an argument would be ignored, a wrapper would be lost, or the environment is not of this library.
    """
    n_envs = checks.Range(1, 2**20, whole=True, optional=True).check("n_envs", n_envs)
    if is_batched(env):
        if n_envs is not None or env_kwargs:
            raise ValueError(f"This environment is a batch of {env.num_envs} already: leave out n_envs and env_kwargs.")
        return env, None
    if isinstance(env, str):
        num_envs = get_vector_class(env).round_size if n_envs is None else n_envs
        # the one mode that stable-baselines3 can evaluate in; learning is the same in all three
        mode = {} if native_class(env) is None else {"autoreset_mode": "SameStep"}
        batch = gym.make_vec(env, num_envs=num_envs, **{**mode, **(env_kwargs or {})})
        return batch, make_recipe(env, env_kwargs or {})
    if env_kwargs:
        raise ValueError("env_kwargs go with an id; this environment is made already.")
    return _make_batch_like(env, n_envs)


def _make_batch_like(env: Any, n_envs: int | None) -> tuple[SequenceTutorVectorEnv, dict[str, Any] | None]:
    """Make a batch with the task, prior and settings of a single environment."""
    core: Any = env.unwrapped
    if not isinstance(core, SequenceTutorEnv):
        raise ValueError(
            f"{type(core).__name__} is no environment of this library; its vector form can be passed with prior=..."
        )
    # the batch is made from the core, so any wrapper with an effect would be lost silently
    layer: Any = env
    while layer is not core:
        if type(layer).__name__ not in PASSIVE:
            raise ValueError(f"{type(layer).__name__} would be lost in a batch: pass a vector environment that has it.")
        layer = layer.env
    batch = SequenceTutorVectorEnv(
        core.task,
        core.prior,
        num_envs=core.vector_class.round_size if n_envs is None else n_envs,
        c=core.c,
        obs_mode=core.obs_mode,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    return batch, make_recipe(core.spec.id, core.spec.kwargs) if core.spec is not None else None


def make_machine_kwargs(env_id: str) -> dict[str, Any]:
    """Return the keywords by which an environment uses this machine's cores."""
    return get_vector_class(env_id).task_type.run_options().train.machine_kwargs()


def make_recipe(env_id: str, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Return id and keywords as JSON has them; None if JSON cannot hold them."""
    # to JSON and back, so that a new recipe equals a loaded one (tuples become lists)
    try:
        return {"id": env_id, "kwargs": json.loads(json.dumps(kwargs))}
    except TypeError:
        return None


# -- read observations ------------------------------------------------------------------------------------------------


def read_last_tokens(observation: Any, start: int, prefix: bool) -> tuple[NDArray[np.int64], bool]:
    """Read the last token of each sequence [N] from an observation of any obs_mode.

    Args:
        observation: single or batched.
        start: id of the start token, which is also a prefix's filler.
        prefix: True if a vector of integers is one sequence's tokens so far, not the last tokens of many.

    Returns:
        The tokens [N], and whether the observation was a single one.
    """
    prefixes = read_prefixes(observation, start, prefix)
    if prefixes is not None:
        counts = (prefixes != start).sum(-1, keepdims=True)  # tokens so far
        # an empty prefix has no last token: index 0 stands in, and `where` puts the start token there
        last = np.take_along_axis(prefixes, np.maximum(counts - 1, 0), axis=-1)
        tokens = np.where(counts > 0, last, start)[..., 0]
    else:
        tokens = np.asarray(observation["token"] if isinstance(observation, dict) else observation, np.int64)
    return tokens.reshape(-1), tokens.ndim == 0


def read_prefixes(observation: Any, start: int, prefix: bool) -> NDArray[np.int64] | None:
    """Read the prefixes [N, L], or a single one [L], of obs_mode "prefix" or "one_hot"; return None for the others.

    Arguments are those of `read_last_tokens`.
    """
    if isinstance(observation, dict):
        return None
    values = np.asarray(observation)
    if values.dtype.kind == "f" and values.ndim:  # only "one_hot" has floats
        return prefixes_of_one_hot(values, start)
    return values.astype(np.int64) if values.ndim == 2 or prefix and values.ndim == 1 else None
