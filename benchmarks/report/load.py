"""Read the result files of a suite or of a folder; damaged ones are left out, each with a note that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.report.data import Results, domain_of
from benchmarks.runner import results as files
from benchmarks.suite import Suite
from seqtutor_envs.bounds import Bounds, find_bounds
from seqtutor_envs.files import FileError
from seqtutor_envs.melody.notes import checked
from seqtutor_envs.prior import list_shipped

MOST_NAMED = 20  # damaged files; more are counted


def load_results(suite: Suite, folder: Path, source: str = "", damaged: Mapping[Path, str] = {}) -> Results:
    """Read the suite's result files in a folder; damaged files are left out with a note.

    Args:
        source: what `run` takes for this suite.
        damaged: files that are known to be damaged, and what is wrong with each.
    """
    found = Results(suite.name, suite.question, suite.experiments, [], source=source)
    missing: list[Experiment] = []
    broken = dict(damaged)
    for one in suite.experiments:
        paths = (files.result_path(folder, one), found.results), (files.failure_path(folder, one), found.failures)
        for path, kind in paths:
            try:
                kind.append(files.read(path, one))
                break
            except FileNotFoundError:
                continue
            except FileError as error:
                broken[path] = str(error)
        else:
            missing.append(one)
    # only the metrics of all of a task's results tell what its samples are
    domains = _domains(found.results)
    for result in list(found.results):
        experiment = Experiment.of(result["experiment"])
        if reason := _check_samples(domains[experiment.task], result.get("samples") or ()):
            path = files.result_path(folder, experiment)
            broken[path] = f"{path} is damaged ({reason})"
            found.results.remove(result)
            missing.append(experiment)
    named = list(broken.values())
    found.notes.extend(f"{text}: left out; `run` repeats it." for text in named[:MOST_NAMED])
    if (more := len(named) - MOST_NAMED) > 0:
        found.notes.append(f"{more} more files are damaged: left out; `run` repeats them.")
    if others := [path for path in files.find_other_files(folder, suite.experiments) if path not in damaged]:
        found.notes.append(f"{len(others)} result files in {folder} are not of this suite's experiments: left out.")
    return replace(found, missing=tuple(missing), bounds=_find_bounds(found, folder / files.BOUNDS_FILE))


def _find_bounds(results: Results, path: Path) -> dict[str, Bounds]:
    """Map ids of experiments to what is known of log Z; the bounds of the file, if there is one, win."""
    shipped, found, by_task = list_shipped(), dict[str, Bounds](), dict[str, Bounds | None]()
    own: Path | None = path
    for one in (Experiment.of(result["experiment"]) for result in results.results):
        # results may be a stranger's: the prior that they name is opened only if the user has named their suite
        if not results.source and one.env_kwargs.get("prior") not in (None, *shipped):
            continue
        task = json.dumps([one.env, one.env_kwargs], sort_keys=True)
        if task not in by_task:
            try:
                by_task[task] = find_bounds(one.env, one.env_kwargs, own)
            except FileError as error:
                results.notes.append(f"{error}: left out.")
                own = None
                by_task[task] = find_bounds(one.env, one.env_kwargs)
        if (bounds := by_task[task]) is not None:
            found[one.id] = bounds
    return found


def load_folder(folder: Path) -> Results:
    """Read all results and failures in a folder."""
    found: dict[str, Experiment] = {}
    damaged: dict[Path, str] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = files.read(path)
        except FileError as error:
            if path.name not in files.OTHER_FILES:
                damaged[path] = str(error)
            continue
        experiment = Experiment.of(content["experiment"])
        if path not in (files.result_path(folder, experiment), files.failure_path(folder, experiment)):
            damaged[path] = f"{path} is damaged (its name is not that of its id, {experiment.id})"
            continue
        # a result and an older failure of it are one experiment
        found.setdefault(experiment.id, experiment)
    return load_results(Suite(folder.resolve().name, "", tuple(found.values())), folder, damaged=damaged)


def _domains(results: list[dict[str, Any]]) -> dict[str, str]:
    """Map each task to its domain."""
    keys: dict[str, set[str]] = {}
    for one in results:
        known = {name for name, value in one["metrics"].items() if value is not None}
        keys.setdefault(Experiment.of(one["experiment"]).task, set()).update(known)
    return {task: domain_of(some) for task, some in keys.items()}


def _check_samples(domain: str, samples: Any) -> str:
    """Return why samples cannot be shown as what their domain has; "" if they can."""
    try:
        if domain == "melody":
            for one in samples:
                checked(one["tokens"])
    except (ValueError, OverflowError) as error:
        return str(error)
    no_text = domain == "molecule" and any(not isinstance(one.get("sequence"), str) for one in samples)
    return "the sequence of a molecule must be a text" if no_text else ""
