"""Import what "module:attribute" names."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from seqtutor_envs.files.text import one_line


def import_by_name(name: str, example: str, search_here: bool = False) -> Any:
    """Import what "package.module:attribute" names; the attribute may have dots.

    Args:
        name: the name.
        example: a name of the kind that is wanted, for the error.
        search_here: find modules of the current directory too, as `python -m` does.

    Raises, each in one line:
        ValueError: this is not a name of that form.
        ImportError: the module is missing or cannot be imported.
        AttributeError: the module has no such attribute.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute or module_name.endswith(".py") or os.sep in module_name:
        raise ValueError(f"A name has the form package.module:name, such as {example}; not {name!r}.")
    here = os.getcwd()
    # for this import alone: later ones must not find modules in whatever folder this process is in
    added = search_here and here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the module, which can raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name
        # only a missing module that is part of the name; one that it imports is the module's own problem
        if missing and f"{module_name}.".startswith(f"{missing}."):
            where = f"in {here} or elsewhere on Python's path: install it, or set PYTHONPATH"
            raise ImportError(f"{name}: there is no module {missing} {where}.") from None
        raise ImportError(f"{name}: importing {module_name} failed: {one_line(error)}.") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    for part in attribute.split("."):
        if not hasattr(found, part):
            functions = [key for key, value in getattr(found, "__dict__", {}).items() if inspect.isfunction(value)]
            has = f"its functions are: {', '.join(functions)}" if functions else "it has no functions"
            raise AttributeError(f"{name}: {module_name} has no {attribute}; {has}.")
        found = getattr(found, part)
    return found


def redirect(old: str, new: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that finds its names in the module `new` and warns that `old` goes in 0.3.

    Files that stable-baselines3 pickled name some of our classes by the module in which they stood then.
    """

    def find(name: str) -> Any:
        # dunder names are asked by import machinery and pickle, which must not see a warning
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(importlib.import_module(new), name)
        warnings.warn(f"{old} goes in 0.3: import {name} from {new}.", DeprecationWarning, stacklevel=2)
        return found

    return find
