"""One sequence as a Gymnasium environment: a batch of one of vector_env.py, which holds the dynamics."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.infos import observation_of
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task
from seqtutor_envs.vector_env import METADATA, SequenceTutorVectorEnv

__all__ = ["SequenceTutorEnv", "SequenceTutorVectorEnv"]


class SequenceTutorEnv(gymnasium.Env[Any, Any]):
    """Generate one sequence, token by token. Every environment of this package is one of these.

    ## Description
    A state is the tokens so far. A prior, a sequence model learned from data, gives p(a | s); a task gives r_T(s, a).
    An agent that maximises the reward with an entropy bonus of weight 1 maximises J = E[R / c] - KL(pi || p), R the sum
    of r_T over a sequence: it improves the task's score while it stays close to the prior.

    ## Action Space
    `Discrete(V)`: the next token. Token names are in `task.vocab`.

    ## Observation Space
    | `obs_mode` | space | holds |
    |---|---|---|
    | "token" (default) | `Discrete(V + 1)` | the last token; V, the start token, at the start |
    | "prefix" | `Box(0, V, (length,), int64)` | the tokens so far, then V as filler |
    | "one_hot" | `Box(0, 1, (length * (V + 1),), float32)` | "prefix": a one-hot vector for each place |
    | "dict" | `Dict` | `token`: as above; `step`: `Discrete(length + 1)`; `action_mask`: `Box(0, 1, (V,), int8)` |

    Only "prefix" and "one_hot" show the whole state. In "one_hot" the number at t * (V + 1) + i is 1 where place t has
    id i, else 0. The filler is one-hot too, i = V: it tells how many tokens are there.

    ## Rewards
    log p(a | s) + r_T(s, a) / c, in nats and always finite (log p is at least -87.3). r_T is the weighted sum of the
    task's terms; r_T / c beyond 1e9 nats is an error, since agents learn in float32.

    ## Starting State
    The start token, no token chosen. The dynamics are deterministic: actions alone decide.

    ## Episode End
    `terminated` by the vocabulary's end token, if it has one, or after `task.length` tokens; `truncated` only once a
    task has spent its budget of scores.

    ## Information
    | key | told by | meaning |
    |---|---|---|
    | `prior_log_probs` | reset, step | float32 [V]: the row of log p by which the next action is scored |
    | `action_mask` | reset, step | int8 [V]: 1 for each token that the task allows next |
    | `prior_log_prob` | step | log p of the token chosen |
    | `task_reward` | step | r_T / c; the reward is the sum of these two |
    | `terms` | step | name -> raw term, before its weight |
    | `sequence` | the last step | the sequence in its domain's words |
    | `oracle_budget_spent` | the last step | True, once a task has spent its budget of scores |

    The first two are absent after the end. Batches have SyncVectorEnv's layout. With `flat_infos=True` there are only
    numbers, and nothing is nested: `term_NAME` for each term in place of `terms`, and no `sequence`.

    ## Arguments
    - `task`, `prior`: a Task, and a shipped prior's name, a path or a Prior. Ids have keywords of their own instead.
    - `c`: temperature, 1e-6 to 1e6.
    - `obs_mode="token"`: see above.
    - `render_mode=None`: "ansi" or "rgb_array".
    - `flat_infos=False`: True for libraries that read no nested infos, such as TorchRL.

    `gymnasium.make_vec` takes besides `num_envs`, `autoreset_mode` (Gymnasium's enum or its string) and `infos`
    ("full", or "end": the infos of a step only where an episode ends).

    ## Version History
    - v0: first version.
    """

    metadata = METADATA
    vector_class: ClassVar[type[SequenceTutorVectorEnv]] = SequenceTutorVectorEnv  # the native batch of the same domain

    def __init__(
        self,
        task: Task,
        prior: str | os.PathLike[str] | Prior,
        *,
        c: float,
        obs_mode: str = "token",
        render_mode: str | None = None,
        flat_infos: bool = False,
    ) -> None:
        # DISABLED: a Gymnasium environment of one waits for its user's reset
        disabled = AutoresetMode.DISABLED
        self._batch = SequenceTutorVectorEnv(
            task, prior, num_envs=1, c=c, obs_mode=obs_mode, autoreset_mode=disabled, render_mode=render_mode,
            flat_infos=flat_infos,
        )
        self.action_space = self._batch.single_action_space
        self.observation_space = self._batch.single_observation_space
        self.render_mode = self._batch.render_mode

    task = property(lambda self: self._batch.task, doc="What is asked of a sequence.")
    prior = property(lambda self: self._batch.prior, doc="The prior whose log p is part of the reward.")
    c = property(lambda self: self._batch.c, doc="The temperature.")
    obs_mode = property(lambda self: self._batch.obs_mode, doc="What an observation holds.")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an empty sequence. The seed sets `np_random`, which the dynamics do not use; options are ignored."""
        super().reset(seed=checks.SEED_OR_NONE.check("seed", seed))
        self._batch.reset()
        return self._observe(), self._row_info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append one token.

        Raises:
            ResetNeeded: the episode is over, or none has begun.
            ValueError: the action is not an integer 0..V-1, or the task forbids it.
        """
        batch = self._batch
        if batch._over[0]:
            raise ResetNeeded("The episode is over: call reset()." if batch._started else "Call reset() before step().")
        token = np.asarray(action)
        if token.shape != ():
            raise ValueError(f"The action must be one integer 0..{len(self.task.vocab) - 1}, not {action!r}.")
        # [None]: a batch of one
        outcome = batch._advance(token[None])
        # plain floats, as a single environment's infos: numpy scalars would not go into JSON
        prior_log_prob, task_reward, *terms_paid = outcome.table[:, 0].tolist()
        terms: dict[str, Any] = dict(zip(batch._names[0], terms_paid))
        info: dict[str, Any] = {"prior_log_prob": prior_log_prob, "task_reward": task_reward}
        info |= terms if batch.flat_infos else {"terms": terms}
        ended, truncated = bool(outcome.ended[0]), bool(outcome.truncated[0])
        if ended or truncated:
            if not batch.flat_infos:
                info["sequence"] = batch._sequences(np.ones(1, np.bool_))[0]
            info |= {"oracle_budget_spent": np.True_} if batch.task.spent else {}
        else:
            info |= self._row_info()
        return self._observe(), float(outcome.rewards[0]), ended, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, [V]; all of them after the end. sb3-contrib calls this by name."""
        return self._batch.action_masks()[0]

    def render(self) -> Any:
        """Render the tokens so far as text or as a picture [height, width, 3]."""
        frames = self._batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the environment. Safe to call more than once."""
        self._batch.close()

    def _observe(self) -> Any:
        batch = self._batch
        # no copy for a token: an integer read out of an array is a new object
        return batch._last[0] if batch.obs_mode == "token" else observation_of(batch._observe(), 0)

    def _row_info(self) -> dict[str, Any]:
        batch = self._batch
        # copies: the batch writes its rows in place at the next step
        return {"prior_log_probs": batch._rows[0].copy(), "action_mask": batch._mask[0].copy()}
