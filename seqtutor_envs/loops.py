"""The recurrent updates of cells.py as compiled loops, for a handful of sequences: same arguments, results to 1e-6.

At these sizes a call into BLAS costs more than the product. Four rows of the hidden matrix are added at a time, so that
the sums stay in registers, and tanh is written with exp, which the compiler turns into vector code.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]

# fused multiply-add and sums in any order; nothing that would treat NaN or infinity differently
FAST = {"contract", "reassoc"}
ONE, HALF = np.float32(1.0), np.float32(0.5)
LARGE = np.float32(9.0)  # tanh of it is 1 in float32, and exp of twice it is far from overflow


@njit(cache=True, fastmath=FAST)
def tanh(x: np.float32) -> np.float32:
    """tanh of a float32, to 2e-7."""
    doubled = np.exp(np.float32(2.0) * min(max(x, -LARGE), LARGE))
    return (doubled - ONE) / (doubled + ONE)


@njit(cache=True, fastmath=FAST)
def add_product(row: Array, left: Array, matrix: Array) -> None:
    """row [M] += left [H] @ the first H rows of matrix [>= H, M]."""
    size = len(left)
    whole = size - size % 4
    for k in range(0, whole, 4):
        a, b, c, d = left[k], left[k + 1], left[k + 2], left[k + 3]
        for j in range(len(row)):
            row[j] += a * matrix[k, j] + b * matrix[k + 1, j] + c * matrix[k + 2, j] + d * matrix[k + 3, j]
    for k in range(whole, size):
        for j in range(len(row)):
            row[j] += left[k] * matrix[k, j]


@njit(cache=True, fastmath=FAST)
def lstm(gates: Array, w_hidden: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """gates [N, 4 H] (i, f, o halved, g), w_hidden [H, 4 H], h, c [N, H] -> h, c."""
    n, size = h.shape
    new_h, new_c = np.empty_like(h), np.empty_like(c)
    for b in range(n):
        row = gates[b]
        add_product(row, h[b], w_hidden)
        for j in range(4 * size):
            row[j] = tanh(row[j])
        for j in range(size):
            i, f, o, g = row[j], row[size + j], row[2 * size + j], row[3 * size + j]
            cell = HALF * ((ONE + f) * c[b, j] + (ONE + i) * g)
            new_c[b, j] = cell
            new_h[b, j] = HALF * (ONE + o) * tanh(cell)
    return new_h, new_c


@njit(cache=True, fastmath=FAST)
def gru(pre: Array, w_hidden: Array, h: Array) -> tuple[Array]:
    """pre [N, 3 H] (r, z halved, n), w_hidden [H + 1, 3 H] (its last row is n's hidden bias), h [N, H] -> (h,)."""
    n, size = h.shape
    new_h = np.empty_like(h)
    recurrent = np.empty(3 * size, np.float32)
    for b in range(n):
        recurrent[:] = w_hidden[size]
        add_product(recurrent, h[b], w_hidden)
        for j in range(size):
            r = HALF * (ONE + tanh(pre[b, j] + recurrent[j]))
            z = HALF * (ONE + tanh(pre[b, size + j] + recurrent[size + j]))
            candidate = tanh(pre[b, 2 * size + j] + r * recurrent[2 * size + j])
            new_h[b, j] = candidate + z * (h[b, j] - candidate)
    return (new_h,)
