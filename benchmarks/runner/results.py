"""Read and write the files of experiments: one JSON file each, with its result or why it failed.

Files appear whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from seqtutor_envs.files import finite, write_atomically

FAILED = ".failed.json"
LOGS = "logs"
DAMAGED = ".damaged"
SUITE_FILE = "suite.json"  # an inline suite, beside its results


class Damaged(ValueError):
    """Say that a file is not what the runner wrote."""


def result_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of an experiment's result, which may not exist yet."""
    return folder / f"{experiment.id}.json"


def failure_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of the file that says why an experiment failed."""
    return folder / f"{experiment.id}{FAILED}"


def log_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of what the experiment printed, warnings and tracebacks included."""
    return folder / LOGS / f"{experiment.id}.log"


def write(path: Path, experiment: Experiment, facts: Mapping[str, Any]) -> None:
    """Write a result or a failure."""
    content = {"id": experiment.id, "experiment": asdict(experiment), **facts}
    # a line for each key: grep and diff can read it
    lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in finite(content).items())
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read(path: Path, experiment: Experiment | None = None) -> dict[str, Any]:
    """Read what `write` wrote. Raises FileNotFoundError, and Damaged in one line if the file holds something else."""
    try:
        found = json.loads(path.read_bytes())
        # a renamed or edited file must not count as the result of another experiment
        if found["id"] != Experiment.of(found["experiment"]).id or experiment and experiment.id != found["id"]:
            raise ValueError("its id is not that of its experiment")
        if "metrics" not in found and "reason" not in found:
            raise ValueError("it holds neither metrics nor a reason")
    # no damage: callers look for files that may not exist
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({type(error).__name__}: {error})") from None
    return dict(found)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that the experiment can run again and nothing is lost. Return the new path."""
    target = path.with_name(path.name + DAMAGED)
    os.replace(path, target)
    return target


def find_other_files(folder: Path, experiments: Iterable[Experiment]) -> list[Path]:
    """Return result files of other experiments, such as those of an earlier version of the suite."""
    # named, not read: a folder may hold thousands of results
    own = {SUITE_FILE} | {result_path(folder, one).name for one in experiments}
    own |= {failure_path(folder, one).name for one in experiments}
    return sorted(path for path in folder.glob("*.json") if path.name not in own)
