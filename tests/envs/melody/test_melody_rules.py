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
# in C major as the specification lists it, with hold and off
IN_KEY = {0, 1, 2, 4, 6, 7, 9, 11, 13, 14, 16, 18, 19, 21, 23, 25, 26, 28, 30, 31, 33, 35, 37}


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


# 5 motif


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([C, D, E, F, G, A, B], 0.0),  # seven tokens are no motif yet
        ([C, D, E, F, G, A, B, 26], 4.5),  # k = 8: 3 + .3 * 5
        ([C, HOLD, D, HOLD, OFF, HOLD, C, D], 0.0),  # k = 2
        ([C, HOLD, D, HOLD, OFF, HOLD, E, D], 3.0),  # k = 3; holds, offs and a second D do not count
        ([C, HOLD, D, HOLD, E, HOLD, F, HOLD], 3.3),  # k = 4
        ([C, D, E, F, G, C, D, E], 3.6),  # k = 5
        ([C, D, E, F, G, A, HOLD, HOLD], 3.9),  # k = 6
        ([C, D, E, F, G, A, B, HOLD], 4.2),  # k = 7
        ([C, D, E, HOLD, HOLD, HOLD, HOLD, HOLD, HOLD], 0.0),  # the C has left the last eight: k = 2
        ([HOLD, C, D, E, HOLD, HOLD, HOLD, HOLD, HOLD], 3.0),  # it is the first of the last eight
    ],
)
def test_motif(tokens: list[int], expected: float) -> None:
    assert last("motif", tokens) == expected


# 6 repeated motif

MOTIF = [C, HOLD, D, HOLD, E, HOLD, D, HOLD]  # k = 3


@pytest.mark.parametrize(
    "tokens, expected",
    [
        (MOTIF + MOTIF, 4.0),  # k = 3, back to back: the first stands in x without its last 7
        (MOTIF + [G] + MOTIF, 4.0),
        ([OFF, A, G] + MOTIF + [B, OFF, F, F, C] + MOTIF, 4.0),  # at offsets 3 and 16
        (MOTIF[:4] + [F] + MOTIF[5:] + MOTIF[:4] + [F] + MOTIF[5:], 4.0),
        (MOTIF[:6] + [F, G] + MOTIF[:6] + [F, G], 6.0),  # C D E F G: k = 5
        ([C, D, E, F, G, A, B, 26] * 2, 9.0),  # k = 8
        ([C, D, E, F] * 4, 5.0),  # steps 8..15 repeat 0..7: k = 4
        (MOTIF + MOTIF[:7] + [OFF], 0.0),  # the last of the eight differs
        ([D] + MOTIF[1:] + MOTIF, 0.0),  # the first of the eight differs
        ([C, HOLD, D, HOLD] * 4, 0.0),  # k = 2
        (MOTIF, 0.0),
        ([C, D, E, F] * 3, 0.0),  # the eight before it overlap it
        ([C, D, E, F, G, A, B] * 2 + [C], 0.0),  # they overlap in one token
    ],
)
def test_repeated_motif(tokens: list[int], expected: float) -> None:
    assert last("repeated_motif", tokens) == expected


def test_repeated_motif_is_paid_from_the_step_that_completes_it() -> None:
    # in a loop of eight every step from 15 on ends eight tokens that stood eight steps before
    assert paid("repeated_motif", MOTIF * 3) == [0] * 15 + [4] * 9


# 7 interval: the printed values times 5


@pytest.mark.parametrize(
    "p, a, value",
    [
        *[(p, HOLD, 0.3) for p in (2, 14, 26, 9, 21, 33)],  # C and G of each octave
        *[(p, OFF, 0.15) for p in (2, 14, 26, 9, 21, 33)],
        *[(p, HOLD, 0.075) for p in (D, E, F, A, B, 3, 37)],
        *[(p, OFF, 0.05) for p in (D, E, F, A, B, 3, 37)],
        (C, C + 7, 0.1), (C, C - 7, 0.1), (G, G + 7, 0.1), (G, G - 7, 0.1), (26, 33, 0.1),  # fifths from C or G
        (D, D + 7, 0.02), (E, E - 7, 0.02), (F, F + 7, 0.02),  # other fifths
        (C, E, 0.15), (E, C, 0.15), (E, E + 4, 0.15), (C, C - 4, 0.15), (30, 26, 0.15),  # thirds from C or E
        (G, B, 0.09), (F, A, 0.09), (B, G, 0.09),  # other thirds
        (C, D, 0.08), (D, C, 0.08), (B, A, 0.08),
        (C, F, 0.07), (G, C + 12, 0.07), (F, C, 0.07),
        (C, A, 0.05), (A, C, 0.05),
        (C, B, -0.3), (B, C, -0.3),
        (C, C + 13, -1.0), (C + 14, C, -1.0), (2, 37, -1.0),
        *[(C, C + d, 0.0) for d in (0, 1, 3, 6, 8, 10, 12)],
    ],
)
def test_interval(p: int, a: int, value: float) -> None:
    assert last("interval", [p, a]) == pytest.approx(5 * value)


def test_interval_looks_past_holds_and_offs_for_the_last_pitch() -> None:
    # nothing before the C; a hold .3 after it, an off .15, a hold .3; E a third from C .15; a hold .075 after E
    assert paid("interval", [OFF, HOLD, C, HOLD, OFF, HOLD, E, HOLD]) == pytest.approx(
        [0, 0, 0, 1.5, 0.75, 1.5, 0.75, 0.375]
    )


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


# 9 unique extremes


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([C, D, HOLD, HOLD], 6),
        ([C, C, D, D], 0),
        ([C, C, D, HOLD], 3),  # the maximum
        ([C, D, D, OFF], 3),  # the minimum: the lowest pitch, not the off
        ([C, OFF, OFF, HOLD], 6),  # one pitch is both
        ([OFF, OFF, HOLD], 3),  # without pitches the hold is the maximum, and there is no lowest pitch
        ([HOLD, HOLD], 0),
        ([OFF], 3),
        ([C], 6),
    ],
)
def test_unique_extremes(tokens: list[int], expected: float) -> None:
    length = len(tokens)
    assert paid("unique_extremes", tokens, length) == [0] * (length - 1) + [expected]
    assert paid("unique_extremes", tokens, length + 1) == [0] * length  # the melody is not over
