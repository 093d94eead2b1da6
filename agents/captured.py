"""Functions of tensors as CUDA graphs: hundreds of small kernels in one launch, which else would take most of the time.

After "CUDA Graphs" in PyTorch's notes on CUDA semantics (docs.pytorch.org/docs/stable/notes/cuda.html). What is
captured must not wait for the GPU (no float(), no .item(), no branch on a tensor's values), must change tensors in
place only, and must find them at the same place at each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
Shapes = tuple[torch.Size, ...]

WARM_UP = 3  # calls before a capture, as in PyTorch's example: libraries choose kernels, Adam makes its moments
MOST_GRAPHS = 16  # each has memory of its own; enough for molecules of up to 100 tokens in steps of 8


class Recording(NamedTuple):
    """A graph, and the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Captured:
    """Calls a function of tensors that returns a tuple of tensors; on a GPU, from the fourth call on, as a CUDA graph.

    Every call does the function's work once: the first calls with arguments of some shapes run as they are, the next
    one is recorded (which runs nothing) and replayed, the later ones are replayed. Where more than MOST_GRAPHS shapes
    occur, the later ones run as they are. Outputs never share memory with a graph.

    Args:
        function: of tensors on one device; the types of its arguments do not vary. Its outputs need no gradient: a live
            graph of autograd's would tie the capture to the stream of an earlier call.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.forget()

    def forget(self) -> None:
        """Starts anew: for when tensors that the function uses, beside its arguments, have been replaced."""
        self._calls: Counter[Shapes] = Counter()
        self._recordings: dict[Shapes, Recording] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        if not on_gpu(arguments[0]):
            return self.function(*arguments)
        shapes = tuple(argument.shape for argument in arguments)
        with torch.cuda.device(arguments[0].device):
            if shapes in self._recordings:
                return replayed(self._recordings[shapes], arguments)
            if len(self._recordings) >= MOST_GRAPHS:
                return self.function(*arguments)
            self._calls[shapes] += 1
            if self._calls[shapes] <= WARM_UP:
                return aside(self.function, arguments)
            self._recordings[shapes] = recording = recorded(self.function, arguments)
            return replayed(recording, arguments)


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is where CUDA graphs are."""
    return tensor.is_cuda


def aside(function: Function, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The call on a stream of its own, as PyTorch asks for before a capture; the present stream waits for it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = function(*arguments)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs


def recorded(function: Function, arguments: tuple[Tensor, ...]) -> Recording:
    """The function's kernels for arguments of these shapes; nothing is run."""
    inputs = tuple(argument.clone() for argument in arguments)  # outside of the graph: its memory is used over and over
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):  # torch's own stays on the first GPU that it was used on
        outputs = function(*inputs)
    return Recording(graph, inputs, outputs)


def replayed(recording: Recording, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs for these arguments, as copies: the next replay overwrites the graph's own."""
    for memory, argument in zip(recording.inputs, arguments, strict=True):
        memory.copy_(argument)
    recording.graph.replay()
    return tuple(output.clone() for output in recording.outputs)
