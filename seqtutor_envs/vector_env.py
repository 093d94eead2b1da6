"""The dynamics of all environments: sequences token by token, with reward log p(a | s) + r_T(s, a) / c (rewards.py).

N sequences, L = `task.length`, V tokens, K reward terms; log p in nats. `steps` counts the tokens chosen so far. The
state of a sequence is its tokens; beside them stand the prior's state and the row of log p that scores the next action.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from seqtutor_envs import checks, env_kernels
from seqtutor_envs.infos import (
    OBS_MODES,
    Mask,
    Outcome,
    end_infos,
    final_infos,
    observation_space,
    one_hot_prefixes,
    row_infos,
    step_infos,
    term_keys,
)
from seqtutor_envs.prior import Prior, RecurrentPrior, State, list_shipped, load_prior
from seqtutor_envs.prior.masking import allowed_log_probs
from seqtutor_envs.task import Task
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens

INFOS = ("full", "end")
RENDER_MODES = ("ansi", "rgb_array")
AUTORESET_MODES = tuple(mode.value for mode in AutoresetMode)
RENDER_FPS = 4  # steps per second of a recorded video: sixteenth notes at 60 quarter notes a minute
MAX_RENDERED = 16  # sequences that a vector environment draws
METADATA: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}


class SequenceTutorVectorEnv(VectorEnv[Any, Tokens, NDArray[Any]]):
    """Generate N sequences at once, each as SequenceTutorEnv specifies.

    Args:
        task: what is asked of a sequence; `task.length` is the horizon.
        prior: a shipped name, a path, or a Prior over the task's vocabulary.
        num_envs: how many, N.
        c: temperature; the reward is log p + r_T / c.
        obs_mode: "token", "prefix", "dict" or "one_hot".
        autoreset_mode: Gymnasium's enum or its string.
        render_mode: None, "ansi" or "rgb_array"; the first 16 sequences are drawn.
        infos: "full", or "end": the infos of a step only where an episode ends (those of a reset always).
        flat_infos: True for infos of numbers only, without nesting: see SequenceTutorEnv.

    Raises:
        ValueError: an argument is not among its choices; one line lists them.

    Attributes:
        round_size: how many sequences our agents generate before they learn, unless their user says otherwise.
        task_type: the class whose run options and log the commands offer for the environment's id.
        user_keywords: keywords that may name a program or a file, each with the names that an agent's file may give;
            any other name only a user gives.
    """

    # more of them cost less each, fewer give more updates; J of melodies after 20 s is 33.7 nats with 64, 32.7 with 128
    round_size: ClassVar[int] = 64
    task_type: ClassVar[type[Task]] = Task  # type: ignore[type-abstract]
    user_keywords: ClassVar[Mapping[str, tuple[str, ...]]] = {"prior": tuple(list_shipped())}

    def __init__(
        self,
        task: Task,
        prior: str | os.PathLike[str] | Prior,
        *,
        num_envs: int = 1,
        c: float,
        obs_mode: str = "token",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        infos: str = "full",
        flat_infos: bool = False,
    ) -> None:
        self.num_envs = checks.positive_integer("num_envs", num_envs)
        self.c = checks.temperature(c)
        self.obs_mode = checks.one_of("obs_mode", obs_mode, OBS_MODES)
        self.infos = checks.one_of("infos", infos, INFOS)
        self.flat_infos = checks.one_of("flat_infos", flat_infos, (False, True))
        self.render_mode = checks.one_of("render_mode", render_mode, (None, *RENDER_MODES))
        name = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        self.autoreset_mode = AutoresetMode(checks.one_of("autoreset_mode", name, AUTORESET_MODES))
        # a copy: Gymnasium's wrappers read the mode from the instance's metadata
        self.metadata = METADATA | {"autoreset_mode": self.autoreset_mode}
        self.task, self.prior = task, load_prior(prior)
        checks.same_vocabulary(task, self.prior)

        self.single_action_space = Discrete(len(task.vocab))
        self.single_observation_space = observation_space(self.obs_mode, len(task.vocab), task.length)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._begin()

    def _begin(self) -> None:
        """Set up N sequences that are over, as before the first reset. Compute once what follows the start token."""
        n, start = self.num_envs, self.task.vocab.start
        self._everyone = np.ones(n, np.bool_)
        names = term_keys(self.task.weights, self.flat_infos)
        self._names = names, [f"_{name}" for name in names]  # keys of terms and masks
        self._weights = np.array(list(self.task.weights.values()), dtype=np.float64)
        # int64 and filled with V: it can be fed to any prior and shown as an observation as it is
        self._tokens = np.full((n, self.task.length), start)  # [N, L], start id as filler
        self._last = np.full(n, start)  # [N], the last token
        self._steps = np.zeros(n, np.int64)  # [N]
        self._returns = np.zeros(n)  # [N], the sum of rewards
        # over before the first reset, so that a step without one takes the same path as a step too many
        self._over = np.ones(n, np.bool_)  # [N], true: no token before a reset
        self._started = False
        # what follows the start token never changes: computed once, copied at every restart
        rows, self._first_state = self._step_prior(np.array([start]), self.prior.initial_state(1))
        if rows.shape != (1, start):
            raise ValueError(f"The prior's step must return log p as [N, {start}], not {list(rows.shape)}.")
        checks.check_normalised(rows, "The prior's step")
        # asked once: a task that forbids nothing must not pay for a mask at every step
        self._forbids = type(self.task).action_mask is not Task.action_mask
        first = self._action_mask(self._tokens[:1], self._steps[:1])
        self._first_mask = np.ones((1, start), np.int8) if first is None else first
        self._mask = self._first_mask.repeat(n, axis=0)  # [N, V], 1 for allowed tokens
        self._first_rows = allowed_log_probs(rows, first)
        self._rows = self._first_rows.repeat(n, axis=0)  # [N, V]
        self._state: State = tuple(part.repeat(n, axis=0) for part in self._first_state)

    # ---------------------------------------------------------------- Gymnasium's surface

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start every sequence, or those of `options["reset_mask"]` (bool [N]); other options are ignored.

        The seed (an integer, or one integer or None for each sequence) sets `np_random`, from which the dynamics draw
        nothing.
        """
        one = checks.first_seed(seed, self.num_envs)
        if one is not None:
            self._np_random, self._np_random_seed = seeding.np_random(one)
        mask = checks.reset_mask(options, self.num_envs)
        if not self._started and not mask.all():
            raise ResetNeeded("Reset all sequences once before resetting some of them.")
        self._started = True
        self._restart(mask)
        return self._observe(), row_infos(self._rows, self._mask, mask)

    def step(self, actions: Tokens) -> tuple[Any, Floats, Mask, Mask, dict[str, Any]]:
        """Append one token to each sequence; a sequence that NEXT_STEP starts anew in this call ignores its action.

        Raises:
            ResetNeeded: a sequence is over (DISABLED), or none was ever reset.
            ValueError: the actions are not N integers 0..V-1, or the task forbids one.
        """
        full, infos, fresh = self.infos == "full", {}, None
        told = self._everyone
        if np.count_nonzero(self._over):  # the quickest test of a mask: this is the hot path
            self._may_start()
            fresh = self._over.copy()  # to be started in this call
            told = ~fresh
        # advance before restart: the fresh sequences are still over here and so take no token
        outcome = self._advance(actions)
        if fresh is not None:
            self._restart(fresh)
        if outcome.over:
            ended = outcome.ended | outcome.truncated
            # before the restart, which wipes the tokens that are to be spelled
            infos = end_infos(None if self.flat_infos else self._sequences(ended), ended, self.task.spent)
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                infos |= step_infos(outcome, self._names, ended, self.flat_infos)
                infos = final_infos(self._observe(), infos, ended)
                self._restart(ended)
                fresh, told = ended, ~ended
            elif not full:
                infos |= step_infos(outcome, self._names, ended, self.flat_infos)
        if full:
            infos |= step_infos(outcome, self._names, told, self.flat_infos)
            shown = ~self._over if outcome.over else self._everyone
            infos |= row_infos(self._rows, self._mask, shown)
        elif fresh is not None:
            infos |= row_infos(self._rows, self._mask, fresh)
        return self._observe(), outcome.rewards, outcome.ended, outcome.truncated, infos

    def _may_start(self) -> None:
        """Raise ResetNeeded unless `step` starts sequences that are over."""
        if not self._started:
            raise ResetNeeded("Call reset() before step().")
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise ResetNeeded(
                f"The episodes of sequences {np.flatnonzero(self._over).tolist()} are over: "
                "call reset(options={'reset_mask': ...}) for them."
            )

    def action_masks(self) -> Mask:
        """Return which tokens each sequence may take next, [N, V]; all of them after its end.

        sb3-contrib's MaskablePPO calls this by name.
        """
        return self._allowed() != 0

    def render(self) -> tuple[Any, ...] | None:
        """Render the first 16 sequences as text or pictures. Without a render mode warn and return None."""
        if self.render_mode is None:
            # a warning, not an error: Gymnasium's own environments do so
            gymnasium.logger.warn("Nothing to render: make the environment with render_mode='ansi' or 'rgb_array'.")
            return None
        return tuple(self._picture(i) for i in range(min(self.num_envs, MAX_RENDERED)))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the task. It can still be used."""
        task = getattr(self, "task", None)  # None: the constructor failed, and the garbage collector closes
        if task is not None:
            task.close()

    # ---------------------------------------------------------------- one token

    def _advance(self, actions: Tokens) -> Outcome:
        """Append actions [N] to the sequences that are not over."""
        task, over = self.task, self._over
        chosen = checks.check_actions(actions, self.num_envs, task.vocab)
        # [:0]: an empty mask tells the compiled code that everything is allowed, in the same type
        allowed = self._mask if self._forbids else self._mask[:0]
        worst = env_kernels.append(self._tokens, self._steps, over, chosen, allowed, task.vocab.start)
        if worst >= 0:
            raise checks.refused_action(int(chosen[worst]), worst, task.vocab, self._allowed()[worst])
        # counted before `advance`, which adds to `over` in place
        num_over = int(np.count_nonzero(over))
        terms = self._terms(num_over)
        # only a spent budget truncates, so only then is it needed who was over before
        was_over = over.copy() if task.spent else None
        # -1: compiled code takes no None, and no token has this id
        end = -1 if task.vocab.end is None else task.vocab.end
        table, rewards, ended, num_ended = env_kernels.advance(
            terms, self._weights, self.c, self._rows, over, chosen,
            self._steps, self._last, self._returns, task.length, end,
        )
        if num_ended == -1:
            raise checks.bad_reward(task, terms, self.c)
        if num_ended < 0:
            checks.check_log_probs(table[0], "The prior's step")
        truncated = np.zeros(self.num_envs, np.bool_)
        if was_over is not None:  # the task has spent its budget of scores
            truncated = ~was_over & ~ended
            over |= truncated
            num_ended += np.count_nonzero(truncated)
        # a prior's step is most of the cost: skip it when nobody is left to read the rows
        if num_over + num_ended < self.num_envs:
            self._feed(chosen, num_over + num_ended)
        return Outcome(table, rewards, ended, truncated, num_ended > 0)

    def _terms(self, num_over: int) -> Floats:
        """Ask the task for the terms [N, K] of the newest tokens; 0 for the `num_over` sequences that are over."""
        table = np.zeros((self.num_envs, len(self._weights)))
        if num_over == self.num_envs:
            return table
        live: Any = ~self._over if num_over else slice(None)  # a slice: a view of all, without a copy
        tokens = self._tokens[live]
        # a copy of steps: a task may keep it, and the environment counts on in place
        terms = np.ascontiguousarray(self.task.step_terms(tokens, self._steps[live].copy()), np.float64)
        if terms.shape != (len(tokens), len(self._weights)):
            name = f"{type(self.task).__name__}.step_terms"
            raise checks.wrong_shape(name, terms, (len(tokens), len(self._weights)))
        table[live] = terms
        return table

    def _feed(self, chosen: Tokens, num_over: int) -> None:
        """Feed chosen [N] to the prior: the next states and rows of log p.

        The `num_over` sequences that are over get the start token, which every prior accepts after any token; their
        rows mean nothing.
        """
        # all N are fed, also those that are over: shapes stay fixed, so states can be written in place
        fed = chosen if not num_over else np.where(self._over, self.task.vocab.start, chosen)
        mask = None
        if self._forbids:
            going = ~self._over
            mask = self._action_mask(self._tokens[going], self._steps[going])
            self._mask[going] = 1 if mask is None else mask
        log_probs, self._state = self._step_prior(fed, self._state)
        if log_probs.shape != self._rows.shape:
            raise checks.wrong_shape("The prior's step", log_probs, self._rows.shape)
        # not `mask`, which lacks the sequences that are over: rows must have their shape
        self._rows = allowed_log_probs(log_probs, None if mask is None else self._mask)

    def _step_prior(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        """Step the prior on one thread. The task is asked outside: a user's own function may want all of them."""
        if isinstance(self.prior, RecurrentPrior):  # it does so itself, and only where it needs to
            return self.prior.step(tokens, state)
        with one_thread():
            return self.prior.step(tokens, state)

    def _restart(self, mask: Mask) -> None:
        """Put the sequences of `mask` [N] back behind the start token."""
        self._tokens[mask] = self._last[mask] = self.task.vocab.start
        self._steps[mask] = 0
        self._returns[mask] = 0.0
        self._over[mask] = False
        self._rows[mask] = self._first_rows
        self._mask[mask] = self._first_mask
        # in place: the state is this environment's own, since `step` returns new arrays
        for whole, first in zip(self._state, self._first_state):
            whole[mask] = first

    def _action_mask(self, tokens: Tokens, steps: Tokens) -> NDArray[np.int8] | None:
        """Ask the task which tokens [n, V] are allowed (None: all). Raise ValueError where it leaves none."""
        mask = self.task.action_mask(tokens, steps)
        if mask is not None:
            mask = np.asarray(mask)
            checks.check_action_mask(self.task, mask, tokens, steps)
        return mask

    # ---------------------------------------------------------------- what is seen

    def _observe(self) -> Any:
        """Return observations of all sequences, new arrays."""
        if self.obs_mode == "token":
            return self._last.copy()
        if self.obs_mode == "prefix":
            return self._tokens.copy()
        if self.obs_mode == "one_hot":
            return one_hot_prefixes(self._tokens, self.task.vocab.start)
        return {"action_mask": self._allowed(), "step": self._steps.copy(), "token": self._last.copy()}

    def _allowed(self) -> NDArray[np.int8]:
        """Return 1 for each token that may come next, [N, V], a new array."""
        allowed = self._mask.copy()
        if self._forbids:  # after the end nothing is forbidden: a masked softmax stays defined
            allowed[self._over] = 1
        return allowed

    def _sequences(self, mask: Mask) -> NDArray[np.object_]:
        """Spell the sequences of `mask` in their domain's words, None elsewhere."""
        # filled one by one: numpy would make a matrix of lists of one length
        texts = np.full(self.num_envs, None, dtype=object)
        for i, text in zip(np.flatnonzero(mask).tolist(), self.task.sequences(self._tokens[mask], self._steps[mask])):
            texts[i] = text
        return texts

    def _picture(self, i: int) -> Any:
        # a copy: a task may keep what it draws
        tokens = self._tokens[i, : self._steps[i]].copy()
        if self.render_mode == "ansi":
            return self.task.render_ansi(tokens)
        return self.task.render_rgb(tokens, float(self._returns[i]))
