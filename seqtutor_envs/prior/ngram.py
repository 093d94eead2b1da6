"""Unigram, bigram and trigram baselines for a prior's validation nll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# pseudo-counts given to the shorter context's distribution; .5 and 2 change melodies' trigram by less than .003 nats
STRENGTH = 1.0


def baselines(
    train: Sequence[NDArray[np.integer[Any]]], held_out: Sequence[NDArray[np.integer[Any]]], vocab_size: int
) -> dict[str, float]:
    """Compute the mean nll in nats per token of `held_out` under n-grams counted on `train`.

    Every sequence starts after two start tokens (id V). Each order is smoothed by the one below, down to the uniform
    distribution: p_n(b | context) = (count + STRENGTH p_{n-1}(b | shorter context)) / (total + STRENGTH).
    """
    size = vocab_size + 1
    # a dense table [V + 1, V + 1, V]: the caller leaves out n-grams for large vocabularies
    counts = np.zeros((size, size, vocab_size))
    for a, b, target in map(lambda tokens: _contexts(tokens, vocab_size), train):
        # add.at, not +=: a context that occurs twice must count twice
        np.add.at(counts, (a, b, target), 1.0)
    unigram = _smoothed(counts.sum((0, 1)), np.full(vocab_size, 1.0 / vocab_size))
    bigram = _smoothed(counts.sum(0), unigram)
    trigram = _smoothed(counts, bigram)
    a, b, target = (np.concatenate(part) for part in zip(*(_contexts(tokens, vocab_size) for tokens in held_out)))
    return {
        "unigram": float(-np.log(unigram[target]).mean()),
        "bigram": float(-np.log(bigram[b, target]).mean()),
        "trigram": float(-np.log(trigram[a, b, target]).mean()),
    }


def _contexts(tokens: NDArray[np.integer[Any]], start: int) -> tuple[NDArray[np.int64], ...]:
    """Return the token two before, the token before and the token itself, for each step."""
    line = np.concatenate([[start, start], np.asarray(tokens, dtype=np.int64)])
    return line[:-2], line[1:-1], line[2:]


def _smoothed(counts: NDArray[np.float64], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    return (counts + STRENGTH * shorter) / (counts.sum(-1, keepdims=True) + STRENGTH)
