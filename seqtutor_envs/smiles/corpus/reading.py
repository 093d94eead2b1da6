"""Files of SMILES, record by record: .smi and .txt, tables (.csv, .tsv), each also gzipped, and MOSES' wheel.

Nothing is checked here: a record is the number of its line and whatever stands where its SMILES should be.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

Record = tuple[int, str]  # line number, from 1, and text; "" where there is none

TABLES = (".csv", ".tsv", ".tab")
COLUMN = "smiles"  # of a table, in any case, unless another is named
HEADERS = {"smiles", "canonical_smiles", "isosmiles"}  # first fields that open a .smi file without being molecules
SEPARATORS = ",\t;"  # none of them occurs in a SMILES
MOSES_FILE = "moses/dataset/data/{}.csv.gz"  # in the wheel `molsets`, by split
MOSES_TRAIN = MOSES_FILE.format("train")
MOSES_SPLIT = "split"  # a column of MOSES' dataset_v1.csv
GZIP_MAGIC = b"\x1f\x8b"
SHOWN_COLUMNS = 12


def read_records(path: str | os.PathLike[str], column: str | None = None) -> Iterator[Record]:
    """Read the records of a user's file.

    A table's header names the column; of any other file the first field of a line counts, what follows white space is
    the molecule's name. A first line that begins with "smiles" is a header there too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such column (the message lists those there are), an empty or damaged file.
    """
    path = Path(path)
    table = is_table(path)
    if column is not None and not table:
        raise ValueError(f"{path} has no columns: --column is for {', '.join(TABLES)}, also as .gz.")
    with _reading(path) as lines:
        yield from _of_column(path, lines, column) if table else _of_first_field(lines)


def read_moses(path: str | os.PathLike[str], split: str = "train") -> Iterator[Record]:
    """Read one of MOSES' sets: from the wheel `molsets`, or its train.csv or dataset_v1.csv, also as .gz.

    Args:
        split: "train", "test" or "test_scaffolds".

    Raises as `records` does; ValueError too for a wheel without it.
    """
    path = Path(path)
    with _reading(path, MOSES_FILE.format(split)) as lines:
        yield from _of_column(path, lines, None, only=(MOSES_SPLIT, split))


def read_columns(path: str | os.PathLike[str]) -> list[str]:
    """Return the columns of a table; none of another file."""
    if not is_table(path):
        return []
    with _reading(Path(path)) as lines:
        return _header(lines)[0]


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether the name says that a header names columns."""
    return str(path).lower().removesuffix(".gz").endswith(TABLES)


def format_columns(names: Iterable[str]) -> str:
    """Name columns in a message: the first few."""
    names = list(names)
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return ", ".join(name[:40] for name in names[:SHOWN_COLUMNS]) + more


def _of_first_field(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        fields = line.split(maxsplit=1)
        if number == 1 and fields and fields[0].lower() in HEADERS:
            continue
        yield number, fields[0] if fields else ""


def _of_column(path: Path, lines: IO[str], column: str | None, only: tuple[str, str] | None = None) -> Iterator[Record]:
    """Read one column of a table; `only` keeps the rows with this text in this column, where there is such a column."""
    header, separator = _header(lines)
    at = _place(header, column or COLUMN)
    if at is None:
        advice = "name one of them with --column" if column is None else "--column takes one of them"
        there = format_columns(header) or "it is empty"
        raise ValueError(f"{path} has no column {column or COLUMN!r}; {advice}: {there}.")
    chosen = None if only is None else _place(header, only[0])
    rows = csv.reader(lines, delimiter=separator)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            # StopIteration inside a generator would become a RuntimeError
            return
        except csv.Error:  # a field of more than 128 kB, which an open quote can make; the reader goes on behind it
            row = [""] * len(header)
        if chosen is None or only is None or (chosen < len(row) and row[chosen] == only[1]):
            yield rows.line_num + 1, row[at].strip() if at < len(row) else ""


def _header(lines: IO[str]) -> tuple[list[str], str]:
    """Return a table's columns and what separates them."""
    first = lines.readline()
    # the commonest separator of the header: a file's name says little about it
    separator = max(SEPARATORS, key=first.count)
    return [name.strip() for name in next(csv.reader([first], delimiter=separator), [])], separator


def _place(header: list[str], column: str) -> int | None:
    """Find where a column of this name stands, exactly so or else in any case."""
    if column in header:
        return header.index(column)
    folded = [name.lower() for name in header]
    return folded.index(column.lower()) if column.lower() in folded else None


@contextmanager
def _reading(path: Path, member: str | None = None) -> Iterator[IO[str]]:
    """Open a plain, gzipped or zipped file as text; bytes that are no UTF-8 become a mark that no SMILES holds."""
    try:
        with open(path, "rb") as file:
            content: IO[bytes] = file
            if member is not None and zipfile.is_zipfile(file):
                archive = zipfile.ZipFile(file)
                if member not in archive.namelist():
                    wheel = "it is not MOSES' wheel (pip download --no-deps molsets)"
                    raise ValueError(f"{path} has no {member}: {wheel}.")
                content = archive.open(member)
            content.seek(0)  # is_zipfile has moved
            # by the content, not by the name: a wheel's member is gzipped, a renamed file may be
            zipped = content.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            content.seek(0)
            if zipped:
                content = cast(IO[bytes], gzip.open(content))
            # utf-8-sig: Excel puts a byte order mark before the first column's name
            with io.TextIOWrapper(content, "utf-8-sig", errors="replace", newline=None) as lines:
                yield lines
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
