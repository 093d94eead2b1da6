"""Read files that may come from anybody: one error, and limits that hold before memory is spent."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from seqtutor_envs.files.text import one_line

MAX_LINE = 2**20  # characters: a table with a column for each of 100,000 descriptors still fits
MAX_UNPACKED = 2**30  # bytes of all members of a zip: a policy of 90 million weights with Adam's moments
MAX_REASON = 400  # characters: what a parser says may quote the file
CHUNK = 2**20  # bytes of a stream at a time


class FileError(ValueError):
    """Report a file that cannot be used, in one line: "PATH is damaged (...)".

    Attributes:
        path: the file.
        reason: what is wrong with it, and the remedy if there is one; it goes on where the path ends.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        reason = " ".join(reason.split())  # it may quote the file, which may have line breaks
        # both are args, so that the error survives pickling between processes
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{os.fspath(self.path)} {self.reason}"


@contextmanager
def reading(path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Raise whatever goes wrong in the block as a FileError that says `problem` and, in brackets, what went wrong.

    Broken bytes lead a parser to any exception: IndexError, RecursionError, struct.error. Errors of the disk stay as
    they are (OSError), and so does a FileError from within.
    """
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        # for broken content gzip and mido raise OSErrors without a number, and a zip has places before its start
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise FileError(path, f"{problem} ({one_line(error)[:MAX_REASON]})") from error


def check_regular(path: str | os.PathLike[str]) -> int:
    """Return the size of a file in bytes. Raise OSError if there is none, FileError for a pipe or a device.

    Opening a pipe would wait for a writer, and a device may have no end.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise FileError(path, "is a pipe or a device: save its content as a file first.")
    return status.st_size


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a whole file of at most `most` bytes. Raise FileError for a larger one, before it is read."""
    if (size := check_regular(path)) > most:
        raise FileError(path, f"has {size:,} bytes, and at most {most:,} are read.")
    with open(path, "rb") as file:
        return file.read(most)


def read_lines(path: str | os.PathLike[str], file: IO[str]) -> Iterator[str]:
    """Yield the lines of an open text. Raise FileError at one of more than MAX_LINE characters.

    A few kilobytes of gzip can hold a line that fills the memory.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise FileError(path, f"has a line {number} of more than {MAX_LINE:,} characters: put one record on each.")
        yield line


def open_zip(path: str | os.PathLike[str], file: IO[bytes] | None = None) -> zipfile.ZipFile:
    """Open a zip whose members together unpack to at most MAX_UNPACKED bytes. Close it after use.

    No member gives more bytes than it declares, so the sum is known before anything is unpacked.

    Args:
        file: the opened file, if it is open already.

    Raises:
        FileError: it unpacks to more, or is packed by something else than deflate.
        zipfile.BadZipFile and others: it is no zip; see `reading`.
    """
    archive = zipfile.ZipFile(file or path)
    members = archive.infolist()
    # other methods have memory limits of their own, and nobody writes them here
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise FileError(path, "is packed by another method than deflate: pack it again.")
    if (size := sum(member.file_size for member in members)) > MAX_UNPACKED:
        raise FileError(path, f"unpacks to {size:,} bytes, and at most {MAX_UNPACKED:,} are read.")
    return archive


def read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a stream's bytes in pieces of at most CHUNK."""
    while chunk := file.read(CHUNK):
        yield chunk
