"""Finished sequences, and a replay of them. Networks read each sequence from its start: no recurrent state is stored.

B sequences, T steps, V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtutor_envs.files.expected import expect_array, expect_names, expect_range


class Batch(NamedTuple):
    """Hold sequences as tensors on one device."""

    tokens: Tensor  # [B, T]
    lengths: Tensor  # [B]
    task_rewards: Tensor  # [B, T]
    prior_log_probs: Tensor  # [B, T, V]


@dataclass(frozen=True)
class Sequences:
    """Hold B finished sequences. What lies after a length is filler: token 0, reward 0."""

    tokens: NDArray[np.int64]  # [B, T]
    lengths: NDArray[np.int64]  # [B]
    task_rewards: NDArray[np.float32]  # [B, T], r_T / c
    prior_log_probs: NDArray[np.float32]  # [B, T, V], row t = log p(. | s_t)

    def tensors(self, device: torch.device | str = "cpu") -> Batch:
        """Return the four fields as tensors on `device`."""
        return Batch(*(torch.from_numpy(array).to(device) for array in self.arrays()))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the four fields."""
        return self.tokens, self.lengths, self.task_rewards, self.prior_log_probs

    def cut(self) -> Sequences:
        """Cut off the steps that no sequence reaches: [B, T'] in place of [B, T]."""
        # networks step through every column: those that no sequence reaches cost time and change nothing
        within = slice(int(self.lengths.max()))
        tokens, rewards = self.tokens[:, within], self.task_rewards[:, within]
        return Sequences(tokens, self.lengths, rewards, self.prior_log_probs[:, within])


def make_empty_sequences(n: int, horizon: int, vocab_size: int) -> Sequences:
    """Make n sequences of filler, each as long as the horizon, to be filled in."""
    shape = (n, horizon)
    prior_log_probs = np.zeros((*shape, vocab_size), np.float32)
    return Sequences(np.zeros(shape, np.int64), np.full(n, horizon), np.zeros(shape, np.float32), prior_log_probs)


def select(sequences: Sequences, rows: NDArray[Any]) -> Sequences:
    """Return the sequences of rows, which are numbers or a mask [B]."""
    # fancy indexing copies, so later changes of the one do not change the other
    return Sequences(*(array[rows] for array in sequences.arrays()))


def join(parts: list[Sequences]) -> Sequences:
    """Put sequences together, as wide as the longest of them."""
    if len(parts) == 1:
        return parts[0]
    width, vocab_size = max(part.tokens.shape[1] for part in parts), parts[0].prior_log_probs.shape[2]
    joined = make_empty_sequences(sum(len(part.lengths) for part in parts), width, vocab_size)
    begin = 0
    for part in parts:
        rows = slice(begin, begin + len(part.lengths))
        for array, given in zip(joined.arrays(), part.arrays(), strict=True):
            array[(rows, slice(given.shape[1])) if given.ndim > 1 else rows] = given
        begin = rows.stop
    return joined


class Replay:
    """Keep the newest `capacity` sequences; the oldest make room.

    Args:
        capacity: in sequences.
        horizon, vocab_size: T and V of the sequences.
    """

    def __init__(self, capacity: int, horizon: int, vocab_size: int) -> None:
        self.capacity = capacity
        self.size = self.position = 0
        self.stored = make_empty_sequences(capacity, horizon, vocab_size)

    def add(self, sequences: Sequences) -> None:
        """Store the sequences; if there are more than `capacity`, the last ones."""
        rows = (self.position + np.arange(len(sequences.lengths))) % self.capacity
        # the last `capacity` only: with a row twice in one assignment numpy does not promise which one stays
        for array, new in zip(self.stored.arrays(), sequences.arrays(), strict=True):
            array[rows[-self.capacity :]] = new[-self.capacity :]
        self.position = int(rows[-1] + 1) % self.capacity
        self.size = min(self.size + len(rows), self.capacity)

    def rescale(self, factor: float) -> None:
        """Multiply all rewards, which are r_T / c, as where c has changed."""
        self.stored.task_rewards[:] *= np.float32(factor)

    def sample(self, batch_size: int, rng: np.random.Generator) -> Sequences:
        """Sample `batch_size` sequences without replacement (all, if fewer are stored), cut to the longest of them."""
        return select(self.stored, rng.permutation(self.size)[:batch_size]).cut()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored, for a checkpoint."""
        # beyond `size` there is only filler
        stored = {name: array[: self.size] for name, array in vars(self.stored).items()}
        return stored | {"counters": np.array([self.size, self.position])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if these cannot be sequences of this replay."""
        expect_names(arrays, {"counters", *vars(self.stored)})
        size, position = expect_array(arrays, "counters", (2,), np.int64).tolist()
        if not (0 <= size <= self.capacity and 0 <= position < max(self.capacity, size + 1)):
            raise ValueError(f"the replay's counters {size}, {position} are beyond its {self.capacity} sequences")
        _, horizon, vocab_size = self.stored.prior_log_probs.shape
        within = {"tokens": (0, vocab_size - 1), "lengths": (1, horizon)}
        for name, array in vars(self.stored).items():
            new = expect_array(arrays, name, (size, *array.shape[1:]), array.dtype)
            if name in within:
                expect_range(name, new, *within[name])
        for name, array in vars(self.stored).items():
            array[:size] = arrays[name]
        # a replay with more room than the saved one goes on after what is stored
        self.size, self.position = size, position if size == self.capacity else size % self.capacity
