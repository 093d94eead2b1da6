"""The nine rules against the specification written a second time, and what holds for every melody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtutor_envs.melody import rules

IN_KEY = {0, 1, 2, 4, 6, 7, 9, 11, 13, 14, 16, 18, 19, 21, 23, 25, 26, 28, 30, 31, 33, 35, 37}

# The specification written a second time, as naively as it reads.


def naive_leaps(tokens: list[int]) -> list[float]:
    pending: dict[str, Any] | None = None
    steps, previous, out = 0, None, []
    for t, a in enumerate(tokens):
        value = 0.0
        if t > 0 and a not in (0, 1) and previous is not None and abs(a - previous) >= 7:
            direction = "up" if a > previous else "down"
            if pending is None:
                pending = {"direction": direction, "left": previous}
            elif pending["direction"] == direction:
                value = -5.0
            else:
                pending = None
                value = 5.0 if steps > 6 else 0.0
            steps = 0
        elif t > 0:
            steps += 1
            if a not in (0, 1) and pending is not None:
                back = a <= pending["left"] if pending["direction"] == "up" else a >= pending["left"]
                if back:
                    value, pending = 5.0, None
        out.append(value)
        if a not in (0, 1):
            previous = a
    return out


def naive_repetition(x: list[int], a: int) -> float:
    until = next((i for i, token in enumerate(reversed(x)) if token != a and token > 1), len(x))
    walked = list(reversed(x))[:until]
    count, flag = walked.count(a), any(token != a for token in walked)
    return -100.0 if (a == 0 and count > 1) or (not flag and count > 4) or (flag and count > 6) else 0.0


def naive_autocorrelation(tokens: list[int]) -> float:
    n = len(tokens)
    mean = sum(tokens) / n
    d = [token - mean for token in tokens]
    var = sum(value * value for value in d) / n
    if var == 0:
        return 0.0
    r = [sum(d[i] * d[i + lag] for i in range(n - lag)) / n / var for lag in (1, 2, 3)]
    return sum(-3 * abs(value) for value in r if abs(value) > 0.15)


def naive_interval(x: list[int], a: int) -> float:
    pitches = [token for token in x if token >= 2]
    if not pitches:
        return 0.0
    p = pitches[-1]
    d = abs(a - p)
    if a == 1:
        return 5 * (0.3 if p in (2, 14, 26, 9, 21, 33) else 0.075)
    if a == 0:
        return 5 * (0.15 if p in (2, 14, 26, 9, 21, 33) else 0.05)
    if d == 7 and p in (2, 14, 26, 9, 21, 33):
        return 5 * 0.1
    if d == 4 and p in (2, 14, 26, 6, 18, 30):
        return 5 * 0.15
    return 5 * (-1.0 if d > 12 else {4: 0.09, 2: 0.08, 5: 0.07, 9: 0.05, 7: 0.02, 11: -0.3}.get(d, 0.0))


def naive_motifs(x: list[int], a: int) -> tuple[float, float]:
    window = (x + [a])[-8:]
    k = len({token for token in window if token > 1})
    if len(window) < 8 or k < 3:
        return 0.0, 0.0
    earlier = "".join(chr(token + 65) for token in x[:-7])
    repeated = "".join(chr(token + 65) for token in window) in earlier
    return 3 + 0.3 * (k - 3), 4.0 + (k - 3) if repeated else 0.0


def naive(tokens: list[int], length: int) -> np.ndarray:
    """All nine terms [T, 9]."""
    leaps, rows = naive_leaps(tokens), []
    for t, a in enumerate(tokens):
        x, end = tokens[:t], length - 3
        if t == 0 or t == length - 4:
            tonic = 3.0 * (a == 14)
        else:
            tonic = 3.0 * (a == 1 if t == end else t > end and a in (0, 1))
        extremes, melody = 0.0, tokens[: t + 1]
        if t == length - 1:
            pitches = [token for token in melody if token > 1]
            extremes += 3.0 * (melody.count(max(melody)) == 1)
            extremes += 3.0 * (bool(pitches) and pitches.count(min(pitches)) == 1)
        motif, repeated = naive_motifs(x, a)
        rows.append(
            [-1.0 * (a not in IN_KEY), tonic, naive_repetition(x, a), naive_autocorrelation(melody), motif, repeated,
             naive_interval(x, a), leaps[t], extremes]
        )
    return np.array(rows)


def loop(seed: list[int], length: int) -> list[int]:
    return (seed * length)[:length]


LENGTHS = st.integers(1, 40)
TOKENS = st.integers(0, 37)
LIVELY = st.sampled_from([0, 1, 1, 1, 7, 13, 14, 16, 18, 21, 28])  # few pitches: leaps, repetitions and rests in plenty
MELODIES = st.one_of(
    st.lists(TOKENS, min_size=1, max_size=40),
    st.lists(LIVELY, min_size=1, max_size=40),
    st.builds(loop, st.lists(LIVELY, min_size=1, max_size=12), LENGTHS),
)


@given(tokens=MELODIES, more=st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_rules_equal_the_naive_writing(tokens: list[int], more: int) -> None:
    length = len(tokens) + more
    ours = rules.melody_rules(np.array([tokens]), length)[0]
    np.testing.assert_allclose(ours, naive(tokens, length), rtol=0, atol=1e-9)


def test_rules_equal_the_naive_writing_where_each_value_occurs() -> None:
    rng = np.random.default_rng(0)
    free = rng.choice([0, 1, 1, 1, 1, 4, 7, 12, 13, 14, 14, 15, 16, 18, 21, 25, 26, 28, 37], size=(500, 32))
    loops = np.array([loop(row[: 7 + n % 2].tolist(), 32) for n, row in enumerate(free[:300])])
    tokens = np.concatenate([free, loops])
    ours = rules.melody_rules(tokens, 32)
    np.testing.assert_allclose(ours, [naive(row.tolist(), 32) for row in tokens], rtol=0, atol=1e-9)
    seen = {name: set(np.round(ours[:, :, k], 9).ravel()) for k, name in enumerate(rules.RULE_NAMES)}
    assert seen["key"] == {0, -1} and seen["tonic"] == {0, 3} and seen["repetition"] == {0, -100}
    assert seen["leap"] == {0, 5, -5} and seen["unique_extremes"] == {0, 3, 6}
    assert seen["motif"] == {0, 3, 3.3, 3.6, 3.9, 4.2, 4.5} and seen["repeated_motif"] >= {0, 4, 5, 6, 7}
    values = {0.3, 0.075, 0.15, 0.05, 0.1, 0.09, 0.08, 0.07, 0.02, -0.3, -1, 0}
    assert seen["interval"] == {round(5 * value, 9) for value in values}


@given(tokens=MELODIES, tail=st.lists(TOKENS, max_size=40), data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_lies_beyond_the_prefix_changes_nothing(tokens: list[int], tail: list[int], data: st.DataObject) -> None:
    t = data.draw(st.integers(0, len(tokens) - 1))
    length = data.draw(st.integers(t + 1, len(tokens) + 5))
    whole, changed = np.array(tokens), np.array(tokens[: t + 1] + tail)
    for rule in rules.RULES:
        expected = rule(np.array(tokens[: t + 1]), t, length)
        assert rule(whole, t, length) == rule(changed, t, length) == expected


@given(tokens=MELODIES)
@settings(max_examples=100, deadline=None)
def test_one_rule_alone_step_rules_and_melody_rules_are_the_same(tokens: list[int]) -> None:
    melody, length = np.array(tokens), len(tokens)
    table = rules.melody_rules(np.tile(melody, (length, 1)), length)
    assert (table == table[0]).all()
    steps = rules.step_rules(np.tile(melody, (length, 1)), np.arange(length), length)
    np.testing.assert_array_equal(steps, table[0])
    np.testing.assert_array_equal(steps, [[rule(melody, t, length) for rule in rules.RULES] for t in range(length)])


@pytest.mark.parametrize("step", [-1, 3])
def test_a_step_outside_of_the_tokens_is_an_error(step: int) -> None:
    with pytest.raises(IndexError, match="outside"):
        rules.step_rules(np.array([[14, 16, 18]]), np.array([step]), 32)
