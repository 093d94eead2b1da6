"""Prove that no melody of 32 steps returns more than MAX_RETURN at weights 1.

`search_all(MAX_RETURN)` finds none, in some 15 seconds: `python -m seqtutor_envs.melody prove`.

A window is 8 tokens in a row, k its number of different pitches. Take any melody that returns MAX_RETURN or more.

1. Loss. motif pays at most 4.5 - .3 (8 - k) at 25 steps, repeated_motif 9 - (8 - k) at 17: 265.5 in all if nothing is
   lost. Charge each hold or off .3 for every window that holds it, as motif does. The other rules then add at most
   81.75: 6 for extremes; `bound_moves` for key, tonic, interval and leap; repetition and autocorrelation never pay. So
   repeated_motif loses at most 265.5 + 81.75 - MAX_RETURN < 40: from step 15 on 9 where it pays nothing, else 8 - k.
2. Shapes. `find_shapes` tries at each step from 15 on all that can be: no repeated motif, or the window equals an
   earlier one, at any offset. It keeps which steps have the same token: k is at most the number of different ones that
   a window has by that. In what loses less than 40 each token equals the one a period before, but for at most four:
   `start` at the beginning, `ending` at the end, and what the period has more than 8. That leaves 35 shapes.
   In a window that is repeated each token equals an earlier one, so the window lies in the periodic part: there
   repeated_motif pays, and nowhere else. A melody that repeats more than one branch demands is met in another branch.
3. Words. `search` lists all melodies of a shape that return as much as asked, by branch and bound over the letters: the
   tokens of the beginning and of the first period. From above, it counts
   - key, tonic and interval as often as a letter occurs; the move to a pitch whose last pitch is unknown at its most;
   - the motif rules as 4.5 and 9, less what holds, offs and equal pitches cost in each window;
   - autocorrelation exactly while the letters are new, and as 0 later; repetition as 0;
   - +5 once for each leap that `follow_leap` resolves. A leap within the word is resolved in every repetition alike.
     One from before the word, one to its first pitch and one that is pending at its end count as resolved where that
     is not known;
   - the ending and the extremes by `_ending_most`.
   The letters to come are bounded by dynamic programming over the last pitch and the pending leap (`best_rest`).

Bounds and returns are doubles, compared with a margin of ROUNDING.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.melody.max_return import (
    LEAP_PAYS, NEVER, PROVED_LENGTH, ROUNDING, TOKENS, bound_moves, follow_leap, make_term_tables
)
from seqtutor_envs.melody.rules import MOTIF, SLOW_RETURN, autocorrelation, melody_rules
from seqtutor_envs.melody.vocab import HOLD, LOWEST_TOKEN
from seqtutor_envs.vocab import Floats, Tokens

N = PROVED_LENGTH
FIRST_REPEAT = 2 * MOTIF - 1  # the first step at which 8 tokens can be a repeated motif
REPEATED_MOST, MOTIF_MOST = 9.0, 4.5  # of 8 different pitches
PER_PITCH = 0.3  # that a motif loses for each pitch fewer
EXTREME = 3.0  # for a unique extreme
HOLD_MOST = 1.5  # the interval rule's most, of a hold
PITCH_MOST = 0.75  # and of a pitch
TONIC = 3.0
KERNEL: dict[str, Any] = {"error_model": "numpy"}  # no cache: it would not see a change in rules.py


class Shape(NamedTuple):
    """Describe melodies with x[i] = x[i - period] for i from start + period on, up to the last `ending` tokens.

    A letter is a token that is free: `start` before the word, `period` in it. The ending is free as well.
    """

    start: int
    period: int
    ending: int

    @property
    def letters(self) -> Tokens:
        """Return the letter at each step before the ending, [32 - ending]."""
        steps = np.arange(N - self.ending)
        return np.where(steps < self.start, steps, self.start + (steps - self.start) % self.period)


def search_all(above: float) -> Tokens:
    """Return all melodies of 32 steps that return at least `above` at weights 1, [n, 32]. Show progress."""
    motifs = MOTIF_MOST * (N - MOTIF + 1) + REPEATED_MOST * (N - FIRST_REPEAT)
    rest = bound_moves(N, (1.0,) * 9, np.where(np.arange(N) >= MOTIF - 1, PER_PITCH, 0.0)) + 2 * EXTREME
    shapes = find_shapes(motifs + rest - above + ROUNDING)
    found = [search(shape, above) for shape in make_bar(shapes, desc="shapes")]
    return np.unique(np.concatenate(found), axis=0)


def find_shapes(loss: float) -> list[Shape]:
    """Return the shapes of all melodies of 32 steps that lose at most `loss` of what the motif rules can pay.

    Raise ValueError where a melody that loses so little need not have such a shape.
    """
    # for each step the first that holds the same token, as far as repeated motifs tell
    known: dict[tuple[int, ...], Shape] = {}
    for start, added, ending in product(range(MOTIF), repeat=3):
        shape = Shape(start, MOTIF + added, ending)
        letters = (*shape.letters.tolist(), *range(N - ending, N))
        known.setdefault(tuple(letters.index(letter) for letter in letters), shape)
    shapes = set()
    branches: list[tuple[tuple[int, ...], tuple[bool, ...]]] = [(tuple(range(N)), ())]
    while branches:
        # each step from 15 on is the end of a repeated motif (True) or not
        same, repeated = branches.pop()
        step = FIRST_REPEAT + len(repeated)
        if step == N:
            if same not in known:
                raise ValueError("A melody that loses so much need not be periodic: ask for a higher return.")
            shapes.add(known[same])
            continue
        choices = {(same, (*repeated, False))}
        for earlier in range(step - FIRST_REPEAT + 1):
            merged = list(same)
            for i in range(MOTIF):
                low, high = sorted((merged[earlier + i], merged[step - MOTIF + 1 + i]))
                merged = [low if first == high else first for first in merged]
            choices.add((tuple(merged), (*repeated, True)))
        branches += [choice for choice in choices if _loss(*choice) <= loss]
    return sorted(shapes)


def _loss(same: tuple[int, ...], repeated: tuple[bool, ...]) -> float:
    """Return what repeated_motif loses at least: 9 where it does not pay, else 1 for each token that recurs in it."""
    lost = 0.0
    for step, is_repeated in enumerate(repeated, start=FIRST_REPEAT):
        lost += MOTIF - len(set(same[step - MOTIF + 1 : step + 1])) if is_repeated else REPEATED_MOST
    return lost


def search(shape: Shape, above: float) -> Tokens:
    """Return all melodies of a shape that return at least `above`, [n, 32].

    A melody with a repeated motif more than the shape demands has another shape too, and may be missing here.
    """
    tables = make_tables(shape)
    melodies = [np.empty((0, N), np.int64)]
    for first in range(TOKENS):
        words = search_words(first, tables, best_rest(first, tables), above - ROUNDING)
        melodies.append(_with_endings(words[:, shape.letters], shape, above))
    return np.concatenate(melodies)


class Tables(NamedTuple):
    """Hold what the tokens of a shape's letters can pay. L letters are free, `start` of them before the word."""

    start: int
    times: Floats  # [L], how often a letter occurs
    terms: Floats  # [L, 38], what a token pays at all these steps: key, tonic, less what a hold or an off costs
    move: Floats  # [38, 38], what a token pays after a last pitch: interval; in row 0 the most after any
    share: Floats  # [L, L], what the motif rules lose if the pitch of one letter is the other's too
    most: float  # of all that these tables leave out


def make_tables(shape: Shape) -> Tables:
    """Compute the tables of a shape."""
    letters, length = shape.letters, shape.start + shape.period
    place, move = make_term_tables(N)
    move[0] = move[LOWEST_TOKEN:].max(axis=0)
    terms, share = np.zeros((length, TOKENS)), np.zeros((length, length))
    np.add.at(terms, letters, place.sum(axis=0)[: len(letters)])
    paid = np.zeros(N, bool)  # repeated_motif, at these steps
    paid[length + MOTIF - 1 : N - shape.ending] = True
    for step in range(MOTIF - 1, N):
        window = letters[step - MOTIF + 1 : step + 1]
        share[np.ix_(window, window)] += PER_PITCH + paid[step]
    terms[:, :LOWEST_TOKEN] -= np.diag(share)[:, None]
    most = MOTIF_MOST * (N - MOTIF + 1) + REPEATED_MOST * paid.sum() + _ending_most(shape)
    return Tables(shape.start, np.bincount(letters).astype(float), terms, move, share, most)


def _ending_most(shape: Shape) -> float:
    """Bound what the ending pays beyond its motifs, and what unique extremes pay."""
    # a leap and its resolution are two steps apart at least, and the leap before them one more
    resolved = -(-shape.ending // 3)
    held = HOLD_MOST + TONIC - PER_PITCH  # a pitch pays PITCH_MOST, which is less, if it resolves no leap
    tonic = TONIC if shape.ending >= 4 else 0.0  # middle C at step 28, where a hold has none
    # steps whose token can be unique. The same one for both extremes only in a melody of one pitch, which has no motif
    once = (np.bincount(shape.letters) == 1).sum() + shape.ending
    return float(shape.ending * held + resolved * (LEAP_PAYS + PITCH_MOST - held) + tonic + EXTREME * min(2, once))


def _with_endings(begun: Tokens, shape: Shape, above: float) -> Tokens:
    """Return the melodies [n, 32] that return at least `above` and begin with one of [m, 32 - ending]."""
    so_far = melody_rules(begun, N).sum(axis=(1, 2))
    hopeful = begun[so_far + _ending_most(shape) + MOTIF_MOST * shape.ending >= above - ROUNDING]
    melodies = [np.empty((0, N), np.int64)]
    for row in hopeful:
        endings = np.array(list(product(range(TOKENS), repeat=shape.ending)), np.int64)
        whole = np.concatenate([np.broadcast_to(row, (len(endings), len(row))), endings], axis=1)
        melodies.append(whole[melody_rules(whole, N).sum(axis=(1, 2)) >= above - ROUNDING])
    return np.concatenate(melodies)


@njit(**KERNEL)
def best_rest(first, tables):  # type: ignore[no-untyped-def]
    """Bound what the letters from `letter` on pay, for a word that begins with `first`: [letter, p, pending, since].

    p is the last pitch, 0 if it is unknown: then a token pays its most after any pitch. `pending` is shifted by 37.
    What the repetitions of the first letter pay is added at the end of the word, where the pitch before them is known.
    """
    length, start = len(tables.times), tables.start
    # read once: in the loops a field costs as much as the sum
    times, terms, move = tables.times, tables.terms, tables.move
    rest = np.full((length + 1, TOKENS, 2 * TOKENS - 1, SLOW_RETURN + 2), NEVER)
    for letter in range(length, start, -1):
        for p in range(TOKENS):
            if p == HOLD:
                continue
            for left in range(1 - TOKENS, TOKENS):
                if 0 < abs(left) < LOWEST_TOKEN or (p == 0 and left != 0):
                    continue
                # the first leap of a word leads to its second letter
                for since in range(min(SLOW_RETURN + 2, letter - start - 1) if left != 0 else 1):
                    most = NEVER
                    if letter == length:
                        most = _end_of_word(p, first, left, since, tables)
                    else:
                        for a in range(TOKENS):
                            paid, q, leap, later = _step(p, a, left, since, times[letter], times[letter], move)
                            value = terms[letter, a] + paid + rest[letter + 1, q, leap + TOKENS - 1, later]
                            most = max(most, value)
                    rest[letter, p, left + TOKENS - 1, since] = most
    return rest


@njit(**KERNEL)
def _end_of_word(p, first, pending, since, tables):  # type: ignore[no-untyped-def]
    """Bound what the first letter pays when the word is repeated, and the leaps that are pending then."""
    repetitions = tables.times[tables.start] - 1.0
    if first < LOWEST_TOKEN or p == 0:
        # the next pitch may resolve a leap, or be one that is resolved. Both only 8 steps after the last leap or later:
        # in a period of 8 that is the same leap again
        both = pending != 0 and len(tables.times) - tables.start > MOTIF
        return (2.0 if both else 1.0) * LEAP_PAYS * repetitions
    left, _, resolved = follow_leap(p, first, pending, since)
    # a leap that is still pending is taken for resolved
    return repetitions * (tables.move[p, first] + LEAP_PAYS * resolved + LEAP_PAYS * (left != 0))


@njit(**KERNEL)
def _step(p, a, pending, since, moves, resolutions, move):  # type: ignore[no-untyped-def]
    """Return what token a pays for its interval, `moves` times, and for its leap, `resolutions` times.

    And the next p, pending and since.
    """
    paid = moves * move[p, a]
    if a < LOWEST_TOKEN:
        return paid, p, pending, min(since + 1, SLOW_RETURN + 1) if pending != 0 else 0
    if p == 0:
        return paid, a, 0, 0
    left, later, resolved = follow_leap(p, a, pending, since)
    return paid + resolutions * LEAP_PAYS * resolved, a, left, later


@njit(**KERNEL)
def _first_step(p, a, pending, since, tables):  # type: ignore[no-untyped-def]
    """Return what token a pays as the first of the word, but for its repetitions, and the next p, pending and since."""
    if a >= LOWEST_TOKEN:
        return _step(p, a, pending, since, 1.0 if p != 0 else 0.0, 1.0, tables.move)
    # the pitch before is another one in each repetition; the next may resolve a leap, and be one that is resolved
    return tables.times[tables.start] * tables.move[0, a] + (2.0 * LEAP_PAYS if p != 0 else 0.0), 0, 0, 0


@njit(**KERNEL)
def search_words(first, tables, rest, above):  # type: ignore[no-untyped-def]
    """Return all letters [n, L], the word beginning with `first`, whose bound is at least `above`.

    Depth first. The bound is what the letters x pay so far and `rest`, which is `best_rest(first, tables)`.
    """
    length, start = len(tables.times), tables.start
    found = [np.zeros(length, np.int64) for _ in range(0)]  # numba needs the type of what will be in it
    x = np.full(length, -1)
    value = np.full(length + 1, tables.most)
    pitch, pending, since = np.zeros((3, length + 1), np.int64)
    # the pending leap comes from before the word or leads to its first letter, so that it occurs once
    once = np.zeros(length + 1, np.bool_)
    q = first if first >= LOWEST_TOKEN else 0
    # the word from its first letter on, whatever stands before
    entry = tables.terms[start, first] + rest[start + 1, q, TOKENS - 1, 0]
    entry += tables.move[0, first] + LEAP_PAYS if q else tables.times[start] * tables.move[0, first] + 2.0 * LEAP_PAYS
    n = 0
    while n >= 0:
        x[n] = first if n == start and x[n] < 0 else x[n] + 1
        if x[n] == TOKENS or (n == start and x[n] > first):
            x[n] = -1
            n -= 1
            continue
        a, p, times = x[n], pitch[n], tables.times[n]
        if n == start:
            paid, q, left, later = _first_step(p, a, pending[n], since[n], tables)
        else:
            paid, q, left, later = _step(p, a, pending[n], since[n], times, 1.0 if once[n] else times, tables.move)
            if n < start and p == 0:
                paid = 0.0  # before the word nothing is unknown: no pitch came before
        for twin in range(n - 1, -1, -1):
            if a >= LOWEST_TOKEN and x[twin] == a:
                paid -= tables.share[n, twin]
                break
        now = value[n] + tables.terms[n, a] + paid + autocorrelation(x, n, N)
        is_once = False
        if n < start:
            before = start - 1 - n  # letters to come before the word
            # leaps are resolved three steps apart at least; `entry` holds one or two more at the word's first pitch
            bound = now + before * HOLD_MOST + LEAP_PAYS * ((before + 3) // 3) + entry
        else:
            # after a leap `later` is 0
            is_once = left != 0 if n == start else once[n] and later > 0
            if is_once:
                # taken for resolved, once: no other leap depends on it
                bound = now + LEAP_PAYS + rest[n + 1, q, TOKENS - 1, 0]
            else:
                bound = now + rest[n + 1, q, left + TOKENS - 1, later]
        if bound < above:
            continue
        if n + 1 == length:
            found.append(x.copy())
            continue
        n += 1
        value[n], pitch[n], pending[n], since[n], once[n] = now, q, left, later, is_once
    words = np.empty((len(found), length), np.int64)
    for i in range(len(found)):
        words[i] = found[i]
    return words
