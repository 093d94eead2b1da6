"""What every sequence agent shares: the environment it is given, rounds of whole sequences, learning's loop, acting.

B sequences, T steps, V tokens. A timestep is one token of one sequence; a round is one sequence from each environment.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from tqdm import tqdm

from agents import diversity as memory
from agents import saving
from agents.interrupt import interruption
from agents.networks import Policy
from agents.replay import Sequences
from agents.rollouts import as_batch, env_attribute, renewed, where
from agents.sb3_model import AnyEnv, SB3Model
from agents.steps import as_callback, vector_steps
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.prior import Prior, State, token_log_probs


class SequenceAgent(SB3Model, ABC):
    """An agent that is a sequence model: sampling, prediction and log pi rest on `policy()`, a Prior over tokens.

    Subclasses give `policy`, `collect` and `improve`. See `Tutor` for the arguments.

    Attributes:
        num_timesteps: tokens written so far; within a round, while callbacks are told of its steps, up to that step.
        learned_timesteps: those of whole rounds, which is what a file keeps.
        newest: the last round, for callbacks.
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
        self._live_in(*as_batch(env, n_envs, env_kwargs), prior)
        self.diversity = memory.made(self.task, diversity, self.c)
        self.set_random_seed(seed)
        self.verbose, self.tensorboard_log = verbose, tensorboard_log
        self.num_timesteps = self.learned_timesteps = self.rounds = 0
        self.newest: Sequences | None = None

    # ---------------------------------------------------------------- what a subclass gives

    @abstractmethod
    def policy(self) -> Policy:
        """The present policy as a frozen sequence model."""

    @abstractmethod
    def collect(self) -> tuple[Sequences, NDArray[np.float64]]:
        """One round of sequences and their log pi [N]."""

    @abstractmethod
    def improve(self, sequences: Sequences) -> dict[str, float]:
        """Learns from a round; returns statistics for the log."""

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

        Callbacks are stable-baselines3's. A round is written and learned from at once, then told to them step by step
        (`n_calls` counts steps of all environments together, `locals` are those of `steps.vector_steps`), so that
        whatever they save at any step can be continued exactly: it holds the whole round. Ctrl-C lets the round in
        progress end, then raises KeyboardInterrupt: what was learned is kept, `save` works. reset_num_timesteps=False
        goes on counting. Learning ends early where the task's budget of scores is spent.

        The log (`logger`) gets, every `log_interval` rounds, stable-baselines3's rollout/ep_rew_mean, ep_len_mean,
        time/... and train/..., and rollout/j, kl, log_p, task_return, distinct and term_<name>: means over the newest
        1,024 sequences or so.
        """
        if reset_num_timesteps:
            self.num_timesteps = self.learned_timesteps = self.rounds = 0
        if self._own_logger:
            self._logger = self._new_logger(tb_log_name or type(self).__name__, reset_num_timesteps)
        begun, self._began = self.num_timesteps, (time.time(), self.num_timesteps)
        total_timesteps += begun  # the goal, as callbacks of stable-baselines3 find it in `locals`
        self.total_timesteps = total_timesteps
        hook = as_callback(callback)
        hook.init_callback(self)  # type: ignore[arg-type]
        hook.on_training_start(locals(), globals())
        bar = tqdm(total=total_timesteps - begun, unit="token", unit_scale=True, disable=not progress_bar)
        try:
            with interruption() as interrupted:
                while self.num_timesteps < total_timesteps and not self._spent():
                    if not self._round(None if callback is None else hook, bar, log_interval):
                        break
                    if interrupted.is_set():
                        raise KeyboardInterrupt
        finally:
            bar.close()
            hook.on_training_end()
        return self

    def _round(self, hook: BaseCallback | None, bar: Any, log_interval: int) -> bool:
        """Whether learning goes on."""
        if hook is not None:
            hook.on_rollout_start()
        sequences, log_policy = self.collect()
        # of the round that spends a budget of scores some sequences may have none
        statistics = {} if self._spent() else self.improve(self._to_learn_from(sequences))
        self._policy, self.newest = None, sequences
        self.rounds += 1
        tokens = int(sequences.lengths.sum())
        self.learned_timesteps += tokens
        self._recent.add(sequences, log_policy, self.rollouts.terms)
        try:
            goes_on = hook is None or self._tell(hook, sequences)
        finally:
            self.num_timesteps = self.learned_timesteps
        if hook is not None:
            hook.on_rollout_end()
        bar.update(tokens)
        if self.rounds % log_interval == 0:
            self._log(statistics, bar)
        return goes_on

    def _tell(self, hook: BaseCallback, sequences: Sequences) -> bool:
        """Shows the newest round to callbacks, step by step; whether they let learning go on."""
        for step in vector_steps(sequences, self._began[0]):
            self.num_timesteps += step["num_writing"]
            hook.update_locals(step)
            if not hook.on_step():
                return False
        return True

    def _to_learn_from(self, sequences: Sequences) -> Sequences:
        return sequences if self.diversity is None else self.diversity.adjusted(sequences)

    def _spent(self) -> bool:
        return self.task is not None and self.task.spent

    def _log(self, statistics: Mapping[str, float], bar: Any) -> None:
        figures = self.training_figures()
        shown = {"J": figures["j"], "return": figures["task_return"], "KL": figures["kl"]}
        bar.set_postfix({name: f"{value:.1f}" for name, value in shown.items()})
        for group, entries in (("rollout", figures), ("train", statistics)):
            for name, value in entries.items():
                self.logger.record(f"{group}/{name}", value)
        elapsed, written = time.time() - self._began[0], self.num_timesteps - self._began[1]
        self.logger.record("time/fps", int(written / max(elapsed, 1e-9)))
        for name, number in (
            ("iterations", self.rounds),
            ("time_elapsed", int(elapsed)),
            ("total_timesteps", self.num_timesteps),
        ):
            self.logger.record(f"time/{name}", number, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        possible = self.horizon * np.log(len(self.prior.vocab))
        self._recent.warn_of_collapse(figures["distinct"], self.num_timesteps, possible)

    def training_figures(self) -> dict[str, float]:
        """Means over the newest sequences, as written while learning: see figures.Recent."""
        return self._recent.metrics()

    # ---------------------------------------------------------------- acting

    def current_policy(self) -> Policy:
        """`policy()`, made once for the present weights."""
        if self._policy is None:
            self._policy = self.policy()
        return self._policy

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: State | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], State]:
        """Next tokens for observations of any obs_mode, single or batched; as stable-baselines3's predict.

        Args:
            state: what the last call returned, arrays [N, ...]; None at the start. Without it a prefix is read again as
                a whole; of the other observations it is the only memory.
            episode_start: [N], True where a new sequence begins; its state starts anew.
            deterministic: the most probable token instead of a sampled one.
        """
        policy, start = self.current_policy(), self.prior.vocab.start
        prefix = env_attribute(self.env, "obs_mode") == "prefix"
        tokens, single = last_tokens(observation, start, prefix)
        if state is None:
            state = policy.initial_state(len(tokens))
            prefixes = prefixes_in(observation, prefix)
            if prefixes is not None:
                state = after_prefix(policy, prefixes.reshape(len(tokens), -1), state)
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

    # ---------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes PATH.safetensors atomically: everything that learning goes on from, no pickle."""
        return saving.save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: AnyEnv | None = None,
        prior: Prior | str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        **further: Any,
    ) -> Self:
        """An agent that `save` wrote; `learn(..., reset_num_timesteps=False)` goes on exactly where it stopped.

        Args:
            env: needed where the agent's environment was not made from an id and plain keywords (own tasks, priors,
                objectives).
            prior: where the environment has none.
            env_kwargs: keywords that differ from the saved ones of an environment made from its id, such as the
                `workers` of another machine.
            further: arguments of the constructor that a file does not keep: device, verbose, tensorboard_log.

        Warns:
            UserWarning: the agent learned in bfloat16, which this device does not have: it goes on in float32.
        """
        return saving.load(cls, path, env, prior, env_kwargs, further)


def last_tokens(observation: Any, start: int, prefix: bool) -> tuple[NDArray[np.int64], bool]:
    """The last token of each sequence [N] out of an observation of any obs_mode, and whether it was a single one.

    Args:
        start: id of the start token, which is also a prefix's filler.
        prefix: True where a vector is one sequence's tokens so far, not the last tokens of many.
    """
    prefixes = prefixes_in(observation, prefix)
    if prefixes is not None:
        counts = (prefixes != start).sum(-1, keepdims=True)  # so far
        last = np.take_along_axis(prefixes, np.maximum(counts - 1, 0), axis=-1)
        tokens = np.where(counts > 0, last, start)[..., 0]
    else:
        tokens = np.asarray(observation["token"] if isinstance(observation, dict) else observation, np.int64)
    return tokens.reshape(-1), tokens.ndim == 0


def prefixes_in(observation: Any, prefix: bool) -> NDArray[np.int64] | None:
    """The prefixes [N, L], or the single one [L], that an observation is; None of one of another obs_mode."""
    if isinstance(observation, dict) or np.ndim(observation) != 2 and not (prefix and np.ndim(observation) == 1):
        return None
    return np.asarray(observation).astype(np.int64)


def after_prefix(policy: Policy, prefixes: NDArray[np.int64], state: State) -> State:
    """The state of a policy that has read all but the last token of each prefix [N, L], from its initial state."""
    start = policy.vocab.start
    counts = (prefixes != start).sum(axis=1)
    for t in range(int(counts.max(initial=0))):
        _, read = policy.step(prefixes[:, t - 1] if t else np.full(len(prefixes), start), state)
        state = where(t < counts, read, state)
    return state
