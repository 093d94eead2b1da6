"""What the tests of the speed report share: small priors, short turns, what every row must be."""

from __future__ import annotations

import json
import math

import numpy as np
from demo_toys import small_prior

from benchmarks.speed import turns
from benchmarks.speed.options import Options
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.smiles.vocab import smiles_vocab


def quick(monkeypatch):
    """Turns of a call or two: what is measured is right, and says nothing of speed."""
    monkeypatch.setattr(turns, "BLOCK", 1e-4)


def small_options(folder, **others):
    """Of priors that have learned nothing."""
    melody = small_prior(folder / "melody", MELODY_VOCAB, 32)
    smiles = small_prior(folder / "smiles", smiles_vocab(["C", "O", "N"]), 20)
    return Options(seconds=1e-3, melody_prior=str(melody), smiles_prior=str(smiles), **others)


def by_name(rows):
    """Rows by their names, each of them sane; several of a name in a list."""
    found = {}
    for row in rows:
        assert row.name and row.unit and 0 < row.value < math.inf, row
        if row.limit is not None:
            assert 0 < row.limit < math.inf and row.limit_name, row
        if row.ratio is not None:
            assert 0 < row.ratio < math.inf, row
        if row.low is not None:
            assert row.low <= row.ratio <= row.high, row
        json.dumps(row.as_dict(), allow_nan=False)
        found.setdefault(row.name, []).append(row)
    assert found
    return found


def spied(env, taken):
    """The environment; `taken` gets the actions and rewards of each of its steps."""
    step = env.step

    def spy(actions):
        outcome = step(actions)
        taken.append((np.array(actions).tolist(), np.array(outcome[1]).tolist()))
        return outcome

    env.step = spy
    return env


def one_call(sides, seconds=0.0, clock=None):
    """In the place of `in_turns`: each side is called once, and each took a second, the n-th n of them."""
    for side in sides.values():
        side()
    return {name: np.full(3, 1.0 + i) for i, name in enumerate(sides)}
