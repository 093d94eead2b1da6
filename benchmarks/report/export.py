"""Results as CSV and Parquet: one row for each experiment, and one for each point of a learning curve."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.report.data import OBJECTS, Results
from seqtutor_envs.files import replacing, write_atomically

NO_PYARROW = "Parquet needs pyarrow: pip install pyarrow, or write --csv."


def curves_path(path: Path) -> Path:
    """Return where the curves go: results.csv -> results-curves.csv."""
    return path.with_name(f"{path.stem}-curves{path.suffix}")


def write_csv(results: Results, path: Path) -> None:
    """Write two CSV files in UTF-8; unknown values are empty fields."""
    for target, frame in _frames(results, path):
        write_atomically(target, frame.to_csv(index=False, lineterminator="\n").encode())


def write_parquet(results: Results, path: Path) -> None:
    """Write two Parquet files. Raises ImportError with one line if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError(NO_PYARROW) from None
    for target, frame in _frames(results, path):
        with replacing(target) as temporary:
            _with_floats(frame).to_parquet(temporary, engine="pyarrow", index=False)


def _frames(results: Results, path: Path) -> list[tuple[Path, pd.DataFrame]]:
    runs = results.runs.drop(columns=list(OBJECTS), errors="ignore")  # there are none without results
    return [(path, runs), (curves_path(path), results.curves)]


def _with_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """Make metrics and times floats: whole numbers would give a column another type from one suite to the next."""
    numeric = [name for name in frame if str(name).startswith(("metrics.", "time."))]
    return frame.astype(dict.fromkeys(numeric, float))
