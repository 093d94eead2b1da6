"""Arrays in safetensors files, with JSON metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files.writing import write_atomically


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
