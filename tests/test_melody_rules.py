"""The nine rules: melodies worked out by hand for each value of each rule, and a naive second writing of the specification.

Tokens: 0 = off, 1 = hold, 2 = C3, 14 = C4, 26 = C5; from 14 on: 14 C, 16 D, 18 E, 19 F, 21 G, 23 A, 25 B.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtutor_envs.melody import rules
from seqtutor_envs.melody.vocab import MELODY_VOCAB

OFF, HOLD = 0, 1
C, D, E, F, G, A, B = 14, 16, 18, 19, 21, 23, 25  # the octave from middle C
# in C major as the specification lists it, with hold and off
IN_KEY = {0, 1, 2, 4, 6, 7, 9, 11, 13, 14, 16, 18, 19, 21, 23, 25, 26, 28, 30, 31, 33, 35, 37}


def paid(name: str, tokens: list[int], length: int = 100) -> list[float]:
    """What one rule pays at each step, rounded to 12 digits."""
    rule, array = getattr(rules, name), np.array(tokens, dtype=np.int64)
    return [round(rule(array, t, length), 12) for t in range(len(tokens))]


def last(name: str, tokens: list[int], length: int = 100) -> float:
    return paid(name, tokens, length)[-1]


def test_vocabulary_has_middle_c_at_14() -> None:
    assert len(MELODY_VOCAB) == 38 and MELODY_VOCAB.end is None
    assert MELODY_VOCAB.decode([0, 1, 2, 3, 14, 37]) == ["off", "hold", "C3", "C#3", "C4", "B5"]


def test_names_are_the_functions_names() -> None:
    assert [rule.__name__ for rule in rules.RULES] == list(rules.RULE_NAMES)


# 1 key


def test_key_costs_one_for_each_token_that_is_not_listed() -> None:
    assert paid("key", list(range(38))) == [0 if token in IN_KEY else -1 for token in range(38)]


# 2 tonic: N = 8, so t = 0 and t = 4 want middle C, t = 5 a hold, t = 6 and 7 a hold or an off


@pytest.mark.parametrize(
    "token, expected",
    [
        (C, [3, 0, 0, 0, 3, 0, 0, 0]),
        (HOLD, [0, 0, 0, 0, 0, 3, 3, 3]),
        (OFF, [0, 0, 0, 0, 0, 0, 3, 3]),
        (2, [0, 0, 0, 0, 0, 0, 0, 0]),  # a C, but not middle C
    ],
)
def test_tonic_wants_middle_c_then_hold_then_rest(token: int, expected: list[float]) -> None:
    assert paid("tonic", [token] * 8, length=8) == expected


@pytest.mark.parametrize(
    "length, token, expected",
    [
        (1, C, [3]),
        (1, HOLD, [0]),  # t = 0 wants middle C, although it is beyond N-3 too
        (2, HOLD, [0, 3]),  # t = 1 > N-3 = -1
        (3, HOLD, [0, 3, 3]),  # t = 0 is N-3 as well: the first condition holds
        (3, OFF, [0, 3, 3]),
        (4, HOLD, [0, 3, 3, 3]),  # t = 0 is N-4; t = 1 = N-3
        (4, OFF, [0, 0, 3, 3]),
        (5, C, [3, 3, 0, 0, 0]),  # t = 1 = N-4
    ],
)
def test_tonic_in_melodies_shorter_than_its_ending(length: int, token: int, expected: list[float]) -> None:
    assert paid("tonic", [token] * length, length) == expected


# 3 repetition


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([OFF, OFF, OFF], [0, 0, -100]),  # counts 0, 1, 2: more than 1
        ([OFF, HOLD, OFF, HOLD, OFF], [0, 0, 0, 0, -100]),  # holds are skipped: the last off counts 2
        ([OFF, C, OFF, OFF], [0, 0, 0, 0]),  # the pitch stops the walk: counts 0, 1
        ([C] * 7, [0, 0, 0, 0, 0, -100, -100]),  # the sixth counts 5 > 4
        ([HOLD] * 6, [0, 0, 0, 0, 0, -100]),
        ([C, C, C, C, D, C, C], [0] * 7),  # another pitch stops: counts 0, 1
        ([C, HOLD, C, C, C, C, C, C, C], [0] * 8 + [-100]),  # with the hold skipped: count 7 > 6 at the last
        ([C, OFF, C, C, C, C, C, C, C], [0] * 8 + [-100]),  # the same with an off skipped
        ([OFF] + [HOLD] * 8, [0] * 8 + [-100]),  # for holds the off is the skipped one: count 7 at the last
        ([C] + [HOLD] * 6, [0] * 6 + [-100]),  # the pitch stops and sets no flag: count 5 at the last
        ([C, C, C, C, HOLD, C, C, C], [0, 0, 0, 0, 0, 0, 0, 0]),  # counts up to 6, flag set: not more than 6
    ],
)
def test_repetition(tokens: list[int], expected: list[float]) -> None:
    assert paid("repetition", tokens) == expected


# 4 autocorrelation


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([C], 0.0),  # one token: variance 0, undefined
        ([C, C, C, C], 0.0),  # all equal: undefined
        # d = -.5, .5; var = .25; lag 1: -.25 / 2 / .25 = -.5, lags 2 and 3 have no pairs: -3 * .5
        ([2, 3], -1.5),
        # d = -1, 1, -1, 1; var = 1; r = -3/4, 2/4, -1/4: -3 * 1.5
        ([2, 4, 2, 4], -4.5),
        # holds and offs count as numbers: mean .5, d = -.5, .5 as above
        ([OFF, HOLD], -1.5),
        # d = + + + - + - - -, var 1; sums over pairs 1, 2, -1: r = .125 (not above .15), .25, -.125: -3 * .25
        ([11, 11, 11, 9, 11, 9, 9, 9], -0.75),
        # d = six times +, seven times -, then alternating; n = 20, var 1; sums 3, 12, -1: 3 / 20 / 1 is .15 itself, which is not
        # above .15; .6; -.05: -3 * .6
        ([11] * 6 + [9] * 7 + [11, 9, 11, 9, 11, 9, 11], -1.8),
        # mean 4, d = 12, -3, -3, -3, -3, var 36; sums -9, -18, -27: r = -.05, -.1 and, the double of -27 / 5 / 36 lying
        # above 3/20, .15000000000000002: -3 * .15. (As -27 / 180 it would be .15 and not count.)
        ([D, HOLD, HOLD, HOLD, HOLD], -0.45),
    ],
)
def test_autocorrelation(tokens: list[int], expected: float) -> None:
    assert last("autocorrelation", tokens) == pytest.approx(expected, abs=1e-12)
