"""The only dynamics: sequences written token by token, and the reward log p(a|s) + r_T(s, a) / c.

N sequences, L = `task.length`, V tokens, K reward terms; log p in nats. `steps` counts the tokens chosen so far. The
state of a sequence is the tokens themselves; beside them stand the prior's state and the row of log p that judges the
next action.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from seqtutor_envs import checks, stepping
from seqtutor_envs.infos import Outcome, end_infos, final_infos, info_of, row_infos, step_infos, term_names
from seqtutor_envs.masking import allowed_log_probs
from seqtutor_envs.observations import OBS_MODES, observation_of, observation_space
from seqtutor_envs.prior import Prior, State, load_prior
from seqtutor_envs.task import Task

INFOS = ("full", "end")
RENDER_MODES = ("ansi", "rgb_array")
AUTORESET_MODES = tuple(mode.value for mode in AutoresetMode)
RENDER_FPS = 4  # steps per second of a recorded video: sixteenth notes at 60 quarter notes a minute
MAX_RENDERED = 16  # sequences that a vector environment draws


class SequenceTutorVectorEnv(VectorEnv[Any, NDArray[np.int64], NDArray[Any]]):
    """N sequences written at once. SequenceTutorEnv and each domain's own class say what they mean.

    Args:
        task: what is asked of a sequence; `task.length` is the horizon.
        prior: a shipped name, a path, or a Prior over the task's vocabulary.
        num_envs: N.
        c: temperature; the reward is log p + r_T / c.
        obs_mode: "token", "prefix" or "dict".
        autoreset_mode: Gymnasium's enum or its string.
        render_mode: None, "ansi" or "rgb_array"; the first 16 sequences are drawn.
        infos: "full", or "end": the infos of a step only where an episode ends (those of a reset always).

    Raises ValueError in one line where an argument is none of its choices.

    Attributes:
        round_size: how many sequences our agents write before they learn, where their user does not say.
        task_type: the class whose run options and log the commands offer for the environment's id.
    """

    # more of them cost less each, fewer give more updates; J of melodies after 20 s is 33.7 nats with 64, 32.7 with 128
    round_size: ClassVar[int] = 64
    task_type: ClassVar[type[Task]] = Task  # type: ignore[type-abstract]

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
    ) -> None:
        self.num_envs = checks.positive_integer("num_envs", num_envs)
        self.c = checks.temperature(c)
        self.obs_mode = checks.one_of("obs_mode", obs_mode, OBS_MODES)
        self.infos = checks.one_of("infos", infos, INFOS)
        self.render_mode = checks.one_of("render_mode", render_mode, (None, *RENDER_MODES))
        name = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        self.autoreset_mode = AutoresetMode(checks.one_of("autoreset_mode", name, AUTORESET_MODES))
        self.metadata = SequenceTutorEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        self.task, self.prior = task, load_prior(prior)
        checks.same_vocabulary(task, self.prior)

        self.single_action_space = Discrete(len(task.vocab))
        self.single_observation_space = observation_space(self.obs_mode, len(task.vocab), task.length)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._begin()

    def _begin(self) -> None:
        """Before the first reset every sequence is over. What follows the start token is worked out once, for all."""
        n, start = self.num_envs, self.task.vocab.start
        self._everyone = np.ones(n, np.bool_)
        self._names = term_names(self.task.weights)
        self._weights = np.array(list(self.task.weights.values()), dtype=np.float64)
        self._tokens = np.full((n, self.task.length), start)  # [N, L], start id as filler
        self._last = np.full(n, start)  # [N], the last token
        self._steps = np.zeros(n, np.int64)  # [N]
        self._returns = np.zeros(n)  # [N], the sum of rewards
        self._over = np.ones(n, np.bool_)  # [N], true: no token before a reset
        self._started = False
        rows, self._first_state = self.prior.step(np.array([start]), self.prior.initial_state(1))
        if rows.shape != (1, start) or np.isnan(rows).any():
            raise ValueError(f"The prior's step must return log p as [N, {start}] without NaN, not {rows}.")
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
        """Starts every sequence, or those of `options["reset_mask"]` (bool [N]); other options are ignored.

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

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Writes one token to each sequence; a sequence that NEXT_STEP starts anew in this call ignores its action.

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
        outcome = self._advance(actions)
        if fresh is not None:
            self._restart(fresh)
        if outcome.over:
            ended = outcome.ended | outcome.truncated
            infos = end_infos(self._sequences(ended), ended, self.task.spent)
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                infos |= step_infos(outcome, self._names, ended)
                infos = final_infos(self._observe(), infos, ended)
                self._restart(ended)
                fresh, told = ended, ~ended
            elif not full:
                infos |= step_infos(outcome, self._names, ended)
        if full:
            infos |= step_infos(outcome, self._names, told)
            shown = ~self._over if outcome.over else self._everyone
            infos |= row_infos(self._rows, self._mask, shown)
        elif fresh is not None:
            infos |= row_infos(self._rows, self._mask, fresh)
        return self._observe(), outcome.rewards(), outcome.ended, outcome.truncated, infos

    def _may_start(self) -> None:
        """Raises ResetNeeded where `step` does not start sequences that are over."""
        if not self._started:
            raise ResetNeeded("Call reset() before step().")
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            raise ResetNeeded(
                f"The episodes of sequences {np.flatnonzero(self._over).tolist()} are over: "
                "call reset(options={'reset_mask': ...}) for them."
            )

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens each sequence may write next, [N, V]; all of them after its end. sb3-contrib's MaskablePPO asks
        for this by name."""
        return self._allowed() != 0

    def render(self) -> tuple[Any, ...] | None:
        """The first 16 sequences as text or as pictures; None, with Gymnasium's warning, without a render mode."""
        if self.render_mode is None:
            gymnasium.logger.warn("Nothing to render: make the environment with render_mode='ansi' or 'rgb_array'.")
            return None
        return tuple(self._picture(i) for i in range(min(self.num_envs, MAX_RENDERED)))

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the task, which can still be used."""
        task = getattr(self, "task", None)  # None: the constructor failed, and the garbage collector closes
        if task is not None:
            task.close()

    # ---------------------------------------------------------------- one token

    def _advance(self, actions: NDArray[np.int64]) -> Outcome:
        """Appends actions [N] to the sequences that are not over."""
        task, over = self.task, self._over
        chosen = checks.checked_actions(actions, self.num_envs, task.vocab)
        allowed = self._mask if self._forbids else self._mask[:0]
        worst = stepping.append(self._tokens, self._steps, over, chosen, allowed, task.vocab.start)
        if worst >= 0:
            raise checks.refused(int(chosen[worst]), worst, task.vocab, self._allowed()[worst])
        num_over = int(np.count_nonzero(over))
        terms = self._terms(num_over)
        was_over = over.copy() if task.spent else None
        end = -1 if task.vocab.end is None else task.vocab.end
        paid, counted = (terms, self._weights, self.c, self._rows), (self._steps, self._last, self._returns)
        table, ended, num_ended = stepping.advance(*paid, over, chosen, *counted, task.length, end)
        if num_ended < 0:
            raise checks.not_finite(task, terms)
        truncated = np.zeros(self.num_envs, np.bool_)
        if was_over is not None:  # the task has spent its budget of scores
            truncated = ~was_over & ~ended
            over |= truncated
            num_ended += np.count_nonzero(truncated)
        if num_over + num_ended < self.num_envs:
            self._feed(chosen, num_over + num_ended)
        return Outcome(table, ended, truncated, num_ended > 0)

    def _terms(self, num_over: int) -> NDArray[np.float64]:
        """The task's terms [N, K] for the newest tokens, 0 for the `num_over` sequences that are over."""
        if not num_over:
            return self._checked_terms(self._tokens, self._steps.copy())
        terms = np.zeros((self.num_envs, len(self._weights)))
        if num_over < self.num_envs:
            live = ~self._over
            terms[live] = self._checked_terms(self._tokens[live], self._steps[live])
        return terms

    def _checked_terms(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        terms = np.ascontiguousarray(self.task.step_terms(tokens, steps), np.float64)
        if terms.shape != (len(tokens), len(self._weights)):
            name = f"{type(self.task).__name__}.step_terms"
            raise checks.wrong_shape(name, terms, (len(tokens), len(self._weights)))
        return terms

    def _feed(self, chosen: NDArray[np.int64], num_over: int) -> None:
        """The prior reads chosen [N]: the next states and rows of log p. Those of the `num_over` sequences that are
        over mean nothing; they are given the start token, which every prior knows after any token."""
        fed = chosen if not num_over else np.where(self._over, self.task.vocab.start, chosen)
        mask = None
        if self._forbids:
            going = ~self._over
            mask = self._action_mask(self._tokens[going], self._steps[going])
            self._mask[going] = 1 if mask is None else mask
        log_probs, self._state = self.prior.step(fed, self._state)
        if log_probs.shape != self._rows.shape:
            raise checks.wrong_shape("The prior's step", log_probs, self._rows.shape)
        self._rows = allowed_log_probs(log_probs, None if mask is None else self._mask)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        """Puts the sequences of `mask` [N] back behind the start token."""
        self._tokens[mask] = self._last[mask] = self.task.vocab.start
        self._steps[mask] = 0
        self._returns[mask] = 0.0
        self._over[mask] = False
        self._rows[mask] = self._first_rows
        self._mask[mask] = self._first_mask
        for whole, first in zip(self._state, self._first_state):
            whole[mask] = first

    def _action_mask(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int8] | None:
        """The task's mask [n, V] of allowed tokens (None: all). Raises ValueError where it leaves none."""
        mask = self.task.action_mask(tokens, steps)
        if mask is not None:
            checks.allows_some(self.task, mask, tokens, steps)
        return mask

    # ---------------------------------------------------------------- what is seen

    def _observe(self) -> Any:
        """Observations of all sequences, new arrays."""
        if self.obs_mode == "token":
            return self._last.copy()
        if self.obs_mode == "prefix":
            return self._tokens.copy()
        return {"action_mask": self._allowed(), "step": self._steps.copy(), "token": self._last.copy()}

    def _allowed(self) -> NDArray[np.int8]:
        """1 for each token that may come next, [N, V]. A new array."""
        allowed = self._mask.copy()
        if self._forbids:  # after the end nothing is forbidden: a masked softmax stays defined
            allowed[self._over] = 1
        return allowed

    def _sequences(self, mask: NDArray[np.bool_]) -> NDArray[np.object_]:
        """The sequences of `mask` in their domain's words, None elsewhere."""
        texts = np.full(self.num_envs, None, dtype=object)
        for i, text in zip(np.flatnonzero(mask).tolist(), self.task.sequences(self._tokens[mask], self._steps[mask])):
            texts[i] = text
        return texts

    def _picture(self, i: int) -> Any:
        tokens = self._tokens[i, : self._steps[i]].copy()
        if self.render_mode == "ansi":
            return self.task.render_ansi(tokens)
        return self.task.render_rgb(tokens, float(self._returns[i]))


class SequenceTutorEnv(gymnasium.Env[Any, Any]):
    """One sequence, written token by token: a SequenceTutorVectorEnv of one.

    A domain of one's own subclasses both and sets `vector_class`; everything else is the task's and the prior's.

    Args:
        *args, **kwargs: `vector_class`'s own, but for num_envs, autoreset_mode and infos.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}
    vector_class: ClassVar[type[SequenceTutorVectorEnv]] = SequenceTutorVectorEnv

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in ("num_envs", "autoreset_mode", "infos"):
            if name in kwargs:
                raise TypeError(f"{name} is known to the vector environment only: use gymnasium.make_vec.")
        self._batch = self.vector_class(*args, num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **kwargs)
        self.action_space = self._batch.single_action_space
        self.observation_space = self._batch.single_observation_space
        self.render_mode = self._batch.render_mode

    @property
    def task(self) -> Task:
        """What is asked of a sequence."""
        return self._batch.task

    @property
    def prior(self) -> Prior:
        """The prior whose log p is part of the reward."""
        return self._batch.prior

    @property
    def c(self) -> float:
        """The temperature."""
        return self._batch.c

    @property
    def obs_mode(self) -> str:
        """What an observation holds: "token", "prefix" or "dict"."""
        return self._batch.obs_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """An empty sequence. The dynamics are deterministic: the seed sets `np_random` alone; options are ignored."""
        super().reset(seed=seed)
        self._batch.reset()
        return self._observe(), self._row_info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Writes one token.

        Raises:
            ResetNeeded: the episode is over, or none has begun.
            ValueError: the action is no integer 0..V-1, or the task forbids it.
        """
        batch = self._batch
        if batch._over[0]:
            raise ResetNeeded("The episode is over: call reset()." if batch._started else "Call reset() before step().")
        token = np.asarray(action)
        if token.shape != ():
            raise ValueError(f"The action must be one integer 0..{len(self.task.vocab) - 1}, not {action!r}.")
        outcome = batch._advance(token[None])
        prior_log_prob, task_reward, *terms_paid = outcome.table[:, 0].tolist()
        terms = dict(zip(batch.task.weights, terms_paid))
        info: dict[str, Any] = {"prior_log_prob": prior_log_prob, "task_reward": task_reward, "terms": terms}
        ended, truncated = bool(outcome.ended[0]), bool(outcome.truncated[0])
        if ended or truncated:
            over = np.ones(1, np.bool_)
            info |= info_of(end_infos(batch._sequences(over), over, batch.task.spent), 0)
        else:
            info |= self._row_info()
        return self._observe(), prior_log_prob + task_reward, ended, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens may come next, [V]; all of them after the end. sb3-contrib's MaskablePPO asks for this by
        name."""
        return self._batch.action_masks()[0]

    def render(self) -> Any:
        """The tokens so far, as text or as a picture [height, width, 3]."""
        frames = self._batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Twice is as good as once."""
        self._batch.close()

    def _observe(self) -> Any:
        batch = self._batch
        return batch._last[0] if batch.obs_mode == "token" else observation_of(batch._observe(), 0)

    def _row_info(self) -> dict[str, Any]:
        batch = self._batch
        return {"prior_log_probs": batch._rows[0].copy(), "action_mask": batch._mask[0].copy()}
