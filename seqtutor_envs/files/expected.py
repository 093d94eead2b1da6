"""Check arrays that were read from a file before anything computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def expect_array(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array by its name. Raise ValueError if it is missing, or has another shape or dtype, or NaN in it."""
    if name not in arrays:
        raise ValueError(f"the array {name!r} is missing")
    array = arrays[name]
    if array.shape != shape or array.dtype != np.dtype(dtype):
        wanted = f"{np.dtype(dtype)} {list(shape)}"
        raise ValueError(f"the array {name!r} must be {wanted}, not {array.dtype} {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"the array {name!r} holds numbers that are not finite")
    return array


def expect_range(name: str, array: NDArray[Any], low: float, high: float) -> None:
    """Raise ValueError unless all of an array that is not empty is within low..high."""
    if array.size and not (low <= array.min() and array.max() <= high):
        raise ValueError(f"the array {name!r} must be within {low:g}..{high:g}")


def expect_names(arrays: Mapping[str, NDArray[Any]], names: set[str]) -> None:
    """Raise ValueError if arrays have other names than these."""
    if arrays.keys() != names:
        unknown, missing = sorted(set(arrays) - names), sorted(names - set(arrays))
        raise ValueError(f"the array {unknown[0]!r:.200} is unknown" if unknown else f"{missing[0]!r} is missing")
