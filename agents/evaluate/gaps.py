"""How many nats an agent leaves: log Z - J, as far as log Z is known.

log Z is the greatest J that any policy can have. `seqtutor_envs.bounds.find_bounds` knows it for shipped environments,
by an estimate and by two bounds, which are infinite where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from seqtutor_envs.bounds import find_bounds
from seqtutor_envs.prior import Prior

# kinds of J, as samplers name them: they cannot say how probable their sequences are, or their J is log Z itself
LOWER_BOUND, EXACT = "lower bound", "exact"
NEAR = 0.005  # nats, the last digit that tables show; an estimate so near to a lower bound is that bound
LOG_Z = ("log_z_lower", "log_z_upper", "log_z_estimate")  # keys of the metrics that `evaluate` returns


def find_log_z(agent: Any, env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, float]:
    """Return what is known of log Z where `evaluate` evaluates this agent, by the keys LOG_Z; {} if nothing is."""
    # a prior is the prior of its environment, too
    own = {"prior": agent} if isinstance(agent, Prior) else {}
    bounds = find_bounds(env_id, own | dict(env_kwargs))
    return {} if bounds is None else dict(zip(LOG_Z, (bounds.lower, bounds.upper, bounds.estimate)))


class Known(NamedTuple):
    """Hold what is known of log Z or of a gap, in nats.

    Attributes:
        low, high: its bounds; infinite where nothing is known.
        estimate: NaN without one.
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
        return f"≥ {write(self.low)}" if math.isfinite(self.low) else "not known"

    def describe_bounds(self, write: Callable[[float], str]) -> str:
        """Say what `describe` leaves out: "≥ 0.46, ≤ 0.55"."""
        low = f"≥ {write(self.low)}, " if math.isfinite(self.low) and math.isfinite(self.estimate) else ""
        return f"{low}≤ {write(self.high) if math.isfinite(self.high) else '∞'}"


def read_log_z(metrics: Mapping[str, float | None]) -> Known | None:
    """Read what metrics say of log Z, also from JSON, which has no infinity; None if they say nothing."""
    if LOG_Z[0] not in metrics:
        return None
    low, high, estimate = (metrics.get(key) for key in LOG_Z)
    return make_log_z(-math.inf if low is None else low, math.inf if high is None else high, estimate)


def make_log_z(low: float, high: float, estimate: float | None) -> Known:
    """Hold what is known of log Z. An estimate that says no more than the lower bound is none.

    That is one of a few heavy weights, or the mass of the sequences that are known, which is both.
    """
    estimate = math.nan if estimate is None else estimate
    says_more = low + NEAR < estimate <= high or high - low <= 2 * NEAR
    return Known(low, high, estimate if says_more else math.nan)


def compute_gap(j: float, log_z: Known, is_bound: bool = False) -> Known:
    """Compute how many nats a policy of this J leaves.

    Args:
        is_bound: whether J is a lower bound of the policy's J. Then nothing says how much is left at least.
    """
    # a gap is a divergence: what the error of J puts below 0 is 0
    low = -math.inf if is_bound or math.isinf(log_z.low) else max(log_z.low - j, 0.0)
    return Known(low, max(log_z.high - j, 0.0), log_z.estimate - j, is_bound)


def describe_gap(metrics: Mapping[str, float | None], is_bound: bool = False) -> dict[str, str]:
    """Say in two lines what is known of log Z and how many nats are left; {} if nothing is known."""
    log_z, j, write = read_log_z(metrics), metrics.get("j"), "{:.4f}".format
    found = {"log Z": log_z, "nats left": None if log_z is None or j is None else compute_gap(j, log_z, is_bound)}
    return {
        name: f"{one.describe(write)}, {one.describe_bounds(write)}" for name, one in found.items() if one is not None
    }
