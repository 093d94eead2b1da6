"""The nine rules of the melody reward, each a pure compiled function of the prefix.

`rule(tokens, t, length) -> float` is the raw term of step t: `tokens` int64 [T], T > t; a = tokens[t] is the token
chosen at step t, x = tokens[:t] what came before, `length` the melody's N steps. What lies beyond t is never read. p is
the last pitch (token >= 2) in x. Tokens: 0 = note off, 1 = hold, 2..37 = C3..B5 (see vocab.py).

Source: Jaques et al., "Sequence Tutor" (ICML 2017), with the values of Magenta's `rl_tuner`. Every rule reads the whole
prefix anew: compiled, the nine together take a tenth of the prior's step, so no state has to be kept, and environment,
metrics and explanations of a reward call the same functions.

A rule is compiled into its caller (`forceinline`): a call that hands over an array costs 30 ns, more than most rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqtutor_envs.files.compiled import njit
from seqtutor_envs.melody.vocab import HOLD, LOWEST_TOKEN, MAJOR_SCALE, NOTE_OFF

COMPILED: dict[str, Any] = {"cache": True, "error_model": "numpy"}
RULE: dict[str, Any] = {**COMPILED, "forceinline": True}

RULE_NAMES = (
    "key", "tonic", "repetition", "autocorrelation", "motif", "repeated_motif", "interval", "leap", "unique_extremes"
)

MIDDLE_C = 14
C, E, G = 0, 4, 7  # pitch classes
LEAP = 7  # semitones: a fifth or more
SLOW_RETURN = 6  # an opposite leap resolves only after more than so many other tokens
MOTIF = 8  # steps in a motif
INTERVAL_FACTOR = 5.0  # the interval rule's values are printed without it
# the interval rule's value of a move by 0..12 semitones; a fifth and a third are worth more after some pitches
BY_SEMITONES = (0.0, 0.0, 0.08, 0.0, 0.09, 0.07, 0.0, 0.02, 0.0, 0.05, 0.0, -0.3, 0.0)


# every rule takes `length`, used or not, so that all can be called alike
@njit(**RULE)
def key(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 1: -1 for a pitch outside C major."""
    a = tokens[t]
    return -1.0 if a >= LOWEST_TOKEN and pitch_class(a) not in MAJOR_SCALE else 0.0


@njit(**RULE)
def tonic(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 2: +3 for middle C at the first step and at the first of the last four, then a hold, then hold or off.

    A melody shorter than four steps can meet two of these at once; the first one named here then holds.
    """
    a = tokens[t]
    # the distance to the end matters, so the order of these tests is part of the rule
    if t == 0 or t == length - 4:
        wanted = a == MIDDLE_C
    elif t == length - 3:
        wanted = a == HOLD
    else:
        wanted = t > length - 3 and a < LOWEST_TOKEN
    return 3.0 if wanted else 0.0


@njit(**RULE)
def repetition(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 3: -100 for a token repeated too often.

    Walking back over x, tokens equal to a are counted, other holds and offs are skipped and remembered, another pitch
    stops. Too often: more than 4, or more than 6 with something skipped; for an off more than 1.
    """
    a = tokens[t]
    count, skipped = 0, False
    # backwards: the last tokens decide, and most walks stop after a step or two
    for i in range(t - 1, -1, -1):
        if tokens[i] == a:
            count += 1
        elif tokens[i] < LOWEST_TOKEN:
            skipped = True
        else:
            break
    too_often = count > (6 if skipped else 4) or (a == NOTE_OFF and count > 1)
    return -100.0 if too_often else 0.0


@njit(**RULE)
def autocorrelation(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 4: -3 |r| for each of the lags 1, 2, 3 whose coefficient has |r| > .15, over all tokens including a.

    Of a coefficient that is 3/20 exactly (one in 300) the double may lie on either side of .15, so the form and the
    order of summation in `coefficients` are part of the rule.
    """
    term = 0.0
    for r in coefficients(tokens, t + 1):
        term -= 3.0 * abs(r) if abs(r) > 0.15 else 0.0  # an undefined coefficient is NaN, and counts 0
    return term


@njit(**RULE)
def motif(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 5: 3 + .3 (k - 3) where the last 8 tokens including a hold k >= 3 distinct pitches."""
    k = distinct_pitches(tokens, t)
    return 3.0 + 0.3 * (k - 3) if k >= 3 else 0.0


@njit(**RULE)
def repeated_motif(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 6: 4 + (k - 3) where those 8 tokens (k >= 3) stand already, at any offset, in x without its last 7."""
    k = distinct_pitches(tokens, t)
    if k < 3:
        return 0.0
    first = t - MOTIF + 1
    # ends 8 before `first`: the two motifs may touch but not overlap
    for start in range(first - MOTIF + 1):
        same = 0
        while same < MOTIF and tokens[start + same] == tokens[first + same]:
            same += 1
        if same == MOTIF:
            return 4.0 + (k - 3)
    return 0.0


@njit(**RULE)
def interval(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 7: 5 times the value of the move from p to a; 0 without p.

    A hold .3 after C or G, else .075; an off .15 after C or G, else .05. A pitch by d = |a - p|: a fifth (7) from C or
    G .1, a major third (4) from C or E .15, from others .09, seconds (2) .08, fourths (5) .07, sixths (9) .05, other
    fifths .02, sevenths (11) -.3, more than an octave -1, the rest 0.
    """
    p = last_pitch(tokens, t)
    if p < 0:
        return 0.0
    a, root = tokens[t], pitch_class(p)
    c_or_g = root == C or root == G
    # means nothing for a hold or an off, which the first two branches take
    d = abs(a - p)
    if a == HOLD:
        value = 0.3 if c_or_g else 0.075
    elif a == NOTE_OFF:
        value = 0.15 if c_or_g else 0.05
    elif d == 7 and c_or_g:
        value = 0.1
    elif d == 4 and (root == C or root == E):
        value = 0.15
    else:
        value = BY_SEMITONES[d] if d <= 12 else -1.0
    return INTERVAL_FACTOR * value


@njit(**RULE)
def leap(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 8: +5 where a leap is resolved, -5 where it is doubled; a leap is d = |a - p| >= 7.

    A leap with none pending leaves its direction and p pending. A leap in the pending direction doubles it, which stays
    pending; one in the opposite direction clears it and resolves it only if more than 6 other tokens stand between this
    leap and the last one. A pitch that comes back, without a leap, to or past the pitch left resolves and clears it.
    """
    if t == 0 or tokens[t] < LOWEST_TOKEN:
        return 0.0
    outcome, _, _, _, _ = follow_leaps(tokens, t + 1)
    return outcome


@njit(**RULE)
def follow_leaps(tokens, n):  # type: ignore[no-untyped-def]
    """Return what rule 8 pays for tokens[n - 1], and its state after tokens[:n], n >= 1.

    The state is the last pitch (-1: none), the pending leap's direction (0: none pending), the pitch that it left, and
    the tokens since the last leap.
    """
    outcome = 0.0
    direction, left, since = 0, 0, 0
    # from the start: the pending leap depends on all that came before
    p = tokens[0] if tokens[0] >= LOWEST_TOKEN else -1
    for i in range(1, n):
        a = tokens[i]
        outcome = 0.0
        if a < LOWEST_TOKEN:
            since += 1
            continue
        if p >= 0 and abs(a - p) >= LEAP:
            this = 1 if a > p else -1
            if direction == 0:
                direction, left = this, p
            elif direction == this:
                outcome = -5.0
            else:
                direction = 0
                outcome = 5.0 if since > SLOW_RETURN else 0.0
            since = 0
        else:
            since += 1
            if direction * (a - left) <= 0 and direction != 0:
                direction = 0
                outcome = 5.0
        p = a
    return outcome, p, direction, left, since


@njit(**RULE)
def unique_extremes(tokens, t, length):  # type: ignore[no-untyped-def]
    """Pay rule 9: at the last step +3 if the highest token occurs once, +3 if the lowest pitch occurs once."""
    if t != length - 1:
        return 0.0
    unique_maximum, unique_minimum = extremes(tokens, t + 1)
    return 3.0 * unique_maximum + 3.0 * unique_minimum


@njit(**RULE)
def pitch_class(token):  # type: ignore[no-untyped-def]
    """Return semitones above C, 0..11, of a pitch token."""
    return (token - LOWEST_TOKEN) % 12


@njit(**RULE)
def last_pitch(tokens, t):  # type: ignore[no-untyped-def]
    """Return the last pitch token in tokens[:t]; -1 if there is none."""
    for i in range(t - 1, -1, -1):
        if tokens[i] >= LOWEST_TOKEN:
            return tokens[i]
    return -1


@njit(**RULE)
def distinct_pitches(tokens, t):  # type: ignore[no-untyped-def]
    """Count k, the number of distinct pitches in the 8 tokens that end at t; 0 where there are fewer than 8 tokens."""
    if t < MOTIF - 1:
        return 0
    # 38 tokens fit into the bits of one int64: no array, no sort
    seen = 0  # bit i: token i occurs
    for i in range(t - MOTIF + 1, t + 1):
        seen |= 1 << tokens[i]
    k, seen = 0, seen >> LOWEST_TOKEN
    while seen:
        # seen & (seen - 1) clears the lowest bit, so this counts bits
        k, seen = k + 1, seen & (seen - 1)
    return k


@njit(**RULE)
def coefficients(tokens, n):  # type: ignore[no-untyped-def]
    """Compute the autocorrelation r of tokens[:n] at lags 1, 2, 3; NaN where it is undefined, all n tokens being equal.

    r = sum_i d[i] d[i + lag] / n / var, var = sum_i d[i]^2 / n, d = token - mean; sums from left to right, in doubles.
    """
    total = 0
    for i in range(n):
        total += tokens[i]
    mean = total / n
    square = lag1 = lag2 = lag3 = 0.0
    # one pass for three lags: the last three differences stay in registers
    d1 = d2 = d3 = 0.0  # d of the three tokens before; 0 adds nothing
    for i in range(n):
        d = tokens[i] - mean
        square += d * d
        lag1 += d1 * d
        lag2 += d2 * d
        lag3 += d3 * d
        d1, d2, d3 = d, d1, d2
    if square == 0.0:
        return np.nan, np.nan, np.nan
    var = square / n
    return lag1 / n / var, lag2 / n / var, lag3 / n / var


@njit(**RULE)
def extremes(tokens, n):  # type: ignore[no-untyped-def]
    """Return whether the highest of tokens[:n] (offs and holds count) and its lowest pitch (if any) occur just once."""
    once, twice = 0, 0  # bit i: token i occurs (at least twice)
    for i in range(n):
        bit = 1 << tokens[i]
        twice |= once & bit
        once |= bit
    # shifted down and up again: clears the bits of off and hold
    highest, pitches = 0, once >> LOWEST_TOKEN << LOWEST_TOKEN
    # x & -x is the lowest bit that is set
    lowest = pitches & -pitches
    while once:
        highest, once = once, once & (once - 1)
    return highest & twice == 0, lowest != 0 and lowest & twice == 0


@njit(**RULE)
def _all_rules(tokens, t, length, out, n):  # type: ignore[no-untyped-def]
    """Write the nine terms of step t, in the order of RULE_NAMES, to row n of out [.., 9]."""
    out[n, 0] = key(tokens, t, length)
    out[n, 1] = tonic(tokens, t, length)
    out[n, 2] = repetition(tokens, t, length)
    out[n, 3] = autocorrelation(tokens, t, length)
    out[n, 4] = motif(tokens, t, length)
    out[n, 5] = repeated_motif(tokens, t, length)
    out[n, 6] = interval(tokens, t, length)
    out[n, 7] = leap(tokens, t, length)
    out[n, 8] = unique_extremes(tokens, t, length)


@njit(**COMPILED)
def step_rules(tokens, steps, length):  # type: ignore[no-untyped-def]
    """Compute all terms of one step of each melody: tokens [N, T], steps [N] -> [N, 9]."""
    for step in steps:
        if not 0 <= step < tokens.shape[1]:  # compiled code would read whatever lies in memory there
            raise IndexError("A step lies outside of the tokens.")
    out = np.empty((len(tokens), 9))
    for n in range(len(tokens)):
        _all_rules(tokens[n], steps[n], length, out, n)
    return out


@njit(**COMPILED)
def melody_rules(tokens, length):  # type: ignore[no-untyped-def]
    """Compute all terms of all steps of each melody: tokens [N, T] -> [N, T, 9]."""
    out = np.empty((*tokens.shape, 9))
    for n in range(len(tokens)):
        for t in range(tokens.shape[1]):
            _all_rules(tokens[n], t, length, out[n], t)
    return out


# what `count_rule_steps` counts
COUNTED = (
    "excessively_repeated", "repeated_pitches", "not_in_key", "in_motif", "in_repeated_motif", "resolved", "doubled"
)


@njit(**COMPILED)
def count_rule_steps(tokens):  # type: ignore[no-untyped-def]
    """Count at how many of the N T steps of melodies [N, T] rules apply: int64 [7], in the order of COUNTED.

    Rule 3 (of all tokens, and of pitches alone), 1, 5, 6, and rule 8 for a leap and against one.
    """
    counts = np.zeros(7, np.int64)
    horizon = tokens.shape[1]
    for n in range(len(tokens)):
        for t in range(horizon):
            excessive, paid = repetition(tokens[n], t, horizon) != 0.0, leap(tokens[n], t, horizon)
            counts[0] += excessive
            counts[1] += excessive and tokens[n, t] >= LOWEST_TOKEN
            counts[2] += key(tokens[n], t, horizon) != 0.0
            counts[3] += motif(tokens[n], t, horizon) != 0.0
            counts[4] += repeated_motif(tokens[n], t, horizon) != 0.0
            counts[5] += paid > 0.0
            counts[6] += paid < 0.0
    return counts


@njit(**COMPILED)
def measure_melodies(tokens):  # type: ignore[no-untyped-def]
    """Compute for tokens [N, T] the `coefficients` of each melody [N, 3] and its `extremes` [N, 2]."""
    # here and not in metrics.py: numba's cache does not see that a function of another file has changed
    values = np.empty((len(tokens), 3))
    unique = np.empty((len(tokens), 2), np.bool_)
    for n in range(len(tokens)):
        values[n, 0], values[n, 1], values[n, 2] = coefficients(tokens[n], tokens.shape[1])
        unique[n, 0], unique[n, 1] = extremes(tokens[n], tokens.shape[1])
    return values, unique


RULES = (key, tonic, repetition, autocorrelation, motif, repeated_motif, interval, leap, unique_extremes)
