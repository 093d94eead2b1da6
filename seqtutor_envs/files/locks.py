"""Keep two runs from writing into one folder, or one file, at a time."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

LOCK = ".running"
Command = TypeVar("Command", bound=Callable[..., Any])


def exclusive(lock: Callable[[Path], AbstractContextManager[None]]) -> Callable[[Command], Command]:
    """Return a decorator for commands: their argument `out` is locked, by `lock`, as long as they run."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)

        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            with lock(given.arguments["out"]):
                return command(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder, which is made if it is missing, and goes again if it stays empty.

    The system unlocks it when this process ends, however it ends. Raises ValueError if another run holds it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(folder / LOCK, f"into {folder}"):
            yield
    finally:
        if made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Keep a second run from writing a file, and what stands beside it under its name: as `lock_folder`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a suffix that is added to a name without one must not make two names of it
    with _lock(path.with_name(f".{path.name.removesuffix('.safetensors')}{LOCK}"), str(path)):
        yield


@contextmanager
def _lock(path: Path, written: str) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    while True:
        # a lock on an open file: unlike a file that merely exists, it does not outlast a crash
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                another = f"Another run is writing {written}"
                raise ValueError(f"{another}: wait for it, stop it, or give another --out.") from None
            # the run before may have removed the file after it was opened here: then this lock is on no name
            if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # before the file is closed, so that nobody's lock is removed
            return
