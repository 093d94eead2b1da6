"""The nine rules: melodies worked out by hand, so that each value of each rule occurs.

Tokens: 0 = off, 1 = hold, 2 = C3, 14 = C4, 26 = C5; from 14 on: 14 C, 16 D, 18 E, 19 F, 21 G, 23 A, 25 B.
"""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs.melody import rules
from seqtutor_envs.melody.vocab import MELODY_VOCAB

OFF, HOLD = 0, 1
C, D, E, F, G, A, B = 14, 16, 18, 19, 21, 23, 25  # the octave from middle C
def paid(name: str, tokens: list[int], length: int = 100) -> list[float]:
    """What one rule pays at each step, round_to_step to 12 digits."""
    rule, array = getattr(rules, name), np.array(tokens, dtype=np.int64)
    return [round(rule(array, t, length), 12) for t in range(len(tokens))]


def last(name: str, tokens: list[int], length: int = 100) -> float:
    return paid(name, tokens, length)[-1]


def test_vocabulary_has_middle_c_at_14() -> None:
    assert len(MELODY_VOCAB) == 38 and MELODY_VOCAB.end is None
    assert MELODY_VOCAB.decode([0, 1, 2, 3, 14, 37]) == ["off", "hold", "C3", "C#3", "C4", "B5"]


def test_names_are_the_functions_names() -> None:
    assert [rule.py_func.__name__ for rule in rules.RULES] == list(rules.RULE_NAMES)


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
        # d = + + + + - - + - - - + -, var 1; sums 1, 0, 1: r = .083, 0, .083, none above .15
        ([11, 11, 11, 11, 9, 9, 11, 9, 9, 9, 11, 9], 0.0),
        # d = six times +, seven times -, then alternating; n = 20, var 1; sums 3, 12, -1: 3 / 20 / 1 is .15 itself,
        # which is not above .15; .6; -.05: -3 * .6
        ([11] * 6 + [9] * 7 + [11, 9, 11, 9, 11, 9, 11], -1.8),
        # mean 4, d = 12, -3, -3, -3, -3, var 36; sums -9, -18, -27: r = -.05, -.1 and, the double of -27 / 5 / 36 lying
        # above 3/20, .15000000000000002: -3 * .15. (As -27 / 180 it would be .15 and not count.)
        ([D, HOLD, HOLD, HOLD, HOLD], -0.45),
        # mean 9, d = 14, -8, -8, -8, 8, 2, 6, -8, 2, var 560 / 9; sums -84, -84, -300: the first two, 3/20 again, lie
        # above .15 as doubles: -3 * (.15 + .15 + 300 / 560)
        ([23, 1, 1, 1, 17, 11, 15, 1, 11], -0.9 - 900 / 560),
    ],
)
def test_autocorrelation(tokens: list[int], expected: float) -> None:
    assert last("autocorrelation", tokens) == pytest.approx(expected, abs=1e-12)


def test_autocorrelation_is_paid_at_every_step() -> None:
    # 2, 4: -1/2; 2, 4, 2: d = -2/3, 4/3, -2/3, var 8/9: -16/9 / 3 / (8/9) = -2/3, 4/9 / 3 / (8/9) = 1/6
    assert paid("autocorrelation", [2, 4, 2]) == pytest.approx([0, -1.5, -3 * (2 / 3 + 1 / 6)])


# 8 leap


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([C], [0]),
        ([C, C + 6, C], [0, 0, 0]),  # six semitones are no leap
        ([C, G, C + 14], [0, 0, -5]),  # up, and up again
        ([G, C, 7], [0, 0, -5]),  # down, and down again
        ([HOLD, C, OFF, G, HOLD, C + 14], [0, 0, 0, 0, 0, -5]),  # p is found past holds and offs
        # up and, one step by step, back to the C: resolved there, and once
        ([C, G, F, D, C, B - 12], [0, 0, 0, 0, 5, 0]),
        ([C, G, E, 13], [0, 0, 0, 5]),  # back past it
        ([G, C, D, F, G], [0, 0, 0, 0, 5]),  # down and back up to it
        ([G, C, E, 22], [0, 0, 0, 5]),  # and past it
        ([C, G, F, D], [0, 0, 0, 0]),  # not yet there
        # doubled: the pitch to come back to is the first one left, C; G, left by the second leap, is not enough
        ([C, G, C + 14, 26, 23, 21, 19, 16, 14], [0, 0, -5, 0, 0, 0, 0, 0, 5]),
        ([C, G, C + 14, C + 21], [0, 0, -5, -5]),  # it stays pending when it is doubled
        ([C, G, C], [0, 0, 0]),  # an opposite leap at once pays nothing,
        ([C, G, C, B - 12, C], [0, 0, 0, 0, 0]),  # but nothing is pending after it
        ([C, G] + [HOLD] * 6 + [C, B - 12], [0] * 10),  # six tokens between: nothing, and nothing pending
        ([C, G] + [HOLD] * 7 + [C, B - 12], [0] * 9 + [5, 0]),  # seven: resolved
        ([C, G] + [OFF] * 7 + [C], [0] * 9 + [5]),  # offs count
        ([G, C] + [HOLD] * 7 + [G], [0] * 9 + [5]),  # downwards
        ([C, G, F, G, F, G, F, G, C], [0] * 9),  # pitches count: six between, then a fifth down
        ([C, G, F, G, F, G, F, HOLD, G, C], [0] * 9 + [5]),  # seven
        # the doubling leap starts the count again
        ([C, G] + [HOLD] * 7 + [C + 14, G], [0] * 9 + [-5, 0]),
        ([C, G] + [HOLD] * 7 + [C + 14] + [HOLD] * 7 + [G], [0] * 9 + [-5] + [0] * 7 + [5]),
        # after an opposite leap the next leap is a new one, in either direction
        ([C, G, C, G, C + 14], [0, 0, 0, 0, -5]),
        ([C, G, C, 7, 0, 2], [0, 0, 0, 0, 0, 0]),  # new one down from C; 7 to 2 is no leap
        ([C, G, C, 7, C], [0, 0, 0, 0, 0]),
    ],
)
def test_leap(tokens: list[int], expected: list[float]) -> None:
    assert paid("leap", tokens) == expected
