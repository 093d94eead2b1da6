"""What `log_z` returns: bounds, an estimate, an interval, and what tells how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Bounds:
    """Say what is known of log Z, the greatest J of any policy, in nats.

    `lower` and `upper` are bounds alone: infinite where nothing is known. `estimate` and `interval` are none.

    Attributes:
        lower, upper: log Z lies between them.
        lower_method, upper_method: how each was found.
        lower_probability, upper_probability: with which each holds over the randomness of the method; 1 is certain.
        estimate, estimate_method: the best guess.
        interval: 95% for log Z if the estimate's assumptions hold; both ends are log Z where it is known exactly.
        diagnostics: by name: effective sample sizes, ancestors, v(s_0) of a twist, seconds and others; of JSON's types.
        notes: what a reader must know.
    """

    lower: float
    lower_method: str
    lower_probability: float
    upper: float
    upper_method: str
    upper_probability: float
    estimate: float
    estimate_method: str
    interval: tuple[float, float]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Return whether log Z itself is known."""
        return self.lower == self.upper

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold; None stands for what is infinite."""
        row = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("lower", "upper", "estimate"):
            row[name] = _finite(row[name])
        return row | {"interval": [_finite(end) for end in self.interval], "notes": list(self.notes)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned. Raises KeyError, TypeError or ValueError for anything else."""
        low, high = row["interval"]
        ends = {"lower": -math.inf, "upper": math.inf, "estimate": -math.inf}
        read: dict[str, Any] = {name: row[name] for name in (one.name for one in fields(cls)) if name in row}
        read |= {name: end if row[name] is None else float(row[name]) for name, end in ends.items()}
        read["interval"] = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        return cls(**{**read, "notes": tuple(row["notes"])})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
