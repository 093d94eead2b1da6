"""Check the shape of JSON from a file, so that what reads it later finds what it expects.

A check is a function of a value and its name; it raises ValueError, which names the entry and what it should be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from seqtutor_envs.files import read_bytes

Check = Callable[[Any, str], None]
DEEPEST = 20  # lists and mappings within each other
LARGEST = 1e100  # of numbers: sums and squares of such stay finite
MOST_BYTES = 2**25  # of a file; the largest result of our suites has 40 kB
MOST_LETTERS = 60  # of an entry's name in a message
NAMES: dict[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
NAMES |= {dict: "a JSON object", NoneType: "null"}


def load_json(path: Path) -> Any:
    """Read JSON of finite numbers and of texts that UTF-8 can hold. Raise ValueError or OSError for all else."""
    content = read_bytes(path, MOST_BYTES)
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError(f"it has more than {DEEPEST} levels") from None
    _check_values(found, "it", DEEPEST)
    return found


def _check_values(value: Any, name: str, levels: int) -> None:
    """Check every number and text in a value."""
    if isinstance(value, (dict, list)):
        if not levels:
            raise ValueError(f"it has more than {DEEPEST} levels")
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_values(key, "a name", levels)
            _check_values(inner, str(key), levels - 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a pair, which JSON can spell and no file can hold
            raise ValueError(f"{_short(name)} is no text of Unicode") from None
    elif isinstance(value, (int, float)) and not abs(value) <= LARGEST:
        raise ValueError(f"{_short(name)} must be a finite number up to {LARGEST:g}")


def _short(name: str) -> str:
    # as ASCII: the name may hold anything
    return ascii(name[:MOST_LETTERS])[1:-1]


def of_type(*types: type) -> Check:
    """Make a check for values of these types; True is no number, and a whole number is a float too."""
    allowed = (*types, int) if float in types else types
    words = " or ".join(NAMES[one] for one in types)

    def check(value: Any, name: str) -> None:
        if not isinstance(value, allowed) or isinstance(value, bool) and bool not in types:
            raise ValueError(f"{_short(name)} must be {words}")

    return check


def list_of(inner: Check, least: int = 0) -> Check:
    """Make a check for lists of at least so many such values."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError(f"{_short(name)} must be a list" + (f" of {least} or more" if least else ""))
        for one in value:
            inner(one, name)

    return check


def mapping_of(inner: Check) -> Check:
    """Make a check for mappings from any name to such values."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{_short(name)} must be a JSON object")
        for key, one in value.items():
            inner(one, f"{name}.{key}")

    return check


def entries(required: Mapping[str, Check], optional: Mapping[str, Check] = {}) -> Check:
    """Make a check for mappings with these entries: optional ones may be missing or null, others are ignored."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{_short(name)} must be a JSON object")
        for key, inner in required.items():
            if key not in value:
                raise ValueError(f"{_short(name)} has no {key!r}")
            inner(value[key], key)
        for key, inner in optional.items():
            if value.get(key) is not None:
                inner(value[key], f"{name}.{key}" if name != "it" else key)

    return check
