"""Import a user's function by its name, tell where it comes from, and check what it returns."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files import import_by_name

EXAMPLE = "my_objective:score for the function score of my_objective.py"


class WrongReturn(TypeError):
    """Say that a function returned something else than one float for each SMILES."""


def load(path: str) -> Callable[..., Any]:
    """Import the function that "package.module:function" names; modules of the current directory are found too.

    Raises ValueError, ImportError, AttributeError or, where that is no function, TypeError: one line each.
    """
    found = import_by_name(path, EXAMPLE, search_here=True)
    if not callable(found):
        raise TypeError(f"{path} is no function but of type {type(found).__name__}.")
    return found


def path_of(function: Callable[..., Any]) -> str:
    """Return a function's "package.module:name"; of a callable object, its class's."""
    named = _named(function)
    return f"{named.__module__}:{named.__qualname__}"


def source_hash(function: Callable[..., Any]) -> str | None:
    """Hash the file that a function comes from, else its own source (SHA-256); None where neither can be read."""
    named = inspect.unwrap(_named(function))
    for source in (_file, inspect.getsource):
        try:
            return hashlib.sha256(source(named).encode()).hexdigest()
        except (OSError, TypeError):
            continue  # TypeError: it is written in C
    return None


def floats(result: Any, n: int) -> NDArray[np.float64]:
    """Convert what a function returned to float64 [n]; None is NaN. Raise WrongReturn where it is not n numbers."""
    if hasattr(result, "detach"):  # a torch tensor, which may lie on a GPU and want a gradient
        result = result.detach().cpu()
    wanted = f"must return {n} float{'s' * (n != 1)}, one for each SMILES of its list"
    try:
        array = np.asarray(result)
    except ValueError:  # ragged lists
        array = np.array("?")
    if array.dtype.kind == "O" and all(value is None or isinstance(value, Real) for value in array.flat):
        array = np.array([np.nan if value is None else value for value in array.flat], np.float64).reshape(array.shape)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        text = " ".join(repr(result).split())
        text = text if len(text) < 60 else text[:57] + "..."
        raise WrongReturn(f"{wanted}, not {type(result).__name__}: {text}.")
    if array.shape not in ((n,), (n, 1)):  # a model's output of one column is as clear
        raise WrongReturn(f"{wanted}, not {type(result).__name__} of shape {list(array.shape)}.")
    return array.reshape(n).astype(np.float64)


def _named(function: Callable[..., Any]) -> Any:
    """Return the function behind partial ones; of a callable object, its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function)


def _file(named: Any) -> str:
    with open(inspect.getsourcefile(named) or "", encoding="utf-8") as file:
        return file.read()
