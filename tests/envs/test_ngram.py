"""Counts and smoothing, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs.prior import ngram
from seqtutor_envs.prior.ngram import baselines

A, B = 0, 1


def nats(*probabilities):
    return float(-np.log(probabilities).mean())


def test_hand_worked_counts():
    """Training sequences ABA and AB, two tokens, one pseudo-count by the shorter context.

    Unigram: A 3, B 2 of 5, plus half a count each: p(A) = 3.5 / 6, p(B) = 2.5 / 6.
    Bigrams: start A 2; A B 2; B A 1. So p(A | start) = (2 + p(A)) / 3, p(B | A) = (2 + p(B)) / 3,
    p(A | B) = (1 + p(A)) / 2.
    Trigrams: start start A 2; start A B 2; A B A 1; all others none, so they fall back on the bigram.
    """
    assert ngram.STRENGTH == 1.0
    p_a, p_b = 3.5 / 6, 2.5 / 6
    a_start, b_start = (2 + p_a) / 3, p_b / 3
    b_a, a_b, b_b = (2 + p_b) / 3, (1 + p_a) / 2, p_b / 2
    a_start_start, b_start_start = (2 + a_start) / 3, b_start / 3
    b_start_a, a_a_b = (2 + b_a) / 3, (1 + a_b) / 2
    figures = baselines([np.array([A, B, A]), np.array([A, B])], [np.array([A, B, A]), np.array([B, B])], 2)
    assert figures == {
        "unigram": pytest.approx(nats(p_a, p_b, p_a, p_b, p_b)),
        "bigram": pytest.approx(nats(a_start, b_a, a_b, b_start, b_b)),
        "trigram": pytest.approx(nats(a_start_start, b_start_a, a_a_b, b_start_start, b_b)),  # (start, B) B is unseen
    }


def test_small_integers_are_counted_as_others():
    """A corpus holds uint8, which a start token's id need not fit."""
    rng = np.random.default_rng(0)
    lines = [rng.integers(0, 38, 40) for _ in range(3)]
    assert baselines([line.astype(np.uint8) for line in lines], lines, 38) == baselines(lines, lines, 38)
