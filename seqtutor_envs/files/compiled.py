"""Functions compiled by numba, kept on disk where there is a place for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

NO_PLACE = (
    "There is no folder where numba can keep compiled functions, so each process compiles them anew, in up to half a "
    "minute: set NUMBA_CACHE_DIR to one that can be written."
)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile as `numba.njit` does; with cache=True without a cache, and a warning, where none can be written.

    numba keeps it beside the source file or in the home folder. A read-only container has neither, and numba raises.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError:
            if not options.get("cache"):
                raise
            _warn_of_no_place()
            return numba.njit(**{**options, "cache": False})(function)

    return decorate


@cache  # once a process
def _warn_of_no_place() -> None:
    warnings.warn(NO_PLACE, stacklevel=3)
