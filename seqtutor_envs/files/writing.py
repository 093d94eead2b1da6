"""Write files so that no reader ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError from within the name of the file; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it once the block has ended without an error.

    An OSError names `path`, as when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, not in the temporary folder: os.replace is atomic only within one file system
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        # missing_ok: after a success the file is gone already
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path` and rename it, so that no reader ever sees half a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
