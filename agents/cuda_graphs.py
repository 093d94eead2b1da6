"""Experimental: updates and rollouts on a GPU as CUDA graphs. Tested on the CPU; hardly run on a GPU, never measured.

A CUDA graph launches hundreds of small kernels at once. Launched one by one they take most of an update's time. The
method is that of "CUDA Graphs" in PyTorch's notes on CUDA semantics (docs.pytorch.org/docs/stable/notes/cuda.html).
Captured code must not wait for the GPU (no float(), no .item(), no branch on a tensor's values), must change tensors in
place only, and must find them at the same address at each call.

N sequences, T steps, V tokens; natural logs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.networks import FORBIDDEN, ValueNetwork
from agents.store.replay import Batch, Sequences
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.prior.network import RecurrentNetwork

TensorFunction = Callable[..., tuple[Tensor, ...]]
Shapes = tuple[torch.Size, ...]

WARM_UP = 3  # calls before a capture, as in PyTorch's example: libraries choose kernels, Adam makes its moments
MOST_GRAPHS = 16  # each has memory of its own; enough for molecules of up to 100 tokens in steps of 8
STEP_MULTIPLE = 8  # batches are padded to a multiple of so many steps, since every length needs a graph of its own


class Recording(NamedTuple):
    """Hold a graph, and the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class GraphedFunction:
    """Call a function of tensors that returns a tuple of tensors; on a GPU, from the fourth call on, as a CUDA graph.

    Every call does the function's work once. The first calls with arguments of some shapes run as they are, the next
    one is recorded (which runs nothing) and replayed, and the later ones are replayed. If more than MOST_GRAPHS shapes
    occur, the later ones run as they are. Outputs never share memory with a graph.

    Args:
        function: of tensors on one device; the types of its arguments do not vary. Its outputs need no gradient: a live
            graph of autograd's would tie the capture to the stream of an earlier call.
    """

    def __init__(self, function: TensorFunction) -> None:
        self.function = function
        self.forget()

    def forget(self) -> None:
        """Drop all graphs. Needed when tensors that the function uses, other than its arguments, have been replaced."""
        self._calls: Counter[Shapes] = Counter()
        self._recordings: dict[Shapes, Recording] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        if not is_on_gpu(arguments[0]):
            return self.function(*arguments)
        shapes = tuple(argument.shape for argument in arguments)
        with torch.cuda.device(arguments[0].device):
            if shapes in self._recordings:
                return replay(self._recordings[shapes], arguments)
            # graphs keep their memory: shapes beyond the limit are rare, and run without one
            if len(self._recordings) >= MOST_GRAPHS:
                return self.function(*arguments)
            self._calls[shapes] += 1
            if self._calls[shapes] <= WARM_UP:
                return run_on_side_stream(self.function, arguments)
            self._recordings[shapes] = recording = record(self.function, arguments)
            return replay(recording, arguments)


def is_on_gpu(tensor: Tensor) -> bool:
    """Return whether a tensor is on a GPU. It is a separate function so that tests can pretend to have one."""
    return tensor.is_cuda


def run_on_side_stream(function: TensorFunction, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run on a stream of its own, as PyTorch asks for before a capture; the present stream waits for it."""
    stream = torch.cuda.Stream()
    # the arguments may still be under computation on the present stream
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs = function(*arguments)
    torch.cuda.current_stream().wait_stream(stream)
    return outputs


def record(function: TensorFunction, arguments: tuple[Tensor, ...]) -> Recording:
    """Record the function's kernels for arguments of these shapes; nothing is run."""
    inputs = tuple(argument.clone() for argument in arguments)  # outside of the graph: its memory is used over and over
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):  # torch's own stays on the first GPU that it was used on
        outputs = function(*inputs)
    return Recording(graph, inputs, outputs)


def replay(recording: Recording, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run a graph; return its outputs as copies, for the next replay overwrites the graph's own."""
    for memory, argument in zip(recording.inputs, arguments, strict=True):
        memory.copy_(argument)
    recording.graph.replay()
    return tuple(output.clone() for output in recording.outputs)


def pad_steps(batch: Batch, multiple: int) -> Batch:
    """Add filler to a batch, up to a multiple of so many steps."""
    more = -batch.tokens.shape[1] % multiple
    tokens, task_rewards = (nn.functional.pad(part, (0, more)) for part in (batch.tokens, batch.task_rewards))
    return Batch(tokens, batch.lengths, task_rewards, nn.functional.pad(batch.prior_log_probs, (0, 0, 0, more)))


# -- rollouts ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample_tensors(
    network: ValueNetwork, prior_network: RecurrentNetwork, draws: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample T tokens of each of N sequences from the network's policy.

    Nothing waits for the GPU, so that all T steps can be one CUDA graph. Hence a sequence goes on after its end token:
    see `cut_at_end`. The policy is that of networks.Policy: products of float32 whatever the learner's precision.

    Args:
        network: gives the policy.
        prior_network: the prior's network, on the same device.
        draws: [T, N] in [0, 1), float64, on that device too.

    Returns:
        tokens [N, T], rows of log p [N, T, V], none below LOG_PROB_FLOOR, and log pi [N, T] of each token.
    """
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    state: object = None
    prior_state: object = None
    last = torch.full_like(draws[0], network.start, dtype=torch.int64)
    floor = float(LOG_PROB_FLOOR)
    for draw in draws:
        prior_logits, prior_state = prior_network(last[:, None], prior_state)
        rows = prior_logits[:, 0].log_softmax(-1).clamp(min=floor)
        logits, state = network.core(last[:, None], state)
        logits = logits[:, 0]
        if network.residual:
            logits = logits + network.prior_weight * rows
        policy_rows = logits.masked_fill(rows <= floor, FORBIDDEN).log_softmax(-1)
        last = choose_by_draws(policy_rows, draw)
        steps.append((last, rows, policy_rows.gather(-1, last[:, None])[:, 0]))
    tokens, prior_log_probs, log_policy = (torch.stack(parts, dim=1) for parts in zip(*steps))
    return tokens, prior_log_probs, log_policy


def choose_by_draws(log_probs: Tensor, draws: Tensor) -> Tensor:
    """Choose the token [N] at which the cumulative probability of each row [N, V] passes its draw [N] in [0, 1).

    The rows need not be normalised. The same as seqtutor_envs.prior.recurrent_step.sample_tokens.
    """
    # float64, in which sums over a large vocabulary stay exact enough to agree with the CPU's choice
    powers = (log_probs - log_probs.amax(-1, keepdim=True)).exp().double()
    reached = powers.cumsum(-1)
    passed = reached > draws[:, None] * reached[:, -1:]
    # A GPU sums in parallel: at a token of probability 0 the sum may still grow, by a rounding.
    passed &= powers > 0.0
    return passed.int().argmax(-1)  # the first of them


def cut_at_end(
    tokens: NDArray[np.int64],
    prior_log_probs: NDArray[np.float32],
    log_policy: NDArray[np.float32],
    end: int | None,
) -> tuple[Sequences, NDArray[np.float64]]:
    """Cut sequences after their first end token; return them without rewards, and log pi [N] of each.

    Args:
        tokens, prior_log_probs, log_policy: [N, T], [N, T, V] and [N, T], as `sample_tensors` returns them.
        end: the end token; None if every sequence has T tokens.
    """
    n, horizon = tokens.shape
    ended = tokens == end if end is not None else np.zeros((n, horizon), bool)
    lengths = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, horizon)
    inside = np.arange(horizon) < lengths[:, None]
    rows = np.where(inside[..., None], prior_log_probs, np.float32(0.0))
    # the caller asks the task for the rewards
    rewards = np.zeros((n, horizon), np.float32)
    # float64, as on the CPU: a sum of hundreds of float32 terms loses digits
    log_policies = np.where(inside, log_policy, 0.0).sum(axis=1, dtype=np.float64)
    return Sequences(np.where(inside, tokens, 0), lengths, rewards, rows), log_policies


class GraphedSampler:
    """Sample rollouts with a network on its device; on a GPU, a whole rollout is one CUDA graph.

    Args:
        network: its weights count as they are at each call; it must not be moved to another device.
        prior: a copy of its weights goes to that device.
    """

    def __init__(self, network: ValueNetwork, prior: RecurrentPrior) -> None:
        self.network, self.end = network, prior.vocab.end
        prior_network = RecurrentNetwork.from_weights(prior.weights, prior.cell).to(network.device)
        self._sample = GraphedFunction(lambda draws: sample_tensors(network, prior_network, draws))

    def sample(self, n: int, horizon: int, rng: np.random.Generator) -> tuple[Sequences, NDArray[np.float64]]:
        """Sample n sequences; return them without rewards, and log pi [N] of each.

        If no sequence ends early, these are the draws of a rollout on the CPU: the same tokens, but where rounding
        decides between two.
        """
        # drawn by numpy, so that the agent's one generator decides on every device
        draws = torch.from_numpy(rng.random((horizon, n))).to(self.network.device)
        tokens, prior_log_probs, log_policy = (part.cpu().numpy() for part in self._sample(draws))
        return cut_at_end(tokens, prior_log_probs, log_policy, self.end)
