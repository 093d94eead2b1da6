"""Bounds on the return of all melodies that begin alike: what a prefix has been paid, and the most that can follow.

A window is 8 tokens in a row, k its number of different pitches, n the tokens known. What can follow is at most the sum
of

- motif, 4.5 - .3 (8 - k) at each step: tokens to come count as new pitches;
- repeated motif, 1 + k at each step where the window can equal an earlier one that ended 8 steps before. The tokens of
  the window that are known must stand there. Where none is known, k is at most that of the earlier windows, the newest
  of which holds the most tokens to come;
- unique extremes, 6;
- key, tonic, interval and leap at their best by dynamic programming over the last pitch and the pending leap, less what
  holds and offs to come cost in the windows above, .3 of a motif and 1 of a repeated one.

Such a cost and the k of an earlier window count the same loss. So each window of a repeated motif has one of the two,
in two ways, of which the smaller sum holds: the cost from the step n + 7 on, or from n + 15 on and k before.
Repetition and autocorrelation never pay. All weights must be 0 or more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from seqtutor_envs.melody.max_return import (
    LEAP_PAYS, ROUNDING, TOKENS, best_from_here, make_term_tables, nothing_to_come
)
from seqtutor_envs.melody.rules import MOTIF, SLOW_RETURN, follow_leaps
from seqtutor_envs.melody.vocab import LOWEST_TOKEN
from seqtutor_envs.vocab import Floats, Tokens

FIRST_REPEAT = 2 * MOTIF - 1  # the first step at which 8 tokens can be a repeated motif
# steps from n on, after which a window and the newest one that it can repeat hold tokens to come alone
WINDOW_TO_COME, SOURCE_TO_COME = MOTIF - 1, FIRST_REPEAT
KERNEL: dict[str, Any] = {"error_model": "numpy"}  # no cache: it would not see a change in rules.py


def bound_prefixes(tokens: Tokens, so_far: Floats, length: int, weights: tuple[float, ...]) -> Floats:
    """Return upper bounds [N] on R of melodies of `length` steps that begin with tokens [N, n], n >= 1.

    Args:
        tokens: the prefixes.
        so_far: what the rules have paid for them, weighted, [N].
        length: of whole melodies.
        weights: of the nine rules, 0 or more.
    """
    n = tokens.shape[1]
    if n == length:
        return so_far
    moves = _make_moves(length, weights)
    tables = moves.best(n, WINDOW_TO_COME), moves.best(n, SOURCE_TO_COME)
    _, _, _, _, motif, repeated_motif, _, _, unique_extremes = weights
    most = _bound_rest(np.ascontiguousarray(tokens, np.int64), length, motif, repeated_motif, *tables)
    return np.asarray(so_far + most + 6.0 * unique_extremes + ROUNDING * (1.0 + sum(weights)), np.float64)


class _Moves:
    """Compute the greatest sum of key, tonic, interval and leap to come, less what holds and offs cost."""

    def __init__(self, length: int, weights: tuple[float, ...]) -> None:
        key, tonic, _, _, self.motif, self.repeated_motif, interval, leap, _ = weights
        place, move = make_term_tables(length)
        self.length, self.place, self.move = length, key * place[0] + tonic * place[1], interval * move
        self.leap_pays = leap * LEAP_PAYS
        self._known: dict[tuple[int, int], Floats] = {}
        self._to_the_end = [nothing_to_come()]  # of every step, where all windows to come cost; from the end
        for step in reversed(range(length)):
            self._to_the_end.append(self._step_back(step, step, self._to_the_end[-1]))
        self._to_the_end.reverse()

    def best(self, n: int, ahead: int) -> Floats:
        """Return the sum from step n on by state [38, 75, 8]; repeated motifs cost from step n + `ahead` on."""
        begin = min(n + ahead, self.length)
        if (n, begin) not in self._known:
            best = self._to_the_end[begin]
            for step in reversed(range(n, begin)):
                best = self._step_back(step, begin, best)
            self._known[n, begin] = best
        return self._known[n, begin]

    def _step_back(self, step: int, begin: int, after: Floats) -> Floats:
        """Return the sum from `step` on, given that of the steps after it; repeated motifs cost from `begin` on."""
        windows = np.arange(step, min(step + MOTIF, self.length))
        cost = 0.3 * self.motif * (windows >= MOTIF - 1).sum()
        cost += self.repeated_motif * ((windows >= FIRST_REPEAT) & (windows >= begin)).sum()
        place = self.place[step].copy()
        place[:LOWEST_TOKEN] -= cost
        return np.asarray(best_from_here(place, self.move, self.leap_pays, after))


_make_moves = lru_cache(maxsize=4)(_Moves)


@njit(**KERNEL)
def _bound_rest(tokens, length, motif, repeated_motif, windows_cost, sources_cost):  # type: ignore[no-untyped-def]
    """Bound what the rules but unique_extremes pay from step n on: tokens [N, n] -> [N]."""
    n = tokens.shape[1]
    rest = np.empty(len(tokens))
    for i in range(len(tokens)):
        x = tokens[i]
        p, pending, since = _find_state(x)
        # without the windows of repeated motifs that hold tokens to come alone: at their most, and by their sources
        most = 0.0
        full, by_source = windows_cost[p, pending + TOKENS - 1, since], sources_cost[p, pending + TOKENS - 1, since]
        known = 0  # the most pitches of a window of known tokens, up to the newest that step t can repeat
        for source in range(min(max(n - FIRST_REPEAT, 0), n - MOTIF + 1)):
            known = max(known, _most_pitches(x, source))
        for t in range(max(n, MOTIF - 1), length):
            most += motif * (4.5 - 0.3 * (MOTIF - _most_pitches(x, t - MOTIF + 1)))
            if t < FIRST_REPEAT:
                continue
            newest = _most_pitches(x, t - FIRST_REPEAT)
            if t - FIRST_REPEAT + MOTIF <= n:
                known = max(known, newest)
            if t < n + WINDOW_TO_COME:
                most += repeated_motif * _most_of_repeated(x, t)
            else:
                full += 9.0 * repeated_motif
                # of the sources with tokens to come, the newest has the most
                k = max(known, newest)
                by_source += repeated_motif * (1.0 + k if k >= 3 else 0.0)
        rest[i] = most + min(full, by_source)
    return rest


@njit(**KERNEL)
def _most_pitches(x, begin):  # type: ignore[no-untyped-def]
    """Return the most different pitches of the window from `begin` on: tokens beyond x count as new ones."""
    seen = 0  # bit i: token i occurs
    end = min(begin + MOTIF, len(x))
    for i in range(begin, end):
        seen |= 1 << x[i]
    seen >>= LOWEST_TOKEN
    k = MOTIF - max(end - begin, 0)
    while seen:
        k, seen = k + 1, seen & (seen - 1)
    return k


@njit(**KERNEL)
def _most_of_repeated(x, t):  # type: ignore[no-untyped-def]
    """Return the most that repeated_motif pays at step t, some tokens of whose window are known."""
    first = t - MOTIF + 1
    most = 0.0
    for source in range(first - MOTIF + 1):
        same = True
        for i in range(first, len(x)):
            if x[source + i - first] != x[i]:
                same = False
                break
        if same:
            k = _most_pitches(x, source)
            most = max(most, 1.0 + k if k >= 3 else 0.0)
    return most


@njit(**KERNEL)
def _find_state(x):  # type: ignore[no-untyped-def]
    """Return the last pitch (0: none), the pending leap of rule 8 and the tokens since, as `follow_leap` has them.

    The pending leap is the rule's own: one that was doubled stays. From there on `follow_leap` bounds the rule, since
    it resolves that leap too if no other comes before.
    """
    _, p, direction, left, since = follow_leaps(x, len(x))
    pending = direction * left
    return max(p, 0), pending, min(since, SLOW_RETURN + 1) if pending != 0 else 0
