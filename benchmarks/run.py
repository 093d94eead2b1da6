"""`python -m benchmarks run | list`: a suite's experiments, each once, whatever happens in between."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks import results
from benchmarks.circumstances import circumstances, git_state
from benchmarks.engines import Engine, LocalEngine, jobs_of
from benchmarks.experiment import Experiment
from benchmarks.progress import Progress, duration, named
from benchmarks.suites import SUITES, cost, suite_named

RESULTS = Path("results")
TICK = 0.5  # seconds that the runner waits for news before it looks after itself
FAILED = 1  # exit status where some experiment has no result
LOCK = ".running"


def run(
    suite: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    jobs: int | None = None,
    only: tuple[str, ...] = (),
    retry_failed: bool = False,
    dry_run: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    time_limit: float | None = None,
) -> None:
    """Runs the experiments of a suite that have no result yet. Ctrl-C stops; the same command goes on.

    Each experiment is a process of its own with one thread, and leaves one JSON file; what fails is recorded with its
    log, and the rest goes on. The exit status is 1 where some have failed.

    Args:
        suite: a suite's name (`python -m benchmarks list`), or a Python file that defines SUITE.
        out: folder of the results; none: results/SUITE.
        jobs: experiments at once; none: one for each core (of a cluster: as many as it has room for).
        only: those whose id, label or task has one of these in it, or is like it (*, ?).
        retry_failed: also those that have failed before.
        dry_run: says what would be run.
        engine: this machine's cores, or a Ray cluster (pip install ray).
        address: of the cluster, "auto" or "host:port"; none: Ray's own way to find one, or a new one on this machine.
        time_limit: seconds for each experiment, after which it has failed.
    """
    if address is not None and engine != "ray":
        raise ValueError("--address is of a Ray cluster: add --engine ray.")
    found = suite_named(suite)
    folder = out or RESULTS / found.name
    chosen = found.chosen(only)
    at_once = jobs_of(jobs)
    if dry_run:
        show(plan(folder, chosen, retry_failed, set_aside=False), folder, at_once)
        return
    with locked(folder):
        planned = plan(folder, chosen, retry_failed)
        for line in planned.notes:
            print(line, file=sys.stderr)
        performed = None
        if planned.todo:
            performed = sweep(planned, folder, made(engine, jobs, folder, address, time_limit, found.path))
    conclude(suite, folder, planned, performed)


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        todo: to be performed; done: have a result; failed: have failed before, and are left alone.
        notes: what the user should know.
    """

    todo: tuple[Experiment, ...]
    done: tuple[Experiment, ...]
    failed: tuple[Experiment, ...]
    notes: tuple[str, ...]


def plan(folder: Path, experiments: Sequence[Experiment], retry_failed: bool, set_aside: bool = True) -> Plan:
    """Which experiments have a result. Damaged files are renamed, unless `set_aside` is False, and made again."""
    todo: list[Experiment] = []
    done: list[Experiment] = []
    failed: list[Experiment] = []
    notes: list[str] = []
    for one in experiments:
        kinds = ((results.result_path, done), (results.failure_path, todo if retry_failed else failed))
        for path_of, kind in kinds:
            path = path_of(folder, one)
            try:
                if path.exists():
                    results.read(path, one)
                    kind.append(one)
                    break
            except results.Damaged as error:
                kept = results.set_aside(path).name if set_aside else f"{path.name}{results.DAMAGED}"
                notes.append(f"{error}: kept as {kept}, and run again.")
        else:
            todo.append(one)
    return Plan(tuple(todo), tuple(done), tuple(failed), tuple(notes))


def sweep(planned: Plan, folder: Path, engine: Engine, quiet: bool = False) -> Progress:
    """Performs what is to be done and writes what comes of it; `quiet` shows nothing meanwhile.

    Raises KeyboardInterrupt, with a message, after Ctrl-C, and OSError where a file cannot be written; all that was
    written before is whole then, and nothing goes on running.
    """
    waiting, running = list(planned.todo), 0
    stream = io.StringIO() if quiet else None
    progress = Progress(planned.todo, len(planned.done), engine.slots, stream)
    git = git_state()
    try:
        while waiting or running:
            while waiting and engine.room > 0:
                engine.start(waiting[0])
                progress.started(waiting.pop(0))
                running += 1
            for experiment, kind, facts in engine.wait(TICK):
                if kind == "progress":
                    progress.progressed(experiment, facts)
                    continue
                running -= 1
                if kind == "lost":
                    progress.lost(experiment, facts["reason"])
                    waiting.append(experiment)
                    continue
                where = {} if kind == "done" else circumstances()  # a result tells its own
                keep(folder, experiment, {**where, **facts, "git": git})
                if kind == "done":
                    progress.finished(experiment, facts)
                else:
                    progress.has_failed(experiment, facts["reason"])
    except KeyboardInterrupt:
        rest = len(waiting) + running
        counted = f"{progress.done} of {progress.total} experiments have their results in {folder}"
        raise KeyboardInterrupt(f"{counted}; the same command runs the other {rest}.") from None
    finally:
        engine.stop()
        progress.close()
    return progress


def keep(folder: Path, experiment: Experiment, facts: dict[str, Any]) -> None:
    """Writes a result or a failure, and takes away the failure that a result replaces.

    Raises OSError, saying what to do, where that cannot be written.
    """
    failed, failure = "reason" in facts, results.failure_path(folder, experiment)
    try:
        results.write(failure if failed else results.result_path(folder, experiment), experiment, facts)
    except OSError as error:
        kept = "what was written before is whole; mend that, and the same command goes on"
        raise OSError(f"{experiment.id} cannot be written into {folder} ({error.strerror}): {kept}.") from error
    if not failed:
        failure.unlink(missing_ok=True)


def conclude(suite: str, folder: Path, planned: Plan, progress: Progress | None) -> None:
    """Says what there is now, and what may be typed next. Raises SystemExit(1) where some experiment has failed."""
    failed = len(planned.failed) + (progress.failed if progress else 0)
    done = progress.done if progress else len(planned.done)
    words = f", {failed} failed (--retry-failed runs them again; each says why in {folder}/*{results.FAILED})"
    print(f"{folder}: {done} experiments have results{words if failed else ''}.")
    given = "" if folder == RESULTS / Path(suite).stem else f" --out {folder}"
    print(f"python -m benchmarks report {suite}{given}")
    if failed:
        raise SystemExit(FAILED)


def show(planned: Plan, folder: Path, jobs: int) -> None:
    """What would be run."""
    for one in planned.todo:
        print(f"{one.id}  {named(one)}, {one.budget}")
    seconds = sum(map(cost, planned.todo))
    counts = f"{len(planned.done)} have results, {len(planned.failed)} have failed before"
    print(f"{len(planned.todo)} to run into {folder}, about {duration(seconds / jobs)} with --jobs {jobs}; {counts}.")
    for line in planned.notes:
        print(line)


def made(
    engine: str, jobs: int | None, folder: Path, address: str | None, limit: float | None, suite: Path | None
) -> Engine:
    """The engine of that name. Raises ImportError where Ray is not installed."""
    if engine == "ray":
        from benchmarks.ray_engine import RayEngine

        return RayEngine(jobs, address, limit, suite)
    return LocalEngine(jobs_of(jobs), folder, limit)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second runner out of the folder; the system unlocks it when this process ends, however it does.

    Raises ValueError where another one is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            another = f"Another run is writing into {folder}"
            raise ValueError(f"{another}: wait for it, stop it, or give another --out.") from None
        yield


def list_suites(out: Path = RESULTS) -> None:
    """Shows the suites: how many experiments, what they cost, how many have results.

    Args:
        out: the folder of results.
    """
    rows = [("suite", "experiments", "core-minutes", "with results", "what it asks")]
    for suite in SUITES.values():
        done = sum(results.result_path(out / suite.name, one).exists() for one in suite.experiments)
        minutes = sum(map(cost, suite.experiments)) / 60
        rows.append((suite.name, str(len(suite.experiments)), f"{minutes:.0f}", str(done), suite.question))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:]))]
        print("  ".join([*cells, row[4]]))
