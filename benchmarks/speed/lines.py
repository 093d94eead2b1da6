"""Where the time of the environment's step goes, line by line (line_profiler, from PyPI).

Watching a line takes time itself, some tenths of a microsecond: shares of many short lines are a little too large.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import gymnasium as gym

from benchmarks.domains import MELODY
from benchmarks.speed import bare
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.prior import Prior

BATCH = 256
EPISODES = 20
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Line:
    """A line's share of the whole step's time; what it calls is in it."""

    function: str  # module.function
    number: int
    share: float
    source: str


def profiler_class() -> Any:
    """line_profiler's. Raises ValueError, one line, where it is not installed."""
    try:
        from line_profiler import LineProfiler
    except ImportError:
        raise ValueError("--lines needs line_profiler: pip install line_profiler") from None
    return LineProfiler


def step_lines(prior: Prior, n: int = BATCH) -> list[Line]:
    """Lines with a hundredth of `step`'s time or more, all infos, n melodies; by function, the dearest first."""
    env: Any = gym.make_vec(MELODY, num_envs=n, prior=prior)
    columns = bare.sampled(prior, n, LENGTH)
    bare.episodes(env, columns)  # compiles
    profiler = profiler_class()(*functions())
    env.reset()
    profiler.enable_by_count()
    try:
        for _ in range(EPISODES):
            for column in columns:
                env.step(column)
            env.step(columns[-1])  # starts all anew
    finally:
        profiler.disable_by_count()
    return list(worth_a_look(profiler.get_stats().timings))


def functions() -> list[FunctionType]:
    """All plain functions and methods of this package's modules that are imported: whatever `step` calls is one."""
    found: dict[int, FunctionType] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("seqtutor_envs.") and isinstance(module, ModuleType):
            for holder in (module, *(kind for kind in vars(module).values() if inspect.isclass(kind))):
                for thing in vars(holder).values():
                    function = inspect.unwrap(getattr(thing, "__func__", thing))
                    # written there: neither imported, nor made by a decorator
                    if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                        found[id(function)] = function
    return list(found.values())


def worth_a_look(timings: dict[tuple[str, int, str], list[tuple[int, int, int]]]) -> Iterator[Line]:
    """Lines out of line_profiler's (file, first line, function) -> (line, hits, time)."""
    step = inspect.unwrap(SequenceTutorVectorEnv.step).__code__
    of_step = (step.co_filename, step.co_firstlineno)
    whole = sum(time for key, spent in timings.items() if key[:2] == of_step for _, _, time in spent)
    dearest_first = sorted(timings.items(), key=lambda item: -sum(time for _, _, time in item[1]))
    for (file, _, function), spent in dearest_first:
        for number, _, time in spent:
            if whole and time / whole >= LEAST_SHARE:
                name = f"{Path(file).stem}.{function.rpartition('.')[2]}"
                yield Line(name, number, time / whole, linecache.getline(file, number).strip())
