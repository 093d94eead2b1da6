"""Rollouts of whole sequences from any environment of ours: native vector env, SyncVectorEnv, stable-baselines3 VecEnv.

N environments, T steps at most, V tokens. log pi in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.cuda_graphs import GraphedSampler
from agents.envs import BatchedEnv, read_last_tokens, read_prefixes
from agents.networks import FORBIDDEN, Policy
from agents.store.replay import Sequences, make_empty_sequences, select
from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.infos import term_keys
from seqtutor_envs.prior import Prior, RecurrentPrior, State, draw_sequences
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.prior.recurrent_step import sample_tokens
from seqtutor_envs.rewards import scaled
from seqtutor_envs.threads import one_thread

Rollout = tuple[Sequences, NDArray[np.float64]]  # sequences, and log pi [N] of each
Choose = Callable[[Sequences, NDArray[np.float64]], NDArray[np.int64]]
Terms = dict[str, NDArray[np.float64]]  # raw terms [N] by name


class Rollouts:
    """Collect one complete sequence from each environment.

    Fast path: if `env` is a SeqTutor vector environment without wrappers, sample all tokens here and ask the task for
    the rewards once. Sequences that have ended cost nothing more, and expensive scores come in one batch.
    Slow path: reset and step any other environment. What it generates between the end of its own sequence and the end
    of the last one is thrown away, so rollouts are the same in all autoreset modes.
    Both give the same rewards for the same tokens.

    If the policy's network is on a GPU, the fast path samples there. The prior must then be recurrent and forbid
    nothing, and tokens must be sampled, not greedy.

    Args:
        env: a gymnasium VectorEnv or an SB3 VecEnv over environments of ours.
        prior: used for rows of log p if the environment's infos do not carry them.
        horizon: T.

    Attributes:
        terms: of the newest rollout, raw terms [N] summed over steps, by name; None if a stepped environment does not
            show them at every step (infos="full").
    """

    def __init__(self, env: BatchedEnv, prior: Prior, horizon: int) -> None:
        self.env, self.prior, self.horizon = env, prior, horizon
        self.num_envs = env.num_envs
        self.terms: Terms | None = None
        self._native: SequenceTutorVectorEnv | None = env if has_own_dynamics(env) else None
        self._gpu_sampler: GraphedSampler | None = None
        if isinstance(env, VecEnv):
            # stable-baselines3 resets in the step that ends a sequence, and its infos are a list
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
        candidates: int = 1,
        choose: Choose | None = None,
    ) -> Rollout:
        """Collect one rollout; return the sequences and log pi [N] of each under `policy`.

        Raises ValueError where rewards or log p are no numbers to learn from.

        Args:
            policy: what to act by.
            rng: every random number is drawn from it.
            epsilon: None samples from the policy; a number takes its best token, and with that probability any token.
            candidates: sampled for each sequence of the rollout. More than 1 needs the fast path, and `choose`.
            choose: given the candidates and log pi of each, returns the rows [N] of those that are scored and returned.
        """
        if self._native is None:
            return self._step_env(policy, rng, epsilon)
        n = self.num_envs * candidates
        sampler = self._find_gpu_sampler(policy) if epsilon is None else None
        if sampler is None:
            # only what will be scored is announced
            sequences, log_policy = self._sample(self._native, policy, rng, epsilon, n, announce=choose is None)
        else:
            sequences, log_policy = sampler.sample(n, self.horizon, rng)
        if choose is not None:
            rows = choose(sequences, log_policy)
            sequences, log_policy = select(sequences, rows), log_policy[rows]
        elif sampler is not None:
            # a whole rollout is one call: the task hears of the ended sequences when all are complete
            ended = sequences.tokens[np.arange(n), sequences.lengths - 1] == self.prior.vocab.end
            if ended.any():
                self._native.task.announce(sequences.tokens[ended], sequences.lengths[ended])
        checks.check_log_probs(sequences.prior_log_probs, "The prior's step")
        rewards, self.terms = compute_task_rewards(self._native, sequences)
        return replace(sequences, task_rewards=rewards), log_policy

    # ---------------------------------------------------------------- fast path: sample, then ask for the rewards

    @one_thread()
    def _sample(
        self,
        env: SequenceTutorVectorEnv,
        policy: Policy,
        rng: np.random.Generator,
        epsilon: float | None,
        n: int,
        announce: bool,
    ) -> Rollout:
        """Sample n sequences without their rewards; announce each as it ends, so that scoring can begin, or none."""
        vocab = self.prior.vocab
        sequences, log_policy = make_empty_sequences(n, self.horizon, len(vocab)), np.zeros(n)
        prior_state = self.prior.initial_state(n)
        parts = len(prior_state)  # of the joint state, those that are the prior's

        def step(tokens: NDArray[np.int64], state: State) -> tuple[tuple[NDArray[np.float32], ...], State]:
            rows, prior_state = self.prior.step(tokens, state[:parts])
            rows = np.maximum(rows, LOG_PROB_FLOOR)  # as the environment shows them
            # the policy gets these rows too, which saves it a second step of the prior
            policy_rows, policy_state = policy.step(tokens, state[parts:], rows)
            return (rows, policy_rows), (*prior_state, *policy_state)

        def choose(rows: tuple[NDArray[np.float32], ...]) -> NDArray[np.int64]:
            return choose_tokens(rows[1], rng, epsilon)

        start = (*prior_state, *policy.initial_state(n))
        for t, live, tokens, (rows, policy_rows) in draw_sequences(step, choose, start, n, self.horizon, vocab):
            sequences.tokens[live, t] = tokens
            sequences.prior_log_probs[live, t] = rows
            log_policy[live] += policy_rows[np.arange(len(live)), tokens]
            done = live[tokens == vocab.end]
            if len(done):
                sequences.lengths[done] = t + 1
                if announce:
                    env.task.announce(sequences.tokens[done, : t + 1], sequences.lengths[done])
        return sequences, log_policy

    def _find_gpu_sampler(self, policy: Policy) -> GraphedSampler | None:
        """Return what samples in place of a policy whose network is on a GPU; None if only the CPU can.

        The classes must be exactly these: a subclass may step in its own way.
        """
        if type(policy) is not Policy or policy.network is None or type(self.prior) is not RecurrentPrior:
            return None
        if self._gpu_sampler is None or self._gpu_sampler.network is not policy.network:
            self._gpu_sampler = GraphedSampler(policy.network, self.prior)
        return self._gpu_sampler

    # ---------------------------------------------------------------- slow path: step the environment

    def _step_env(self, policy: Policy, rng: np.random.Generator, epsilon: float | None) -> Rollout:
        n, vocab = self.num_envs, self.prior.vocab
        sequences, log_policy = make_empty_sequences(n, self.horizon, len(vocab)), np.zeros(n)
        terms: Terms | None = {}
        every, live, over = np.arange(n), np.ones(n, bool), np.zeros(n, bool)
        state, prior_state, last = policy.initial_state(n), self.prior.initial_state(n), np.full(n, vocab.start)
        with one_thread():  # here, too: SB3VecEnv warns of torch's threads, of which the learner uses one
            started: Any = self.env.reset()
        infos = {} if isinstance(self.env, VecEnv) else started[1]
        informed = self._informed and "prior_log_probs" in infos
        for t in range(self.horizon):
            # not around the environment, whose task or wrapper may want all threads
            with one_thread():
                if informed:
                    rows = infos["prior_log_probs"]
                else:
                    rows, prior_state = self.prior.step(last, prior_state)
                policy_rows, state = policy.step(last, state, rows)
            last = policy_rows.argmax(axis=1)  # no random numbers for sequences that do not count
            last[live] = choose_tokens(policy_rows[live], rng, epsilon)
            rewards, done, infos = self._step(last)
            checks.check_paid(rewards[live])
            sequences.tokens[live, t] = last[live]
            sequences.prior_log_probs[live, t] = rows[live]
            # the environment pays r_T / c + log p; learners add log p themselves
            sequences.task_rewards[live, t] = (rewards - rows[every, last])[live]
            shown = read_terms(infos)
            if terms is None or shown is None:
                terms = None  # one step that shows none is enough
            else:
                terms = {name: terms.get(name, 0.0) + np.where(live, values, 0.0) for name, values in shown.items()}
            log_policy[live] += policy_rows[every, last][live]
            sequences.lengths[live & done] = t + 1
            live &= ~done
            if not live.any():
                break
            # A sequence that is over makes way for another, which is sampled too, so that its tokens are legal ones.
            # In NEXT_STEP it starts in the call after, which ignores its action.
            fresh = done | over if self._mode is AutoresetMode.NEXT_STEP else done
            if fresh.any():
                last[fresh] = vocab.start
                state = restart_states(policy, state, fresh)
                prior_state = restart_states(self.prior, prior_state, fresh)
            over = done
        self.terms = terms
        return sequences, log_policy

    def _step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_], Any]:
        infos: Any
        if isinstance(self.env, VecEnv):
            _, rewards, done, infos = self.env.step(actions)
            return rewards, done.astype(bool), infos
        _, rewards, terminated, truncated, infos = self.env.step(actions)
        done = terminated | truncated
        # once all are done the rollout is over, and the next one resets
        if self._mode is AutoresetMode.DISABLED and done.any() and not done.all():
            _, first = self.env.reset(options={"reset_mask": done})
            # a restarted sequence needs the rows of its first token in the next step
            if self._informed and "prior_log_probs" in first:
                infos["prior_log_probs"][done] = first["prior_log_probs"][done]
        return rewards, done, infos


def has_own_dynamics(env: Any) -> TypeGuard[SequenceTutorVectorEnv]:
    """Return whether this is a native batch without wrappers or overrides, so that its task alone gives the rewards."""
    kind = type(env)
    # a subclass that overrides one of these may pay other rewards than its task
    return isinstance(env, SequenceTutorVectorEnv) and all(
        getattr(kind, name) is getattr(SequenceTutorVectorEnv, name) for name in ("step", "reset", "_advance")
    )


def compute_task_rewards(env: SequenceTutorVectorEnv, sequences: Sequences) -> tuple[NDArray[np.float32], Terms]:
    """Compute r_T / c of finished sequences, [N, T], as `env.step` would have paid it, and each raw term's sum [N].

    Raises:
        ValueError: a reward is not finite, or too large for float32.
    """
    by_name = env.task.terms(sequences.tokens, sequences.lengths)
    terms = np.stack(list(by_name.values()), axis=-1)  # [N, T, K]
    rewards = scaled(terms @ np.array(list(env.task.weights.values())), env.c)
    checks.check_rewards(env.task, rewards.reshape(-1), terms.reshape(rewards.size, -1), env.c)
    return rewards.astype(np.float32), {name: term.sum(axis=1) for name, term in by_name.items()}


def read_terms(infos: Any) -> Terms | None:
    """Read raw terms from the infos of a step, zero for sequences that took none; None if they are not shown.

    Args:
        infos: a VectorEnv's dict, or a VecEnv's list.
    """
    if isinstance(infos, list):
        shown = [find_terms(info) for info in infos]
        return {name: np.array([terms[name] for terms in shown]) for name in shown[0]} if all(shown) else None
    # in SAME_STEP the infos of a sequence that ends stand apart
    shown = [terms for part in (infos, infos.get("final_info", {})) if (terms := find_terms(part))]
    return {name: sum((terms[name] for terms in shown), np.zeros(())) for name in shown[0]} if shown else None


def find_terms(info: Any) -> dict[str, Any]:
    """Return the terms of an info by name, nested or (flat_infos) beside the others; empty if it shows none."""
    if "terms" in info:
        # beside each array, gymnasium's vector infos hold its mask as _name
        return {name: term for name, term in info["terms"].items() if not name.startswith("_")}
    flat = term_keys([""], flat=True)[0]
    return {name.removeprefix(flat): term for name, term in info.items() if name.startswith(flat)}


def restart_states(model: Prior, state: State, fresh: NDArray[np.bool_]) -> State:
    """Put the sequences of `fresh` [N] back before their start token."""
    return select_states(fresh, model.initial_state(len(fresh)), state)


def select_states(mask: NDArray[np.bool_], new: State, old: State) -> State:
    """Take `new` for the sequences of `mask` [N], `old` for the others."""
    return tuple(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old))


def feed_prefixes(policy: Prior, prefixes: NDArray[np.int64], state: State) -> State:
    """Feed all but the last token of each prefix [N, L] to a policy in its initial state; return the state after."""
    start = policy.vocab.start
    counts = (prefixes != start).sum(axis=1)
    for t in range(int(counts.max(initial=0))):
        # prefixes differ in length: a shorter one keeps the state that it has reached
        _, read = policy.step(prefixes[:, t - 1] if t else np.full(len(prefixes), start), state)
        state = select_states(t < counts, read, state)
    return state


def predict_tokens(
    policy: Prior,
    observation: Any,
    is_prefix: bool,
    state: State | None,
    episode_start: Any,
    deterministic: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], State]:
    """Choose the next tokens for observations of any obs_mode: see SequenceAgent.predict.

    Args:
        is_prefix: whether a vector of integers is one prefix, not the last tokens of many sequences.
        rng: samples the tokens unless `deterministic`.
    """
    start = policy.vocab.start
    tokens, single = read_last_tokens(observation, start, is_prefix)
    if state is None:
        state = policy.initial_state(len(tokens))
        # only a prefix shows the tokens before the last one; the state after them is computed again
        prefixes = read_prefixes(observation, start, is_prefix)
        if prefixes is not None:
            state = feed_prefixes(policy, prefixes.reshape(-1, prefixes.shape[-1]), state)
    elif episode_start is not None:
        state = restart_states(policy, state, np.asarray(episode_start, bool).reshape(-1))
    rows, state = policy.step(tokens, state)
    actions = rows.argmax(axis=1) if deterministic else sample_tokens(rows, rng)
    return (actions[0] if single else actions), state


def choose_tokens(
    rows: NDArray[np.float32], rng: np.random.Generator, epsilon: float | None = None
) -> NDArray[np.int64]:
    """Choose a token for each row of log pi [N, V].

    Without epsilon, sample it. With epsilon, take the best token, or with that probability any allowed one.
    """
    if epsilon is None:
        return sample_tokens(rows, rng)
    # log_softmax moves FORBIDDEN by far less than half of it
    anything = sample_tokens(np.where(rows < FORBIDDEN / 2, -np.inf, 0.0).astype(np.float32), rng)
    # both are drawn for every row, so the stream of random numbers does not depend on the choice
    return np.where(rng.random(len(rows)) < epsilon, anything, rows.argmax(axis=1))
