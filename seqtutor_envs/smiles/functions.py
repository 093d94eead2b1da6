"""A user's function: found by its name, "package.module:function", where it comes from, and what it must return."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLE = '"package.module:function", such as "my_objective:score" for score in my_objective.py'


class WrongReturn(TypeError):
    """A function returned something else than one float for each SMILES."""


def load(path: str) -> Callable[..., Any]:
    """The function that `path` names; modules of the current directory are found as `python -m` finds them.

    Raises ValueError where it is no such name, ImportError where the module is missing or cannot be imported,
    AttributeError where the module has no such function and TypeError where that is no function: one line each.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute or module_name.endswith(".py") or os.sep in module_name:
        raise ValueError(f"A function is named as {EXAMPLE}; not {path!r}.")
    found: Any = _imported(path, module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            functions = [key for key, value in getattr(found, "__dict__", {}).items() if inspect.isfunction(value)]
            has = f"its functions are: {', '.join(functions)}" if functions else "it has no functions"
            raise AttributeError(f"{path}: {module_name} has no {attribute}; {has}.")
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{path} is no function but of type {type(found).__name__}.")
    return found


def _imported(path: str, module_name: str) -> Any:
    """The module. Raises ImportError that says whether it is missing or fails."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # for good: the module may import others of this directory later
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            where = f"in {here} or elsewhere on Python's path"
            raise ImportError(f"{path}: there is no module {error.name} {where}.") from None
        reason = one_line(error)
    except Exception as error:
        reason = one_line(error)
    raise ImportError(f"{path}: importing {module_name} failed: {reason}.")


def path_of(function: Callable[..., Any]) -> str:
    """Its "package.module:name"; of an object that is called, its class's."""
    named = _named(function)
    return f"{named.__module__}:{named.__qualname__}"


def source_hash(function: Callable[..., Any]) -> str | None:
    """SHA-256 of the file that a function comes from, else of its own source; None where neither can be read."""
    named = inspect.unwrap(_named(function))
    for source in (_file, inspect.getsource):
        try:
            return hashlib.sha256(source(named).encode()).hexdigest()
        except (OSError, TypeError):
            continue  # TypeError: it is written in C
    return None


def floats(result: Any, n: int) -> NDArray[np.float64]:
    """What a function returned as float64 [n]; None is NaN. Raises WrongReturn where it is not n numbers."""
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


def one_line(error: BaseException) -> str:
    """Its type and message, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _named(function: Callable[..., Any]) -> Any:
    """The function behind partial ones; of an object that is called, its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function)


def _file(named: Any) -> str:
    with open(inspect.getsourcefile(named) or "", encoding="utf-8") as file:
        return file.read()
