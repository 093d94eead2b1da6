"""The base class of all agents: the training loop, prediction, sampling, log pi, saving and loading.

N sequences, T steps, V tokens. A timestep is one token of one sequence.
A rollout is one sequence from each environment.
"""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from agents import saving
from agents.envs import AnyEnv, get_env_attribute, make_batch
from agents.networks import Policy, ValueNetwork, ValueTwist, find_device
from agents.rollouts import Rollout, Terms, predict_tokens
from agents.samplers import sample_by_smc
from agents.sb3.callback_steps import defer_interrupt, iterate_steps, make_callback
from agents.sb3.model import SB3Model
from agents.store.diversity import make_diversity
from agents.store.replay import Sequences
from seqtutor_envs import checks
from seqtutor_envs.checks import Diverged
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.prior import Prior, State, token_log_probs
from seqtutor_envs.threads import one_thread


class SequenceAgent(SB3Model, ABC):
    """Train, predict, sample, save and load. Predictions, samples and log pi come from `policy()`, which is a Prior.

    Subclasses implement `policy`, `collect` and `improve`. See `Tutor` for the arguments.

    Attributes:
        ranges: of those settings that are numbers, by name.
        settings: arguments as JSON, which `save` writes and `load` passes to the constructor again.
        num_timesteps: tokens generated so far. While callbacks are told of a rollout step by step, it counts the tokens
            up to that step.
        learned_timesteps: tokens of the rollouts that were learned from. `save` writes this number.
        rounds: number of rollouts so far.
        newest: the last rollout, for callbacks.
        network: what learns.
        has_soft_values: whether v nears the soft value, where gamma and prior_weight are 1.
    """

    network: ValueNetwork
    has_soft_values: ClassVar[bool] = True
    ranges: ClassVar[checks.Ranges] = {}

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
        device: str,
        settings: dict[str, Any],
    ) -> None:
        self.settings = checks.numbers(self.ranges, settings)
        checks.one_of("anneal", settings.get("anneal", False), (False, True))
        self.device = find_device(device)
        seed = checks.SEED.check("seed", seed)
        batch, recipe = make_batch(env, n_envs, env_kwargs)
        self._attach_env(batch, recipe, prior)
        self.diversity = make_diversity(self.task, diversity, self.c)
        self.memories = {} if self.diversity is None else {"diversity": self.diversity}
        self.set_random_seed(seed)
        self.verbose, self.tensorboard_log = verbose, tensorboard_log
        self.num_timesteps = self.learned_timesteps = self.rounds = 0
        self.newest: Sequences | None = None
        self.offered: list[tuple[Sequences, Terms]] = []  # what came from elsewhere in the newest round, and was scored

    def __repr__(self) -> str:
        """Describe it in a line: class, environment, c, gamma, and the tokens that it has learned from."""
        env = self.recipe["id"] if self.recipe else type(self.env).__name__
        gamma = f", gamma={self.settings['gamma']:g}" if "gamma" in self.settings else ""
        return f"{type(self).__name__}({env}, c={self.c:g}{gamma}, {self.learned_timesteps:,} tokens learned)"

    # ---------------------------------------------------------------- what a subclass implements

    @abstractmethod
    def policy(self) -> Policy:
        """Return the present policy as a frozen sequence model."""

    @abstractmethod
    def collect(self) -> Rollout:
        """Collect one rollout: sequences, and log pi [N] of each."""

    @abstractmethod
    def improve(self, sequences: Sequences) -> dict[str, float]:
        """Learn from a rollout; return statistics for the log."""

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
        """Learn for `total_timesteps` tokens, in whole rollouts (the last one may go a little beyond).

        Learning ends early once the task's budget of scores is spent. Ctrl-C lets the rollout in progress end, then
        raises KeyboardInterrupt: what was learned is kept, and `save` works.

        Args:
            total_timesteps: tokens to learn from.
            callback: as in stable-baselines3. A rollout is collected and learned from at once, then told to callbacks
                step by step: `n_calls` counts steps of all environments together, `locals` are those of
                `callback_steps.iterate_steps`. Whatever they save at any step holds the whole rollout, so that
                learning can go on from it exactly.
            log_interval: rollouts between two entries of the log (`logger`); the last rollout has one too. An entry
                has stable-baselines3's rollout/ep_rew_mean, ep_len_mean, time/... and train/..., and rollout/j, kl,
                log_p, task_return, distinct and term_<name>: means over the newest 1,024 sequences or so.
            tb_log_name: of the run in TensorBoard's log; None is the class's name.
            reset_num_timesteps: False goes on counting.
            progress_bar: whether to show one.

        Raises:
            seqtutor_envs.checks.Diverged: a loss or gradient is not finite. The agent keeps its weights from before
                that update: it can be evaluated and saved.
        """
        total_timesteps = int(checks.Range(0, 10**15).check("total_timesteps", total_timesteps))  # 1e6 is one, too
        log_interval = checks.positive_integer("log_interval", log_interval)
        if reset_num_timesteps:
            self.num_timesteps = self.learned_timesteps = self.rounds = 0
        # a logger from `set_logger` stays
        if self._own_logger:
            self._logger = self._new_logger(tb_log_name or type(self).__name__, reset_num_timesteps)
        begun, self._began = self.num_timesteps, (time.time(), self.num_timesteps)
        total_timesteps += begun  # the goal, as callbacks of stable-baselines3 find it in `locals`
        self.total_timesteps = total_timesteps
        self._begin(anew=reset_num_timesteps)
        hook = make_callback(callback)
        hook.init_callback(self)  # type: ignore[arg-type]
        hook.on_training_start(locals(), globals())
        bar = make_bar(total=total_timesteps - begun, unit="token", unit_scale=True, disable=not progress_bar)
        try:
            with defer_interrupt() as interrupted:
                while self.num_timesteps < total_timesteps and not self._is_spent():
                    # no callback, no hook: nobody is told of the single steps, which would take time
                    statistics, goes_on = self._learn_from_rollout(None if callback is None else hook)
                    bar.update(self.num_timesteps - begun - bar.n)
                    is_last = not goes_on or interrupted.handle is not None or self.num_timesteps >= total_timesteps
                    # the last one too, so that a short run is in the log
                    if self.rounds % log_interval == 0 or is_last or self._is_spent():
                        self._log(statistics, bar)
                    if not goes_on:
                        break
                    interrupted.check()
        finally:
            bar.close()
            hook.on_training_end()
        return self

    def _begin(self, anew: bool) -> None:
        """Prepare for a call of `learn`, which goes on counting timesteps or begins anew."""
        if not anew and self.num_timesteps and self.task is not None and self.task.budget_used() == 0:
            before = f"{self.num_timesteps:,} timesteps were learned before, and the task has counted no score of them"
            remedy = "a file of `save` keeps none; `python -m agents train --resume` does"
            warnings.warn(f"{before}: the budget of scores begins anew ({remedy}).", stacklevel=3)

    def _learn_from_rollout(self, hook: BaseCallback | None) -> tuple[dict[str, float], bool]:
        """Collect a rollout, learn from it, tell callbacks; return statistics, and whether learning goes on."""
        if hook is not None:
            hook.on_rollout_start()
        sequences, log_policy = self.collect()
        self.offered = []
        statistics: dict[str, float] = {}
        if not self._is_spent():  # else some sequences may have no score
            adjusted = sequences if self.diversity is None else self.diversity.lower_rewards(sequences)
            try:
                with one_thread():  # not around the task's rewards and callbacks, which are their users'
                    statistics = self.improve(adjusted)
            except Diverged as error:
                done = f"{type(self).__name__} diverged after {self.learned_timesteps:,} tokens"
                raise Diverged(f"{done}: {error}") from None
        self._policy, self.newest = None, sequences  # the weights have changed
        self.rounds += 1
        self.learned_timesteps += int(sequences.lengths.sum())
        # rewards as the task pays them: diversity only changes those that are learned from
        self._recent.add(sequences, log_policy, self.rollouts.terms)
        try:
            goes_on = hook is None or self._tell_steps(hook, sequences)
        finally:
            # a callback may have ended it early, but the whole rollout was learned from
            self.num_timesteps = self.learned_timesteps
        if hook is not None:
            hook.on_rollout_end()
        return statistics, goes_on

    def _tell_steps(self, hook: BaseCallback, sequences: Sequences) -> bool:
        """Tell callbacks of a rollout, step by step; return whether they let learning go on."""
        for step in iterate_steps(sequences, self._began[0]):
            self.num_timesteps += step["num_writing"]
            hook.update_locals(step)
            if not hook.on_step():
                return False
        return True

    def _is_spent(self) -> bool:
        return self.task is not None and self.task.spent

    def _log(self, statistics: Mapping[str, float], bar: Any) -> None:
        metrics = self.training_metrics()
        shown = {"J": metrics["j"], "return": metrics["task_return"], "KL": metrics["kl"]}
        bar.set_postfix({name: f"{value:.1f}" for name, value in shown.items()})
        self._write_log(metrics, statistics)
        # the log of V ** T, since that number itself can overflow
        possible = self.horizon * np.log(len(self.prior.vocab))
        self._recent.warn_of_collapse(metrics["distinct"], self.num_timesteps, possible)

    def dump_logs(self) -> None:
        """Write an entry of the log now, as stable-baselines3's LogEveryNTimesteps asks; none before the first round.

        It lacks the statistics of updates, which `learn` writes every `log_interval` rounds.
        """
        if self._recent:
            self._write_log(self.training_metrics(), {})

    def _write_log(self, metrics: Mapping[str, float], statistics: Mapping[str, float]) -> None:
        for group, entries in (("rollout", metrics), ("train", statistics)):
            for name, value in entries.items():
                self.logger.record(f"{group}/{name}", value)
        began, timesteps_before = self._began
        elapsed = time.time() - began
        self.logger.record("time/fps", int((self.num_timesteps - timesteps_before) / max(elapsed, 1e-9)))
        counters = {"iterations": self.rounds, "time_elapsed": int(elapsed), "total_timesteps": self.num_timesteps}
        # as in stable-baselines3: TensorBoard has the steps and the time as its axes
        for name, number in counters.items():
            self.logger.record(f"time/{name}", number, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def training_metrics(self) -> dict[str, float]:
        """Return means over the newest sequences, as generated while learning: see training_metrics.Recent."""
        return self._recent.metrics()

    # ---------------------------------------------------------------- acting

    def current_policy(self) -> Policy:
        """Return `policy()`, made once for the present weights."""
        # a policy copies the weights, which `predict` must not do at every call
        if self._policy is None:
            self._policy = self.policy()
        return self._policy

    @one_thread()
    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: State | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], State]:
        """Choose the next tokens for observations of any obs_mode, single or batched; as stable-baselines3's predict.

        Args:
            observation: of N sequences, or of one.
            state: what the last call returned, arrays [N, ...]; None at the start. Without it a prefix is read from its
                first token; other observations show the last token only, so what came before is lost.
            episode_start: [N], True for a sequence that begins; its state starts anew.
            deterministic: the most probable token instead of a sampled one.
        """
        # a vector [L] may be one prefix or the last tokens of L sequences: only the obs_mode can tell
        is_prefix = get_env_attribute(self.env, "obs_mode") == "prefix"
        policy = self.current_policy()
        return predict_tokens(policy, observation, is_prefix, state, episode_start, deterministic, self.rng)

    def sample(
        self, n: int, seed: int, temperature: float = 1.0, particles: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sample n sequences of the present policy: tokens [n, T] and lengths [n]. Same seed, same tokens.

        Args:
            n, seed: as for Prior.sample.
            temperature: below 1 nearer to the most probable tokens.
            particles: with a number N the samples are corrected towards the optimum: each is one of N sequences of the
                agent, which are weighted and resampled by its own values (SMCSampler with `twist()`).
        """
        if particles is None:
            return self.current_policy().sample(n, seed, temperature=temperature)
        if temperature != 1.0:
            raise ValueError(f"particles={particles} samples at temperature 1 only, not {temperature}.")
        if self.task is None:
            raise ValueError("particles are weighted by rewards: this environment has no `task` to ask for them.")
        rng = np.random.default_rng(checks.SEED.check("seed", seed))
        found, _ = sample_by_smc(self.task, self.prior, self.c, n, rng, particles, self.twist())
        return found.tokens, found.lengths

    def twist(self) -> ValueTwist:
        """Return the present policy and values as a guide of sequential Monte Carlo: for SMCSampler, bounds.log_z.

        Its `notes` say where v is no soft value: Z_hat is unbiased then, too, but varies more.
        """
        gamma, share = self.settings.get("gamma", 1.0), self.settings.get("prior_weight", 1.0)
        usual = self.has_soft_values and gamma == share == 1.0
        what = f"v of {type(self).__name__} with gamma={gamma:g} and prior_weight={share:g}"
        notes = () if usual else (f"{what} is no soft value: Z_hat stays unbiased, but varies more.",)
        return ValueTwist(self.network, self.prior, self.horizon, self.c, notes)

    def log_prob(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Compute log pi [n] of whole sequences [n, T] in nats, the end token's included."""
        return token_log_probs(self.current_policy().log_probs(tokens, lengths), tokens, lengths).sum(axis=1)

    # ---------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write PATH.safetensors atomically: everything that learning goes on from, no pickle."""
        return saving.save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: AnyEnv | None = None,
        prior: Prior | str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        trust: bool = False,
    ) -> Self:
        """Load an agent that `save` wrote; `learn(..., reset_num_timesteps=False)` goes on exactly where it stopped.

        But for a budget of scores: its calls are the task's, and no part of the file. `python -m agents train --resume`
        keeps them; here the budget begins anew, with a warning.

        Nothing that the file names is imported, called or opened unless `trust` says so: no objective, no module of an
        environment's id, no prior but the shipped ones. What `env`, `prior` and `env_kwargs` name is used as always.

        Args:
            path: as for `save`.
            env: needed if the agent's environment was not made from an id and plain keywords (own tasks, priors,
                objectives).
            prior: if the environment has none, or instead of the one that the file names.
            env_kwargs: keywords that differ from the saved ones of an environment made from its id, such as the
                `workers` of another machine.
            device, verbose, tensorboard_log: as for the constructor; a file does not keep them.
            trust: whether to use the programs, modules and paths that the file names.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no agent of this class, is damaged, does not fit, or names what needs `trust`.

        Warns:
            UserWarning: the agent learned in bfloat16, which this device does not have: it goes on in float32.
        """
        not_kept = {"prior": prior, "device": device, "verbose": verbose, "tensorboard_log": tensorboard_log}
        loaded: Self = saving.load(cls, path, env, env_kwargs, not_kept, trust)
        return loaded
