"""Compiled loops of a recurrent step: the gates after the matrix products, log softmax, and the draw of a token.

Each makes one pass over a row. Numpy would go through memory once for each operation, which takes half of the step.
The compiler turns these loops into vector code on three conditions: tanh and exp are written out (polynomials of Eigen
and of Cephes, in float32), division follows numpy's rules (`error_model`; Python's would test each divisor), and loops
start at 0, over slices. H cells, N sequences, V tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files.compiled import njit

Array = NDArray[np.float32]
f32 = np.float32

# fused multiply-add and sums in any order; nothing that would treat NaN or infinity differently
COMPILED: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc"}, "error_model": "numpy"}
INLINE: dict[str, Any] = {**COMPILED, "inline": "always"}  # a called function would keep a loop from becoming vectors

ZERO, ONE, HALF = f32(0.0), f32(1.0), f32(0.5)
FLAT = f32(9.0)  # from here on tanh is 1 in float32
# of Eigen's rational approximation of tanh: odd powers above, even powers below, the highest first
T13, T11, T9 = f32(-2.76076847742355e-16), f32(2.00018790482477e-13), f32(-8.60467152213735e-11)
T7, T5 = f32(5.12229709037114e-08), f32(1.48572235717979e-05)
T3, T1 = f32(6.37261928875436e-04), f32(4.89352455891786e-03)
U6, U4 = f32(1.19825839466702e-06), f32(1.18534705686654e-04)
U2, U0 = f32(2.26843463243900e-03), f32(4.89352518554385e-03)
# of Cephes' exp: log 2 in two parts, and the polynomial of the rest
LOG2E, LOG2_HIGH, LOG2_LOW = f32(1.44269504088896341), f32(0.693359375), f32(-2.12194440e-4)
E7, E6, E5 = f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3)
E4, E3, E2 = f32(4.1665795894e-2), f32(1.6666665459e-1), f32(0.5)
UNDERFLOW = f32(-88.0)  # exp of it, and of anything less, comes out as 0
EXPONENT_BIAS, MANTISSA_BITS = np.int32(127), np.int32(23)


# float32 constants throughout: one Python float would turn the whole loop into float64
@njit(**INLINE)
def tanh(x):  # type: ignore[no-untyped-def]
    """Compute tanh of a float32, to 3e-7."""
    x = FLAT if x > FLAT else x
    x = -FLAT if x < -FLAT else x  # NaN stays NaN
    s = x * x
    above = ((((((T13 * s + T11) * s + T9) * s + T7) * s + T5) * s + T3) * s + T1) * x
    return above / (((U6 * s + U4) * s + U2) * s + U0)


@njit(**COMPILED)
def exp(x, scale, out):  # type: ignore[no-untyped-def]
    """Compute exp of x [n], none above 0, to 2e-7 of it, into out [n]; `scale` [n] is room for powers of two."""
    # the same memory read as integers: a power of two is put together from its exponent's bits
    bits = scale.view(np.int32)
    for j in range(len(x)):
        y = UNDERFLOW if x[j] < UNDERFLOW else x[j]
        bits[j] = (np.int32(np.floor(y * LOG2E + HALF)) + EXPONENT_BIAS) << MANTISSA_BITS
    # a second loop, in floats only: loops that mix types are not always turned into vector code
    for j in range(len(x)):
        y = UNDERFLOW if x[j] < UNDERFLOW else x[j]
        power = np.floor(y * LOG2E + HALF)
        r = (y - power * LOG2_HIGH) - power * LOG2_LOW
        out[j] = ((((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2) * (r * r) + r + ONE) * scale[j]


@njit(**INLINE)
def greatest(row):  # type: ignore[no-untyped-def]
    """Find the greatest number of a row. Four at a time, as a comparison waits for the one before it."""
    a = b = c = d = row[0]
    whole = len(row) - len(row) % 4
    for j in range(0, whole, 4):
        a = row[j] if row[j] > a else a
        b = row[j + 1] if row[j + 1] > b else b
        c = row[j + 2] if row[j + 2] > c else c
        d = row[j + 3] if row[j + 3] > d else d
    for j in range(whole, len(row)):
        a = row[j] if row[j] > a else a
    a = b if b > a else a
    c = d if d > c else c
    return c if c > a else a


@njit(**INLINE)
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Compute the logistic function of a float32, to 2e-7."""
    return HALF + HALF * tanh(HALF * x)


@njit(**{**COMPILED, "fastmath": {"contract"}})  # sums stay in BLAS's order
def product_of_one(h, w_hidden):  # type: ignore[no-untyped-def]
    """Multiply h [1, H] by w_hidden [H, M], giving [1, M].

    Eight rows of the matrix at a time: sums stay in registers.
    """
    size, columns = w_hidden.shape
    out = np.zeros((1, columns), np.float32)
    x, row = h[0], out[0]
    whole = size - size % 8
    for k in range(0, whole, 8):
        a, b, c, d, e, f, g, i = x[k], x[k + 1], x[k + 2], x[k + 3], x[k + 4], x[k + 5], x[k + 6], x[k + 7]
        w0, w1, w2, w3 = w_hidden[k], w_hidden[k + 1], w_hidden[k + 2], w_hidden[k + 3]
        w4, w5, w6, w7 = w_hidden[k + 4], w_hidden[k + 5], w_hidden[k + 6], w_hidden[k + 7]
        for j in range(columns):
            y = row[j] + a * w0[j]
            y = y + b * w1[j]
            y = y + c * w2[j]
            y = y + d * w3[j]
            y = y + e * w4[j]
            y = y + f * w5[j]
            y = y + g * w6[j]
            row[j] = y + i * w7[j]
    for k in range(whole, size):
        for j in range(columns):
            row[j] += x[k] * w_hidden[k, j]
    return out


@njit(**COMPILED)
def lstm(gates, table, rows, c, new_h, new_c):  # type: ignore[no-untyped-def]
    """Take one step: from gates [N, 4 H] (i, f, g, o as torch has them) and c [N, H] to new_h and new_c [N, H].

    gates are the products of h; row rows [N] of table [M, 4 H] is added to each, and what is left there are their
    activations. Raises IndexError where there is no such row: compiled code would read what lies there.
    """
    n, size = c.shape
    for b in range(n):
        if not 0 <= rows[b] < len(table):
            raise IndexError("A token is none of 0..V.")
        row, extra = gates[b], table[rows[b]]
        ifs, g, o = row[: 2 * size], row[2 * size : 3 * size], row[3 * size :]
        extra_g, extra_o = extra[2 * size : 3 * size], extra[3 * size :]
        # one loop for each gate, over slices that start at 0: the compiler makes vector code of such loops only
        for j in range(2 * size):
            ifs[j] = sigmoid(ifs[j] + extra[j])
        for j in range(size):
            g[j] = tanh(g[j] + extra_g[j])
        for j in range(size):
            o[j] = sigmoid(o[j] + extra_o[j])
        for j in range(size):
            cell = ifs[size + j] * c[b, j] + ifs[j] * g[j]
            new_c[b, j] = cell
            new_h[b, j] = o[j] * tanh(cell)


@njit(**COMPILED)
def gru(recurrent, table, rows, hidden_bias, h, new_h):  # type: ignore[no-untyped-def]
    """Take one step: from recurrent [N, 3 H] (r, z, n), the products of h [N, H], to new_h.

    Table and rows as in `lstm`.

    hidden_bias [H] is n's, which r multiplies; the other biases are in the table.
    """
    n, size = h.shape
    for b in range(n):
        if not 0 <= rows[b] < len(table):
            raise IndexError("A token is none of 0..V.")
        row, extra = recurrent[b], table[rows[b]]
        for j in range(size):
            r = sigmoid(row[j] + extra[j])
            z = sigmoid(row[size + j] + extra[size + j])
            candidate = tanh(extra[2 * size + j] + r * (row[2 * size + j] + hidden_bias[j]))
            new_h[b, j] = candidate + z * (h[b, j] - candidate)


# exp is taken of rows of about so many numbers at a time: they stay in the first cache, and one row is too short a loop
BLOCK = 1024


@njit(**INLINE)
def make_room(array):  # type: ignore[no-untyped-def]
    """Return how many rows of array [N, V] make a block, and room for powers of two and for the block's exp."""
    rows = max(1, min(BLOCK // array.shape[1], len(array)))
    return rows, np.empty(rows * array.shape[1], np.float32), np.empty((rows, array.shape[1]), np.float32)


@njit(**INLINE)
def exponentiate(block, scale, powers):  # type: ignore[no-untyped-def]
    """Take its greatest number off each row of block, in place, and exp of the rest into powers.

    Without that a low temperature would leave nothing of any token, and exp takes nothing above 0.
    """
    for row in block:
        most = greatest(row)
        for j in range(len(row)):
            row[j] -= most
    exp(block.reshape(-1), scale, powers.reshape(-1))


@njit(**COMPILED)
def log_softmax(logits):  # type: ignore[no-untyped-def]
    """Take the log softmax of each row of float32 [N, V], in place."""
    size = logits.shape[1]
    rows, scale, powers = make_room(logits)
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows]
        exponentiate(block, scale, powers)
        for b in range(len(block)):
            row, total = block[b], ZERO
            for j in range(size):
                total += powers[b, j]
            normaliser = np.log(total)
            for j in range(size):
                row[j] -= normaliser


@njit(**COMPILED)
def draw_tokens(log_probs, draws):  # type: ignore[no-untyped-def]
    """Find the token of each row of log_probs at which the cumulative probability passes draws [N].

    log_probs is float32 [N, V] and need not be normalised; draws are in [0, 1).
    """
    tokens, size = np.empty(len(draws), np.int64), log_probs.shape[1]
    rows, scale, powers = make_room(log_probs)
    # float64: float32 sums over many tokens could fall short of a draw near 1
    cumulative = np.empty(size, np.float64)
    for start in range(0, len(draws), rows):
        # a copy: `exponentiate` works in place, and log_probs are the caller's
        block = log_probs[start : start + rows].copy()
        exponentiate(block, scale, powers)
        for b in range(len(block)):
            reached = 0.0
            for j in range(size):
                reached += powers[b, j]
                cumulative[j] = reached
            # scaled by the sum reached: rows need no normalising, and rounding cannot leave a draw without a token
            target, token = draws[start + b] * reached, 0
            for j in range(size):  # a token of probability 0 reaches no further than the one before it
                token += cumulative[j] <= target
            tokens[start + b] = token
    return tokens
