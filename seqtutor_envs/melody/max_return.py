"""Bounds on the return of a melody: R is the undivided return, the sum over all steps of weight * rule.

`bound_return` holds for any length and weights. The paper's task, 32 steps at weights 1, has an exact answer:
BEST_MELODY has the greatest return, and max_return_proof.py proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from seqtutor_envs.files.compiled import njit
from seqtutor_envs.melody.rules import COMPILED, LEAP, MOTIF, RULE_NAMES, SLOW_RETURN, melody_rules, step_rules
from seqtutor_envs.melody.vocab import LOWEST_TOKEN, MELODY_VOCAB
from seqtutor_envs.vocab import Floats

PROVED_LENGTH = 32
BEST_MELODY = (14, 21, 16, 11, 15, 7, 13, 18) * 4  # R = 307.35611
MAX_RETURN = 307.3562  # no melody of 32 steps returns more at weights 1
ROUNDING = 1e-6  # far more than the sums of doubles here can err, at weights of 1

TOKENS = len(MELODY_VOCAB)
LEAP_PAYS = 5.0
NEVER = -1e9  # the value of a state that does not occur


def bound_return(length: int, weights: Mapping[str, float]) -> float:
    """Return a proved upper bound on R of a melody of `length` steps, for these weights of the nine rules.

    The greatest return itself, rounded up, for 32 steps at weights 1. Else the sum of

    - motif and repeated_motif of k = 8 different pitches at every step where they can be paid. Both grow linearly in k,
      so every hold or off costs its share in each of the windows of 8 tokens that hold it;
    - the greatest sum of tonic, key, interval and leap less these costs, by dynamic programming over the last pitch
      and the pending leap;
    - for the other rules, and for a negative weight, the rule's own maximum or minimum at every step.
    """
    w = tuple(float(weights[name]) for name in RULE_NAMES)
    if length == PROVED_LENGTH and all(weight == 1.0 for weight in w):
        return MAX_RETURN
    return _relaxed_bound(length, w)


@lru_cache(maxsize=64)
def _relaxed_bound(length: int, w: tuple[float, ...]) -> float:
    _, _, repetition, autocorrelation, motif, repeated_motif, _, leap, unique_extremes = w
    motif, repeated_motif = max(motif, 0.0), max(repeated_motif, 0.0)
    steps = np.arange(length)
    in_motif, in_repeated = steps >= MOTIF - 1, steps >= 2 * MOTIF - 1
    bound = motif * 4.5 * in_motif.sum() + repeated_motif * 9.0 * in_repeated.sum() + max(unique_extremes, 0.0) * 6.0
    # of a negative weight: at most -100 from step 2 on, three coefficients of at most 1 from step 1 on, -5 from step 2
    bound += max(-repetition, 0.0) * 100.0 * max(length - 2, 0) + max(-autocorrelation, 0.0) * 9.0 * (length - 1)
    bound += max(-leap, 0.0) * LEAP_PAYS * max(length - 2, 0)
    bound += bound_moves(length, w, 0.3 * motif * in_motif + repeated_motif * in_repeated)
    return float(bound + ROUNDING * (1.0 + sum(abs(weight) for weight in w)))


def bound_moves(length: int, w: tuple[float, ...], share: Floats) -> float:
    """Return the greatest sum of key, tonic, interval and leap, less what holds and offs cost.

    A hold or an off costs `share[t]` for each step t whose last 8 tokens hold it.
    """
    place, move = make_term_tables(length)
    place = w[0] * place[0] + w[1] * place[1]
    for step in range(length):
        place[step, :LOWEST_TOKEN] -= share[step : step + MOTIF].sum()
    return float(_best_moves(place, w[6] * move, max(w[7], 0.0) * LEAP_PAYS))


def make_term_tables(length: int) -> tuple[Floats, Floats]:
    """Return what the rules pay for single tokens and for moves.

    `place` [2, length, 38]: key and tonic of a token at a step. `move` [38, 38]: interval of a token after a last
    pitch; 0 for tokens that are no pitch. All are asked of the rules themselves.
    """
    tokens = np.arange(TOKENS)
    pairs = np.stack(np.meshgrid(tokens, tokens, indexing="ij"), axis=-1).reshape(-1, 2)
    move = melody_rules(pairs, 2)[:, 1, 6].reshape(TOKENS, TOKENS)
    place = np.zeros((2, length, TOKENS))
    everything = np.repeat(tokens[:, None], length, axis=1)  # a melody of each token alone
    place[0] = step_rules(everything, np.zeros(TOKENS, np.int64), length)[:, 0]
    # tonic pays at the first step and at the last four
    for step in {0, *range(max(length - 4, 0), length)}:
        place[1, step] = step_rules(everything, np.full(TOKENS, step), length)[:, 1]
    return place, move


@njit(**COMPILED)
def follow_leap(p, a, pending, since):  # type: ignore[no-untyped-def]
    """Move from pitch p to pitch a, and return the next (pending, since) and whether a leap is resolved.

    `pending` is the pitch left by the last leap, negative if it went down, 0 if it is resolved; `since` counts the
    tokens since that leap, up to 7.

    In rule 8 a second leap clears or doubles the first. Here every leap begins anew, and a doubled one costs nothing.
    That bounds rule 8 from above: each +5 belongs to the leap that became pending. Either no leap came between, and it
    is resolved here too, or each that did cost 5. Whether a leap is resolved here depends on the pitches up to the next
    leap alone, so every repetition of these pitches resolves it again.
    """
    d = a - p
    if abs(d) >= LEAP:
        resolved = pending * d < 0 and since > SLOW_RETURN
        return (p if d > 0 else -p), 0, resolved
    if pending == 0 or (pending > 0 and a <= pending) or (pending < 0 and a >= -pending):
        return 0, 0, pending != 0
    return pending, min(since + 1, SLOW_RETURN + 1), False


@njit(**COMPILED)
def _best_moves(place, move, leap_pays):  # type: ignore[no-untyped-def]
    """Return the greatest sum over steps of place [length, 38], move [38, 38] and `leap_pays` for a resolved leap."""
    best = nothing_to_come()
    for step in range(len(place) - 1, -1, -1):
        best = best_from_here(place[step], move, leap_pays, best)
    return best[0, TOKENS - 1, 0]


@njit(**COMPILED)
def nothing_to_come():  # type: ignore[no-untyped-def]
    """Return what `best_from_here` returns after the last step: 0 in every state."""
    # [last pitch (0: none yet), pending leap + 37, tokens since then]
    return np.zeros((TOKENS, 2 * TOKENS - 1, SLOW_RETURN + 2))


@njit(**COMPILED)
def best_from_here(place, move, leap_pays, after):  # type: ignore[no-untyped-def]
    """Return the greatest sum of a step and those to come by state [38, 75, 8]: last pitch, pending leap, tokens since.

    Args:
        place: what each token pays at this step, [38].
        move: what it pays after each last pitch, [38, 38].
        leap_pays: for a resolved leap.
        after: the greatest sum of the steps to come, by the state after this one.
    """
    best = np.empty_like(after)
    for p in range(TOKENS):
        for pending in range(1 - TOKENS, TOKENS):
            for since in range(SLOW_RETURN + 2):
                later = min(since + 1, SLOW_RETURN + 1) if pending != 0 else 0
                most = NEVER
                for a in range(TOKENS):
                    value = place[a] + move[p, a]
                    if a < LOWEST_TOKEN:
                        value += after[p, pending + TOKENS - 1, later]
                    elif p < LOWEST_TOKEN:
                        value += after[a, TOKENS - 1, 0]
                    else:
                        left, tokens_since, resolved = follow_leap(p, a, pending, since)
                        value += after[a, left + TOKENS - 1, tokens_since] + resolved * leap_pays
                    most = max(most, value)
                best[p, pending + TOKENS - 1, since] = most
    return best
