"""What one token changes in N sequences, compiled: numpy would need two dozen calls, each a microsecond and more.

L = horizon, V tokens, K reward terms. Arrays are the environment's (env.py), and are written in place; sequences of
`over` [N] take no token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

COMPILED: dict[str, Any] = {"cache": True, "error_model": "numpy"}


@njit(**COMPILED)
def append(tokens, steps, over, chosen, allowed, size):  # type: ignore[no-untyped-def]
    """Writes chosen [N] behind the tokens [N, L], of which steps [N] are there. Returns -1; or else, nothing being
    written, the first sequence whose token is none of 0..size - 1 or is 0 in allowed [N, V] (or [0, V]: all are)."""
    for n in range(len(chosen)):
        if not over[n] and not (0 <= chosen[n] < size and (len(allowed) == 0 or allowed[n, chosen[n]])):
            return n
    for n in range(len(chosen)):
        if not over[n]:
            tokens[n, steps[n]] = chosen[n]
    return -1


@njit(**COMPILED)
def advance(terms, weights, c, rows, over, chosen, steps, last, returns, length, end):  # type: ignore[no-untyped-def]
    """Pays for chosen [N] and counts them in steps, last, returns and over [N].

    Args:
        terms, weights: [N, K] and [K]; r_T is the sum of their products.
        rows: [N, V], of log p.
        length, end: what ends a sequence: so many tokens, or this token (-1: there is none).

    Returns:
        table [2 + K, N]: log p, r_T / c, and the terms, 0 for sequences that were over; which sequences end now [N],
        and how many. Where an r_T is not finite that number is -1, and nothing is counted.
    """
    n, k = terms.shape
    table, ended, count = np.zeros((2 + k, n)), np.zeros(n, np.bool_), 0
    for i in range(n):
        if over[i]:
            continue
        total = 0.0
        for j in range(k):
            table[2 + j, i] = terms[i, j]
            total += terms[i, j] * weights[j]
        if not np.isfinite(total / c):
            count = -1
        table[0, i] = rows[i, chosen[i]]
        table[1, i] = total / c
    if count < 0:
        return table, ended, count
    for i in range(n):
        if not over[i]:
            steps[i] += 1
            last[i] = chosen[i]
            returns[i] += table[0, i] + table[1, i]
            if steps[i] == length or chosen[i] == end:
                ended[i] = over[i] = True
                count += 1
    return table, ended, count
