"""Read and write the files of experiments: one JSON file each, with its result or why it failed.

Files appear whole or not at all.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.runner.shapes import entries, list_of, load_json, mapping_of, of_type
from seqtutor_envs.files import finite, reading, write_atomically

FAILED = ".failed.json"
LOGS = "logs"
DAMAGED = ".damaged"
CALLS = ".calls.yaml.gz"
SUITE_FILE = "suite.json"  # an inline suite, beside its results
BOUNDS_FILE = "bounds.json"  # bounds of log Z, beside the results
OTHER_FILES = {SUITE_FILE, BOUNDS_FILE}  # JSON in a folder of results that is no experiment's

TEXT, NUMBER, WHOLE = of_type(str), of_type(float), of_type(int)
TEXTS, NUMBERS = list_of(TEXT), mapping_of(of_type(float, NoneType))  # None: what was not finite
OBJECT = of_type(dict)  # an Experiment checks its own fields
SAMPLE = entries(
    {"tokens": list_of(WHOLE, least=1)},
    {"sequence": lambda value, name: None if isinstance(value, str) else TEXTS(value, name), "terms": NUMBERS}
    | {"task_return": NUMBER, "log_p": NUMBER},
)
PROVENANCE = {
    "machine": entries({}, {"host": TEXT, "cpu": TEXT, "cores": WHOLE, "memory_gib": NUMBER, "os": TEXT}),
    "git": entries({"commit": TEXT}, {"dirty": of_type(bool)}),
    "versions": mapping_of(of_type(str, NoneType)),
    "finished": TEXT,
}
CHECK_RESULT = entries(
    {"id": TEXT, "experiment": OBJECT, "metrics": NUMBERS},
    {"c": NUMBER, "j_kind": TEXT, "timesteps": NUMBER, "peak_memory_mib": NUMBER, "curve": list_of(NUMBERS)}
    | {"time": NUMBERS, "samples": list_of(SAMPLE), "warnings": TEXTS, **PROVENANCE},
)
CHECK_FAILURE = entries(
    {"id": TEXT, "experiment": OBJECT, "reason": TEXT}, {"log": TEXT, "seconds": NUMBER, **PROVENANCE}
)


def result_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of an experiment's result, which may not exist yet."""
    return folder / f"{experiment.id}.json"


def failure_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of the file that says why an experiment failed."""
    return folder / f"{experiment.id}{FAILED}"


def log_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of what the experiment printed, warnings and tracebacks included."""
    return folder / LOGS / f"{experiment.id}.log"


def calls_path(folder: Path, experiment: Experiment) -> Path:
    """Return the path of the calls of an experiment with a budget of scores: see `OracleCounter.format_calls`."""
    return folder / f"{experiment.id}{CALLS}"


def write(path: Path, experiment: Experiment, facts: Mapping[str, Any]) -> None:
    """Write a result or a failure; a result's calls, if it has some, in a file beside it."""
    facts = dict(facts)
    if (calls := facts.pop("calls", None)) is not None:
        # before the result, with which the experiment counts as done; no time in gzip's header, so that the same calls
        # give the same bytes
        write_atomically(calls_path(path.parent, experiment), gzip.compress(calls.encode(), mtime=0))
    content = {"id": experiment.id, "experiment": asdict(experiment), **facts}
    # a line for each key: grep and diff can read it
    lines = (f" {json.dumps(name)}: {json.dumps(value)}" for name, value in finite(content).items())
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read(path: Path, experiment: Experiment | None = None) -> dict[str, Any]:
    """Read what `write` wrote, with the types that readers rely on.

    Raises FileNotFoundError, and FileError if the file holds something else.
    """
    with reading(path, "is damaged"):
        found = load_json(path)
        (CHECK_FAILURE if path.name.endswith(FAILED) else CHECK_RESULT)(found, "it")
        # a renamed or edited file must not count as the result of another experiment
        if found["id"] != Experiment.of(found["experiment"]).id or experiment and experiment.id != found["id"]:
            raise ValueError("its id is not that of its experiment")
    return dict(found)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that the experiment can run again and nothing is lost. Return the new path."""
    target = path.with_name(path.name + DAMAGED)
    os.replace(path, target)
    return target


def find_other_files(folder: Path, experiments: Iterable[Experiment]) -> list[Path]:
    """Return result files of other experiments, such as those of an earlier version of the suite."""
    # named, not read: a folder may hold thousands of results
    own = OTHER_FILES | {result_path(folder, one).name for one in experiments}
    own |= {failure_path(folder, one).name for one in experiments}
    return sorted(path for path in folder.glob("*.json") if path.name not in own)
