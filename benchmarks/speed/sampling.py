"""Whole sequences by `prior.sample`, against the bare prior's steps along the same tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.bare import SEED
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Row, rate_row
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs.prior import Prior, load_prior

HEAD = "Whole sequences by prior.sample, against the bare prior's steps along the same tokens"
BATCHES = (64, 256, 1024)


def rows(options: Options) -> Iterator[Row]:
    """Melodies, then molecules."""
    for what, name in (("melodies", options.melody_prior), ("molecules", options.smiles_prior)):
        prior = load_prior(name)
        for n in BATCHES:
            yield sampling(what, prior, n, options.seconds)


def sampling(what: str, prior: Prior, n: int, seconds: float) -> Row:
    """n at once, from the start to the last one's end. The same seed each time: the same tokens."""
    tokens, lengths = prior.sample(n, SEED)
    steps = live_steps(tokens, lengths)
    times = in_turns({"sample": lambda: prior.sample(n, SEED), "prior": lambda: read(prior, n, steps)}, seconds)
    row = rate_row(f"{what}, batch of {n:,}", times, "sample", "prior", n, f"{what}/s", "bare prior, live ones")
    return replace(row, note=f"{lengths.sum() / typical(times['sample']):,.0f} tokens/s")


def live_steps(
    tokens: NDArray[np.int64], lengths: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_] | None]]:
    """Of each step after the first: the last tokens of the sequences that go on, and which of those before these are
    (None: all)."""
    steps, live = [], np.arange(len(tokens))
    for t in range(tokens.shape[1] - 1):
        going = lengths[live] > t + 1
        live = live[going]
        steps.append((tokens[live, t], None if going.all() else going))
    return steps


def read(prior: Prior, n: int, steps: list[tuple[NDArray[np.int64], NDArray[np.bool_] | None]]) -> None:
    """The prior's bare steps; sequences that are over leave the batch, as they do in `sample`."""
    _, state = prior.step(np.full(n, prior.vocab.start), prior.initial_state(n))
    for tokens, going in steps:
        if going is not None:
            state = leaving(state, going)
        _, state = prior.step(tokens, state)


def leaving(state: Any, going: NDArray[np.bool_]) -> Any:
    """The state of the sequences that go on."""
    return tuple(part[going] for part in state)
