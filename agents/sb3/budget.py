"""Stop learning after a number of seconds, instead of a number of timesteps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback

from seqtutor_envs.checks import Range

SECONDS = Range(0.0, above=True)
NO_LIMIT = 10**12  # timesteps that no budget of seconds reaches


class SecondsBudget(BaseCallback):
    """Stop `learn` at the end of the round in which `seconds` of the clock are spent.

    Args:
        seconds: how many; math.inf sets no limit.
        clock: gives the time in seconds. The default is this process's CPU time, which does not depend on what else the
            machine does; several threads spend it several times as fast. It does not count scoring processes: with
            those use `time.perf_counter`.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        super().__init__()
        # math.inf: no limit
        self.seconds = seconds if seconds == math.inf else SECONDS.check("seconds", seconds)
        self.clock, self.spent = clock, 0.0

    def _on_training_start(self) -> None:
        # what earlier calls of `learn` spent counts, so that a run in parts has one budget
        self._begin = self.clock() - self.spent

    def _on_step(self) -> bool:
        self.spent = self.clock() - self._begin
        return self.spent < self.seconds
