"""The recurrent updates of cells.py as compiled loops, for a handful of sequences: same arguments and results."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]

# fused multiply-add and sums in any order; nothing that would treat NaN or infinity differently
FAST = {"contract", "reassoc"}


@njit(cache=True, fastmath=FAST)
def lstm(gates: Array, w_hidden: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """gates [N, 4 H] (i, f, o halved, g), w_hidden [H, 4 H], h, c [N, H] -> h, c."""
    n, size = h.shape
    new_h, new_c = np.empty_like(h), np.empty_like(c)
    for b in range(n):
        row = gates[b]
        for k in range(size):
            left = h[b, k]
            for j in range(4 * size):
                row[j] += left * w_hidden[k, j]
        for j in range(4 * size):
            row[j] = np.tanh(row[j])
        for j in range(size):
            i, f, o = row[j], row[size + j], row[2 * size + j]
            cell = np.float32(0.5) * ((np.float32(1) + f) * c[b, j] + (np.float32(1) + i) * row[3 * size + j])
            new_c[b, j] = cell
            new_h[b, j] = np.float32(0.5) * (np.float32(1) + o) * np.tanh(cell)
    return new_h, new_c


@njit(cache=True, fastmath=FAST)
def gru(pre: Array, w_hidden: Array, h: Array) -> tuple[Array]:
    """pre [N, 3 H] (r, z halved, n), w_hidden [H + 1, 3 H] (its last row is n's hidden bias), h [N, H] -> (h,)."""
    n, size = h.shape
    new_h = np.empty_like(h)
    recurrent = np.empty(3 * size, np.float32)
    for b in range(n):
        recurrent[:] = w_hidden[size]
        for k in range(size):
            left = h[b, k]
            for j in range(3 * size):
                recurrent[j] += left * w_hidden[k, j]
        for j in range(size):
            r = np.float32(0.5) * (np.float32(1) + np.tanh(pre[b, j] + recurrent[j]))
            z = np.float32(0.5) * (np.float32(1) + np.tanh(pre[b, size + j] + recurrent[size + j]))
            candidate = np.tanh(pre[b, 2 * size + j] + r * recurrent[2 * size + j])
            new_h[b, j] = candidate + z * (h[b, j] - candidate)
    return (new_h,)
