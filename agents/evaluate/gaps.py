"""How many nats an agent leaves: log Z - J, as far as log Z is known.

log Z is the greatest J that any policy can have. `seqtutor_envs.bounds.find_bounds` knows it for shipped environments,
by an estimate and by two bounds, which are infinite where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from seqtutor_envs.bounds import Bounds, find_bounds
from seqtutor_envs.prior import Prior

# kinds of J, as samplers name them: they cannot say how probable their sequences are, or their J is log Z itself
LOWER_BOUND, EXACT = "lower bound", "exact"
LOG_Z = ("log_z_lower", "log_z_upper", "log_z_estimate")  # keys of the metrics that `evaluate` returns


def find_log_z(agent: Any, env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, float]:
    """Return what is known of log Z where `evaluate` evaluates this agent, by the keys LOG_Z; {} if nothing is."""
    # a prior is the prior of its environment, too
    own = {"prior": agent} if isinstance(agent, Prior) else {}
    known = read_bounds(find_bounds(env_id, own | dict(env_kwargs)))
    return {} if known is None else dict(zip(LOG_Z, known))


class Known(NamedTuple):
    """Hold what is known of log Z or of a gap, in nats.

    Attributes:
        low, high: its bounds; infinite where nothing is known.
        estimate: NaN without one that can be believed.
        at_most: whether there may be less than `estimate`: J is a lower bound itself.
    """

    low: float
    high: float
    estimate: float
    at_most: bool = False

    def describe(self, write: Callable[[float], str]) -> str:
        """Say how much it is: "≈ 0.48", "≥ 27.7" where only a lower bound is known, "≲ 0.48" where it may be less."""
        if math.isfinite(self.estimate):
            return f"{'≲' if self.at_most else '≈'} {write(self.estimate)}"
        if math.isfinite(self.low):
            return f"≥ {write(self.low)}"
        return f"≤ {write(self.high)}" if math.isfinite(self.high) else "not known"

    def describe_bounds(self, write: Callable[[float], str]) -> str:
        """Say what `describe` leaves out: "≥ 0.46, ≤ 0.55"; "" if there is nothing else."""
        if not any(map(math.isfinite, (self.low, self.estimate))):
            return ""
        low = f"≥ {write(self.low)}, " if math.isfinite(self.low) and math.isfinite(self.estimate) else ""
        return f"{low}≤ {write(self.high) if math.isfinite(self.high) else '∞'}"


def read_bounds(bounds: Bounds | None) -> Known | None:
    """Read what is known of log Z; None for None.

    Left out are estimates without an upper end, made by a few heavy weights, and those that say no more than a bound.
    """
    if bounds is None:
        return None
    low, high, estimate = bounds.lower, bounds.upper, bounds.estimate
    says_more = math.isfinite(bounds.interval[1]) and low < estimate <= high
    return Known(low, high, estimate if says_more or bounds.exact else math.nan)


def read_log_z(metrics: Mapping[str, float | None]) -> Known | None:
    """Read what metrics say of log Z, also from JSON, where null is infinite or NaN; None if they say nothing."""
    if LOG_Z[0] not in metrics:
        return None
    unknown = (-math.inf, math.inf, math.nan)
    low, high, estimate = (end if (one := metrics[key]) is None else one for key, end in zip(LOG_Z, unknown))
    return Known(low, high, estimate)


def compute_gap(j: float, log_z: Known, is_bound: bool = False) -> Known:
    """Compute how many nats a policy of this J leaves.

    Args:
        is_bound: whether J is a lower bound of the policy's J. Then nothing says how much is left at least.
    """
    # a gap is a divergence: what the error of J puts below 0 is 0
    low = -math.inf if is_bound or math.isinf(log_z.low) else max(log_z.low - j, 0.0)
    return Known(low, max(log_z.high - j, 0.0), log_z.estimate - j, is_bound)


def describe_gap(metrics: Mapping[str, float | None]) -> dict[str, str]:
    """Say in two lines what is known of log Z and how many nats are left; {} if nothing is known."""
    log_z, j, write = read_log_z(metrics), metrics.get("j"), "{:.4f}".format
    found = {"log Z": log_z, "nats left": None if log_z is None or j is None else compute_gap(j, log_z)}
    return {
        name: ", ".join(filter(None, (one.describe(write), one.describe_bounds(write))))
        for name, one in found.items()
        if one is not None
    }
