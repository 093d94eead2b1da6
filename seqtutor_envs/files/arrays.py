"""Arrays in safetensors files, with JSON metadata; arrays in an .npz."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files.reading import check_regular, open_zip, reading
from seqtutor_envs.files.writing import write_atomically

HEADER_LENGTH_BYTES = 8  # at the start of a safetensors file, a little-endian number
MAX_HEADER = 2**22  # bytes of names, shapes and facts: ours have some kilobytes, and parsed JSON takes 30 times as many


def safetensors_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with .safetensors at its end; a dot elsewhere in the name stays."""
    return Path(path) if str(path).endswith(".safetensors") else Path(f"{os.fspath(path)}.safetensors")


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write the arrays by name, and the JSON facts, to `path`."""
    from safetensors.numpy import save

    # safetensors asks for contiguous arrays, and some of ours are transposed views
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_atomically(path, save(contiguous, metadata={"facts": json.dumps(facts)}))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote. Raise FileError if it did not write this file, OSError if there is none."""
    from safetensors import safe_open

    with reading(path, "was not written by this library, or is damaged"):
        check_regular(path)
        with open(path, "rb") as start:
            # the file begins with the header's length
            header = int.from_bytes(start.read(HEADER_LENGTH_BYTES), "little")
        if header > MAX_HEADER:
            raise ValueError(f"its header has {header:,} bytes, and at most {MAX_HEADER:,} are read")
        # numpy, not torch: loading a prior should not import torch
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            if not isinstance(facts, dict):
                raise ValueError("its facts are no JSON object")
            return {name: file.get_tensor(name) for name in file.keys()}, facts


def load_npz(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz by name, read-only. Nothing is unpickled. Raise FileError, or OSError."""
    with reading(path, "is not an .npz of plain arrays"):
        check_regular(path)
        with open_zip(path) as archive:
            return {name.removesuffix(".npy"): _parse_npy(archive.read(name)) for name in archive.namelist()}


def _parse_npy(content: bytes) -> NDArray[Any]:
    """Read an .npy where it lies. np.load makes room for the declared shape before it looks for the numbers."""
    file = io.BytesIO(content)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, in_columns, dtype = headers[np.lib.format.read_magic(file)](file)
    numbers = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return numbers.reshape(shape, order="F" if in_columns else "C")


def with_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Put "prefix." before each name."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def of_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Select the arrays whose names begin with "prefix.", and strip that."""
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}
