"""Metrics for the training log: means over the newest sequences that the agent generated.

n sequences, T steps.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.store.replay import Sequences
from seqtutor_envs.metrics import num_distinct
from seqtutor_envs.prior import token_log_probs

RECENT = 1024  # the metrics are means over about this many sequences
FEW_DISTINCT = 0.5  # a share of distinct sequences below this is warned of: the policy may have collapsed


class Recent:
    """Keep the newest rounds, and compute their metrics.

    Args:
        n_envs: sequences in a round.
        c: temperature by which task rewards were divided.
    """

    def __init__(self, n_envs: int, c: float) -> None:
        self.c = c
        self._rounds: deque[dict[str, NDArray[Any]]] = deque(maxlen=max(1, RECENT // n_envs))
        self._warned = False

    def __bool__(self) -> bool:
        return len(self._rounds) > 0

    def add(
        self,
        sequences: Sequences,
        log_policy: NDArray[np.float64],
        terms: Mapping[str, NDArray[np.float64]] | None,
    ) -> None:
        """Add a round with log pi [n] of its sequences and each raw term's sum [n] (None: not known)."""
        log_prior = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths).sum(1)
        entry = {
            "reward": sequences.task_rewards.sum(1),
            "log_p": log_prior,
            "log_pi": log_policy,
            "length": sequences.lengths,
            "tokens": sequences.tokens,
        }
        self._rounds.append(entry | {f"term_{name}": values for name, values in (terms or {}).items()})

    def metrics(self) -> dict[str, float]:
        """Compute means over the sequences.

        They are J, KL and log p in nats, R, raw terms, the share of distinct sequences, and stable-baselines3's mean
        reward and length of an episode.
        """
        recent = {name: np.concatenate([entry[name] for entry in self._rounds]) for name in self._rounds[-1]}
        kl = recent["log_pi"] - recent["log_p"]
        return {
            "j": float((recent["reward"] - kl).mean()),
            "kl": float(kl.mean()),
            "task_return": float(recent["reward"].mean() * self.c),
            "distinct": num_distinct(recent["tokens"]) / len(recent["tokens"]),
            "log_p": float(recent["log_p"].mean()),
            **{name: float(values.mean()) for name, values in recent.items() if name.startswith("term_")},
            "ep_rew_mean": float((recent["reward"] + recent["log_p"]).mean()),
            "ep_len_mean": float(recent["length"].mean()),
        }

    def warn_of_collapse(self, distinct: float, num_timesteps: int, possible: float) -> None:
        """Warn once if few of the newest sequences are distinct although the task allows many.

        Args:
            possible: log of how many sequences there are.
        """
        # in a small space most of the newest sequences repeat, however spread the policy is
        if distinct >= FEW_DISTINCT or possible <= np.log(100 * RECENT) or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"Only {distinct:.0%} of the newest sequences are distinct after {num_timesteps:,} timesteps: the policy is"
            " collapsing. A larger c keeps it closer to the prior; a smaller gamma or a smaller weight of the term that"
            " pays for repetition helps too.",
            # points at the caller of `learn`
            stacklevel=4,
        )
