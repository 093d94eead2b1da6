"""The least that writing a round takes: the steps of policy and prior, and a draw of each token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.networks import Policy
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.prior import Prior


def written(policy: Policy, prior: Prior, n: int, horizon: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Writes n sequences and returns the tokens of each step; what has ended leaves the batch."""
    tokens: list[NDArray[np.int64]] = []
    state, prior_state, last = policy.initial_state(n), prior.initial_state(n), np.full(n, prior.vocab.start)
    while len(last) and len(tokens) < horizon:
        rows, prior_state = prior.step(last, prior_state)
        policy_rows, state = policy.step(last, state, rows)
        last = sample_tokens(policy_rows, rng)
        tokens.append(last)
        going = last != prior.vocab.end
        if not going.all():
            last = last[going]
            state, prior_state = (tuple(part[going] for part in parts) for parts in (state, prior_state))
    return tokens
