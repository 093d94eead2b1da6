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

from seqtutor_envs import checks
from seqtutor_envs.infos import Outcome, end_infos, final_infos, info_of, row_infos, step_infos
from seqtutor_envs.masking import allowed_log_probs
from seqtutor_envs.observations import OBS_MODES, observation_of, observation_space
from seqtutor_envs.prior import Prior, State, load_prior
from seqtutor_envs.task import Task

INFOS = ("full", "end")
RENDER_MODES = ("ansi", "rgb_array")
AUTORESET_MODES = tuple(mode.value for mode in AutoresetMode)
RENDER_FPS = 4  # steps per second of a recorded video: sixteenth notes at 60 quarter notes a minute
MAX_RENDERED = 16  # sequences that a vector environment draws

# which of N sequences: their numbers, a mask, or ALL, which indexes without copying
Rows = slice | NDArray[Any]
ALL = slice(None)


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
    """

    # more of them cost less each, fewer give more updates; J of melodies after 20 s is 33.7 nats with 64, 32.7 with 128
    round_size: ClassVar[int] = 64

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
        self._everyone = np.arange(n)
        self._names = list(self.task.weights)
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
        self._first_mask = self._action_mask(self._tokens[:1], self._steps[:1])
        self._first_rows = allowed_log_probs(rows, self._first_mask)
        self._rows = self._first_rows.repeat(n, axis=0)  # [N, V]
        first = self._first_mask
        self._mask = None if first is None else first.repeat(n, axis=0)  # [N, V]; None: all allowed
        self._state: State = tuple(part.repeat(n, axis=0) for part in self._first_state)

    # ---------------------------------------------------------------- Gymnasium's surface

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts every sequence, or those of `options["reset_mask"]` (bool [N]); other options are ignored.

        The seed (an integer, or one integer or None for each sequence) sets `np_random`, from which the dynamics draw
        nothing.
        """
        self._seed(seed)
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
        fresh = self._over.copy()  # to be started in this call
        stepped = ~fresh
        if np.count_nonzero(fresh):  # the quickest test of a mask: this is the hot path
            if not self._started:
                raise ResetNeeded("Call reset() before step().")
            if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
                raise ResetNeeded(
                    f"The episodes of sequences {np.flatnonzero(fresh).tolist()} are over: "
                    "call reset(options={'reset_mask': ...}) for them."
                )
            outcome = self._advance(self._checked(actions, fresh), np.flatnonzero(stepped))
            self._restart(fresh)
        else:
            outcome = self._advance(self._checked(actions), ALL)

        ended, infos = outcome.ended | outcome.truncated, {}
        told = stepped if self.infos == "full" else ended
        if np.count_nonzero(ended):
            infos = end_infos(self._sequences(ended), ended, self.task.spent)
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                infos |= step_infos(outcome, self._names, ended)
                infos = final_infos(self._observe(), infos, ended)
                self._restart(ended)
                fresh, told = ended, told & ~ended
        infos |= step_infos(outcome, self._names, told)
        infos |= row_infos(self._rows, self._mask, ~self._over if self.infos == "full" else fresh)
        rewards = outcome.prior_log_prob + outcome.task_reward
        return self._observe(), rewards, outcome.ended.copy(), outcome.truncated.copy(), infos

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

    def _seed(self, seed: int | list[int | None] | None) -> None:
        """One generator serves all sequences: a list of seeds sets it by its first integer."""
        if seed is not None and not isinstance(seed, (int, np.integer)):
            if len(seed) != self.num_envs:
                raise ValueError(f"A list of seeds must have {self.num_envs}, one for each sequence, not {len(seed)}.")
            seed = next((one for one in seed if one is not None), None)
        if seed is not None:
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))

    # ---------------------------------------------------------------- one token

    def _advance(self, actions: NDArray[np.int64], rows: Rows) -> Outcome:
        """Appends actions [N] to the sequences at `rows`, n of them."""
        at, chosen = self._everyone[rows], actions[rows]
        if not len(at):
            n, terms = self.num_envs, np.zeros((self.num_envs, len(self._names)))
            return Outcome(np.zeros(n), np.zeros(n), terms, np.zeros(n, np.bool_), np.zeros(n, np.bool_))
        steps = self._steps[rows].copy()
        self._tokens[at, steps] = chosen
        terms = self.task.step_terms(self._tokens[rows], steps)
        prior_log_prob = self._rows[at, chosen].astype(np.float64)
        task_reward = terms @ self._weights
        task_reward /= self.c
        checks.finite_reward(self.task, task_reward, terms)

        steps += 1
        self._steps[rows] = steps
        self._last[rows] = chosen
        self._returns[rows] += prior_log_prob + task_reward
        ended = steps == self.task.length
        if self.task.vocab.end is not None:
            ended |= chosen == self.task.vocab.end
        over, truncated = ended, np.zeros(len(ended), np.bool_)
        if self.task.spent:
            over, truncated = np.ones(len(ended), np.bool_), ~ended
        self._over[rows] = over
        num_over = np.count_nonzero(over)
        if not num_over:
            self._feed(chosen, rows)
        elif num_over < len(over):
            self._feed(chosen[~over], at[~over])
        outcome = Outcome(prior_log_prob, task_reward, terms, ended, truncated)
        return outcome if rows is ALL else Outcome(*(self._scattered(part, rows) for part in outcome))

    def _feed(self, tokens: NDArray[np.int64], rows: Rows) -> None:
        """The prior reads the tokens [n] of the sequences at `rows`: their next states and rows of log p."""
        mask = self._action_mask(self._tokens[rows], self._steps[rows])
        self._write_mask(mask, rows)
        if rows is ALL:
            log_probs, self._state = self.prior.step(tokens, self._state)
            self._rows = allowed_log_probs(log_probs, mask)
            return
        log_probs, state = self.prior.step(tokens, tuple(part[rows] for part in self._state))
        for whole, part in zip(self._state, state):
            whole[rows] = part
        self._rows[rows] = allowed_log_probs(log_probs, mask)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        """Puts the sequences of `mask` [N] back behind the start token."""
        self._tokens[mask] = self._last[mask] = self.task.vocab.start
        self._steps[mask] = 0
        self._returns[mask] = 0.0
        self._over[mask] = False
        self._rows[mask] = self._first_rows
        self._write_mask(self._first_mask, mask)
        for whole, first in zip(self._state, self._first_state):
            whole[mask] = first

    def _action_mask(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int8] | None:
        """The task's mask [n, V] of allowed tokens (None: all). Raises ValueError where it leaves none."""
        mask = self.task.action_mask(tokens, steps)
        if mask is not None:
            checks.allows_some(self.task, mask, tokens, steps)
        return mask

    def _write_mask(self, mask: NDArray[np.int8] | None, rows: Rows) -> None:
        if mask is None and self._mask is None:
            return
        if self._mask is None:
            self._mask = np.ones((self.num_envs, len(self.task.vocab)), np.int8)
        self._mask[rows] = 1 if mask is None else mask

    def _scattered(self, part: NDArray[Any], rows: Rows) -> NDArray[Any]:
        """[n, ...] of the sequences at `rows` as [N, ...], zero elsewhere."""
        whole = np.zeros((self.num_envs, *part.shape[1:]), part.dtype)
        whole[rows] = part
        return whole

    def _checked(self, actions: Any, over: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        return checks.checked_actions(actions, self.num_envs, self.task.vocab, self._mask, over)

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
        allowed = np.ones((self.num_envs, len(self.task.vocab)), np.int8)
        if self._mask is not None:  # after the end nothing is forbidden: a masked softmax stays defined
            np.copyto(allowed, self._mask, where=~self._over[:, None])
        return allowed

    def _sequences(self, mask: NDArray[np.bool_]) -> NDArray[np.object_]:
        """The sequences of `mask` in their domain's words, None elsewhere."""
        texts = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(mask):
            texts[i] = self.task.sequence(self._tokens[i, : self._steps[i]])
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
        outcome = batch._advance(batch._checked(token[None]), ALL)
        prior_log_prob, task_reward = float(outcome.prior_log_prob[0]), float(outcome.task_reward[0])
        terms = dict(zip(batch._names, outcome.terms[0].tolist()))
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
        return observation_of(self._batch._observe(), 0)

    def _row_info(self) -> dict[str, Any]:
        rows = row_infos(self._batch._rows, self._batch._mask, ~self._batch._over)
        return {"prior_log_probs": rows["prior_log_probs"][0], "action_mask": rows["action_mask"][0]}
