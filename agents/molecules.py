"""The molecules of a run: a table of the distinct ones on disk, and the files that a chemist opens.

A molecule is a canonical SMILES. Rows are added after every round and kept at checkpoints, so that the table and the
agent's file tell of the same moment, and memory stays flat.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from seqtutor_envs.files import replacing, write_atomically
from seqtutor_envs.prior import token_log_probs

if TYPE_CHECKING:  # it brings RDKit, which agents that write melodies do without
    from seqtutor_envs.smiles.task import SmilesTask

TABLE_FILE, CSV_FILE, SDF_FILE = "molecules.sqlite", "molecules.csv.gz", "top.sdf"
TOP = 100  # molecules in the SDF
CACHE_KIB = 16_384  # of the table that SQLite holds in memory: pages of about a minute's molecules
COMPRESSION = 4  # of gzip: half the time of its 9 for files a tenth larger


class MoleculeLog:
    """The distinct valid molecules of one agent's rounds, in FOLDER/molecules.sqlite.

    A row: the canonical SMILES; `task_return`, each raw term and log p in nats (`prior_log_prob`) of its first
    spelling; the timesteps at the ends of the first and the last round that wrote it; times seen. Molecules that the
    objective failed for are kept in the table, since they count as oracle calls, but not in the files; invalid ones are
    only in the task's counts.

    Args:
        folder: of the agent's file.
        agent: learns in a bare environment of a SmilesTask.

    Raises:
        ValueError, FileNotFoundError: where an agent that has learned already has no table of the same timesteps.
    """

    def __init__(self, folder: Path, agent: Any) -> None:
        self.folder, self.agent = folder, agent
        self.task: SmilesTask = agent.task
        self.terms = tuple(self.task.weights)
        self._weights = np.array(list(self.task.weights.values()))
        self._db: sqlite3.Connection | None = None
        if agent.num_timesteps:
            self._go_on(agent.num_timesteps)

    # ---------------------------------------------------------------- while learning

    def add(self) -> None:
        """Adds the agent's newest round."""
        if self._db is None:
            self._db = self._created()
        rows = list(self._rows())
        if rows:
            self._db.executemany(self._upsert(len(rows[0])), rows)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for each valid molecule of the newest round, as often as it was written."""
        written, terms = self.agent.newest, self.agent.rollouts.terms
        if terms is None:
            raise ValueError("Molecules are logged in a bare environment of ours only; this one is wrapped.")
        smiles = self.task.smiles(written.tokens, written.lengths)
        scores = self.task.scorer(smiles)  # out of its cache
        valid = [n for n, score in enumerate(scores) if score.canonical is not None]
        failures = dict(zip(valid, self._failures([cast(str, scores[n].canonical) for n in valid])))
        log_prior = token_log_probs(written.prior_log_probs, written.tokens, written.lengths).sum(axis=1)
        raw = np.stack([terms[name] for name in self.terms], axis=1)  # [N, K]
        returns, step = raw @ self._weights, self.agent.num_timesteps
        for n in valid:
            if failures[n] != "oracle budget":
                figures = (float(returns[n]), *raw[n].tolist(), float(log_prior[n]))
                yield scores[n].canonical, *figures, step, step, 1, int(failures[n] != "")

    def _failures(self, canonical: list[str]) -> list[str]:
        """Why the objective has no score of a valid molecule; "" where it has one, or where there is no objective."""
        if self.task.objective is None:
            return [""] * len(canonical)
        return [judged.reason for judged in self.task.objective(canonical)]  # out of its cache

    def commit(self) -> None:
        """Keeps what was added: a kill before the next commit takes back only what is added after this one."""
        if self._db is None:
            return
        facts = {"num_timesteps": self.agent.num_timesteps, "counts": dict(self.task.counts)}
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)
        self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Forgets what was added since the last commit."""
        if self._db is not None:
            self._db.execute("ROLLBACK")
            self._db.close()
            self._db = None

    # ---------------------------------------------------------------- files

    def __len__(self) -> int:
        """Number of distinct molecules."""
        if self._db is None:
            return 0
        return int(self._db.execute("SELECT COUNT(*) FROM molecules WHERE NOT failed").fetchone()[0])

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the files, in their order."""
        return ("smiles", "task_return", *self.terms, "prior_log_prob", "first_step", "last_step", "times_seen")

    def export(self) -> None:
        """Writes molecules.csv.gz, the best first, and top.sdf, each atomically."""
        write_csv(self.folder / CSV_FILE, self.columns, self._best())
        best = (dict(zip(self.columns, row)) for row in self._best(TOP))
        write_atomically(self.folder / SDF_FILE, sdf_text(best).encode())

    def _best(self, limit: int = -1) -> Iterator[tuple[Any, ...]]:
        """Rows by falling task_return, of equal ones the first seen first."""
        names = ", ".join(f'"{name}"' for name in self.columns)
        order = "ORDER BY task_return DESC, id LIMIT ?"
        return iter(()) if self._db is None else self._db.execute(
            f"SELECT {names} FROM molecules WHERE NOT failed {order}", (limit,)
        )

    # ---------------------------------------------------------------- the table

    def _upsert(self, width: int) -> str:
        names = ", ".join(f'"{name}"' for name in (*self.columns, "failed"))
        marks = ", ".join("?" * width)
        again = "last_step = excluded.last_step, times_seen = times_seen + 1"
        return f"INSERT INTO molecules ({names}) VALUES ({marks}) ON CONFLICT(smiles) DO UPDATE SET {again}"

    def _created(self) -> sqlite3.Connection:
        """A new table instead of what a run that reached no checkpoint may have left."""
        for suffix in ("", "-journal"):
            (self.folder / f"{TABLE_FILE}{suffix}").unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        db = connected(self.folder / TABLE_FILE)
        numbers = ", ".join(f'"{name}" REAL NOT NULL' for name in ("task_return", *self.terms, "prior_log_prob"))
        counts = ", ".join(f"{name} INTEGER NOT NULL" for name in ("first_step", "last_step", "times_seen", "failed"))
        db.execute(f"CREATE TABLE molecules (id INTEGER PRIMARY KEY, smiles TEXT NOT NULL UNIQUE, {numbers}, {counts})")
        db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        return db

    def _go_on(self, num_timesteps: int) -> None:
        path = self.folder / TABLE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"No {TABLE_FILE} in {self.folder}: the agent there goes on with its own only.")
        self._db = connected(path)
        facts = facts_of(self._db)
        if facts["num_timesteps"] != num_timesteps:
            self.close()
            both = f"{facts['num_timesteps']:,} timesteps, the agent beside it of {num_timesteps:,}"
            raise ValueError(f"{path} is of {both}: they are not of one run.")
        self.task.counts.update(facts["counts"])
        if self.task.objective is not None and "objective" in self.terms:
            # in the order of the calls; a known molecule is no further call
            for smiles, score in self._db.execute('SELECT smiles, "objective" FROM molecules ORDER BY id'):
                self.task.objective.oracle.record([smiles], [score])
            self.task.spent = self.task.objective.spent


def connected(path: Path) -> sqlite3.Connection:
    """The table, in a transaction. Raises ValueError where another run is writing it, or it is damaged."""
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


def facts_of(db: sqlite3.Connection) -> dict[str, Any]:
    """What `MoleculeLog.commit` said of the moment."""
    return {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM facts")}


def steps_logged(folder: Path) -> int | None:
    """The timesteps of the table in a folder; None where there is none."""
    if not (folder / TABLE_FILE).is_file():
        return None
    db = connected(folder / TABLE_FILE)
    try:
        return facts_of(db)["num_timesteps"]
    except (sqlite3.OperationalError, KeyError):  # nothing was ever committed
        return None
    finally:
        db.close()


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    """A gzipped CSV with a header, row after row; the same rows give the same bytes."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
        io.TextIOWrapper(cast(Any, packed), "utf-8", newline="") as text,
    ):
        table = csv.writer(text, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def sdf_text(records: Iterable[Mapping[str, Any]]) -> str:
    """An SDF of the records: 2D coordinates, and what each says as tags, to six digits."""
    from seqtutor_envs.smiles import chem_draw

    return chem_draw.sdf(
        [
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in record.items()}
            for record in records
        ]
    )
