"""Desirabilities: from a score on any scale to [0, 1], by name.

sigmoid, reverse_sigmoid, double_sigmoid and step are REINVENT 4's (reinvent/scoring/transforms) with its parameters'
names, so that its configurations carry over; gaussian is GuacaMol's GaussianModifier.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POSITIVE = ("k", "coef_div", "coef_si", "coef_se", "sigma")  # parameters that must be above 0
STEEPNESS = 0.5  # of a sigmoid, ours: .003 at `low` and .997 at `high`; REINVENT 4 has no default


def sigmoid(x: Array, low: float, high: float, k: float = STEEPNESS) -> Array:
    """Return 1 / (1 + 10^(-10 k (x - m) / (high - low))), m midway.

    About 0 below `low`, .5 at m, about 1 above `high`.
    """
    return _logistic10(10.0 * k * (x - (low + high) / 2) / (high - low))


def reverse_sigmoid(x: Array, low: float, high: float, k: float = STEEPNESS) -> Array:
    """Return 1 - sigmoid: about 1 below `low`, about 0 above `high`."""
    return _logistic10(-10.0 * k * (x - (low + high) / 2) / (high - low))


def double_sigmoid(
    x: Array, low: float, high: float, coef_div: float = 100.0, coef_si: float = 150.0, coef_se: float = 150.0
) -> Array:
    """Return about 1 from `low` to `high`, .5 at both.

    Rises with steepness coef_si / coef_div (base 10, per unit of x) up to midway and falls with coef_se / coef_div from
    there.
    """
    rise, fall = _logistic10(coef_si / coef_div * (x - low)), _logistic10(-coef_se / coef_div * (x - high))
    return np.where(x < (low + high) / 2, rise, fall)


def step(x: Array, low: float = -math.inf, high: float = math.inf) -> Array:
    """Return 1 from `low` to `high`, both included, else 0."""
    return ((low <= x) & (x <= high)).astype(np.float64)


def gaussian(x: Array, mu: float, sigma: float) -> Array:
    """Return exp(-((x - mu) / sigma)^2 / 2): 1 at mu, .61 at one sigma from it."""
    with np.errstate(over="ignore"):  # far away it is 0
        return np.exp(-0.5 * ((x - mu) / sigma) ** 2)


TRANSFORMS: dict[str, Callable[..., Array]] = {
    function.__name__: function for function in (sigmoid, reverse_sigmoid, double_sigmoid, step, gaussian)
}


def _logistic10(h: Array) -> Array:
    """Return 1 / (1 + 10^-h), without overflow."""
    # 10 ** -|h| is at most 1, so neither side overflows
    small = 10.0 ** -np.abs(h)
    return np.where(h >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True)
class Transform:
    """Map scores [n] to [0, 1] by a named function with its parameters, which are plain data.

    `Transform.of("sigmoid:low=2,high=5")` and `Transform.of({"name": "sigmoid", "low": 2, "high": 5})` are the same.
    """

    name: str
    parameters: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> Transform:
        """Make a transform from its text or dictionary.

        Raise ValueError that lists the names or parameters there are.
        """
        if isinstance(given, str):
            name, _, rest = given.partition(":")
            pairs = [pair.partition("=")[::2] for pair in rest.split(",") if pair.strip()]
            settings: dict[str, Any] = {key.strip(): value.strip() for key, value in pairs}
        elif isinstance(given, Mapping) and "name" in given:
            settings = dict(given)
            name = str(settings.pop("name"))
        else:
            example = '"sigmoid:low=2,high=5" or {"name": "sigmoid", "low": 2, "high": 5}'
            raise ValueError(f"transform must be given as {example}, not {given!r}.")
        return cls(name.strip(), _check_parameters(name.strip(), settings))

    def __call__(self, scores: Array) -> Array:
        return TRANSFORMS[self.name](scores, **dict(self.parameters))

    def as_dict(self) -> dict[str, Any]:
        """Return what `Transform.of` and JSON take."""
        return {"name": self.name, **dict(self.parameters)}


def _check_parameters(name: str, settings: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Return the parameters of the transform `name`, defaults included. Raise ValueError if one is meaningless."""
    if name not in TRANSFORMS:
        raise ValueError(f"No transform is called {name!r}; the transforms are: {', '.join(TRANSFORMS)}.")
    signature = inspect.signature(TRANSFORMS[name])
    try:
        # bind finds wrong and missing names at once, with Python's own message
        bound = signature.bind(np.empty(0), **settings)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:])
        raise ValueError(f"The transform {name} takes {takes}; {error}.") from None
    bound.apply_defaults()
    full: dict[str, float] = {}
    for key, value in list(bound.arguments.items())[1:]:  # the first are the scores
        try:
            if isinstance(value, bool):  # float(True) is 1.0
                raise TypeError
            full[key] = float(value)
        except (OverflowError, TypeError, ValueError):
            raise ValueError(f"{key} of the transform {name} must be a number, not {value!r}.") from None
        if not math.isfinite(full[key]) and not (name == "step" and math.isinf(full[key])):
            raise ValueError(f"{key} of the transform {name} must be a finite number, not {full[key]}.")
        if key in POSITIVE and full[key] <= 0:
            raise ValueError(f"{key} of the transform {name} must be above 0, not {full[key]:g}.")
    if "low" in full and not (full["low"] < full["high"] or (name == "step" and full["low"] == full["high"])):
        reverse = "; reverse_sigmoid falls with the score" if name == "sigmoid" else ""
        ends = f"low={full['low']:g} and high={full['high']:g}"
        raise ValueError(f"low of the transform {name} must be below high, not {ends}{reverse}.")
    return tuple(full.items())
