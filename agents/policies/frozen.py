"""Agents that act by a sequence model and do not learn: saved policies, shipped ones, and an environment's prior."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.baselines import FixedPolicy
from agents.rollouts import predict_tokens
from seqtutor_envs.checks import SEED
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import reading
from seqtutor_envs.prior import Prior, State
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.registry import check_recipe
from seqtutor_envs.threads import one_thread

DATA = Path(__file__).parents[1] / "data"
POLICY = "policy"  # key of the cards that `save_policy` writes; priors have none


class FrozenAgent(FixedPolicy):
    """Act by a sequence model in an environment. It samples, predicts and is evaluated, but does not learn.

    Args:
        env_id: of the environment.
        kwargs: its keywords.
        policy: what it acts by; None is the environment's prior.
        seed: of `predict`'s draws.

    Attributes:
        card: what is known of the policy; {} if nothing is.
        recipe: the environment's id and keywords.
        task, prior, c, obs_mode: of the environment.
        model: what it acts by, without the task's masks, which `policy` has.
    """

    def __init__(self, env_id: str, kwargs: Mapping[str, Any], policy: Prior | None = None, seed: int = 0) -> None:
        self.recipe: dict[str, Any] = {"id": env_id, "kwargs": dict(kwargs)}
        # only what it is made of is wanted
        with closing(gym.make_vec(env_id, num_envs=1, infos="end", **kwargs)) as env:
            if not isinstance(env, SequenceTutorVectorEnv):
                raise ValueError(f"{env_id} is no environment of this library: it has no native batch.")
            self.task, self.prior, self.c = env.task, mask_prior(env.prior, env.task), env.c
            self.obs_mode = env.obs_mode
        self.model = self.prior if policy is None else policy
        super().__init__(mask_prior(self.model, self.task), self.task.length)
        self.card: dict[str, Any] = getattr(policy, "card", {})
        self.rng = np.random.default_rng(SEED.check("seed", seed))

    def __repr__(self) -> str:
        return f"FrozenAgent({self.recipe['id']}: {self.card.get('description', 'the prior')})"

    def move(self, env_id: str, kwargs: Mapping[str, Any]) -> FrozenAgent:
        """Return an agent that acts by the same model in another environment."""
        return FrozenAgent(env_id, kwargs, self.model)

    @one_thread()
    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: State | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], State]:
        """Choose the next tokens, as `SequenceAgent.predict` does."""
        is_prefix = self.obs_mode == "prefix"
        return predict_tokens(self.policy, observation, is_prefix, state, episode_start, deterministic, self.rng)


def load_policy(file: Path, policy: Prior, trust: bool = False) -> FrozenAgent:
    """Make the agent of a policy in the environment that its card names.

    Args:
        file: that it was read from, for errors.
        policy: as `load_prior` returns it.
        trust: use the programs, modules and paths that the card names.

    Raises:
        FileError: the card is damaged.
        Untrusted, ValueError, ImportError: as `check_recipe`.
    """
    recipe = check_recipe(file, getattr(policy, "card", {}).get("env"), trust=trust)
    with reading(file, "names no environment that it was learned in"):
        env_id, kwargs = recipe["id"], recipe["kwargs"]
    return FrozenAgent(env_id, kwargs, policy)


@cache
def list_policies() -> Mapping[str, Path]:
    """Return the files of the shipped policies by name."""
    return {path.stem: path for path in sorted(DATA.glob("*.safetensors"))}


def find_policy(name: str | os.PathLike[str]) -> Path | None:
    """Return the file of a shipped policy, or None."""
    return list_policies().get(os.fspath(name))
