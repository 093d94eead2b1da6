"""Find the environment of a prior or policy that a command names: a file, or a shipped name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.envs import make_machine_kwargs
from agents.evaluate.load import find_prior_file
from seqtutor_envs.prior import load_prior
from seqtutor_envs.registry import get_vector_class
from seqtutor_envs.task import Task


def find_recipe(path: Path, env_id: str | None = None) -> tuple[str, dict[str, Any]]:
    """Find the environment of a prior, that of its tokens if `env_id` is None: its id, and its keywords with the prior.

    Raises FileNotFoundError or ValueError in one line.
    """
    env_id = find_env_id(path) if env_id is None else env_id
    return env_id, {**make_machine_kwargs(env_id), "prior": os.fspath(path)}


def find_env_id(path: Path) -> str:
    """Find the environment whose sequences a prior generates, by its tokens.

    Raises ValueError, which asks for --env, if it is none of ours.
    """
    vocab = load_prior(find_prior_file(path) or path).vocab
    for env_id, spec in gym.registry.items():
        own = str(spec.vector_entry_point).startswith("seqtutor_envs.")
        if own and get_vector_class(env_id).task_type.has_tokens_of(vocab):
            return env_id
    raise ValueError(f"{path} does not say which environment its tokens are of: add --env ID.")


def find_prior_task(path: Path) -> type[Task] | None:
    """Find the task of the prior that a path or a shipped name means: the base class if unknown, None if no prior."""
    if find_prior_file(path) is None:
        return None
    try:
        return get_vector_class(find_env_id(path)).task_type
    except ValueError:
        return Task


def choose_results_file(path: Path) -> Path:
    """Choose the file of an evaluation's metrics: beside the prior's; of a shipped one, in the current folder."""
    return Path(f"{os.fspath(path).removesuffix('.safetensors')}.evaluation.json")
