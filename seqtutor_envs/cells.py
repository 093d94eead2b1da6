"""One step of a stacked LSTM or GRU in numpy, from torch's weights: the fast path of priors and of acting agents.

N sequences, H cells, V tokens (V + 1 with the start token). Weights carry torch's names: `rnn.weight_ih_l0`
[G H, V + 1], `rnn.weight_hh_l0` [G H, H], biases [G H], `head.weight` [V, H], `head.bias` [V]; G is 4 (LSTM) or 3
(GRU) gates. Input is a one-hot token, so the first layer's input product is a row of a table.

Large batches go through numpy (matrix products of BLAS, one tanh for all gates: sigmoid(x) = (1 + tanh(x / 2)) / 2,
with the halves put into the weights); a handful of sequences goes through a compiled loop without call overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
State = tuple[Array, ...]  # LSTM: h, c of layer 0, h, c of layer 1, ...; GRU: h of each layer. Each [N, H].

GATES = {"lstm": 4, "gru": 3}
FEW = 4  # up to this many sequences the compiled loop is the faster one (`python -m benchmarks speed`)


class RecurrentStep:
    """tokens [N], state -> logits [N, V], state. Weights are copied: later changes to them are not seen.

    Raises ValueError where the weights do not fit each other.
    """

    def __init__(self, weights: Mapping[str, Array], cell: str) -> None:
        if cell not in GATES:
            raise ValueError(f"Unknown cell {cell!r}; the cells are: {', '.join(GATES)}.")
        self.cell = cell
        self.num_layers = len({name.rpartition("_l")[2] for name in weights if name.startswith("rnn.")})
        check_shapes(weights, cell, max(self.num_layers, 1))
        self.hidden_size = weights["head.weight"].shape[1]
        pack = _pack_lstm if cell == "lstm" else _pack_gru
        self._layers = [pack(weights, layer) for layer in range(self.num_layers)]
        self._head = np.ascontiguousarray(weights["head.weight"].T, dtype=np.float32)  # [H, V]
        self._head_bias = np.array(weights["head.bias"], dtype=np.float32)
        self._tensors_per_layer = 2 if cell == "lstm" else 1
        self._large = _lstm_numpy if cell == "lstm" else _gru_numpy

    def initial_state(self, n: int) -> State:
        """Zeros for n sequences."""
        tensors = self.num_layers * self._tensors_per_layer
        return tuple(np.zeros((n, self.hidden_size), np.float32) for _ in range(tensors))

    def __call__(self, tokens: NDArray[np.int64], state: State) -> tuple[Array, State]:
        """The logits after `tokens` [N], ids 0..V, and the state that includes them; all new arrays."""
        update = _compiled(self.cell) if len(tokens) <= FEW else self._large
        per = self._tensors_per_layer
        inputs: Array | None = None
        new_state: list[Array] = []
        for i, (w_input, bias, w_hidden) in enumerate(self._layers):
            # layer 0: the bias is already in the rows of the table
            pre = w_input.take(tokens, axis=0) if inputs is None else inputs @ w_input + bias
            new = update(pre, w_hidden, *state[i * per : (i + 1) * per])
            new_state.extend(new)
            inputs = new[0]
        assert inputs is not None
        logits = inputs @ self._head
        logits += self._head_bias
        return logits, tuple(new_state)


def log_softmax(logits: Array) -> Array:
    """log softmax over the last axis of floats [N, V], in place; returns its argument."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def sample_tokens(log_probs: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """One token for each row of log_probs [N, V], drawn by its probabilities (they need not be normalised)."""
    # less the greatest: else a low temperature would leave nothing of any token
    cumulative = np.exp(log_probs - log_probs.max(axis=1, keepdims=True), dtype=np.float64).cumsum(axis=1)
    draws = rng.random((len(log_probs), 1)) * cumulative[:, -1:]
    # draws < the last cumulative value, so no row counts V; a token of probability 0 has no interval to fall into
    return (cumulative <= draws).sum(axis=1)


def check_shapes(weights: Mapping[str, Array], cell: str, num_layers: int) -> None:
    """Raises ValueError naming the first weight that is missing or has a wrong shape."""
    head = weights["head.weight"].shape if "head.weight" in weights else ()
    if len(head) != 2:
        raise ValueError("Weights must have a matrix head.weight [V, H].")
    vocab_size, hidden = head
    rows = GATES[cell] * hidden
    expected: dict[str, tuple[int, ...]] = {"head.weight": (vocab_size, hidden), "head.bias": (vocab_size,)}
    for i in range(num_layers):
        expected[f"rnn.weight_ih_l{i}"] = (rows, vocab_size + 1 if i == 0 else hidden)
        expected[f"rnn.weight_hh_l{i}"] = (rows, hidden)
        expected[f"rnn.bias_ih_l{i}"] = expected[f"rnn.bias_hh_l{i}"] = (rows,)
    for name, shape in expected.items():
        found = weights[name].shape if name in weights else None
        if found is None:
            raise ValueError(f"This {cell}'s weight {name} is missing.")
        if found != shape:
            raise ValueError(f"Weight {name} of this {cell} must have shape {list(shape)}, not {list(found)}.")


def _pack_lstm(weights: Mapping[str, Array], layer: int) -> tuple[Array, Array, Array]:
    """Gates reordered from torch's i, f, g, o to i, f, o, g and the sigmoid gates' rows halved: input, bias, hidden."""
    i, f, g, o = np.split(np.arange(len(weights[f"rnn.bias_ih_l{layer}"])), 4)
    order = np.concatenate([i, f, o, g])
    scale = np.where(np.arange(len(order)) < 3 * len(i), 0.5, 1.0).astype(np.float32)
    return _transposed(weights, layer, order, scale)


def _pack_gru(weights: Mapping[str, Array], layer: int) -> tuple[Array, Array, Array]:
    """Gates r, z halved, n as it is. n's hidden bias stays apart (r multiplies it): as the hidden matrix's last row."""
    hidden_bias = weights[f"rnn.bias_hh_l{layer}"]
    size = len(hidden_bias) // 3
    scale = np.where(np.arange(3 * size) < 2 * size, 0.5, 1.0).astype(np.float32)
    apart = hidden_bias * (np.arange(3 * size) >= 2 * size)
    w_input, bias, w_hidden = _transposed(
        {**weights, f"rnn.bias_hh_l{layer}": hidden_bias - apart}, layer, np.arange(3 * size), scale
    )
    return w_input, bias, np.concatenate([w_hidden, apart[None].astype(np.float32)])


def _transposed(
    weights: Mapping[str, Array], layer: int, order: NDArray[np.int64], scale: Array
) -> tuple[Array, Array, Array]:
    def rows(name: str) -> Array:
        matrix = np.asarray(weights[f"rnn.{name}_l{layer}"], dtype=np.float32)[order]
        return np.ascontiguousarray((matrix * (scale[:, None] if matrix.ndim == 2 else scale)).T)

    w_input, bias = rows("weight_ih"), rows("bias_ih") + rows("bias_hh")
    return (w_input + bias if layer == 0 else w_input), bias, rows("weight_hh")


def _lstm_numpy(gates: Array, w_hidden: Array, h: Array, c: Array) -> tuple[Array, Array]:
    gates += h @ w_hidden
    np.tanh(gates, out=gates)
    size = h.shape[1]
    sigmoids = gates[:, : 3 * size]
    sigmoids += 1.0
    sigmoids *= 0.5
    i, f, o, g = (gates[:, k * size : (k + 1) * size] for k in range(4))
    new_c = f * c
    i *= g
    new_c += i
    new_h = np.tanh(new_c)
    new_h *= o
    return new_h, new_c


def _gru_numpy(pre: Array, w_hidden: Array, h: Array) -> tuple[Array]:
    size = h.shape[1]
    recurrent = h @ w_hidden[:-1]
    gates = pre[:, : 2 * size]
    gates += recurrent[:, : 2 * size]
    np.tanh(gates, out=gates)
    gates += 1.0
    gates *= 0.5
    r, z = gates[:, :size], gates[:, size:]
    n = recurrent[:, 2 * size :]
    n += w_hidden[-1, 2 * size :]
    n *= r
    n += pre[:, 2 * size :]
    np.tanh(n, out=n)
    new_h = h - n  # (1 - z) n + z h = n + z (h - n)
    new_h *= z
    new_h += n
    return (new_h,)


@cache
def _compiled(cell: str) -> Callable[..., tuple[Array, ...]]:
    """The loops for a handful of sequences; numba is imported when first needed."""
    from seqtutor_envs import loops

    return loops.lstm if cell == "lstm" else loops.gru
