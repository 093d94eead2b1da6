"""Deal sequences into epochs, batches and chunks, for truncated backpropagation through time.

B sequences, C steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Sequences = Sequence[NDArray[Any]]


def deal_epoch(sequences: Sequences, size: int, seed: int, epoch: int) -> Sequences:
    """Choose the sequences of one epoch.

    That is all (size 0), or about `size` of them, none twice before every one had its turn.
    """
    epochs = -(-len(sequences) // size) if size else 1  # a pass
    if epochs == 1:
        return sequences
    # another permutation for every pass over the data, the same one within a pass
    order = np.random.default_rng((seed, epoch // epochs, 1)).permutation(len(sequences))
    return [sequences[i] for i in order[epoch % epochs :: epochs]]


def shuffled_batches(sequences: Sequences, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Deal the indices of all sequences into batches of similar length, in random order."""
    lengths = np.array([len(tokens) for tokens in sequences])
    order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)))  # noise: not the same neighbours in every epoch
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def chunks(sequences: Sequences, start: int, chunk: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut a batch into pieces of `chunk` steps: inputs [B, C], targets [B, C] (-1 = none), and which rows stay.

    B shrinks from piece to piece as sequences end: the last array says which rows of the piece before are in this one.
    """
    lengths = np.array([len(tokens) for tokens in sequences])
    targets = np.full((len(sequences), lengths.max()), -1)
    # -1 marks what is no target; cross entropy ignores it
    for row, tokens in zip(targets, sequences):
        row[: len(tokens)] = tokens
    inputs = np.concatenate([np.full((len(sequences), 1), start), np.maximum(targets[:, :-1], 0)], axis=1)
    live = np.ones(len(sequences), bool)
    for begin in range(0, targets.shape[1], chunk):
        going = lengths[live] > begin
        live = lengths > begin
        piece = slice(begin, begin + chunk)
        yield torch.from_numpy(inputs[live, piece]), torch.from_numpy(targets[live, piece]), torch.from_numpy(going)


def carry_state(state: Any, live: Tensor) -> Any:
    """Take the rows of a state (None at the start) that go on, cut off from the gradient of the piece before."""
    # an LSTM's state is a pair, a GRU's one tensor; None or () go through as they are
    if state is None or isinstance(state, tuple):
        return state and tuple(carry_state(part, live) for part in state)
    # [:, live]: torch's states are [layers, B, H]
    return state.detach()[:, live].contiguous()
