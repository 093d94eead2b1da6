"""The interface of a stable-baselines3 model for our agents, beside `learn` and `predict`: spaces, logger, parameters.

Our agents work with its tools (callbacks, logger, set_env, get_parameters, evaluate_policy with deterministic=False)
but are no subclass of its BaseAlgorithm: its `save` writes a pickle, its constructor takes a policy class, and its
rollouts are a fixed number of steps, while ours are whole sequences.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.logger import HumanOutputFormat, Logger
from stable_baselines3.common.utils import configure_logger
from stable_baselines3.common.vec_env import VecEnv

from agents import saving
from agents.envs import AnyEnv, get_env_attribute, is_batched, make_batch
from agents.networks import Policy
from agents.rollouts import Rollouts
from agents.store.diversity import Diversity
from agents.training_metrics import Recent
from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import of_prefix, with_prefix
from seqtutor_envs.prior import Prior, load_prior, token_log_probs
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.prior.network import adam_arrays, load_weights, module_arrays, restore_adam
from seqtutor_envs.sb3 import SB3VecEnv
from seqtutor_envs.task import Task

COMPARED = 16  # sequences, by which two priors are told apart


class SB3Model:
    """Hold an agent's environment, logger, parameters and seed.

    Attributes:
        trained: attribute of each module and optimiser that is learned -> the prefix of its arrays in files.
        memories: prefix in files -> replay or diversity memory, which files keep too, by `arrays` and `restore`.
    """

    trained: ClassVar[dict[str, str]]
    diversity: Diversity | None
    memories: dict[str, Any]
    verbose: int
    tensorboard_log: str | None
    _logger: Logger | None = None
    _own_logger = True  # whether `learn` makes the logger
    _policy: Policy | None = None  # of the present weights, once somebody has asked for it

    # ---------------------------------------------------------------- the environment

    def _attach_env(self, env: Any, recipe: dict[str, Any] | None, prior: Prior | str | None = None) -> None:
        """Learn in this batched environment from now on, with its task, prior and c."""
        theirs, given = get_env_attribute(env, "prior"), None if prior is None else load_prior(prior)
        if theirs is None and given is None:
            raise ValueError("This environment has no `prior` attribute: pass the agent one, prior=...")
        if theirs is not None and given is not None and not _are_same(given, load_prior(theirs)):
            remedy = "leave prior out, or give the other one to the environment, such as env_kwargs={'prior': ...}"
            raise ValueError(f"The environment pays log p of its own prior, which is not the one given: {remedy}.")
        self._unmasked = load_prior(theirs) if given is None else given
        self.env, self.recipe = env, recipe
        self.n_envs: int = env.num_envs
        self.task: Task | None = get_env_attribute(env, "task")
        # an environment without c pays rewards that are in nats already
        self.c: float = get_env_attribute(env, "c") or 1.0
        # with the task's masks, or log p would differ from the environment's
        self.prior: Prior = mask_prior(self._unmasked, self.task)
        self.horizon: int = self.task.length if self.task is not None else self.prior.length
        self.rollouts = Rollouts(env, self.prior, self.horizon)
        self._recent = Recent(self.n_envs, self.c)

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Return the observation space of one sequence."""
        return self._space("observation_space")

    @property
    def action_space(self) -> gym.Space[Any]:
        """Return the action space of one sequence."""
        return self._space("action_space")

    def _space(self, name: str) -> gym.Space[Any]:
        space: gym.Space[Any] = getattr(self.env, name if isinstance(self.env, VecEnv) else f"single_{name}")
        return space

    def get_env(self) -> Any:
        """Return the vector environment that the agent learns in, as a stable-baselines3 VecEnv if it can be one.

        A native batch with autoreset mode SAME_STEP can, and an agent makes no other of an id or a single environment.
        """
        env = self.env
        if isinstance(env, SequenceTutorVectorEnv) and env.autoreset_mode is AutoresetMode.SAME_STEP:
            return SB3VecEnv(env)
        return env

    def set_env(self, env: AnyEnv, force_reset: bool = True) -> None:
        """Go on learning in another environment, such as one with another c.

        Args:
            env: as for the constructor.
            force_reset: ignored; every rollout begins with new sequences.

        Raises:
            ValueError: its number of sequences, tokens, length or prior is not the same.
        """
        other, recipe = make_batch(env, None if is_batched(env) else self.n_envs)
        task, prior = get_env_attribute(other, "task"), get_env_attribute(other, "prior")
        prior = self._unmasked if prior is None else load_prior(prior)
        # the networks' shapes and the meaning of their values rest on these
        facts = {
            "sequences": (self.n_envs, other.num_envs),
            "tokens": (self.prior.vocab.tokens, prior.vocab.tokens),
            "length": (self.horizon, task.length if task is not None else prior.length),
            "prior": (saving.hash_prior(self.prior), saving.hash_prior(prior)),
        }
        for name, (own, others) in facts.items():
            if own != others:
                shown = f": {own} here, {others} there" if isinstance(own, int) else ""
                raise ValueError(f"set_env: the environment has other {name} than this agent{shown}.")
        self._attach_env(other, recipe, prior)
        if self.diversity is not None and self.task is not None:
            # its counts stay: what was generated is known in the new environment too
            self.diversity.task, self.diversity.c = self.task, self.c
        self._policy = None

    def get_vec_normalize_env(self) -> None:
        """Return None: nothing is normalised here. stable-baselines3's EvalCallback asks."""

    # ---------------------------------------------------------------- the log

    @property
    def logger(self) -> Logger:
        """Return the logger of stable-baselines3; silent until `learn` or `set_logger`."""
        if self._logger is None:
            self._logger = Logger(folder=None, output_formats=[])
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Log to `logger` (stable_baselines3.common.logger.configure makes one)."""
        self._logger, self._own_logger = logger, False

    def _new_logger(self, name: str, reset_num_timesteps: bool) -> Logger:
        """Make a logger as stable-baselines3's models do, but leave no temporary folder if there is no TensorBoard."""
        if self.tensorboard_log is not None:
            return configure_logger(self.verbose, self.tensorboard_log, name, reset_num_timesteps)
        return Logger(folder=None, output_formats=[HumanOutputFormat(sys.stdout)] if self.verbose else [])

    # ---------------------------------------------------------------- what is learned

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return state dicts of all that is learned, by attribute; torch's own tensors, no copies."""
        return {name: attrgetter(name)(self).state_dict() for name in self.trained}

    def set_parameters(
        self, load_path_or_dict: str | os.PathLike[str] | Mapping[str, dict[str, Any]], exact_match: bool = True
    ) -> None:
        """Set weights and optimisers from `get_parameters` or a saved agent's file; keep replay and counters.

        Args:
            load_path_or_dict: a path, or state dicts by attribute.
            exact_match: False accepts some of the names and some of their entries.

        Raises:
            ValueError: a name is unknown, or is missing while all must be there.
        """
        if not isinstance(load_path_or_dict, Mapping):
            arrays, _ = saving.read(type(self), load_path_or_dict)
            self._load_trained(arrays)
            return
        unknown = set(load_path_or_dict) - set(self.trained)
        missing = set(self.trained) - set(load_path_or_dict) if exact_match else set()
        if unknown or missing:
            found = f"unknown: {sorted(unknown)}; missing: {sorted(missing)}"
            raise ValueError(f"The parameters do not match this agent's, which are {sorted(self.trained)} ({found}).")
        for name, state in load_path_or_dict.items():
            part = attrgetter(name)(self)
            if isinstance(part, torch.nn.Module):
                part.load_state_dict(state, strict=exact_match)
            else:
                part.load_state_dict(state)
        self._policy = None

    def set_random_seed(self, seed: int | None = None) -> None:
        """Set the agent's own generator; no global one is touched."""
        self.seed = checks.SEED_OR_NONE.check("seed", seed)
        self.rng = np.random.default_rng(self.seed)

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that learning goes on from."""
        arrays: dict[str, NDArray[Any]] = {}
        for attribute, prefix in self.trained.items():
            part = attrgetter(attribute)(self)
            found = module_arrays(part) if isinstance(part, torch.nn.Module) else adam_arrays(part)
            arrays |= with_prefix(prefix, found)
        for prefix, memory in self.memories.items():
            arrays |= with_prefix(prefix, memory.arrays())
        return arrays

    def load_state_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Put back what `state_arrays` returned. Raise ValueError if these are not the arrays of such an agent."""
        prefixes = {*self.trained.values(), *self.memories}
        if unknown := sorted(name for name in arrays if name.partition(".")[0] not in prefixes):
            raise ValueError(f"the array {unknown[0]!r:.200} is unknown")
        self._load_trained(arrays)
        for prefix, memory in self.memories.items():
            memory.restore(of_prefix(prefix, arrays))

    def _load_trained(self, arrays: dict[str, NDArray[Any]]) -> None:
        for attribute, prefix in self.trained.items():
            part = attrgetter(attribute)(self)
            if isinstance(part, torch.nn.Module):
                load_weights(part, of_prefix(prefix, arrays))
            else:
                restore_adam(part, of_prefix(prefix, arrays))
        self._policy = None


def _are_same(prior: Prior, other: Prior) -> bool:
    """Return whether two priors are one object, or give some sequences of the second the same log p."""
    if prior is other or prior.vocab != other.vocab:
        return prior is other
    if (weights := saving.hash_prior(prior)) is not None or prior.length != other.length:
        return weights is not None and weights == saving.hash_prior(other)
    tokens, lengths = other.sample(COMPARED, seed=0)
    ours, theirs = (token_log_probs(one.log_probs(tokens, lengths), tokens, lengths) for one in (prior, other))
    return bool(np.allclose(ours, theirs, atol=1e-4))
