"""A round written on a GPU, by the networks themselves: rollouts.py's loop without a look at what is written.

N sequences, T steps, V tokens; natural logs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.captured import Captured
from agents.networks import FORBIDDEN, ValueNetwork
from agents.replay import Sequences
from seqtutor_envs.masking import LOG_PROB_FLOOR
from seqtutor_envs.network import RecurrentNetwork
from seqtutor_envs.prior import RecurrentPrior

Round = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


@torch.no_grad()
def written(network: ValueNetwork, prior_network: RecurrentNetwork, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """T tokens of each of N sequences, drawn from the network's policy as it is.

    Nothing waits for the GPU, so that all T steps can be one CUDA graph. Hence a sequence goes on after its end token:
    see `cut`. The policy is that of networks.Policy: products of float32 whatever the learner's precision.

    Args:
        draws: [T, N] in [0, 1), float64; all on one device.

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
        last = drawn(policy_rows, draw)
        steps.append((last, rows, policy_rows.gather(-1, last[:, None])[:, 0]))
    tokens, prior_log_probs, log_policy = (torch.stack(parts, dim=1) for parts in zip(*steps))
    return tokens, prior_log_probs, log_policy


def drawn(log_probs: Tensor, draws: Tensor) -> Tensor:
    """As loops.drawn: the token [N] of each row of log_probs [N, V] at which the cumulative probability passes
    draws [N], which are in [0, 1); the rows need not be normalised."""
    powers = (log_probs - log_probs.amax(-1, keepdim=True)).exp().double()
    reached = powers.cumsum(-1)
    passed = reached > draws[:, None] * reached[:, -1:]
    # A GPU sums in parallel: at a token of probability 0 the sum may still grow, by a rounding.
    passed &= powers > 0.0
    return passed.int().argmax(-1)  # the first of them


def cut(
    tokens: NDArray[np.int64],
    prior_log_probs: NDArray[np.float32],
    log_policy: NDArray[np.float32],
    end: int | None,
) -> tuple[Sequences, NDArray[np.float64]]:
    """Sequences without their rewards, up to and including the first end token, and log pi [N] of each.

    Args:
        tokens, prior_log_probs, log_policy: [N, T], [N, T, V] and [N, T], as `written` gives them.
        end: the end token; None where every sequence has T tokens.
    """
    n, horizon = tokens.shape
    ended = tokens == end if end is not None else np.zeros((n, horizon), bool)
    lengths = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, horizon)
    inside = np.arange(horizon) < lengths[:, None]
    rows = np.where(inside[..., None], prior_log_probs, np.float32(0.0))
    rewards = np.zeros((n, horizon), np.float32)
    log_policies = np.where(inside, log_policy, 0.0).sum(axis=1, dtype=np.float64)
    return Sequences(np.where(inside, tokens, 0), lengths, rewards, rows), log_policies


class DeviceWriter:
    """Writes rounds with a network on its device; on a GPU, a whole round is one CUDA graph.

    Args:
        network: its weights count as they are at each call; it must not be moved to another device.
        prior: a copy of its weights goes to that device.
    """

    def __init__(self, network: ValueNetwork, prior: RecurrentPrior) -> None:
        self.network = network
        prior_network = RecurrentNetwork.from_weights(prior.weights, prior.cell).to(network.device)
        self._written = Captured(lambda draws: written(network, prior_network, draws))

    def __call__(self, n: int, horizon: int, rng: np.random.Generator) -> Round:
        """What `written` returns, as arrays. Where no sequence ends early, these are the draws of a round on the
        CPU: the same tokens, but where rounding decides between two."""
        draws = torch.from_numpy(rng.random((horizon, n)))
        tokens, prior_log_probs, log_policy = self._written(draws.to(self.network.device))
        return tokens.cpu().numpy(), prior_log_probs.cpu().numpy(), log_policy.cpu().numpy()
