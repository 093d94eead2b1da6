"""The torch side of a RecurrentPrior, for gradients: a stacked LSTM or GRU on one-hot tokens with a linear head."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqtutor_envs.checks import one_of
from seqtutor_envs.files.expected import expect_array, expect_names, expect_range
from seqtutor_envs.prior.recurrent_step import GATES

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # Adam's of one parameter
Precision = Literal["float32", "bfloat16"]  # of products while learning; weights and losses are float32 either way


class RecurrentNetwork(nn.Module):
    """Compute logits [B, T, V] from tokens [B, T]; its state_dict has the names that recurrent_step.py reads.

    Args:
        vocab_size: V; inputs are one-hot over V + 1, the last one being the start token.
        hidden_size, num_layers, cell: as in torch; cell is "lstm" or "gru".
    """

    def __init__(self, vocab_size: int, hidden_size: int = 128, num_layers: int = 1, cell: str = "lstm") -> None:
        super().__init__()
        if cell not in GATES:
            raise ValueError(f"Unknown cell {cell!r}; the cells are: {', '.join(GATES)}.")
        self.cell, self.vocab_size = cell, vocab_size
        core = nn.LSTM if cell == "lstm" else nn.GRU
        # the input layer takes V + 1 tokens, the head gives V: the start token is fed, never predicted
        self.rnn = core(vocab_size + 1, hidden_size, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, vocab_size)

    @classmethod
    def from_weights(cls, weights: Mapping[str, NDArray[np.float32]], cell: str) -> RecurrentNetwork:
        """Make a network that computes what the weights of a RecurrentPrior compute; it owns a copy of them."""
        vocab_size, hidden_size = weights["head.weight"].shape
        num_layers = sum(name.startswith("rnn.weight_hh_l") for name in weights)
        network = cls(vocab_size, hidden_size, num_layers, cell)
        load_weights(network, weights)
        return network

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the present weights by name, as copies in numpy."""
        return module_arrays(self)

    def hidden(self, inputs: Tensor, state: object = None) -> tuple[Tensor, object]:
        """Compute the last layer's outputs [B, T, H] after each input token [B, T] (ids 0..V), and the final state."""
        # one-hot times matrix instead of an embedding: the weights keep the names and shapes of torch's RNN
        one_hot = nn.functional.one_hot(inputs, self.vocab_size + 1).to(self.head.weight.dtype)
        return self.rnn(one_hot, state)

    def forward(self, inputs: Tensor, state: object = None) -> tuple[Tensor, object]:
        """Compute the logits [B, T, V] of the token that follows each input token [B, T], and the final state."""
        hidden, state = self.hidden(inputs, state)
        return self.head(hidden), state


@cache
def supports_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Return whether torch trains an LSTM with bfloat16 products on `device`, found by trying one tiny update.

    Which CPUs can is up to oneDNN and changes from version to version (torch 2.13 needs AVX-512), so no list of CPUs is
    asked. Tried once a process.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        network = RecurrentNetwork(4, 8).to(device)
    tokens = torch.zeros(2, 3, dtype=torch.int64, device=device)
    try:
        with torch.enable_grad():
            with torch.autocast(device.type, torch.bfloat16):
                hidden, _ = network.hidden(tokens)
            hidden.float().sum().backward()
    except RuntimeError:  # oneDNN has no such LSTM here, or the GPU no bfloat16
        return False
    return True


def computes_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Return whether `device` has instructions for products of bfloat16.

    A CPU without them can train in bfloat16 as well, but an update of LSTM-512 then took 1.9 times float32's time.
    """
    return torch.device(device).type != "cpu" or torch.cpu._is_avx512_bf16_supported()


def resolve_precision(precision: str, device: torch.device | str = "cpu") -> Precision:
    """Return the precision to use on `device`. "auto" is bfloat16 where it has instructions for it, else float32.

    Raises ValueError for another word, and for bfloat16 where the device cannot.
    """
    one_of("precision", precision, ("auto", "float32", "bfloat16"))
    if precision == "float32" or precision == "auto" and not (computes_bfloat16(device) and supports_bfloat16(device)):
        return "float32"
    if not supports_bfloat16(device):
        where = torch.device(device).type.upper()
        raise ValueError(f"This torch cannot train an LSTM in {precision} on this {where}: use precision float32.")
    return "bfloat16"


def shifted(tokens: Tensor, start: int) -> Tensor:
    """Return inputs whose outputs predict tokens [B, T]: the start token, then all but the last."""
    return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)


def module_arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return a module's present parameters by name, as copies in numpy, whatever its device."""
    # a copy: numpy() shares memory with the parameter, which the optimiser changes in place
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays by name into a module, on its device.

    Raises ValueError unless every name is there, with its shape, as finite float32.
    """
    expected = module.state_dict()
    expect_names(arrays, set(expected))
    found = {name: expect_array(arrays, name, tuple(tensor.shape), np.float32) for name, tensor in expected.items()}
    # np.array copies: torch would share memory with the caller's array and cannot take a read-only one
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in found.items()})


def adam_arrays(optimizer: torch.optim.Optimizer) -> dict[str, NDArray[np.float32]]:
    """Return the moments and step counts of an Adam optimiser by "parameter.name", as copies in numpy."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{name}": value.cpu().numpy().copy() for i, moments in state.items() for name, value in moments.items()
    }


def adam_steps(optimizer: torch.optim.Optimizer) -> int:
    """Return the gradient steps of an Adam optimiser, those before `restore_adam` included."""
    return max((int(moments["step"]) for moments in optimizer.state.values()), default=0)


def restore_adam(optimizer: torch.optim.Optimizer, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Put back what `adam_arrays` gave, on the parameters' device; learning rates stay as they are.

    Raises ValueError if these are no moments of these parameters; torch would crash at the next update.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    updated = {i for i in range(len(parameters)) if f"{i}.step" in arrays}  # parameters without a gradient have none
    expect_names(arrays, {f"{i}.{name}" for i in updated for name in MOMENTS})
    moments: dict[int, dict[str, Tensor]] = {}
    for i in sorted(updated):
        shapes = {name: () if name == "step" else tuple(parameters[i].shape) for name in MOMENTS}
        found = {name: expect_array(arrays, f"{i}.{name}", shape, np.float32) for name, shape in shapes.items()}
        for name in ("step", "exp_avg_sq"):
            expect_range(f"{i}.{name}", found[name], 0.0, float(np.finfo(np.float32).max))
        moments[i] = {name: torch.from_numpy(np.array(array)) for name, array in found.items()}
    # groups of this optimiser: learning rates belong to the run, not to the saved moments
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
