"""Find out when a policy repeats itself, and make it vary.

A task that counts distinct scores (`oracle_budget`) is not asked for one that it knows. A policy that samples what it
sampled before would then run on for long with its budget unspent.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.store.replay import Sequences
from agents.store.store import find_keys, mark_new
from seqtutor_envs.checks import one_of
from seqtutor_envs.files import hash64
from seqtutor_envs.files.expected import expect_array, expect_names, expect_range
from seqtutor_envs.prior import Prior, State
from seqtutor_envs.prior.recurrent_step import log_softmax
from seqtutor_envs.vocab import Tokens

ACTIONS = ("off", "warn", "temperature", "prior")
FEW_NEW = 0.5  # share of a round's sequences that are new, below which the policy is said to repeat itself
RANDOM = 0.25  # share of a round that is chosen from the candidates at random
HEAT, MOST_HEAT = 1.1, 3.0  # by which the sampling temperature rises in such a round, and where it ends
SHARE, MOST_SHARE = 0.05, 0.5  # the same of the share that the prior samples


class Repeats:
    """Count which sequences are new, and say how the next round is sampled.

    Args:
        action: when fewer than half of a round's sequences are new: "warn" once; raise the sampling "temperature" by a
            tenth, up to 3; or let the "prior" sample 5% more of each round, up to half. Later rounds with more new ones
            take it back by as much. All three warn. "off" only remembers.

    Attributes:
        new: share of the newest round's sequences that never came before.
        heat: sampling temperature.
        prior_share: of a round's sequences that the prior samples.
    """

    def __init__(self, action: str) -> None:
        self.action = one_of("on_repeats", action, ACTIONS)
        self.new, self.heat, self.prior_share = 1.0, 1.0, 0.0
        self._seen: set[int] = set()
        self._warned = False

    def count(self, sequences: Sequences, num_timesteps: int) -> None:
        """Count a round, remember it, and set how the next one is sampled."""
        keys = hash_keys(sequences)
        self.judge(self.find_new(keys), num_timesteps, stacklevel=6)
        self.remember(keys)

    def find_new(self, keys: Sequence[int]) -> NDArray[np.bool_]:
        """Return which of n sequences, by their `hash_keys`, never came before, [n]; of equal ones the first."""
        return mark_new(keys, self._seen)

    def remember(self, keys: Iterable[int]) -> None:
        """Take it that the sequences of these keys were seen."""
        self._seen.update(keys)

    def judge(self, new: NDArray[np.bool_], num_timesteps: int, stacklevel: int) -> None:
        """Set how the next round is sampled, by which of n sequences are new, [n].

        Args:
            new: see `find_new`.
            num_timesteps: so far, for the warning.
            stacklevel: how many calls up stands the user's line, which the warning names.
        """
        self.new = float(new.mean())
        few = self.new < FEW_NEW
        if self.action == "temperature":
            self.heat = min(self.heat * HEAT, MOST_HEAT) if few else max(self.heat / HEAT, 1.0)
        elif self.action == "prior":
            # rounded: five steps up and five down end at 0
            share = self.prior_share + (SHARE if few else -SHARE)
            self.prior_share = round(min(max(share, 0.0), MOST_SHARE), 6)
        if few and not self._warned and self.action != "off":
            self._warned = True
            then = {
                "warn": "on_repeats='temperature' makes it vary",
                "temperature": "it is sampled at a higher temperature",
                "prior": "the prior samples a share of each round",
            }[self.action]
            said = f"Only {self.new:.0%} of a round's sequences are new after {num_timesteps:,} timesteps: {then}."
            warnings.warn(said, stacklevel=stacklevel)

    def wrap(self, policy: Any, prior: Prior) -> Any:
        """Return the policy to sample the next round by."""
        if self.heat == 1.0 and self.prior_share == 0.0:
            return policy
        return VariedPolicy(policy, prior, self.heat, self.prior_share)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what was counted, for a checkpoint."""
        numbers = np.array([self.new, self.heat, self.prior_share, float(self._warned)])
        return {"seen": np.array(sorted(self._seen), np.uint64), "numbers": numbers}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if these cannot be counts."""
        expect_names(arrays, {"seen", "numbers"})
        numbers = expect_array(arrays, "numbers", (4,), np.float64)
        within = {"new": (0.0, 1.0), "heat": (1.0, MOST_HEAT), "prior_share": (0.0, MOST_SHARE), "warned": (0.0, 1.0)}
        for (name, (low, high)), value in zip(within.items(), numbers):
            expect_range(name, value, low, high)
        seen = expect_array(arrays, "seen", (np.size(arrays["seen"]),), np.uint64)
        self._seen = set(seen.tolist())
        self.new, self.heat, self.prior_share = (float(value) for value in numbers[:3])
        self._warned = bool(numbers[3])


def choose_candidates(
    new: NDArray[np.bool_], values: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose n of M candidates: new ones before others, three quarters by their values, the rest at random.

    Args:
        new: which of them never came before, [M].
        values: what they promise, [M].
        n: at most M.
    """
    order = np.lexsort((-values, ~new))
    best, others = np.split(order, [n - round(RANDOM * n)])
    others = rng.permutation(others)
    return np.concatenate([best, others[np.argsort(~new[others], kind="stable")][: n - len(best)]])


def hash_keys(sequences: Sequences) -> list[int]:
    """Return a number for each of n sequences that equal ones share."""
    return [hash64(key.hex()) for key in find_keys(sequences)]


class VariedPolicy:
    """Sample a policy at another temperature, and the first sequences of a batch from the prior. N sequences.

    Args:
        policy: whose rows are heated.
        prior: of the environment.
        heat: above 1 nearer to uniform.
        prior_share: of the sequences.
    """

    def __init__(self, policy: Any, prior: Prior, heat: float, prior_share: float) -> None:
        self.policy, self.prior, self.vocab = policy, prior, policy.vocab
        self.heat, self.prior_share = np.float32(heat), prior_share

    def initial_state(self, n: int) -> State:
        """Return the policy's state, and which of the n sequences the prior samples."""
        return (*self.policy.initial_state(n), np.arange(n) < round(self.prior_share * n))

    def step(
        self, tokens: Tokens, state: State, prior_rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], State]:
        """Step as Policy.step does; return the rows that are sampled from, [N, V]."""
        *inner, by_prior = state
        rows, after = self.policy.step(tokens, tuple(inner), prior_rows)
        return np.where(by_prior[:, None], prior_rows, log_softmax(rows / self.heat)), (*after, by_prior)
