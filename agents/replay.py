"""Replay of whole sequences, preallocated. Sequences are re-unrolled from the start: no stored recurrent states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """B finished sequences, T steps, V tokens. What lies after a length is filler: token 0, reward 0."""

    tokens: NDArray[np.int64]  # [B, T]
    lengths: NDArray[np.int64]  # [B]
    task_rewards: NDArray[np.float32]  # [B, T], r_T / c
    prior_log_probs: NDArray[np.float32]  # [B, T, V], row t = log p(. | s_t)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four fields as tensors on `device`."""
        return tuple(torch.from_numpy(array).to(device) for array in self.arrays())  # type: ignore[return-value]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The four fields."""
        return self.tokens, self.lengths, self.task_rewards, self.prior_log_probs

    def cut(self) -> Sequences:
        """The same without what lies beyond the longest of them: [B, T'] instead of [B, T]."""
        within = slice(int(self.lengths.max()))
        tokens, rewards = self.tokens[:, within], self.task_rewards[:, within]
        return Sequences(tokens, self.lengths, rewards, self.prior_log_probs[:, within])


class Replay:
    """The newest `capacity` sequences; the oldest make room.

    Args:
        capacity: in sequences.
        horizon, vocab_size: T and V of the sequences.
    """

    def __init__(self, capacity: int, horizon: int, vocab_size: int) -> None:
        self.capacity = capacity
        self.size = self.position = 0
        self.arrays: dict[str, NDArray[Any]] = {
            "tokens": np.zeros((capacity, horizon), np.int64),
            "lengths": np.zeros(capacity, np.int64),
            "task_rewards": np.zeros((capacity, horizon), np.float32),
            "prior_log_probs": np.zeros((capacity, horizon, vocab_size), np.float32),
        }

    def add(self, sequences: Sequences) -> None:
        """Stores up to `capacity` sequences; of more, the last."""
        rows = (self.position + np.arange(len(sequences.lengths))) % self.capacity
        for array, new in zip(self.arrays.values(), sequences.arrays(), strict=True):
            array[rows[-self.capacity :]] = new[-self.capacity :]
        self.position = int(rows[-1] + 1) % self.capacity
        self.size = min(self.size + len(rows), self.capacity)

    def sample(self, batch_size: int, rng: np.random.Generator) -> Sequences:
        """`batch_size` sequences, each drawn once (all of them, if fewer are stored), cut to the longest of them."""
        rows = rng.permutation(self.size)[:batch_size]
        return Sequences(**{name: array[rows] for name, array in self.arrays.items()}).cut()
