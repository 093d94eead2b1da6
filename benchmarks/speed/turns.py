"""Fair comparison of pieces of code on a machine that is not ours alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 0.03  # seconds of one turn at least: above the clock's steps, below the scheduler's moods
FEWEST_TURNS = 5
STILL = 1e-12  # a learning rate with which policies stay what they were, so that all turns do the same work


def in_turns(
    sides: Mapping[str, Callable[[], Any]], seconds: float, clock: Callable[[], float] = time.process_time
) -> dict[str, NDArray[np.float64]]:
    """Runs the sides in turns, A B A B ..., for about `seconds` of the clock, each at least FEWEST_TURNS times.

    Args:
        clock: CPU time of this process; time.perf_counter where others share the work.

    Returns:
        name -> seconds of one call [turns].
    """
    calls = {name: _calls_in_a_block(side, clock) for name, side in sides.items()}  # warms up, too
    turns: dict[str, list[float]] = {name: [] for name in sides}
    begin = clock()
    while clock() - begin < seconds or len(turns[next(iter(sides))]) < FEWEST_TURNS:
        for name, side in sides.items():
            turns[name].append(_block(side, calls[name], clock) / calls[name])
    return {name: np.array(times) for name, times in turns.items()}


def typical(times: NDArray[np.float64]) -> float:
    """The median."""
    return float(np.median(times))


def _block(side: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    begin = clock()
    for _ in range(calls):
        side()
    return clock() - begin


def _calls_in_a_block(side: Callable[[], Any], clock: Callable[[], float]) -> int:
    side()  # compiles
    calls = 1
    while (spent := _block(side, calls, clock)) < BLOCK / 2:
        calls *= 2
    return max(1, round(calls * BLOCK / spent))
