"""Log the molecules of a training run: a table of the distinct ones on disk, and files for chemists.

A molecule is a canonical SMILES. Rows are added after every round and committed at checkpoints, so that the table and
the agent's file are of the same moment, and memory stays flat.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from seqtutor_envs.files import replacing, write_atomically
from seqtutor_envs.files.text import one_line, spreadsheet_cell
from seqtutor_envs.prior import token_log_probs
from seqtutor_envs.smiles.objective import BEYOND_BUDGET
from seqtutor_envs.smiles.runs.export import format_sdf
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.task import Round, RunLog

TABLE_FILE, CSV_FILE, SDF_FILE = "molecules.sqlite", "molecules.csv.gz", "top.sdf"
CALLS_FILE = "calls.yaml"  # with a budget of calls
TOP = 100  # molecules in the SDF
CACHE_KIB = 16_384  # of the table that SQLite holds in memory: pages of about a minute's molecules
COMPRESSION = 4  # of gzip: half the time of its 9 for files a tenth larger


CALLS_TABLE = "CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, smiles TEXT NOT NULL, score REAL NOT NULL)"


class MoleculeLog(RunLog):
    """Keep the distinct valid molecules of one agent's rounds in FOLDER/molecules.sqlite.

    A row: the canonical SMILES; `task_return`, each raw term and log p in nats (`prior_log_prob`) of its first
    spelling; the timesteps at the ends of the first and the last round that contained it; times seen. The table, but
    not the files, holds molecules that the objective failed for, since they count as oracle calls. Invalid strings are
    only in the task's counts.

    Args:
        folder: of the agent's file.
        task: of the agent's environment.
        num_timesteps: of the agent. Above 0, the table in the folder goes on.

    Raises:
        ValueError, FileNotFoundError: the agent has learned already, and the folder has no table of its timesteps.
    """

    files = (CSV_FILE, SDF_FILE, CALLS_FILE)

    def __init__(self, folder: Path, task: SmilesTask, num_timesteps: int) -> None:
        self.folder, self.task = folder, task
        values, counts = ("task_return", *task.weights, "prior_log_prob"), ("first_step", "last_step", "times_seen")
        self.columns = ("smiles", *values, *counts)
        self._db: sqlite3.Connection | None = None
        self._calls = 0  # of a task with a budget, that the table has
        self._measured: dict[str, Any] = {"distinct_molecules": None, "oracle": None}  # as of the last export
        if num_timesteps:
            self._resume(num_timesteps)

    # ---------------------------------------------------------------- while learning

    def add(self, newest: Round) -> None:
        """Add the molecules of the newest round."""
        # created late: a run that ends before its first round leaves no table
        if self._db is None:
            self._db = self._create()
        columns = (*self.columns, "failed")
        values, again = ", ".join("?" * len(columns)), "last_step = excluded.last_step, times_seen = times_seen + 1"
        insert = f"INSERT INTO molecules ({quote(columns)}) VALUES ({values}) ON CONFLICT(smiles) DO UPDATE SET {again}"
        with disk_errors(self.folder):
            self._db.executemany(insert, self._rows(newest))
            if self.task.objective is not None:
                calls = self.task.objective.oracle.read_calls(self._calls)
                self._db.executemany("INSERT INTO calls (smiles, score) VALUES (?, ?)", calls)
                self._calls += len(calls)

    def _rows(self, newest: Round) -> Iterator[tuple[Any, ...]]:
        """Yield a row for each valid molecule of a round, as often as it was generated."""
        if newest.terms is None:
            raise ValueError("Molecules are logged in a bare environment of ours only; this one is wrapped.")
        scores = self.task.scorer(self.task.smiles(newest.tokens, newest.lengths))  # out of its cache
        valid = {n: score.canonical for n, score in enumerate(scores) if score.canonical is not None}
        reasons = [""] * len(valid)  # why the objective has no score of a valid molecule
        if self.task.objective is not None:
            reasons = [score.reason for score in self.task.objective(list(valid.values()))]  # out of its cache
        log_prior = token_log_probs(newest.prior_log_probs, newest.tokens, newest.lengths).sum(axis=1)
        raw = np.stack([newest.terms[name] for name in self.task.weights], axis=1)  # [N, K]
        returns, step = raw @ np.array(list(self.task.weights.values())), newest.num_timesteps
        for (n, name), reason in zip(valid.items(), reasons):
            if reason != BEYOND_BUDGET:
                values = (float(returns[n]), *raw[n].tolist(), float(log_prior[n]))
                yield name, *values, step, step, 1, int(reason != "")

    def commit(self, num_timesteps: int) -> None:
        """Commit what was added. A later kill loses only what is added after this."""
        if self._db is None:
            return
        facts = {"num_timesteps": num_timesteps, "counts": dict(self.task.counts)}
        # committed by hand: the facts and the molecules of one moment stand in one transaction
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        with disk_errors(self.folder):
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
            # IMMEDIATE: takes the write lock now, so a second run in this folder fails at once
            self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Forget what was added since the last commit, and close the table."""
        if self._db is not None:
            # without a commit, which also holds where a full disk has ended the transaction
            self._db.close()
            self._db = None

    # ---------------------------------------------------------------- what the run shows

    def export(self) -> None:
        """Write molecules.csv.gz, the best first, top.sdf and calls.yaml, each atomically; count the molecules anew."""
        with disk_errors(self.folder):
            # twice through the table instead of a list in memory: it may hold millions of rows
            write_csv(self.folder / CSV_FILE, self.columns, self._best())
            best = (dict(zip(self.columns, row)) for row in self._best(TOP))
            write_atomically(self.folder / SDF_FILE, format_sdf(best).encode())
            if self.task.objective is not None and (calls := self.task.objective.oracle.format_calls()):
                write_atomically(self.folder / CALLS_FILE, calls.encode())
            self._measure()

    def _best(self, limit: int = -1) -> Iterator[tuple[Any, ...]]:
        """Return rows by falling task_return; of equal ones the first seen comes first."""
        if self._db is None:
            return iter(())
        chosen = f"SELECT {quote(self.columns)} FROM molecules WHERE NOT failed"
        return self._db.execute(f"{chosen} ORDER BY task_return DESC, id LIMIT ?", (limit,))

    def _measure(self) -> None:
        """Count the distinct molecules and rank the objective's best, in time that grows with the run."""
        count = "SELECT COUNT(*) FROM molecules WHERE NOT failed"
        distinct = 0 if self._db is None else int(self._db.execute(count).fetchone()[0])
        self._measured = {"distinct_molecules": distinct, "oracle": self._oracle()}

    def _oracle(self) -> dict[str, float | None] | None:
        """Return the calls of the objective and how good its best molecules are; None without an objective."""
        return None if self.task.objective is None else dict(self.task.objective.oracle.summarize())

    def facts(self) -> dict[str, Any]:
        """Return the objective, the molecules' counts by reason, and what the last export counted."""
        objective = None if self.task.objective is None else self.task.objective.record()
        return {"objective": objective, "counts": dict(self.task.counts.most_common()), **self._measured}

    def changes(self, earlier: Mapping[str, Any]) -> list[str]:
        """Report a change of the objective's source since earlier sessions."""
        objective, before = self.task.objective, earlier.get("objective")
        if objective is None or not before or before.get("source_hash") == objective.source_hash:
            return []
        return [f"{objective.path}: its source is not what it was in the session before."]

    def summary(self) -> list[str]:
        """Summarise the molecules, the objective's calls and its best scores."""
        lines, distinct, oracle = [], self._measured["distinct_molecules"], self._oracle()
        if distinct is not None:
            lines.append(f"{self.folder / CSV_FILE}: {distinct:,} distinct molecules; the best in {SDF_FILE}")
        if oracle is not None:
            best = ", ".join(f"top-{k} {oracle[f'top_{k}']:.4g}" for k in (1, 10, 100))
            of = f" of {oracle['budget']:,}" if oracle["budget"] else ""
            of, end = (", the whole budget", ", so learning ended here") if self.task.spent else (of, "")
            calls, auc = f"{oracle['calls']:,} molecules scored{of}", f"AUC of top-10 {oracle['auc_top_10']:.4g}"
            lines.append(f"Oracle: {calls}; {best}; {auc}{end}")
        return lines

    # ---------------------------------------------------------------- the table

    def _create(self) -> sqlite3.Connection:
        """Create the table instead of what a run that reached no checkpoint may have left."""
        for suffix in ("", "-journal"):
            (self.folder / f"{TABLE_FILE}{suffix}").unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        db = connect(self.folder / TABLE_FILE)
        numbers = ", ".join(f'"{name}" REAL NOT NULL' for name in self.columns[1:-3])
        counts = ", ".join(f"{name} INTEGER NOT NULL" for name in (*self.columns[-3:], "failed"))
        table = f"molecules (id INTEGER PRIMARY KEY, smiles TEXT NOT NULL UNIQUE, {numbers}, {counts})"
        with disk_errors(self.folder):
            db.execute(f"CREATE TABLE {table}")
            db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            db.execute(CALLS_TABLE)
        return db

    def _resume(self, num_timesteps: int) -> None:
        """Open the table of the sessions before, and give the task its counts and the objective's calls."""
        path = self.folder / TABLE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"No {TABLE_FILE} in {self.folder}: the agent there goes on with its own only.")
        self._db = connect(path)
        try:
            with damage_named(path):
                facts = read_facts(self._db)
                counts = {str(name): int(count) for name, count in facts["counts"].items()}
                of = int(facts["num_timesteps"])
            if of != num_timesteps:
                both = f"{of:,} timesteps, the agent beside it of {num_timesteps:,}"
                raise ValueError(f"{path} is of {both}: they are not of one run.")
            # the task goes on counting where the last session stopped
            self.task.counts.update(counts)
            with damage_named(path):
                self._db.execute(CALLS_TABLE)  # which a run of an earlier version lacks
                self._calls = int(self._db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
                self._record_scores()
                self._measure()
        except ValueError:
            self.close()
            raise

    def _record_scores(self) -> None:
        """Give the objective the scores of the table, in the order of the calls."""
        if self._db is not None and self.task.objective is not None:
            # a run of an earlier version, or without a budget, has molecules alone; a known molecule is no further call
            for chosen in ("smiles, score, 0 FROM calls", 'smiles, "objective", failed FROM molecules'):
                for smiles, score, failed in self._db.execute(f"SELECT {chosen} ORDER BY id"):
                    self.task.objective.restore(smiles, float(score), bool(failed))
            self.task.spent = self.task.objective.oracle.spent

    @classmethod
    def committed_timesteps(cls, folder: Path) -> int:
        """Return the timesteps of the table's last commit in a folder; 0 if nothing was ever committed."""
        if not (folder / TABLE_FILE).is_file():
            return 0
        path = folder / TABLE_FILE
        # without the table of facts, or its entry: killed before the first commit
        with closing(connect(path)) as db, damage_named(path), suppress(sqlite3.OperationalError, KeyError):
            return int(read_facts(db)["num_timesteps"])
        return 0


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise what SQLite says of a full or a broken disk as an OSError in one line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kept = "the last checkpoint is whole; make room, and --resume goes on from it"
        raise OSError(f"{folder / TABLE_FILE} cannot be written ({error}): {kept}.") from error


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise whatever a table that is not ours, or no longer whole, leads to as a ValueError in one line."""
    try:
        yield
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} was not written by this library, or is damaged ({one_line(error)}).") from None


def connect(path: Path) -> sqlite3.Connection:
    """Open the table in a transaction. Raise ValueError if another run is writing it, or it is damaged."""
    # isolation_level=None: Python's module would begin and commit transactions of its own
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        db.close()
        raise ValueError(f"{path} cannot be written ({error}): is another run writing there?") from None
    except sqlite3.DatabaseError as error:
        db.close()
        raise ValueError(f"{path} was not written by this library, or is damaged ({error}).") from None
    return db


def quote(names: Iterable[str]) -> str:
    """Return names as SQL's list of columns."""
    return ", ".join(f'"{name}"' for name in names)


def read_facts(db: sqlite3.Connection) -> dict[str, Any]:
    """Return the facts that `MoleculeLog.commit` wrote."""
    return {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM facts")}


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    """Write a gzipped CSV with a header, row after row; the same rows give the same bytes."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        # no name and no time in gzip's header: the same rows give the same bytes
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
        io.TextIOWrapper(cast(Any, packed), "utf-8", newline="") as text,
    ):
        table = csv.writer(text, lineterminator="\n")
        table.writerow(columns)
        table.writerows([spreadsheet_cell(value) for value in row] for row in rows)
