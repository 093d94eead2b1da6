"""The certified sum: log sum p(x) exp(R / c) over distinct sequences is a lower bound of log Z, whatever they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.metrics import padding, parts
from seqtutor_envs.prior import Prior, padded, token_log_probs
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.rewards import scaled
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Floats, Tokens

KEPT = 2**18  # distinct sequences, those of the greatest mass


class CertifiedSum:
    """Collect distinct sequences and the log of each one's mass, p(x) exp(R / c).

    Args:
        c: temperature.
        horizon: of the task.
    """

    def __init__(self, c: float, horizon: int) -> None:
        self.c = c
        self._rows, self._masses = np.zeros((0, horizon), np.int32), np.zeros(0)
        self._new: list[tuple[NDArray[np.int32], Floats]] = []

    def add(self, tokens: Tokens, lengths: Tokens, log_p: Floats, returns: Floats) -> None:
        """Add sequences [n, T], which may repeat."""
        self._new.append((fill(tokens, lengths, self._rows.shape[1]), log_p + scaled(returns, self.c)))
        if sum(len(masses) for _, masses in self._new) > KEPT:
            self._merge()

    def log_sum(self) -> float:
        """Return the log of the sum; -inf of none."""
        self._merge()
        return float(np.logaddexp.reduce(self._masses)) if len(self._masses) else float("-inf")

    def rows(self) -> set[bytes]:
        """Return the sequences, as `fill` makes them, each as bytes."""
        self._merge()
        return {row.tobytes() for row in self._rows}

    def best(self, n: int) -> NDArray[np.int32]:
        """Return the n sequences of the greatest mass, or all if there are fewer, as `fill` makes them, best first."""
        self._merge()
        return self._rows[np.argsort(-self._masses, kind="stable")[:n]]

    def __len__(self) -> int:
        self._merge()
        return len(self._masses)

    def _merge(self) -> None:
        if not self._new:
            return
        rows = np.concatenate([self._rows, *(rows for rows, _ in self._new)])
        masses = np.concatenate([self._masses, *(masses for _, masses in self._new)])
        self._new = []
        # as one value of bytes a row: numpy sorts these faster than rows
        whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
        _, first = np.unique(whole[:, 0], return_index=True)
        if len(first) > KEPT:
            first = first[np.argpartition(-masses[first], KEPT)[:KEPT]]
        self._rows, self._masses = rows[first], masses[first]


def fill(tokens: Tokens, lengths: Tokens, horizon: int) -> NDArray[np.int32]:
    """Return sequences [n, horizon] with -1 after their end, so that those that differ only there are the same."""
    rows = np.full((len(tokens), horizon), -1, np.int32)
    rows[:, : tokens.shape[1]] = np.where(padding(tokens, lengths), -1, tokens)
    return rows


class Scored(NamedTuple):
    """Hold n sequences that the environment can generate, and how many of those given are not such."""

    tokens: Tokens  # [n, T]
    lengths: Tokens  # [n]
    log_p: Floats  # [n]
    returns: Floats  # [n], R, not divided by c
    refused: int


def score_known(task: Task, prior: Prior, tokens: Tokens, lengths: Tokens) -> Scored:
    """Score given sequences, without those that the environment cannot generate.

    A sequence counts if it ends with its first end token or at the horizon, and no token of it is forbidden.

    Raises ValueError where they are no tokens of the task.
    """
    lengths, shape = np.asarray(lengths, dtype=np.int64), np.shape(tokens)
    # before padding, which would repeat a single row for many lengths
    if len(shape) != 2 or lengths.shape != shape[:1] or (lengths < 1).any() or (lengths > shape[1]).any():
        among = f"{lengths.min(initial=0)}..{lengths.max(initial=0)}"
        found = f"{list(shape)} with lengths {list(lengths.shape)} in {among}"
        raise ValueError(f"Sequences are tokens [n, T] with lengths [n] in 1..T, not {found}.")
    tokens = task.checked(padded(tokens, lengths))
    after = padding(tokens, lengths)
    ends = (tokens == (-1 if task.vocab.end is None else task.vocab.end)) & ~after
    last = ends[np.arange(len(tokens)), lengths - 1]
    counts = (ends.sum(axis=1) == last) & (last | (lengths == task.length))
    log_p, returns = np.zeros(len(tokens)), np.zeros(len(tokens))
    for part in parts(*tokens.shape):
        by_step = token_log_probs(prior.log_probs(tokens[part], lengths[part]), tokens[part], lengths[part])
        # what a task forbids is at the floor; what a prior holds impossible would add nothing
        counts[part] &= (by_step > LOG_PROB_FLOOR).all(axis=1)
        log_p[part] = by_step.sum(axis=1)
    returns[counts] = task.reward(tokens[counts], lengths[counts]).sum(axis=1)
    return Scored(tokens[counts], lengths[counts], log_p[counts], returns[counts], int((~counts).sum()))
