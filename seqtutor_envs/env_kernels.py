"""Append one token to N sequences, compiled: numpy would need two dozen calls, each a microsecond and more.

L = horizon, V tokens, K reward terms. Arrays belong to the environment (vector_env.py) and are written in place;
sequences of `over` [N] take no token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqtutor_envs.checks import MAX_REWARD, SUM_TOLERANCE
from seqtutor_envs.files.compiled import njit
from seqtutor_envs.rewards import reward, scaled

COMPILED: dict[str, Any] = {"cache": True, "error_model": "numpy"}


@njit(**COMPILED)
def append(tokens, steps, over, chosen, allowed, size):  # type: ignore[no-untyped-def]
    """Write chosen [N] behind the tokens [N, L], of which steps [N] are there.

    Return -1 on success. If a token is not in 0..size - 1, or is 0 in allowed [N, V], write nothing and return the
    index of the first such sequence. An empty allowed [0, V] allows every token.
    """
    # two loops: nothing may be written before every token has been checked
    for n in range(len(chosen)):
        if not over[n] and not (0 <= chosen[n] < size and (len(allowed) == 0 or allowed[n, chosen[n]])):
            return n
    for n in range(len(chosen)):
        if not over[n]:
            tokens[n, steps[n]] = chosen[n]
    return -1


@njit(**COMPILED)
def advance(terms, weights, c, rows, over, chosen, steps, last, returns, length, end):  # type: ignore[no-untyped-def]
    """Pay for chosen [N] and count them in steps, last, returns and over [N].

    Args:
        terms, weights: [N, K] and [K]; r_T is the sum of their products.
        rows: [N, V], of log p.
        length, end: what ends a sequence: so many tokens, or this token (-1: there is none).

    Returns:
        table [2 + K, N]: log p, r_T / c, and the terms; rewards [N]; which sequences end now [N], and how many. All are
        0 for sequences that were over. The number is -1 where an r_T / c is NaN or beyond MAX_REWARD, -2 where a log p
        is NaN or above 0, and then nothing is counted.
    """
    n, k = terms.shape
    # zeros, not empty: a sequence that is over must show 0 in every row
    table, rewards, ended, count = np.zeros((2 + k, n)), np.zeros(n), np.zeros(n, np.bool_), 0
    for i in range(n):
        if over[i]:
            continue
        r_t = 0.0
        for j in range(k):
            table[2 + j, i] = terms[i, j]
            r_t += terms[i, j] * weights[j]
        table[0, i], table[1, i] = rows[i, chosen[i]], scaled(r_t, c)
        rewards[i] = reward(table[0, i], r_t, c)
        # written so that NaN, which compares as false, is caught too
        if not abs(table[1, i]) <= MAX_REWARD:
            count = -1
        elif not table[0, i] <= SUM_TOLERANCE:
            count = -2
    if count < 0:  # the caller raises, and the sequences stay as they were
        return table, rewards, ended, count
    # after the loop above, so that an error leaves no sequence half counted
    for i in range(n):
        if not over[i]:
            steps[i] += 1
            last[i] = chosen[i]
            returns[i] += rewards[i]
            if steps[i] == length or chosen[i] == end:
                ended[i] = over[i] = True
                count += 1
    return table, rewards, ended, count
