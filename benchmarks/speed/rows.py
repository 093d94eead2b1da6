"""One figure of the speed report, beside its limit and its aim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = Mapping[str, NDArray[np.float64]]  # side -> seconds of one call [turns], as `turns.in_turns` gives them


@dataclass(frozen=True)
class Aim:
    """What a row should reach.

    Attributes:
        bound: the number to reach.
        of: "ratio" or "value".
        at_most: True where less is better.
    """

    bound: float
    of: str = "ratio"
    at_most: bool = False

    def met_by(self, figure: float) -> bool:
        return figure <= self.bound if self.at_most else figure >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}{' (value)' if self.of == 'value' else ''}"


@dataclass(frozen=True)
class Row:
    """One line of a section.

    Attributes:
        name: what was measured, with its size: "256 sequences, full infos".
        value: its figure, in `unit`: a rate ("steps/s"), a time ("s", "us") or a size ("MiB").
        limit, limit_name: the figure, in the same unit, of what bounds or rivals it in the same run, and what that is.
        ratio: value over limit, the median over turns; `low`, `high` are its quartiles.
        aim: what it should reach.
        note: what else a reader needs, in a few words.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    aim: Aim | None = None
    note: str = ""

    def met(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        figure = None if self.aim is None else getattr(self, self.aim.of)
        return None if self.aim is None or figure is None else self.aim.met_by(figure)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without what is not there."""
        row = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return row | ({} if self.aim is None else {"aim": str(self.aim), "met": self.met()})


def rate_row(
    name: str, times: Times, ours: str, limit: str, amount: float, unit: str, limit_name: str, aim: Aim | None = None
) -> Row:
    """Rates of two sides that took turns, each of which did `amount` of `unit`'s work a call; ratio above 1: ours is
    the faster. Neighbouring turns are compared, so that what slows the machine slows both."""
    ratios = times[limit] / times[ours]
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    value, bound = (amount / float(np.median(times[side])) for side in (ours, limit))
    return Row(name, value, unit, bound, limit_name, ratio, low, high, aim)


def time_row(
    name: str, times: Times, ours: str, limit: str, amount: float, unit: str, limit_name: str, aim: Aim | None = None
) -> Row:
    """Nanoseconds ("ns") to seconds ("s") for each of `amount` pieces of work; ratio above 1: ours takes longer."""
    scale = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0}[unit] / amount
    low, ratio, high = np.quantile(times[ours] / times[limit], [0.25, 0.5, 0.75]).tolist()
    value, bound = (scale * float(np.median(times[side])) for side in (ours, limit))
    return Row(name, value, unit, bound, limit_name, ratio, low, high, aim)
