"""Use a prior as an agent, a file that `pretrain` wrote or a shipped name; and an agent's policy as a prior."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.baselines import FixedPolicy
from agents.envs import get_vector_class
from agents.evaluate.load import find_prior_file
from agents.saving import hash_prior
from seqtutor_envs.command import versions
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.prior import RecurrentPrior, load_prior
from seqtutor_envs.prior.masking import MaskedPrior, mask_prior
from seqtutor_envs.task import Task


class PriorAgent(FixedPolicy):
    """Act by the prior of an environment; like a loaded agent it has `task`, `prior` and `recipe`.

    Args:
        env_id: of the environment.
        kwargs: its keywords, with the prior.
    """

    def __init__(self, env_id: str, kwargs: Mapping[str, Any]) -> None:
        self.recipe = {"id": env_id, "kwargs": dict(kwargs)}
        # only its task and prior are wanted
        with closing(gym.make_vec(env_id, num_envs=1, infos="end", **kwargs)) as env:
            if not isinstance(env, SequenceTutorVectorEnv):
                raise ValueError(f"{env_id} is no environment of this library: it has no native batch.")
            self.task, self.prior = env.task, mask_prior(env.prior, env.task)
        super().__init__(self.prior, self.task.length)


def make_prior(agent: Any, note: str = "") -> RecurrentPrior:
    """Return the present policy of an agent of ours as a prior, to be saved, fine-tuned or planted.

    Its card says what the agent learned, and holds the note. Raises ValueError if the policy is no single network: that
    of G-learning is log p + G, and a task that forbids tokens has its say too.
    """
    network = agent.network
    if network.residual or isinstance(agent.prior, MaskedPrior):
        reason = "its task forbids tokens" if isinstance(agent.prior, MaskedPrior) else "it is log p + G, two networks"
        raise ValueError(f"The policy of this {type(agent).__name__} is no prior of its own: {reason}.")
    card = {
        "description": f"the policy of an agent: {agent!r}",
        "agent": type(agent).__name__,
        "settings": agent.settings,
        "env": agent.recipe,
        "seed": agent.seed,
        "num_timesteps": agent.learned_timesteps,
        "prior_sha256": hash_prior(agent.prior),
        "versions": versions(),
        "note": note,
    }
    return RecurrentPrior(network.core.weights(), network.core.cell, agent.prior.vocab, agent.horizon, card)


def find_recipe(path: Path, env_id: str | None = None) -> tuple[str, dict[str, Any]]:
    """Find the environment of a prior, that of its tokens if `env_id` is None: its id, and its keywords with the prior.

    Raises FileNotFoundError or ValueError in one line.
    """
    env_id = find_env_id(path) if env_id is None else env_id
    machine = get_vector_class(env_id).task_type.run_options().train.machine_kwargs()
    return env_id, {**machine, "prior": os.fspath(path)}


def find_env_id(path: Path) -> str:
    """Find the environment whose sequences a prior generates, by its tokens.

    Raises ValueError, which asks for --env, if it is none of ours.
    """
    vocab = load_prior(path).vocab
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
