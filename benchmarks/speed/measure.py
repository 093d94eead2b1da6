"""Measure a comparison: one side of ours and its limit or rivals take turns; the result is the ratio of their times.

A comparison is data. To add one, write a setup function that returns `Sides`, and add a row to the module's
`COMPARISONS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from timeit import Timer
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from seqtutor_envs.command import scoring_processes, set_threads

TURN = 0.03  # seconds a turn should take: far above the clock's resolution, below what the scheduler disturbs
FEWEST_TURNS = 5
OURS = "ours"
SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}  # units of time; any other unit is a rate
STILL = 1e-12  # a learning rate that leaves the policy as it is, so that all turns do the same work
SEED = 0


@dataclass(frozen=True)
class Options:
    """Hold how to measure.

    Args:
        seconds: seconds for each of some fifty comparisons, of its clock.
        threads: threads of products that are not ours, which always have one; CPU time is that of all together.
        melody_prior: a shipped melody prior's name, or the path of one.
        smiles_prior: a shipped SMILES prior's name, or the path of one.
        workers: processes that score molecules. Default: one for each core that this one may use.
    """

    seconds: float = 1.0
    threads: int = 1
    melody_prior: Annotated[str, tyro.conf.arg(name="prior")] = "melody"
    smiles_prior: str = "smiles"
    workers: int = field(default_factory=scoring_processes)


@dataclass(frozen=True)
class Aim:
    """State what a result should reach.

    Attributes:
        bound: the number to reach.
        of: "ratio" or "value".
        at_most: True where less is better.
    """

    bound: float
    of: str = "ratio"
    at_most: bool = False

    def met_by(self, value: float, ratio: float) -> bool:
        """Return whether a result reaches the aim."""
        number = ratio if self.of == "ratio" else value
        return number <= self.bound if self.at_most else number >= self.bound

    def text(self, unit: str) -> str:
        """Return the aim for a table, such as "<= 1.5 s"."""
        return f"{'<=' if self.at_most else '>='} {self.bound:g}{f' {unit}' if self.of == 'value' else ''}"


@dataclass(frozen=True)
class Sides:
    """Hold what takes turns.

    Attributes:
        ours: the work to measure.
        limits: name -> the same work done by the limit or a rival. The fastest one is what `ours` is compared with.
        amount: pieces of work in one call, in the comparison's unit.
        close: called at the end.
    """

    ours: Callable[[], Any]
    limits: Mapping[str, Callable[[], Any]]
    amount: float = 1.0
    close: Callable[[], Any] = field(default=lambda: None)


@dataclass(frozen=True)
class Comparison:
    """Describe one row of the report.

    Attributes:
        section, name: where it stands, and what is measured, with its size.
        unit: "steps/s" and other rates, or a time in "s", "ms" or "us".
        setup: makes the sides.
        aim: what it should reach, if anything.
        wall: True measures wall time, because several processes share the work; False measures CPU time.
    """

    section: str
    name: str
    unit: str
    setup: Callable[[Options], Sides]
    aim: Aim | None = None
    wall: bool = False


@dataclass(frozen=True)
class Result:
    """Hold one measured row.

    Attributes:
        value, limit: medians of both sides, in `unit`. `limit_name` says what the limit is.
        ratio, low, high: median and quartiles of ours over the limit, of neighbouring turns. Above 1, a rate is faster
            than the limit and a time is longer.
        aim, met: the aim as text, and whether it is met.
        note: why nothing was measured.
    """

    name: str
    unit: str
    value: float | None = None
    limit: float | None = None
    limit_name: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, without the empty ones."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def measure(comparison: Comparison, options: Options) -> Result:
    """Set up a comparison, let its sides take turns, and return the result.

    What this machine cannot do (a library or a CPU feature is missing) becomes the result's note.
    """
    try:
        sides = comparison.setup(options)
        try:
            set_threads(options.threads)  # here, because a setup may import another library
            clock = time.perf_counter if comparison.wall else time.process_time
            times = take_turns({OURS: sides.ours, **sides.limits}, options.seconds, clock)
        finally:
            sides.close()
    # one comparison that cannot run does not stop the others
    except (ImportError, ValueError, RuntimeError) as error:
        return Result(comparison.name, comparison.unit, note=f"not measured: {error}".splitlines()[0])
    return summarise(comparison, times, sides.amount)


def take_turns(
    sides: Mapping[str, Callable[[], Any]], seconds: float, clock: Callable[[], float] = time.process_time
) -> dict[str, NDArray[np.float64]]:
    """Run the sides in turns, A B A B ..., for about `seconds` of `clock`, each at least FEWEST_TURNS times.

    Returns side -> seconds of one call [turns].
    """
    timers = {name: Timer(side, timer=clock) for name, side in sides.items()}
    calls = {name: _calls_in_a_turn(timer) for name, timer in timers.items()}
    turns: dict[str, list[float]] = {name: [] for name in sides}
    begin = clock()
    # side by side in each pass, so that a busy moment hits both
    while clock() - begin < seconds or len(turns[OURS]) < FEWEST_TURNS:
        for name, timer in timers.items():
            turns[name].append(timer.timeit(calls[name]) / calls[name])
    return {name: np.array(times) for name, times in turns.items()}


def _calls_in_a_turn(timer: Timer) -> int:
    timer.timeit(1)  # compiles, and fills caches
    calls = 1
    # doubled until the clock can tell; a single fast call is below its resolution
    while (spent := timer.timeit(calls)) < TURN / 2:
        calls *= 2
    return max(1, round(calls * TURN / spent))


def summarise(comparison: Comparison, times: Mapping[str, NDArray[np.float64]], amount: float) -> Result:
    """Compare ours with its fastest limit, turn by turn, so that what slows the machine slows both."""
    medians = {name: float(np.median(taken)) for name, taken in times.items()}
    # the fastest rival: beating a slow one says little
    limit = min((name for name in times if name != OURS), key=medians.__getitem__)
    if scale := SCALES.get(comparison.unit):
        value, bound = (scale * medians[name] / amount for name in (OURS, limit))
        ratios = times[OURS] / times[limit]
    else:
        value, bound = (amount / medians[name] for name in (OURS, limit))
        ratios = times[limit] / times[OURS]
    # the median of ratios, not the ratio of medians: neighbouring turns share the machine's state
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    aim = comparison.aim
    met = None if aim is None else aim.met_by(value, ratio)
    words = "" if aim is None else aim.text(comparison.unit)
    return Result(comparison.name, comparison.unit, value, bound, limit, ratio, low, high, words, met)
