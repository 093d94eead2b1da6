"""Find a suite: a shipped one, one that a run has saved as JSON, or one in a user's Python file."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.experiment import Experiment, check_distinct
from benchmarks.runner.shapes import entries, list_of, load_json, of_type
from benchmarks.suite import Suite
from benchmarks.suites import SUITES
from seqtutor_envs.files import one_line, reading, write_atomically

CHECK_SUITE = entries({"name": of_type(str), "question": of_type(str), "experiments": list_of(of_type(dict))})


def find_suite(name: str) -> Suite:
    """Return a shipped suite, or read one from a file. Raises ValueError or FileNotFoundError in one line."""
    if name in SUITES:
        return SUITES[name]
    # an inline suite that an earlier run has saved
    if name.endswith(".json"):
        return load_suite(Path(name))
    if not name.endswith(".py"):
        raise ValueError(f"No suite is called {name!r}: {', '.join(SUITES)}, or a Python file that defines SUITE.")
    return read_suite(Path(name))


def save_suite(suite: Suite, path: Path) -> None:
    """Write a suite as JSON, which `load_suite` reads."""
    experiments = [asdict(one) for one in suite.experiments]
    content = {"name": suite.name, "question": suite.question, "experiments": experiments}
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def join_suite(suite: Suite, path: Path) -> None:
    """Save a suite with the experiments of one of that name that is there: a run of further seeds joins them."""
    before = load_suite(path) if path.exists() else None
    known = () if before is None or before.name != suite.name else before.experiments
    ids = {one.id for one in known}
    save_suite(replace(suite, experiments=(*known, *(one for one in suite.experiments if one.id not in ids))), path)


def load_suite(path: Path) -> Suite:
    """Read what `save_suite` wrote. Raises FileNotFoundError, and FileError in one line for another file."""
    with reading(path, "is not a suite that `run` saved"):
        content = load_json(path)
        CHECK_SUITE(content, "it")
        experiments = [Experiment.of(one) for one in content["experiments"]]
        return Suite(content["name"], content["question"], check_distinct(experiments), path)


def read_suite(path: Path) -> Suite:
    """Read SUITE from a user's file: experiments or a Suite. It may import from its folder, as with `python FILE`."""
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    folder = str(path.resolve().parent)
    # at the front, as Python itself has it; workers get the same path
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        # not an import: a file may have the name of one of our packages
        module = runpy.run_path(str(path), run_name=f"suite_{path.stem}")
    except Exception as error:  # the file is the user's, and so is what it raises
        raise ValueError(f"{path}: {one_line(error)}") from error
    found = module.get("SUITE")
    given = found.experiments if isinstance(found, Suite) else found
    if not (isinstance(given, (tuple, list)) and given and all(isinstance(one, Experiment) for one in given)):
        raise ValueError(f"{path} must define SUITE, a tuple of Experiments: see benchmarks/suites.py.")
    if isinstance(found, Suite):
        return Suite(found.name, found.question, check_distinct(given), path)
    return Suite(path.stem, (module["__doc__"] or "").strip().partition("\n")[0], check_distinct(given), path)
