"""Learning by the clock instead of by timesteps."""

from __future__ import annotations

import time

from stable_baselines3.common.callbacks import BaseCallback


class SecondsBudget(BaseCallback):
    """Stops `learn` at the end of the round in which `seconds` of this process's CPU time are spent.

    CPU time, not the wall's: the same work counts the same on a busy machine. Several threads spend it several times
    as fast.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.spent = seconds, 0.0

    def _on_training_start(self) -> None:
        self._begin = time.process_time() - self.spent

    def _on_step(self) -> bool:
        self.spent = time.process_time() - self._begin
        return self.spent < self.seconds
