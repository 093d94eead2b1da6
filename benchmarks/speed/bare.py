"""The bare prior along given tokens: the limit of all that reads its rows. And tokens to go along: its own samples.

A rule's cost, and a molecule's length, depend on what is written, so all sides write the same samples of the prior.
N sequences, T steps; `columns` are T arrays [N], one for each step.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.vocab import TokenVocab

SEED = 0
Columns = list[NDArray[np.int64]]


def written(prior: Prior, columns: Columns) -> None:
    """The prior's step along the tokens: T steps of N, that of the start token first."""
    n = len(columns[0])
    state: Any = prior.initial_state(n)
    last = np.full(n, prior.vocab.start)
    for column in columns:
        _, state = prior.step(last, state)
        last = column


def episodes(env: Any, columns: Columns) -> None:
    """Resets the environment, a batch of any kind, and writes the columns."""
    env.reset()
    for column in columns:
        env.step(column)


def sampled(prior: Prior, n: int, steps: int) -> Columns:
    """`steps` columns: n samples of the prior, for sequences that all end at the horizon."""
    return list(np.ascontiguousarray(prior.sample(n, SEED, steps)[0].T))


def stream(prior: Prior, n: int, steps: int) -> Columns:
    """`steps` columns: in each of n rows the prior's samples of at most `steps` tokens, one after the other.

    For environments whose sequences end at different times and start anew in the same step.
    """
    tokens, lengths = prior.sample(4 * n, SEED, steps)
    samples = cycle([row[:length] for row, length in zip(tokens, lengths)])
    rows = []
    for _ in range(n):
        row = next(samples)
        while len(row) < steps:
            row = np.concatenate([row, next(samples)])
        rows.append(row[:steps])
    return list(np.ascontiguousarray(np.array(rows).T))


def random_prior(cell: str, hidden_size: int, vocab: TokenVocab, length: int) -> RecurrentPrior:
    """One layer of weights that have learned nothing, drawn as torch draws its own: their values cost no time."""
    rng, v, gates = np.random.default_rng(SEED), len(vocab), {"lstm": 4, "gru": 3}[cell] * hidden_size
    shapes = {
        "rnn.weight_ih_l0": (gates, v + 1),
        "rnn.weight_hh_l0": (gates, hidden_size),
        "rnn.bias_ih_l0": (gates,),
        "rnn.bias_hh_l0": (gates,),
        "head.weight": (v, hidden_size),
        "head.bias": (v,),
    }
    bound = hidden_size**-0.5
    weights = {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}
    return RecurrentPrior(weights, cell, vocab, length)


def words(size: int) -> TokenVocab:
    """A vocabulary of so many tokens, without an end token."""
    return TokenVocab(tuple(f"t{i}" for i in range(size)))
