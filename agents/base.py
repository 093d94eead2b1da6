"""What every sequence agent shares: the environment it is given, rounds of whole sequences, learning's loop, files.

B sequences, T steps, V tokens. A timestep is one token of one sequence; a round is one sequence from each environment.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import configure_logger
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from agents import diversity as memory
from agents.interrupt import interruption
from agents.networks import Policy
from agents.replay import Sequences
from agents.rollouts import Rollouts, as_batch, env_attribute, renewed
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.files import load_arrays, of_prefix, safetensors_path, save_arrays, with_prefix
from seqtutor_envs.masking import MaskedPrior, as_judged
from seqtutor_envs.prior import Prior, RecurrentPrior, State, load_prior, token_log_probs, weights_sha256
from seqtutor_envs.task import Task

AnyEnv = str | gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any] | VecEnv
RECENT = 1024  # the training figures are means over about this many of the newest sequences
FEW_DISTINCT = 0.5  # a share of distinct sequences below this is warned of: the policy may have collapsed


class SequenceAgent(ABC):
    """An agent that is a sequence model: sampling, prediction and log pi rest on `policy()`, a Prior over tokens.

    Subclasses give `policy`, `improve` and the pieces of their state. See `Tutor` for the arguments.
    """

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int,
        n_envs: int | None,
        prior: Prior | str | None,
        verbose: int,
        tensorboard_log: str | None,
        env_kwargs: dict[str, Any] | None,
        diversity: Mapping[str, Any] | bool | None,
        settings: dict[str, Any],
    ) -> None:
        self.settings = settings  # JSON, what `save` writes and `load` passes to the constructor again
        self.env, self.recipe = as_batch(env, n_envs, env_kwargs)
        self.n_envs: int = self.env.num_envs
        found = prior if prior is not None else env_attribute(self.env, "prior")
        if found is None:
            raise ValueError("This environment has no `prior` attribute: pass the agent one, prior=...")
        self.task: Task | None = env_attribute(self.env, "task")
        self.prior = as_judged(load_prior(found), self.task)
        self.horizon: int = self.task.length if self.task is not None else self.prior.length
        self.c: float = env_attribute(self.env, "c") or 1.0
        self.diversity = memory.made(self.task, diversity, self.c)
        self.rng = np.random.default_rng(seed)
        self.seed, self.verbose, self.tensorboard_log = seed, verbose, tensorboard_log
        self.num_timesteps = self.rounds = 0
        self.rollouts = Rollouts(self.env, self.prior, self.horizon)
        self._logger: Logger | None = None
        self._recent: deque[dict[str, NDArray[Any]]] = deque(maxlen=max(1, RECENT // self.n_envs))
        self._warned_of_collapse = False
        self._policy: Policy | None = None  # of the present weights, once somebody has asked for it
        self.newest: Sequences | None = None  # the last round, for callbacks

    # ---------------------------------------------------------------- what a subclass gives

    @abstractmethod
    def policy(self) -> Policy:
        """The present policy as a frozen sequence model."""

    def current_policy(self) -> Policy:
        """`policy()`, made once for the present weights."""
        if self._policy is None:
            self._policy = self.policy()
        return self._policy

    @abstractmethod
    def collect(self) -> tuple[Sequences, NDArray[np.float64]]:
        """One round of sequences and their log pi [N]."""

    @abstractmethod
    def improve(self, sequences: Sequences) -> dict[str, float]:
        """Learns from a round; returns statistics for the log."""

    @abstractmethod
    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays that learning goes on from."""

    @abstractmethod
    def load_state_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Puts back what `state_arrays` gave."""

    # ---------------------------------------------------------------- learning

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 10,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learns for `total_timesteps` tokens, in whole rounds (the last one may go a little beyond).

        Callbacks are stable-baselines3's; their `on_step` is called once a round, after the updates, so that whatever
        they save can be continued exactly. Ctrl-C lets the round in progress end, then raises KeyboardInterrupt: what
        was learned is kept, `save` works. reset_num_timesteps=False goes on counting. Learning ends early where the
        task's budget of scores is spent.
        """
        if reset_num_timesteps:
            self.num_timesteps = self.rounds = 0
        if self._logger is None:
            name = tb_log_name or type(self).__name__
            self._logger = configure_logger(self.verbose, self.tensorboard_log, name, reset_num_timesteps)
        goal = self.num_timesteps + total_timesteps
        self.total_timesteps = goal
        hook = as_callback(callback)
        hook.init_callback(self)  # type: ignore[arg-type]
        hook.on_training_start(locals(), globals())
        bar = tqdm(total=total_timesteps, unit="token", unit_scale=True, disable=not progress_bar)
        try:
            with interruption() as interrupted:
                while self.num_timesteps < goal and not self._spent():
                    self._round(hook, bar, log_interval)
                    if not hook.on_step():
                        break
                    if interrupted.is_set():
                        raise KeyboardInterrupt
        finally:
            bar.close()
            hook.on_training_end()
        return self

    def _round(self, hook: BaseCallback, bar: Any, log_interval: int) -> None:
        hook.on_rollout_start()
        sequences, log_policy = self.collect()
        hook.on_rollout_end()
        # of the round that spends a budget of scores some sequences may have none
        statistics = {} if self._spent() else self.improve(self._to_learn_from(sequences))
        self._policy, self.newest = None, sequences
        tokens = int(sequences.lengths.sum())
        self.num_timesteps += tokens
        self.rounds += 1
        self._remember(sequences, log_policy)
        bar.update(tokens)
        if self.rounds % log_interval == 0:
            figures = self.training_figures()
            bar.set_postfix(
                {"J": f"{figures['j']:.1f}", "return": f"{figures['task_return']:.1f}", "KL": f"{figures['kl']:.1f}"}
            )
            for group, entries in (("rollout", figures), ("train", statistics)):
                for name, value in entries.items():
                    self.logger.record(f"{group}/{name}", value)
            self.logger.dump(self.num_timesteps)
            self._warn_of_collapse(figures["distinct"])

    def _to_learn_from(self, sequences: Sequences) -> Sequences:
        return sequences if self.diversity is None else self.diversity.adjusted(sequences)

    def _spent(self) -> bool:
        return self.task is not None and self.task.spent

    def _remember(self, sequences: Sequences, log_policy: NDArray[np.float64]) -> None:
        log_prior = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths).sum(1)
        reward = sequences.task_rewards.sum(1)
        self._recent.append({"reward": reward, "kl": log_policy - log_prior, "tokens": sequences.tokens})

    def training_figures(self) -> dict[str, float]:
        """Means over the newest sequences, as written while learning: J and KL in nats, R, share of distinct ones."""
        recent = {name: np.concatenate([entry[name] for entry in self._recent]) for name in ("reward", "kl", "tokens")}
        return {
            "j": float((recent["reward"] - recent["kl"]).mean()),
            "kl": float(recent["kl"].mean()),
            "task_return": float(recent["reward"].mean() * self.c),
            "distinct": len(np.unique(recent["tokens"], axis=0)) / len(recent["tokens"]),
        }

    def _warn_of_collapse(self, distinct: float) -> None:
        repeats_mean_something = self.horizon * np.log(len(self.prior.vocab)) > np.log(100 * RECENT)
        if distinct < FEW_DISTINCT and repeats_mean_something and not self._warned_of_collapse:
            self._warned_of_collapse = True
            warnings.warn(
                f"Only {distinct:.0%} of the newest sequences are distinct after {self.num_timesteps:,} timesteps: the"
                " policy is collapsing. A larger c keeps it closer to the prior; a smaller gamma or a smaller weight of"
                " the term that pays for repetition helps too.",
                stacklevel=2,
            )

    # ---------------------------------------------------------------- acting

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: State | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], State]:
        """Next tokens for observations of any obs_mode, single or batched; as stable-baselines3's predict.

        Args:
            state: what the last call returned, arrays [N, ...]; None at the start.
            episode_start: [N], True where a new sequence begins; its state starts anew.
            deterministic: the most probable token instead of a sampled one.
        """
        tokens, single = last_tokens(
            observation, self.prior.vocab.start, env_attribute(self.env, "obs_mode") == "prefix"
        )
        policy = self.current_policy()
        if state is None:
            state = policy.initial_state(len(tokens))
        elif episode_start is not None:
            state = renewed(policy, state, np.asarray(episode_start, bool).reshape(-1))
        rows, state = policy.step(tokens, state)
        actions = rows.argmax(axis=1) if deterministic else sample_tokens(rows, self.rng)
        return (actions[0] if single else actions), state

    def sample(self, n: int, seed: int, temperature: float = 1.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """n sequences of the present policy: tokens [n, T] and lengths [n]. Same seed, same tokens."""
        return self.current_policy().sample(n, seed, temperature=temperature)

    def log_prob(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """log pi [n] of whole sequences [n, T] in nats, the end token's included."""
        return token_log_probs(self.current_policy().log_probs(tokens, lengths), tokens, lengths).sum(axis=1)

    # ---------------------------------------------------------------- the surface of a stable-baselines3 model

    @property
    def logger(self) -> Logger:
        """stable-baselines3's logger; silent until `learn` or `set_logger`."""
        if self._logger is None:
            self._logger = Logger(folder=None, output_formats=[])
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Logs to `logger` (stable_baselines3.common.logger.configure makes one)."""
        self._logger = logger

    def get_env(self) -> Any:
        """The vector environment that the agent learns in."""
        return self.env

    def get_vec_normalize_env(self) -> None:
        """None: nothing is normalised here. stable-baselines3's EvalCallback asks."""

    # ---------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes PATH.safetensors atomically: everything that learning goes on from, no pickle."""
        target = safetensors_path(path)
        facts = {
            "agent": type(self).__name__,
            "settings": self.settings,
            "env": self.recipe,
            "n_envs": self.n_envs,
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "rounds": self.rounds,
            "rng": self.rng.bit_generator.state,
            "prior_sha256": prior_sha256(self.prior),
            "versions": {name: installed(name) for name in ("seqtutor", "torch", "numpy")},
        }
        arrays = self.state_arrays()
        if self.diversity is not None:
            arrays |= with_prefix("diversity", self.diversity.arrays())
        save_arrays(target, arrays, facts)
        return target

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: AnyEnv | None = None,
        prior: Prior | str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """An agent that `save` wrote; `learn(..., reset_num_timesteps=False)` goes on exactly where it stopped.

        Args:
            env: needed where the agent's environment was not made from an id and plain keywords (own tasks, priors,
                objectives).
            prior: where the environment has none.
            env_kwargs: keywords that differ from the saved ones of an environment made from its id, such as the
                `workers` of another machine.
        """
        target = safetensors_path(path)
        if not target.is_file():
            raise FileNotFoundError(f"No agent at {target}.")
        arrays, facts = load_arrays(target)
        if facts.get("agent") != cls.__name__:
            raise ValueError(
                f"{target} holds {facts.get('agent', 'no agent')}; load it with that class, not {cls.__name__}."
            )
        if env is None and facts["env"] is None:
            raise ValueError(
                f"{target} was trained in an environment that no id makes again (own task or prior): pass env=..."
            )
        recipe = facts["env"] if env is None else None
        kwargs = {**(recipe["kwargs"] if recipe else {}), **(env_kwargs or {})}
        made: dict[str, Any] = {"env": recipe["id"] if recipe else env, "env_kwargs": kwargs or None}
        batched = env is not None and isinstance(env, (gym.vector.VectorEnv, VecEnv))
        agent = cls(
            **made, prior=prior, seed=facts["seed"], n_envs=None if batched else facts["n_envs"], **facts["settings"]
        )
        if facts.get("prior_sha256") != prior_sha256(agent.prior):
            raise ValueError(f"{target} was trained from another prior than the one given here: pass that one.")
        try:
            agent.load_state_arrays(arrays)
            if agent.diversity is not None:
                agent.diversity.restore(of_prefix("diversity", arrays))
        except (RuntimeError, ValueError, KeyError) as error:  # torch's, numpy's, a missing name's
            raise ValueError(f"{target} does not fit this environment: its tokens, length or prior differ.") from error
        agent.num_timesteps, agent.rounds = facts["num_timesteps"], facts["rounds"]
        agent.rng.bit_generator.state = facts["rng"]
        return agent


def as_callback(callback: MaybeCallback) -> BaseCallback:
    """One callback of whatever stable-baselines3 takes for one: a callback, a list of them, a function or None."""
    if callback is None or isinstance(callback, list):
        return CallbackList(callback or [])
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)


def last_tokens(observation: Any, start: int, prefix: bool) -> tuple[NDArray[np.int64], bool]:
    """The last token of each sequence [N] out of an observation of any obs_mode, and whether it was a single one.

    Args:
        start: id of the start token, which is also a prefix's filler.
        prefix: True where a vector is one sequence's tokens so far, not the last tokens of many.
    """
    if isinstance(observation, dict):
        tokens = np.asarray(observation["token"], np.int64)
    else:
        tokens = np.asarray(observation).astype(np.int64)
        if tokens.ndim == 2 or (prefix and tokens.ndim == 1):
            counts = (tokens != start).sum(-1, keepdims=True)  # so far
            last = np.take_along_axis(tokens, np.maximum(counts - 1, 0), axis=-1)
            tokens = np.where(counts > 0, last, start)[..., 0]
    return tokens.reshape(-1), tokens.ndim == 0


def prior_sha256(prior: Prior) -> str | None:
    """Hash of a recurrent prior's weights; None of any other prior."""
    inner = prior.inner if isinstance(prior, MaskedPrior) else prior
    return weights_sha256(inner.weights) if isinstance(inner, RecurrentPrior) else None


def installed(package: str) -> str | None:
    """The installed version of a package; None when it runs from a checkout that was never installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
