"""One step of the prior against torch's step of the same weights.

Both sides read N tokens and give log p of the next ones [N, V]: recurrent cell, linear head, log softmax. Torch's run
in inference mode on tensors, without conversions: `LSTMCell` (`GRUCell`) and `nn.LSTM` (`nn.GRU`) over sequences of
length one on rows of an identity matrix, the quickest way to a one-hot input, and by hand: a row of the input weights
instead of their product with a one-hot vector, one `addmm`, the gates. The limit is the fastest of the three at that
batch; the others' rates, and our rate over theirs, are in the notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.bare import random_prior
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Row, rate_row
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior, load_prior

HEAD = "One step of the prior, against the fastest of torch's steps with the same weights"
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
SHIPPED_BATCHES = (1, 64, 256, 1024)
MODELS = (("lstm", 100), ("lstm", 256), ("gru", 256))
LENGTH = 32
MOST_TOKENS = 4096  # in one call: beyond it the 32 steps get fewer, or a turn of 4,096 sequences would take seconds
TorchStep = Callable[[Tensor, Any], tuple[Tensor, Any]]


def rows(options: Options) -> Iterator[Row]:
    """Random weights over the melody vocabulary, then the priors that are asked for."""
    for cell, hidden_size in MODELS:
        model = random_prior(cell, hidden_size, MELODY_VOCAB, LENGTH)
        for n in BATCHES:
            yield compared(f"{cell.upper()}-{hidden_size}", model, n, options.seconds)
    for name in (options.melody_prior, options.smiles_prior):
        shipped = load_prior(name)
        assert isinstance(shipped, RecurrentPrior)  # names and paths give no other
        for n in SHIPPED_BATCHES:
            yield compared(f"{name} ({shipped.cell.upper()}-{shipped.hidden_size})", shipped, n, options.seconds)


def compared(label: str, prior: RecurrentPrior, n: int, seconds: float) -> Row:
    """n sequences through all sides in turns."""
    steps = max(1, min(LENGTH, MOST_TOKENS // n))
    tokens = np.arange(n) % len(prior.vocab)
    sides: dict[str, Callable[[], Any]] = {"ours": partial(through, prior, tokens, steps)}
    for name, step in torch_steps(prior).items():
        sides[name] = partial(through_torch, step, prior.hidden_size, torch.from_numpy(tokens), steps)
    times = in_turns(sides, seconds)
    rivals = sorted((name for name in sides if name != "ours"), key=lambda name: typical(times[name]))
    row = rate_row(f"{label}, batch of {n:,}", times, "ours", rivals[0], n * steps, "steps/s", f"torch: {rivals[0]}")
    others = (
        f"{name} {n * steps / typical(times[name]):,.0f} ({np.median(times[name] / times['ours']):.2f})"
        for name in rivals[1:]
    )
    return replace(row, note="; ".join(others))


def through(prior: RecurrentPrior, tokens: Any, steps: int) -> Any:
    """The same tokens [N] again and again; the last rows [N, V]."""
    state = prior.initial_state(len(tokens))
    for _ in range(steps):
        log_probs, state = prior.step(tokens, state)
    return log_probs


def through_torch(step: TorchStep, hidden_size: int, tokens: Tensor, steps: int) -> Tensor:
    """The same of a step of torch's, whose state is h, c, [N, H] each (a GRU leaves c alone)."""
    with torch.inference_mode():
        state: Any = (torch.zeros(len(tokens), hidden_size), torch.zeros(len(tokens), hidden_size))
        for _ in range(steps):
            log_probs, state = step(tokens, state)
    return log_probs


def torch_steps(prior: RecurrentPrior) -> dict[str, TorchStep]:
    """Torch's three forms of the prior's step, of one layer, by name."""
    if prior.num_layers != 1:
        raise ValueError(f"This comparison is of priors with one layer, not with {prior.num_layers}.")
    weights = {name: torch.from_numpy(np.array(array)) for name, array in prior.weights.items()}
    lstm, size = prior.cell == "lstm", len(prior.vocab) + 1
    cell = (nn.LSTMCell if lstm else nn.GRUCell)(size, prior.hidden_size)
    cell.load_state_dict({k.removeprefix("rnn.").removesuffix("_l0"): w for k, w in weights.items() if "rnn" in k})
    core = (nn.LSTM if lstm else nn.GRU)(size, prior.hidden_size)
    core.load_state_dict({k.removeprefix("rnn."): w for k, w in weights.items() if "rnn" in k})
    head = nn.Linear(prior.hidden_size, size - 1)
    head.load_state_dict({"weight": weights["head.weight"], "bias": weights["head.bias"]})
    one_hot = torch.eye(size)

    def cell_step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        new = cell(one_hot.index_select(0, tokens), state if lstm else state[0])
        state = new if lstm else (new, state[1])
        return head(state[0]).log_softmax(1), state

    def core_step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, c = state[0][None], state[1][None]
        hidden, new = core(one_hot.index_select(0, tokens)[None], (h, c) if lstm else h)
        state = (new[0][0], new[1][0]) if lstm else (new[0], state[1])
        return head(hidden[0]).log_softmax(1), state

    by_hand = lstm_by_hand(weights) if lstm else gru_by_hand(weights)

    def hand_step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = by_hand(tokens, *state)
        return head(state[0]).log_softmax(1), state

    kind = prior.cell.upper()
    return {f"{kind}Cell": cell_step, f"nn.{kind}": core_step, "by hand": hand_step}


def lstm_by_hand(weights: dict[str, Tensor]) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """tokens, h, c -> h, c, in place where a tensor is ours."""
    table = (weights["rnn.weight_ih_l0"].T + weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"]).contiguous()
    w_hidden = weights["rnn.weight_hh_l0"].T.contiguous()

    def step(tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = table.index_select(0, tokens).addmm_(h, w_hidden).chunk(4, 1)
        new_c = (f.sigmoid_() * c).addcmul_(i.sigmoid_(), g.tanh_())
        return new_c.tanh().mul_(o.sigmoid_()), new_c

    return step


def gru_by_hand(weights: dict[str, Tensor]) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """tokens, h, (unused) -> h, (unused)."""
    table = (weights["rnn.weight_ih_l0"].T + weights["rnn.bias_ih_l0"]).contiguous()
    w_hidden, bias = weights["rnn.weight_hh_l0"].T.contiguous(), weights["rnn.bias_hh_l0"]

    def step(tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        ir, iz, new = table.index_select(0, tokens).chunk(3, 1)
        hr, hz, hn = torch.addmm(bias, h, w_hidden).chunk(3, 1)
        n = new.addcmul_(ir.add_(hr).sigmoid_(), hn).tanh_()
        return torch.lerp(n, h, iz.add_(hz).sigmoid_()), c

    return step
