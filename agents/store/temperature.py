"""The temperature that an agent learns at: the environment's c, approached from a higher one or set by the KL.

J, KL and returns are always reported at the environment's c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.store.replay import Sequences
from seqtutor_envs.checks import TEMPERATURE, Range
from seqtutor_envs.files.expected import expect_array, expect_names

TARGET_KL = Range(0.0, 1e6, above=True)
MOST_STEP = math.log(1.1)  # of log c in a round, where the KL is set
FARTHEST = math.log(1e3)  # from the environment's c, in log c, that a KL may demand


class Temperature:
    """Hold the temperature of the present round.

    Args:
        c: the environment's.
        start: where learning begins; None: at c. From there log c falls, or rises, evenly to the environment's.
        target_kl: KL(pi || p) in nats of whole sequences that c is to keep: above it c rises, below it c falls, by at
            most 10% a round and up to a thousandfold. None: c does not follow the KL.

    Raises ValueError where both are given, or one is out of range.
    """

    def __init__(self, c: float, start: float | None = None, target_kl: float | None = None) -> None:
        if start is not None and target_kl is not None:
            raise ValueError("c_start and target_kl both set the temperature: give one of them.")
        self.c = c
        self.start = None if start is None else float(TEMPERATURE.check("c_start", start))
        self.target_kl = None if target_kl is None else float(TARGET_KL.check("target_kl", target_kl))
        self.now = c if self.start is None else self.start

    @property
    def moves(self) -> bool:
        """Return whether it ever differs from c."""
        return self.start is not None or self.target_kl is not None

    def begin(self, done: float) -> None:
        """Go back to where this share of the learning finds it: a learning that begins anew starts at `start`."""
        if self.start is not None:
            self.now = self.start if done == 0 else self._fall(done)

    def _fall(self, done: float) -> float:
        assert self.start is not None
        # in this form it ends at c to the last bit, where nothing needs to be rescaled
        return float(self.c * (self.start / self.c) ** (1.0 - done))

    def follow(self, done: float, kl: float) -> None:
        """Set the temperature of the next round.

        Args:
            done: share of the learning that is done, 0..1.
            kl: of the newest round, in nats.
        """
        if self.start is not None:
            self.now = self._fall(done)
        elif self.target_kl is not None:
            step = MOST_STEP * max(-1.0, min(1.0, kl / self.target_kl - 1.0))
            away = math.log(self.now / self.c) + step
            now = self.c * math.exp(max(-FARTHEST, min(FARTHEST, away)))
            # a file with a temperature beyond these could not be loaded
            self.now = max(TEMPERATURE.low, min(TEMPERATURE.high, now))

    def change_c(self, c: float) -> None:
        """Go on in an environment of another c: a temperature that moves stays where it is, and goes to this c."""
        self.c, self.now = c, self.now if self.moves else c

    def rescale(self, sequences: Sequences) -> Sequences:
        """Return sequences with rewards divided by the present temperature in place of the environment's c."""
        if self.now == self.c:
            return sequences
        return replace(sequences, task_rewards=sequences.task_rewards * np.float32(self.c / self.now))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the present temperature, for a checkpoint."""
        return {"now": np.array([self.now])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if it cannot be a temperature."""
        expect_names(arrays, {"now"})
        (now,) = expect_array(arrays, "now", (1,), np.float64).tolist()
        self.now = float(TEMPERATURE.check("the temperature", now))
