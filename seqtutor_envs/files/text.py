"""Texts: an error in one line, what a terminal or a spreadsheet may show, 64-bit hashes, values as JSON has them."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories: controls, direction of writing, half letters, line breaks
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # beginnings of a cell that spreadsheets take for a formula


def one_line(error: BaseException) -> str:
    """Return an error's type and message without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def printable(text: object) -> str:
    """Return a text for a terminal: what would move its cursor, turn its text round or cannot be encoded is spelt out.

    Line breaks and tabs stay. A file's facts, a molecule and a file's name can hold any character.
    """
    shown = str(text)
    # nearly every text is plain, and then this is quick
    if shown.isprintable():
        return shown
    return "".join(_spelt_out(one) if unicodedata.category(one) in UNPRINTABLE else one for one in shown)


def _spelt_out(letter: str) -> str:
    return letter if letter in "\n\t" else ascii(letter)[1:-1]


def spreadsheet_cell(value: Any) -> Any:
    """Return a value for a CSV file: a text that a spreadsheet would run as a formula gets a "'" in front.

    Numbers stay, also as texts. No valid SMILES begins so, and the file is read back as it was but for such texts.
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


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
