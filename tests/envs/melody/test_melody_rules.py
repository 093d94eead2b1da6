"""Check the autocorrelation by hand where its doubles decide; the property tests check all nine rules.

Tokens: 0 = off, 1 = hold, 2 = C3, 14 = C4, 26 = C5; from 14 on: 14 C, 16 D, 18 E, 19 F, 21 G, 23 A, 25 B.
"""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs.melody import rules
from seqtutor_envs.melody.vocab import MELODY_VOCAB

OFF, HOLD = 0, 1
C, D = 14, 16


def test_vocabulary_has_middle_c_at_14() -> None:
    assert len(MELODY_VOCAB) == 38 and MELODY_VOCAB.end is None
    assert MELODY_VOCAB.decode([0, 1, 2, 3, 14, 37]) == ["off", "hold", "C3", "C#3", "C4", "B5"]


def test_names_are_the_functions_names() -> None:
    assert [rule.py_func.__name__ for rule in rules.RULES] == list(rules.RULE_NAMES)


def paid(tokens: list[int]) -> list[float]:
    """Return what the rule pays at each step."""
    return [rules.autocorrelation(np.array(tokens, dtype=np.int64), t, 100) for t in range(len(tokens))]


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
    assert paid(tokens)[-1] == pytest.approx(expected, abs=1e-12)


def test_autocorrelation_is_paid_at_every_step() -> None:
    # 2, 4: -1/2; 2, 4, 2: d = -2/3, 4/3, -2/3, var 8/9: -16/9 / 3 / (8/9) = -2/3, 4/9 / 3 / (8/9) = 1/6
    assert paid([2, 4, 2]) == pytest.approx([0, -1.5, -3 * (2 / 3 + 1 / 6)])
