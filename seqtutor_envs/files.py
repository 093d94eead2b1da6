"""Files, hashes and imports by name: safetensors files with JSON metadata, 64-bit text hashes, "module:attribute".

Writing is atomic; reading executes nothing from the file.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it once the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, not in the temporary folder: os.replace is atomic only within one file system
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        # missing_ok: after a success the file is gone already
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path` and rename it, so that no reader ever sees half a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None; in nested lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def safetensors_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with .safetensors at its end; a dot elsewhere in the name stays."""
    return Path(path) if str(path).endswith(".safetensors") else Path(f"{os.fspath(path)}.safetensors")


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write the arrays by name, and the JSON facts, to `path`."""
    from safetensors.numpy import save

    # safetensors asks for contiguous arrays, and some of ours are transposed views
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_atomically(path, save(contiguous, metadata={"facts": json.dumps(facts)}))


def load_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote. Raise ValueError with one line if it did not write this file."""
    from safetensors import SafetensorError, safe_open

    try:
        # numpy, not torch: loading a prior should not import torch
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts
    except (SafetensorError, KeyError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} was not written by this library, or is damaged ({reason}).") from None


def with_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Put "prefix." before each name."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def of_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Select the arrays whose names begin with "prefix.", and strip that."""
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def hash_bytes(text: str, size: int = 8) -> bytes:
    """Hash a text to `size` bytes, the same in every process and on every machine (blake2b; the size changes all bits).

    Files hold these bits: a Bloom filter 16 bytes a string, a corpus and an agent's memory 8.
    """
    # surrogates: what decodes a file's broken bytes may be hashed too
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def hash64(text: str) -> int:
    """Hash a text to 64 bits: among a million texts the odds that any two share a hash are 1 in 37 million."""
    return int.from_bytes(hash_bytes(text), "little")


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
    if search_here and here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # for good: the module may import others of this directory later
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the module, which can raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name
        # only a missing module that is part of the name; one that it imports is the module's own problem
        if missing and f"{module_name}.".startswith(f"{missing}."):
            where = f"in {here} or elsewhere on Python's path: install it, or set PYTHONPATH"
            raise ImportError(f"{name}: there is no module {missing} {where}.") from None
        raise ImportError(f"{name}: importing {module_name} failed: {one_line(error)}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            functions = [key for key, value in getattr(found, "__dict__", {}).items() if inspect.isfunction(value)]
            has = f"its functions are: {', '.join(functions)}" if functions else "it has no functions"
            raise AttributeError(f"{name}: {module_name} has no {attribute}; {has}.")
        found = getattr(found, part)
    return found


def one_line(error: BaseException) -> str:
    """Return an error's type and message without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


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
