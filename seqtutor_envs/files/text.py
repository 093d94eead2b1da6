"""Texts: an error in one line, 64-bit hashes, values as JSON has them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any


def one_line(error: BaseException) -> str:
    """Return an error's type and message without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None; in nested lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def hash_bytes(text: str, size: int = 8) -> bytes:
    """Hash a text to `size` bytes, the same in every process and on every machine (blake2b; the size changes all bits).

    Files hold these bits: a Bloom filter 16 bytes a string, a corpus and an agent's memory 8.
    """
    # surrogates: what decodes a file's broken bytes may be hashed too
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def hash64(text: str) -> int:
    """Hash a text to 64 bits: among a million texts the odds that any two share a hash are 1 in 37 million."""
    return int.from_bytes(hash_bytes(text), "little")
