"""Read the sequences that result files hold, for the certified sum of an environment; and those of text files.

A text file, NAME.sequences, has an environment's id in its first line and the token ids of a sequence in each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiment import Experiment
from benchmarks.runner import results
from seqtutor_envs.bounds.known import find_plain_id
from seqtutor_envs.files import FileError, reading
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.files.reading import check_regular
from seqtutor_envs.files.text import printable
from seqtutor_envs.task import Task


TEXT = ".sequences"


class Stored(NamedTuple):
    """Hold the sequences of some folders.

    Attributes:
        rows: plain id of an environment -> its distinct sequences.
        damaged: what is wrong with each file that cannot be read.
    """

    rows: dict[str, set[tuple[int, ...]]]
    damaged: list[str]


def read_stored(folders: Iterable[Path]) -> Stored:
    """Read the samples of every result file, and every text file, in folders and in the folders below them.

    Raises FileNotFoundError for a folder that does not exist.
    """
    stored = Stored({}, [])
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(2, "No such folder of results", str(folder))
        paths = [path for path in sorted(folder.rglob("*.json")) if not _holds_no_samples(path)]
        for path in make_bar(paths, desc=f"reading {folder}", unit="file", leave=False):
            try:
                found = results.read(path)
            except FileError as error:
                stored.damaged.append(str(error))
                continue
            plain, _ = find_plain_id(Experiment.of(found["experiment"]).env)
            rows = stored.rows.setdefault(plain, set())
            rows.update(tuple(one["tokens"]) for one in found.get("samples") or ())
        for path in sorted(folder.rglob(f"*{TEXT}")):
            try:
                env_id, listed = read_text(path)
            except FileError as error:
                stored.damaged.append(str(error))
                continue
            stored.rows.setdefault(find_plain_id(env_id)[0], set()).update(listed)
    return stored


def read_text(path: Path) -> tuple[str, list[tuple[int, ...]]]:
    """Read an environment's id and sequences from a text file. Raises FileError in one line for another file."""
    check_regular(path)
    with reading(path, "holds no sequences"):
        env_id, *lines = path.read_text(encoding="utf-8").splitlines()
        rows = [tuple(map(int, line.split())) for line in lines if line.strip()]
        find_plain_id(env_id)
        return env_id, rows


def select_sequences(stored: Stored, env_id: str, task: Task) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sequences that a task can score, tokens [N, T] and lengths [N]; print how many others there are.

    A sequence fits if all of its tokens are the task's and it ends with its only end token or at the horizon.

    Raises ValueError if none fits.
    """
    rows = stored.rows.get(find_plain_id(env_id)[0], set())
    # sorted: a set's order differs between processes
    fitting = sorted(row for row in rows if _fits(row, task))
    others = sum(map(len, stored.rows.values())) - len(fitting)
    if not fitting:
        raise ValueError(f"None of the {others:,} sequences in --results is one of {env_id}: leave out --results.")
    said = f"{env_id}: {len(fitting):,} distinct sequences of --results; {others:,} others do not fit."
    print(printable(said))
    lengths = np.array([len(row) for row in fitting])
    tokens = np.full((len(fitting), task.length), task.vocab.start)
    tokens[np.arange(task.length) < lengths[:, None]] = np.concatenate(fitting)
    return tokens, lengths


def say_damaged(stored: Stored) -> None:
    """Print one line about the files that cannot be read."""
    if stored.damaged:
        more = f"; {len(stored.damaged) - 1} more are left out" if len(stored.damaged) > 1 else ""
        print(printable(f"Left out: {stored.damaged[0]}{more}."))


def _holds_no_samples(path: Path) -> bool:
    return path.name in results.OTHER_FILES or path.name.endswith(results.FAILED)


def _fits(row: tuple[int, ...], task: Task) -> bool:
    end = task.vocab.end
    whole = len(row) == task.length or len(row) < task.length and row[-1] == end
    # a second end token would be another sequence's
    return whole and end not in row[:-1] and min(row) >= 0 and max(row) < len(task.vocab)
