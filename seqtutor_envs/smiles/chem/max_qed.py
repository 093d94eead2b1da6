"""Prove how large QED can be.

QED is the weighted geometric mean of eight desirabilities, each of one property x (RDKit's `QED.ads`):

    (A + B s(rise) s(fall)) / DMAX,  rise = (x - C + D/2) / E,  fall = (C + D/2 - x) / F,  s the logistic function.

log s is concave, so log(s(rise) s(fall)) is too: it rises up to its mode and falls after it. The bound takes the
greatest value of each desirability, as if one molecule could have them all.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from rdkit.Chem import QED

Parameters = Any  # an ADSparameter (A, B, C, D, E, F, DMAX), whose fields RDKit's stubs do not have

COUNTS = ("HBA", "HBD", "ROTB", "AROM", "ALERTS")  # whole numbers from 0; MW, ALOGP and PSA are taken as any real ones
WIDTH = 1e-9  # of the interval around a mode, in the property's unit; it costs the bound less than 1e-10
ROUNDING = 1e-12  # relative; QED and this bound are some 50 operations of 1e-16 each
FAR = 40.0  # s(-40) is 4e-18: that far from both of its inflections a desirability surely rises, or falls


@lru_cache(maxsize=1)
def max_qed() -> float:
    """Return a number, .94845, that the QED of no molecule exceeds (Bickerton et al. 2012, with mean weights)."""
    weights = QED.WEIGHT_MEAN._asdict()
    # all weights are above 0: the mean rises with each desirability
    logs = [weight * math.log(max_desirability(name)) for name, weight in weights.items()]
    return math.exp(sum(logs) / sum(weights.values())) * (1 + ROUNDING)


def max_desirability(name: str) -> float:
    """Return an upper bound of the desirability of a property, one of `QED.adsParameters`."""
    p = QED.adsParameters[name]
    low, high = find_mode(p)
    if name in COUNTS:
        # counts further from the mode are worth less than these
        return max(QED.ads(count, p) for count in range(math.floor(low), math.ceil(high) + 1))
    # within the interval no factor exceeds its value at one of the ends; outside, all are less than at an end
    return (p.A + p.B * _logistic(_rise(high, p)) * _logistic(_fall(low, p))) / p.DMAX


def find_mode(p: Parameters) -> tuple[float, float]:
    """Return the ends of an interval of WIDTH that holds the x with the greatest desirability, by bisection."""
    reach = p.D / 2 + FAR * max(p.E, p.F)
    low, high = p.C - reach, p.C + reach
    while high - low > WIDTH:
        middle = (low + high) / 2
        # d/dx log(s(rise) s(fall)), which falls with x
        slope = _logistic(-_rise(middle, p)) / p.E - _logistic(-_fall(middle, p)) / p.F
        low, high = (middle, high) if slope > 0 else (low, middle)
    return low, high


def _rise(x: float, p: Parameters) -> float:
    return (x - p.C + p.D / 2) / p.E


def _fall(x: float, p: Parameters) -> float:
    return (p.C + p.D / 2 - x) / p.F


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
