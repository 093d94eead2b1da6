"""`prefix_bound` against melodies that begin so: samples, loops, and all ends of some."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from seqtutor_envs.melody.max_return import BEST_MELODY, MAX_RETURN
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import load_prior

LOOP = (26, 23, 21, 19, 18, 16, 14, 1) * 4  # R = 247.93
WEIGHTS = [None, {"motif": 0.0}, {"repeated_motif": 3.0, "interval": 0.5}, {"leap": 4.0, "unique_extremes": 0.0}]


@pytest.fixture(scope="module")
def melodies():
    """Samples of the prior, random tokens, and loops of every period with some tokens changed."""
    rng = np.random.default_rng(0)
    sampled, _ = load_prior("melody").sample(300, 0, 32)
    random = rng.integers(0, 38, (100, 32))
    words = np.where(rng.random((300, 32)) < 0.2, 1, rng.integers(2, 38, (300, 32)))
    periods = rng.integers(2, 17, 300)
    loops = np.take_along_axis(words, np.arange(32) % periods[:, None], axis=1)
    changed = np.where(rng.random(loops.shape) < 0.04, rng.integers(0, 38, loops.shape), loops)
    return np.concatenate([sampled, random, loops, changed, [LOOP, BEST_MELODY, (*LOOP[3:], *LOOP[:3])]])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_melody_returns_more_than_any_of_its_prefixes_allows(melodies, weights):
    task = MelodyTask(weights=weights)
    paid = task.reward(melodies).cumsum(axis=1)
    total = paid[:, -1]
    for n in (1, 2, 5, 8, 9, 12, 15, 16, 17, 20, 23, 24, 27, 30, 31):
        assert (task.bound_returns(melodies[:, :n], paid[:, n - 1]) >= total - 1e-9).all(), n
    assert task.bound_returns(melodies, total) == pytest.approx(np.minimum(total, task.max_return()))


def test_short_and_long_melodies_are_bounded_too():
    rng = np.random.default_rng(1)
    for length in (1, 3, 7, 15, 40):
        task = MelodyTask(length)
        melodies = np.concatenate([rng.integers(0, 38, (200, length)), np.resize([LOOP], (1, length))])
        paid = task.reward(melodies).cumsum(axis=1)
        for n in {1, length // 2 + 1, length}:
            assert (task.bound_returns(melodies[:, :n], paid[:, n - 1]) >= paid[:, -1] - 1e-9).all()


@pytest.mark.parametrize("begun", [LOOP[:30], BEST_MELODY[:30], (14, 1, 1, 14) * 7 + (1, 14)])
def test_all_ends_of_two_tokens(begun):
    """The greatest of 1,444 is at most the bound, and at most 17 below it: a motif and its repetition a step, and 6."""
    task = MelodyTask()
    whole = np.array([(*begun, *end) for end in product(range(38), repeat=2)])
    paid = task.reward(whole).cumsum(axis=1)
    bound = task.bound_returns(np.array([begun]), paid[:1, 29])[0]
    assert paid[:, -1].max() <= bound <= paid[:, -1].max() + 17.0


def test_it_falls_as_melodies_lose_what_they_can_no_longer_be_paid(melodies):
    """It never rises from a token to the next, and of most samples of the prior half is gone after 16 steps."""
    task = MelodyTask()
    paid = task.reward(melodies).cumsum(axis=1)
    bounds = np.stack([task.bound_returns(melodies[:, :n], paid[:, n - 1]) for n in (4, 8, 16, 24, 32)])
    assert (np.diff(bounds, axis=0) <= 1e-6).all()
    assert np.median(bounds[2, :300]) < MAX_RETURN / 2 + 10.0


def test_where_nothing_is_proved_of_prefixes_the_task_as_a_whole_bounds_them():
    tokens, so_far = np.array([[14, 1]]), np.zeros(1)
    below_zero = MelodyTask(weights={"key": -1.0})
    assert below_zero.bound_returns(tokens, so_far) == below_zero.max_return() < np.inf
    own = MelodyTask(rules={"high": lambda tokens, step: 1.0})
    assert own.bound_returns(tokens, so_far) == np.inf
