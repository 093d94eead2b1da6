"""Whole sequences out of any environment of ours: native vector env, SyncVectorEnv, stable-baselines3 VecEnv.

N environments, T steps at most, V tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.device_writing import DeviceWriter, cut
from agents.networks import FORBIDDEN, Policy
from agents.replay import Sequences
from seqtutor_envs import checks
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.masking import LOG_PROB_FLOOR
from seqtutor_envs.prior import Prior, RecurrentPrior, State
from seqtutor_envs.registry import native_class
from seqtutor_envs.rewards import scaled


def env_attribute(env: Any, name: str) -> Any:
    """Attribute of the environment under all wrappers, of the first one in a batch; None where there is none."""
    try:
        if isinstance(env, VecEnv):
            return env.get_attr(name)[0]
        if isinstance(env, gym.Env):
            return env.get_wrapper_attr(name)
        native = getattr(env.unwrapped, name, None)
        return env.get_attr(name)[0] if native is None and hasattr(env, "get_attr") else native
    except AttributeError:
        return None


PASSIVE = ("OrderEnforcing", "PassiveEnvChecker")  # gym.make's own wrappers, which change nothing


def as_batch(env: Any, n_envs: int | None, env_kwargs: dict[str, Any] | None) -> tuple[Any, dict[str, Any] | None]:
    """The batched environment for what a user passes as `env`, and the JSON recipe that makes it again (None: only the
    user can).

    Raises ValueError where an argument would be ignored.
    """
    if isinstance(env, (gym.vector.VectorEnv, VecEnv)):
        if n_envs is not None or env_kwargs:
            raise ValueError(f"This environment is a batch of {env.num_envs} already: leave out n_envs and env_kwargs.")
        return env, None
    if isinstance(env, str):
        n = vector_class(env).round_size if n_envs is None else n_envs
        # of the three modes the one that stable-baselines3 can evaluate in; for learning they are the same
        mode = {} if native_class(env) is None else {"autoreset_mode": "SameStep"}
        made = gym.make_vec(env, num_envs=n, **{**mode, **(env_kwargs or {})})
        return made, recipe(env, env_kwargs or {})
    if env_kwargs:
        raise ValueError("env_kwargs go with an id; this environment is made already.")
    return _batch_of(env, n_envs)


def vector_class(env_id: str) -> type[SequenceTutorVectorEnv]:
    """What `gym.make_vec` makes of an id; of one without native batches this library's own."""
    return native_class(env_id) or SequenceTutorVectorEnv


def _batch_of(env: gym.Env[Any, Any], n_envs: int | None) -> tuple[Any, dict[str, Any] | None]:
    core: Any = env.unwrapped
    if not isinstance(core, SequenceTutorEnv):
        raise ValueError(
            f"{type(core).__name__} is no environment of this library; its vector form can be passed with prior=..."
        )
    layer: Any = env
    while layer is not core:
        if type(layer).__name__ not in PASSIVE:
            raise ValueError(f"{type(layer).__name__} would be lost in a batch: pass a vector environment that has it.")
        layer = layer.env
    known = recipe(core.spec.id, core.spec.kwargs) if core.spec is not None else None
    n = core.vector_class.round_size if n_envs is None else n_envs
    mode = AutoresetMode.SAME_STEP
    made = SequenceTutorVectorEnv(
        core.task, core.prior, num_envs=n, c=core.c, obs_mode=core.obs_mode, autoreset_mode=mode
    )
    return made, known


def recipe(env_id: str, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Id and keywords, if JSON can hold them."""
    try:
        return {"id": env_id, "kwargs": json.loads(json.dumps(kwargs))}
    except TypeError:
        return None


class Rollouts:
    """Collects rounds: every environment writes one sequence from its start to its end.

    Of a bare native environment only the task is asked, once, for all finished sequences together: its dynamics are
    nothing but the sequence itself, sequences that are over cost nothing more, and a score that is dear comes in one
    batch. Any other environment is stepped. Then each round starts with a reset, so rounds are the same in all
    autoreset modes: what an environment writes between its own end and the last one's is thrown away. Both ways give
    the same rewards for the same tokens.

    Where the policy's network is on a GPU, a bare native environment's sequences are written there too, if nothing but
    the two networks is needed for it: a recurrent prior that forbids nothing, and tokens that are sampled.

    Args:
        env: a gymnasium VectorEnv or an SB3 VecEnv over environments of ours.
        prior: used for rows of log p where the environment's infos do not carry them.
        horizon: T.

    Attributes:
        terms: of the newest round, name -> [N], raw terms summed over steps; None of an environment that is stepped and
            does not show them at every step (infos="full").
    """

    def __init__(self, env: gym.vector.VectorEnv | VecEnv, prior: Prior, horizon: int) -> None:
        self.env, self.prior, self.horizon = env, prior, horizon
        self.num_envs = env.num_envs
        self.terms: dict[str, NDArray[np.float64]] | None = None
        self._native: SequenceTutorVectorEnv | None = env if has_own_dynamics(env) else None
        self._writer: DeviceWriter | None = None
        if isinstance(env, VecEnv):
            self._mode, self._informed = AutoresetMode.SAME_STEP, False
        else:
            self._mode = env.metadata["autoreset_mode"]
            # with infos="end" the environment shows its rows of log p at times only
            self._informed = getattr(env.unwrapped, "infos", "full") == "full"

    def collect(
        self,
        policy: Policy,
        rng: np.random.Generator,
        epsilon: float | None = None,
        meanwhile: Callable[[Sequences], Any] | None = None,
    ) -> tuple[Sequences, NDArray[np.float64]]:
        """One round. Returns the sequences and log pi [N] of each, under `policy`.

        Args:
            policy: what to act by.
            epsilon: None samples from the policy; a number takes its best token, and with that probability any token.
            meanwhile: called with the sequences, their rewards still 0, before these are waited for, as scoring
                processes may be at work; not where the environment is stepped.
        """
        if self._native is None:
            return self._stepped(policy, rng, epsilon)
        writer = self._device_writer(policy) if epsilon is None else None
        if writer is None:
            sequences, log_policy = self._written(policy, rng, epsilon)
        else:
            sequences, log_policy = self._written_there(writer, rng)
        if meanwhile is not None:
            meanwhile(sequences)
        rewards, self.terms = task_rewards(self._native, sequences.tokens, sequences.lengths)
        return replace(sequences, task_rewards=rewards), log_policy

    def _written(
        self, policy: Policy, rng: np.random.Generator, epsilon: float | None
    ) -> tuple[Sequences, NDArray[np.float64]]:
        """Sequences without their rewards; each leaves the batch when it ends, and is announced to the task."""
        assert self._native is not None
        n, horizon, vocab = self.num_envs, self.horizon, self.prior.vocab
        sequences = empty(n, horizon, len(vocab))
        log_policy, live = np.zeros(n), np.arange(n)
        state, prior_state, last = policy.initial_state(n), self.prior.initial_state(n), np.full(n, vocab.start)
        for t in range(horizon):
            rows, prior_state = self.prior.step(last, prior_state)
            rows = np.maximum(rows, LOG_PROB_FLOOR)  # as the environment shows them
            policy_rows, state = policy.step(last, state, rows)
            last = choose(policy_rows, rng, epsilon)
            sequences.tokens[live, t] = last
            sequences.prior_log_probs[live, t] = rows
            log_policy[live] += policy_rows[np.arange(len(live)), last]
            going = last != vocab.end
            if not going.all():
                done = live[~going]
                sequences.lengths[done] = t + 1
                self._native.task.announce(sequences.tokens[done, : t + 1], sequences.lengths[done])
                live, last = live[going], last[going]
                state, prior_state = (tuple(part[going] for part in parts) for parts in (state, prior_state))
                if not len(live):
                    break
        return sequences, log_policy

    def _device_writer(self, policy: Policy) -> DeviceWriter | None:
        """What writes in place of a policy whose network is on a GPU; of classes, not of their subclasses, which may
        step in their own way."""
        if type(policy) is not Policy or policy.network is None or type(self.prior) is not RecurrentPrior:
            return None
        if self._writer is None or self._writer.network is not policy.network:
            self._writer = DeviceWriter(policy.network, self.prior)
        return self._writer

    def _written_there(
        self, writer: DeviceWriter, rng: np.random.Generator
    ) -> tuple[Sequences, NDArray[np.float64]]:
        """As `_written`; the task learns of all sequences that ended when all are written."""
        assert self._native is not None
        end = self.prior.vocab.end
        sequences, log_policy = cut(*writer(self.num_envs, self.horizon, rng), end)
        tokens, lengths = sequences.tokens, sequences.lengths
        ended = tokens[np.arange(len(tokens)), lengths - 1] == end
        if ended.any():
            self._native.task.announce(tokens[ended], lengths[ended])
        return sequences, log_policy

    def _stepped(
        self, policy: Policy, rng: np.random.Generator, epsilon: float | None
    ) -> tuple[Sequences, NDArray[np.float64]]:
        n, horizon, vocab = self.num_envs, self.horizon, self.prior.vocab
        tokens = np.zeros((n, horizon), np.int64)
        lengths = np.full(n, horizon)
        task_rewards = np.zeros((n, horizon), np.float32)
        prior_log_probs = np.zeros((n, horizon, len(vocab)), np.float32)
        log_policy = np.zeros(n)
        every, live, over = np.arange(n), np.ones(n, bool), np.zeros(n, bool)
        state, prior_state, last = policy.initial_state(n), self.prior.initial_state(n), np.full(n, vocab.start)
        terms: dict[str, NDArray[np.float64]] | None = {}
        infos: Any = self._reset()
        informed = self._informed and "prior_log_probs" in infos
        for t in range(horizon):
            if informed:
                rows = infos["prior_log_probs"]
            else:
                rows, prior_state = self.prior.step(last, prior_state)
            policy_rows, state = policy.step(last, state, rows)
            last = policy_rows.argmax(axis=1)  # chance is kept for what counts
            last[live] = choose(policy_rows[live], rng, epsilon)
            rewards, done, infos = self._step(last)
            tokens[live, t] = last[live]
            prior_log_probs[live, t] = rows[live]
            task_rewards[live, t] = (rewards - rows[every, last])[live]
            terms = added(terms, shown_terms(infos), live)
            log_policy[live] += policy_rows[every, last][live]
            lengths[live & done] = t + 1
            live &= ~done
            if not live.any():
                break
            # A sequence that is over makes way for another, which is written too, so that its tokens are legal ones.
            # In NEXT_STEP it starts in the call after, which ignores its action.
            fresh = done | over if self._mode is AutoresetMode.NEXT_STEP else done
            if fresh.any():
                last[fresh] = vocab.start
                state, prior_state = renewed(policy, state, fresh), renewed(self.prior, prior_state, fresh)
            over = done
        self.terms = terms
        return Sequences(tokens, lengths, task_rewards, prior_log_probs), log_policy

    def _reset(self) -> dict[str, Any]:
        if isinstance(self.env, VecEnv):
            self.env.reset()
            return {}
        return self.env.reset()[1]

    def _step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_], Any]:
        infos: Any
        if isinstance(self.env, VecEnv):
            _, rewards, done, infos = self.env.step(actions)
            return rewards, done.astype(bool), infos
        _, rewards, terminated, truncated, infos = self.env.step(actions)
        done = terminated | truncated
        if self._mode is AutoresetMode.DISABLED and done.any() and not done.all():
            _, first = self.env.reset(options={"reset_mask": done})
            if self._informed and "prior_log_probs" in first:
                infos["prior_log_probs"][done] = first["prior_log_probs"][done]
        return rewards, done, infos


def shown_terms(infos: Any) -> dict[str, NDArray[np.float64]] | None:
    """Raw terms [N] by name in the infos of a step, zero where a sequence took none; None where they are not shown.

    Args:
        infos: a VectorEnv's dict, or a VecEnv's list.
    """
    if isinstance(infos, list):
        if not all("terms" in info for info in infos):
            return None
        return {name: np.array([info["terms"][name] for info in infos]) for name in infos[0]["terms"]}
    # where a sequence ends in SAME_STEP, its infos stand apart
    shown = [part["terms"] for part in (infos, infos.get("final_info", {})) if "terms" in part]
    names = [name for name in (shown[0] if shown else ()) if not name.startswith("_")]
    return {name: sum((part[name] for part in shown), np.zeros(())) for name in names} or None


def added(
    sums: dict[str, NDArray[np.float64]] | None,
    new: dict[str, NDArray[np.float64]] | None,
    live: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]] | None:
    """Terms with those of one more step, for the sequences of `live` [N]; None once a step shows none."""
    if sums is None or new is None:
        return None
    return {name: sums.get(name, 0.0) + np.where(live, values, 0.0) for name, values in new.items()}


def has_own_dynamics(env: Any) -> TypeGuard[SequenceTutorVectorEnv]:
    """Whether this is a native batch that nothing wraps or overrides, so that its task says all about it."""
    kind = type(env)
    return isinstance(env, SequenceTutorVectorEnv) and all(
        getattr(kind, name) is getattr(SequenceTutorVectorEnv, name) for name in ("step", "reset", "_advance")
    )


def task_rewards(
    env: SequenceTutorVectorEnv, tokens: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
    """r_T / c of finished sequences, [N, T], which is what `env.step` would have paid, and each raw term's sum [N].

    Raises ValueError if a reward is not finite.
    """
    by_name = env.task.terms(tokens, lengths)
    terms = np.stack(list(by_name.values()), axis=-1)  # [N, T, K]
    rewards = scaled(terms @ np.array(list(env.task.weights.values())), env.c)
    checks.finite_reward(env.task, rewards.reshape(-1), terms.reshape(rewards.size, -1))
    return rewards.astype(np.float32), {name: term.sum(axis=1) for name, term in by_name.items()}


def empty(n: int, horizon: int, vocab_size: int) -> Sequences:
    """n sequences of nothing but filler, as long as the horizon."""
    shape = (n, horizon)
    rows = np.zeros((*shape, vocab_size), np.float32)
    return Sequences(np.zeros(shape, np.int64), np.full(n, horizon), np.zeros(shape, np.float32), rows)


def renewed(model: Prior, state: State, fresh: NDArray[np.bool_]) -> State:
    """The state with the sequences of `fresh` [N] back before their start token."""
    return where(fresh, model.initial_state(len(fresh)), state)


def where(mask: NDArray[np.bool_], new: State, old: State) -> State:
    """`new` for the sequences of `mask` [N], `old` for the others."""
    return tuple(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old))


def choose(rows: NDArray[np.float32], rng: np.random.Generator, epsilon: float | None) -> NDArray[np.int64]:
    """A token for each row of log pi [N, V]: sampled, or (epsilon given) the best one but for a share of uniform
    draws."""
    if epsilon is None:
        return sample_tokens(rows, rng)
    anything = sample_tokens(np.where(rows < FORBIDDEN / 2, -np.inf, 0.0).astype(np.float32), rng)
    return np.where(rng.random(len(rows)) < epsilon, anything, rows.argmax(axis=1))
