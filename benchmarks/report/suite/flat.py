"""Results as tables for other programs: one row for each experiment, and one for each point of a learning curve."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.suite.data import Findings, Run, runs
from seqtutor_envs.files import replacing, write_atomically

Row = dict[str, Any]
MISSING = "Parquet needs pyarrow: pip install pyarrow, or write --csv."


def experiment_rows(findings: Findings) -> list[Row]:
    """One row for each result, in the suite's order, all with the same columns: None where it has no such figure."""
    return _filled([_row(run) for run in runs(findings)])


def curve_rows(findings: Findings) -> list[Row]:
    """One row for each point of each curve."""
    return _filled([{**_names(run), **point} for run in runs(findings) for point in run.result.get("curve") or ()])


def _names(run: Run) -> Row:
    one = run.experiment
    return {"id": one.id, "task": one.task, "label": one.name, "seed": one.seed}


def _row(run: Run) -> Row:
    one, result = run.experiment, run.result
    made = _names(run) | {
        "env": one.env,
        "agent": one.agent,
        "env_kwargs": json.dumps(one.env_kwargs, sort_keys=True),
        "agent_kwargs": json.dumps(one.agent_kwargs, sort_keys=True),
        "steps": one.steps,
        "seconds": one.seconds,
        "n": one.n,
        "c": result.get("c"),
        "timesteps": result.get("timesteps"),
        "peak_memory_mib": result.get("peak_memory_mib"),
    }
    for name in ("metrics", "time", "machine", "git", "versions"):
        made |= {f"{name}.{key}": value for key, value in (result.get(name) or {}).items()}
    return made | {"warnings": " | ".join(result.get("warnings") or ()), "finished": result.get("finished")}


def _filled(rows: Sequence[Row]) -> list[Row]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def curves_path(path: Path) -> Path:
    """Where the curves go: results.csv -> results-curves.csv."""
    return path.with_name(f"{path.stem}-curves{path.suffix}")


def write_csv(findings: Findings, path: Path) -> None:
    """Two CSV files, UTF-8; an empty field is what is not known."""
    write_atomically(path, _csv(experiment_rows(findings)))
    write_atomically(curves_path(path), _csv(curve_rows(findings)))


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_parquet(findings: Findings, path: Path) -> None:
    """Two Parquet files. Raises ImportError with one line where pyarrow is not installed."""
    try:
        from pyarrow import Table, parquet
    except ImportError:
        raise ImportError(MISSING) from None
    for target, rows in ((path, experiment_rows(findings)), (curves_path(path), curve_rows(findings))):
        with replacing(target) as temporary:
            parquet.write_table(Table.from_pylist([_typed(row) for row in rows]), temporary)


def _typed(row: Row) -> Row:
    """Figures as floats: a column that is whole in one file and not in another would change its type between them."""
    return {
        name: float(value) if name.startswith(("metrics.", "time.")) and isinstance(value, (int, float)) else value
        for name, value in row.items()
    }
