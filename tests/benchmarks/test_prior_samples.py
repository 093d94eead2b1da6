"""The best of a prior's samples: by hand, and against the enumeration. Samples are the prior's, part by part."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import prior_samples
from benchmarks.prior_samples import PriorSamples, choose_best, draw_part, hash_names, make_batch

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 4, "seed": 5}


def solution():
    return gym.make(EXACT, **KWARGS, c=1.0).unwrapped.solution()


def test_samples_are_the_priors_and_their_returns_the_tasks(monkeypatch):
    """Every sequence is in the enumeration; its return is the one that stands there."""
    monkeypatch.setattr(prior_samples, "PART", 150)
    best = solution()
    known = {tuple(row): total for row, total in zip(best["sequences"].tolist(), best["task_returns"])}
    batch = make_batch(EXACT, KWARGS)
    samples = draw_part(batch, 7, 0)
    assert samples.tokens.shape == (150, 4)
    np.testing.assert_allclose(samples.returns, [known[tuple(row)] for row in samples.tokens.tolist()])
    distinct = len({tuple(row) for row in samples.tokens.tolist()})
    assert len(np.unique(samples.names)) == distinct < 150
    assert (samples.tokens != draw_part(batch, 7, 1).tokens).any()  # parts have seeds of their own
    assert (samples.tokens == draw_part(batch, 7, 0).tokens).all()


def listed(returns, names):
    n = len(returns)
    return PriorSamples(np.arange(n)[:, None], np.ones(n, int), np.array(returns, float), hash_names(names))


def test_best_of_takes_the_best_of_the_first_distinct_molecules():
    """By hand: the calls are for a, b, c, d; the repeated b and the string that is no molecule cost none."""
    samples = listed([0.1, 0.9, 0.9, 0.0, 0.4, 0.5, 0.99], ["a", "b", "b", "", "c", "d", "e"])
    rows, used = choose_best(samples, calls=4, k=2)
    assert rows.tolist() == [1, 5] and used == 6
    assert choose_best(samples, 5, 1)[0].tolist() == [6] and choose_best(samples, 2, 2)[0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("calls", "k", "says"), [(6, 1, "hold 5 distinct"), (2, 3, "best 3 of 2"), (2, 0, "one at least")]
)
def test_best_of_more_than_there_are_is_an_error(calls, k, says):
    with pytest.raises(ValueError, match=says):
        choose_best(listed([1, 2, 3, 4, 5, 0], ["a", "b", "c", "d", "e", ""]), calls, k)


def test_keeping_the_best_share_has_the_stated_kl():
    """On the exact task: KL(p given R above a threshold || p) by enumeration is log(drawn / k) in the limit."""
    best = solution()
    p = np.exp(best["prior_log_probs"])
    threshold = np.median(best["task_returns"])
    kept = best["task_returns"] > threshold
    # probabilities of float32 rows do not sum to 1 exactly
    returns = np.random.default_rng(4).choice(best["task_returns"], 50_000, p=p / p.sum())
    k = int((returns > threshold).sum())
    samples = listed(returns, [str(i) for i in range(len(returns))])
    rows, used = choose_best(samples, len(returns), k)
    assert samples.returns[rows].min() > threshold
    assert math.log(used / k) == pytest.approx(-math.log(p[kept].sum()), abs=0.02)
