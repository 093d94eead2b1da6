"""Forbidden tokens: renormalise a prior over the tokens that a task allows, and keep log p finite.

N sequences, V tokens; log p in nats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.prior import Prior, State
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Tokens

# log p of a token that the prior holds impossible: rewards stay finite, and e**-87.3 adds nothing to a float32 sum
LOG_PROB_FLOOR = np.log(np.finfo(np.float32).tiny)


def allowed_log_probs(log_probs: NDArray[np.float32], action_mask: NDArray[np.int8] | None) -> NDArray[np.float32]:
    """Compute the rows that score actions: log p [N, V] over the allowed tokens, at least LOG_PROB_FLOOR. A new array.

    With a mask [N, V], p is renormalised over the tokens where it is 1; the others get LOG_PROB_FLOOR.
    """
    # the floor first: a log p of -inf would make rewards infinite
    rows = np.maximum(log_probs, LOG_PROB_FLOOR)
    if action_mask is None:
        return rows
    if action_mask.shape != rows.shape:
        raise checks.wrong_shape("The task's action_mask", action_mask, rows.shape)
    # after the floor: an impossible token that alone is allowed gets probability 1, not NaN
    rows[action_mask == 0] = -np.inf
    rows -= np.logaddexp.reduce(rows, axis=1, keepdims=True)
    return np.maximum(rows, LOG_PROB_FLOOR, out=rows)


class MaskedPrior(Prior):
    """Compute the environment's rows of log p without an environment: for sampling and evaluation.

    Its state is the inner prior's, then the tokens so far [N, T] and their number [N].
    """

    def __init__(self, prior: Prior, task: Task) -> None:
        self.inner, self.task = prior, task
        self.vocab, self.length = prior.vocab, task.length

    def initial_state(self, n: int) -> State:
        tokens = np.full((n, self.task.length), self.vocab.start)
        return (*self.inner.initial_state(n), tokens, np.full(n, -1))  # -1: the start token is still to come

    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        *inner, so_far, steps = state
        rows, new = self.inner.step(tokens, tuple(inner))
        # a copy: a state that somebody stored must not change
        so_far, steps = so_far.copy(), steps + 1
        # the first call feeds the start token, which is no part of the prefix
        chosen = np.flatnonzero(steps > 0)
        so_far[chosen, steps[chosen] - 1] = tokens[chosen]
        return allowed_log_probs(rows, self._mask(so_far, steps)), (*new, so_far, steps)

    def _mask(self, so_far: Tokens, steps: Tokens) -> NDArray[np.int8] | None:
        """Return the task's mask, which it is not asked for where a sequence is over; anything may follow there."""
        end = self.vocab.end
        going = np.ones(len(so_far), bool) if end is None else ~(so_far == end).any(axis=1)
        if going.all():
            return self.task.action_mask(so_far, steps)
        mask = np.ones((len(so_far), len(self.vocab)), np.int8)
        asked = self.task.action_mask(so_far[going], steps[going]) if going.any() else None
        if asked is not None:
            mask[going] = asked
        return mask


def mask_prior(prior: Prior, task: Task | None) -> Prior:
    """Return the prior by which an environment scores: itself, or a MaskedPrior if the task forbids tokens."""
    # compared with the base class's own: a task that does not override it forbids nothing
    return prior if task is None or type(task).action_mask is Task.action_mask else MaskedPrior(prior, task)
