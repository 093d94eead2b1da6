"""One step of a stacked LSTM or GRU in numpy, from torch's weights: the fast path of priors and of acting agents.

N sequences, H cells, V tokens (V + 1 with the start token). Weights carry torch's names: `rnn.weight_ih_l0`
[G H, V + 1], `rnn.weight_hh_l0` [G H, H], biases [G H], `head.weight` [V, H], `head.bias` [V]; G is 4 (LSTM) or 3
(GRU) gates. Input is a one-hot token, so the first layer's input product is a row of a table.

The matrix products are BLAS's, by numpy; what follows them is compiled (kernels.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.prior import kernels
from seqtutor_envs.threads import one_blas_thread

Array = NDArray[np.float32]
State = tuple[Array, ...]  # LSTM: h, c of layer 0, h, c of layer 1, ...; GRU: h of each layer. Each [N, H].

GATES = {"lstm": 4, "gru": 3}
FEW = 8  # rows of a product
SMALL_PRODUCT_OF_ONE = 9_216  # numbers in a matrix; OpenBLAS multiplies one row by a smaller one on one thread
SMALL_PRODUCT = 1_000_000  # multiplications that OpenBLAS does without rearranging its matrices first


class RecurrentStep:
    """Step from tokens [N] and a state to logits [N, V] and a state. Weights are copied: later changes are not seen.

    Raises ValueError where the weights do not fit each other.
    """

    def __init__(self, weights: Mapping[str, Array], cell: str) -> None:
        if cell not in GATES:
            raise ValueError(f"Unknown cell {cell!r}; the cells are: {', '.join(GATES)}.")
        self.cell = cell
        # the depth is read from the weights' names, so no argument can contradict them
        self.num_layers = len({name.rpartition("_l")[2] for name in weights if name.startswith("rnn.")})
        check_shapes(weights, cell, max(self.num_layers, 1))
        self.hidden_size = weights["head.weight"].shape[1]
        self._layers = [_packed(weights, layer, cell) for layer in range(self.num_layers)]
        # transposed once: h @ W reads rows, which lie together in memory
        self._head = np.ascontiguousarray(weights["head.weight"].T, dtype=np.float32)  # [H, V]
        self._head_bias = np.array(weights["head.bias"], dtype=np.float32)
        # a single sequence's products: the first layer's is not BLAS's, a head of this size has one thread anyway
        self._one_is_small = self.num_layers == 1 and self._head.size < SMALL_PRODUCT_OF_ONE
        self._tensors_per_layer = 2 if cell == "lstm" else 1

    def initial_state(self, n: int) -> State:
        """Return zeros for n sequences."""
        tensors = self.num_layers * self._tensors_per_layer
        return tuple(np.zeros((n, self.hidden_size), np.float32) for _ in range(tensors))

    def __call__(self, tokens: NDArray[np.int64], state: State) -> tuple[Array, State]:
        """Compute the logits after `tokens` [N], ids 0..V, and the state that includes them; all new arrays.

        Raises IndexError at a token that is none of these.
        """
        if len(tokens) == 1 and self._one_is_small:  # holding would take a thirtieth of a single environment's step
            return self._advance(tokens, state)
        with one_blas_thread:
            return self._advance(tokens, state)

    def _advance(self, tokens: NDArray[np.int64], state: State) -> tuple[Array, State]:
        per = self._tensors_per_layer
        inputs: Array | None = None
        new_state: list[Array] = []
        for i, (w_input, bias, w_hidden, hidden_bias) in enumerate(self._layers):
            h = state[i * per]
            if inputs is None:  # layer 0 is fed with tokens: rows of a table, in which the bias is already
                table, rows = w_input, np.asarray(tokens, dtype=np.int64)
            else:
                # a deeper layer's input is a vector, not a token: its table has one row for each sequence
                table, rows = inputs @ w_input + bias, np.arange(len(inputs))
            inputs = np.empty_like(h)
            if self.cell == "lstm":
                c = np.empty_like(h)
                kernels.lstm(product(h, w_hidden), table, rows, state[i * per + 1], inputs, c)
                new_state += [inputs, c]
            else:
                kernels.gru(product(h, w_hidden), table, rows, hidden_bias, h, inputs)
                new_state.append(inputs)
        assert inputs is not None
        logits = inputs @ self._head
        logits += self._head_bias
        return logits, tuple(new_state)


def product(h: Array, w_hidden: Array) -> Array:
    """Multiply h [N, H] by w_hidden [H, M].

    BLAS sums a single row in another order than the rows of many; here one is summed as they are, so that (up to some
    300 cells) a state is the same to the bit in batches of any size: differences of 1e-6 would grow from step to step.
    A product of few rows that is just too large for OpenBLAS's way with small ones is cut into columns: four sequences
    of LSTM-256 take .4 of the time.
    """
    n, columns = len(h), w_hidden.shape[1]
    if n == 1:
        return kernels.product_of_one(h, w_hidden)
    pieces = -(-n * w_hidden.size // SMALL_PRODUCT)
    if n > FEW or pieces <= 1:  # none, if there are no rows
        return h @ w_hidden
    out, width = np.empty((n, columns), np.float32), -(-columns // pieces)
    for start in range(0, columns, width):
        np.matmul(h, w_hidden[:, start : start + width], out=out[:, start : start + width])
    return out


def log_softmax(logits: Array) -> Array:
    """Take the log softmax of each row of float32 [N, V], in place; return its argument."""
    kernels.log_softmax(logits)
    return logits


def sample_tokens(log_probs: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one token for each row of log_probs, float32 [N, V], by its probabilities, which need not be normalised.

    The inverse of their distribution function at one draw a row.
    """
    return kernels.draw_tokens(log_probs, rng.random(len(log_probs)))


def check_shapes(weights: Mapping[str, Array], cell: str, num_layers: int) -> None:
    """Raise ValueError naming the first weight that is missing or has a wrong shape."""
    head = weights["head.weight"].shape if "head.weight" in weights else ()
    if len(head) != 2 or 0 in head:
        raise ValueError("Weights must have a matrix head.weight [V, H].")
    vocab_size, hidden = head
    rows = GATES[cell] * hidden
    expected: dict[str, tuple[int, ...]] = {"head.weight": (vocab_size, hidden), "head.bias": (vocab_size,)}
    for i in range(num_layers):
        expected[f"rnn.weight_ih_l{i}"] = (rows, vocab_size + 1 if i == 0 else hidden)
        expected[f"rnn.weight_hh_l{i}"] = (rows, hidden)
        expected[f"rnn.bias_ih_l{i}"] = expected[f"rnn.bias_hh_l{i}"] = (rows,)
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(f"This {cell}'s weight {name} is missing.")
        if weights[name].shape != shape:
            found = list(weights[name].shape)
            raise ValueError(f"Weight {name} of this {cell} must have shape {list(shape)}, not {found}.")


def _packed(weights: Mapping[str, Array], layer: int, cell: str) -> tuple[Array, Array, Array, Array]:
    """Transpose the weights of a layer: input matrix (with the bias in each row, for tokens), bias, hidden matrix.

    The fourth is the hidden bias of a GRU's n, which r multiplies; of an LSTM it is empty.
    """
    w_input, w_hidden, input_bias, hidden_bias = (
        np.asarray(weights[f"rnn.{name}_l{layer}"], dtype=np.float32)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    # the GRU multiplies this bias by r, so it cannot go into the table; an LSTM has none: an empty slice
    apart = slice(0, 0) if cell == "lstm" else slice(2 * len(hidden_bias) // 3, None)
    n_bias, others = hidden_bias[apart].copy(), hidden_bias.copy()
    others[apart] = 0.0
    bias = input_bias + others
    # one-hot @ W.T is row `token` of W.T, so the input product is a look-up, with the bias in it
    table = np.ascontiguousarray(w_input.T)
    return (table + bias if layer == 0 else table), bias, np.ascontiguousarray(w_hidden.T), n_bias
