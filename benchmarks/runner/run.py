"""`python -m benchmarks run | list`: run the experiments of a suite that have no result yet; list the suites."""

from __future__ import annotations

import importlib
import io
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tabulate import tabulate

from benchmarks.experiment import Experiment
from benchmarks.inline import Inline
from benchmarks.named_agents import AGENTS
from benchmarks.runner import results
from benchmarks.runner.local_engine import Engine, LocalEngine, count_jobs
from benchmarks.runner.progress import SweepProgress, describe
from benchmarks.runner.provenance import collect_provenance, read_git_state
from benchmarks.suite import RESULTS, Suite, total_budget
from benchmarks.suite_files import find_suite, join_suite
from benchmarks.suites import SUITES
from seqtutor_envs.files import FileError, one_line
from seqtutor_envs.files.locks import lock_folder
from seqtutor_envs.files.text import printable

TICK = 0.5  # seconds that the runner waits for events: so long a Ctrl-C may wait
PLACES = {"prior", "tensorboard_log", "policy_kwargs"}  # keywords of agents that name files or hold code
FAILED = 1  # exit status where some experiment has no result


def run(
    suite: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="SUITE")] = None,
    inline: Annotated[Inline, tyro.conf.arg(name="")] = Inline(),
    out: Path | None = None,
    jobs: int | None = None,
    only: tuple[str, ...] = (),
    retry_failed: bool = False,
    dry_run: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    time_limit: float | None = None,
    trust: bool = False,
) -> None:
    """Run the experiments of a suite that have no result yet. Ctrl-C stops; the same command continues.

    Without SUITE, --env and the options beside it describe the experiments. Each experiment is a process of its own
    with one thread, and writes one JSON file. A failure is recorded with its log, and the others continue. The exit
    status is 1 if any failed.

    Args:
        suite: a suite's name (`python -m benchmarks list`), a Python file that defines SUITE, or the suite.json of
            an earlier run.
        inline: experiments without a suite.
        out: folder of the results. Default: results/SUITE.
        jobs: experiments at once. Default: one for each core (of a cluster: as many as fit).
        only: run those whose id, label or task contains one of these patterns, or matches it (*, ?).
        retry_failed: run those again that failed before.
        dry_run: print what would run, and run nothing.
        engine: local for this machine's cores, ray for a Ray cluster (pip install ray).
        address: the cluster's address, "auto" or "host:port". Default: the one Ray finds, or a new one on this machine.
        time_limit: seconds for each experiment, after which it has failed.
        trust: use the programs, modules and paths that a suite.json names.
    """
    if address is not None and engine != "ray":
        raise ValueError("--address needs --engine ray.")
    found = _choose_suite(suite, inline)
    if suite is None:
        check_env(str(inline.env))  # once, before every experiment fails with it
    elif found.path is not None and found.path.suffix == ".json" and not trust:
        check_named(found, found.path)
    folder = found.folder(out)
    chosen = found.chosen(only)
    at_once = count_jobs(jobs)
    if dry_run:
        # before the lock, which would create the folder
        print_plan(plan(folder, chosen, retry_failed, set_aside=False), folder)
        return
    with lock_folder(folder):
        if suite is None:
            # an inline suite has no name that `report` knows; the file stands for it
            join_suite(found, folder / results.SUITE_FILE)
        planned = plan(folder, chosen, retry_failed)
        for line in planned.notes:
            print(printable(line), file=sys.stderr)
        progress = None
        if planned.todo:
            if engine == "ray":
                # imported late: Ray is optional
                from benchmarks.runner.ray_engine import RayEngine

                runs_on: Engine = RayEngine(jobs, address, time_limit, found.source)
            else:
                runs_on = LocalEngine(at_once, folder, time_limit)
            progress = sweep(planned, folder, runs_on)
    print_summary(found, suite or str(folder / results.SUITE_FILE), folder, planned, progress)


def _choose_suite(name: str | None, inline: Inline) -> Suite:
    """Return the suite of that name or of the inline options. Raises ValueError unless it is exactly one of them."""
    if name is None and inline.env is None:
        raise ValueError("Name a suite (`python -m benchmarks list` shows them), or give --env ID and --agents.")
    if name is not None and inline != Inline():
        raise ValueError(f"{name} has its own experiments: leave it out, or leave out --env and the options beside it.")
    return inline.suite() if name is None else find_suite(name)


def check_env(env_id: str) -> None:
    """Raise Gymnasium's error, or ImportError, in one line, unless an environment is registered under the id."""
    from seqtutor_envs.registry import find_spec

    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # importing runs the user's module, which can raise anything
            raise ImportError(f"--env {env_id}: importing {module} failed: {one_line(error)}.") from error
    find_spec(name)


def check_named(suite: Suite, path: Path) -> None:
    """Raise ValueError if a saved suite, which may be a stranger's, names what only its user can allow."""
    # imported late: it loads the environments, which the runner does without
    from seqtutor_envs.registry import check_recipe

    ours = {agent["agent"] for agent in AGENTS.values()}
    trusted = f"If you know what it is: python -m benchmarks run {shlex.quote(str(path))} --trust"
    for one in suite.experiments:
        if one.agent not in ours:
            raise ValueError(f"{path} names the program {one.agent!r}. {trusted}")
        if places := sorted(PLACES & one.agent_kwargs.keys()):
            raise ValueError(f"{path} names {places[0]}={one.agent_kwargs[places[0]]!r}. {trusted}")
        check_recipe(path, {"id": one.env, "kwargs": dict(one.env_kwargs)})


@dataclass(frozen=True)
class Plan:
    """Hold experiments by their state.

    Attributes:
        todo: to run. done: have a result. failed: failed before, and do not run again.
        notes: lines for the user.
    """

    todo: tuple[Experiment, ...]
    done: tuple[Experiment, ...]
    failed: tuple[Experiment, ...]
    notes: tuple[str, ...]


def plan(folder: Path, experiments: Sequence[Experiment], retry_failed: bool, set_aside: bool = True) -> Plan:
    """Sort experiments by whether they have a result. Rename damaged files, unless `set_aside` is False."""
    todo: list[Experiment] = []
    done: list[Experiment] = []
    failed: list[Experiment] = []
    notes: list[str] = []
    for one in experiments:
        # the result first: a failure before it is out of date
        kinds = ((results.result_path, done), (results.failure_path, todo if retry_failed else failed))
        for path_of, kind in kinds:
            path = path_of(folder, one)
            try:
                if path.exists():
                    results.read(path, one)
                    kind.append(one)
                    break
            except FileError as error:
                kept = results.set_aside(path).name if set_aside else f"{path.name}{results.DAMAGED}"
                notes.append(f"{error}: kept as {kept}, and run again.")
        else:
            todo.append(one)
    return Plan(tuple(todo), tuple(done), tuple(failed), tuple(notes))


def sweep(planned: Plan, folder: Path, engine: Engine, quiet: bool = False) -> SweepProgress:
    """Run what has no result yet, and write the results. `quiet` shows no progress.

    Raises KeyboardInterrupt, with a message, after Ctrl-C, and OSError if a file cannot be written. Earlier files are
    whole then, and no process is left.
    """
    waiting, running = list(planned.todo), 0
    progress = SweepProgress(len(planned.todo), len(planned.done), io.StringIO() if quiet else None)
    # once, at the start: the code that runs is what was there then, whatever is edited meanwhile
    git = read_git_state()
    try:
        while waiting or running:
            # asked each time: nodes join and leave a cluster
            while waiting and running < engine.slots:
                engine.start(waiting[0])
                progress.on_start(waiting.pop(0))
                running += 1
            for experiment, kind, facts in engine.wait(TICK):
                if kind == "progress":
                    progress.on_progress(experiment, facts)
                    continue
                running -= 1
                if kind == "lost":
                    progress.on_loss(experiment, facts["reason"])
                    # at the end, so that one that brings nodes down does not hold up the others
                    waiting.append(experiment)
                    continue
                where = {} if kind == "done" else collect_provenance()  # a result holds its own
                write_outcome(folder, experiment, {**where, **facts, "git": git})
                if kind == "done":
                    progress.on_result(experiment, facts["metrics"])
                else:
                    progress.on_failure(experiment, facts["reason"])
    except KeyboardInterrupt:
        rest = len(waiting) + running
        counted = f"{progress.done} of {progress.total} experiments have their results in {folder}"
        raise KeyboardInterrupt(f"{counted}; the same command runs the other {rest}.") from None
    finally:
        # also after an error: no process may outlive the runner
        engine.stop()
        progress.close()
    return progress


def write_outcome(folder: Path, experiment: Experiment, facts: dict[str, Any]) -> None:
    """Write a result or a failure, and remove the failure that a result replaces.

    Raises OSError that says what to do if the file cannot be written.
    """
    failed, failure = "reason" in facts, results.failure_path(folder, experiment)
    try:
        results.write(failure if failed else results.result_path(folder, experiment), experiment, facts)
    except OSError as error:
        kept = "what was written before is whole; mend that, and the same command goes on"
        raise OSError(f"{experiment.id} cannot be written into {folder} ({error.strerror}): {kept}.") from error
    if not failed:
        # after the result is written, so that a crash between the two loses nothing
        failure.unlink(missing_ok=True)


def print_summary(suite: Suite, name: str, folder: Path, planned: Plan, progress: SweepProgress | None) -> None:
    """Print what has results now, and the command that reports them. Raises SystemExit(1) if any experiment failed.

    Args:
        name: what `report` is given for the suite.
    """
    failed = len(planned.failed) + (progress.failed if progress else 0)
    done = progress.done if progress else len(planned.done)
    words = f", {failed} failed (--retry-failed runs them again; each says why in {folder}/*{results.FAILED})"
    print(f"{folder}: {done} experiments have results{words if failed else ''}.")
    given = "" if folder == RESULTS / suite.name else f" --out {shlex.quote(str(folder))}"
    print(f"python -m benchmarks report {shlex.quote(name)}{given}")
    if failed:
        raise SystemExit(FAILED)


def print_plan(planned: Plan, folder: Path) -> None:
    """Print what would run."""
    for one in planned.todo:
        print(printable(f"{one.id}  {describe(one)}, {one.budget}"))
    counts = f"{len(planned.done)} have results, {len(planned.failed)} have failed before"
    print(f"{len(planned.todo)} to run into {folder}, budget {total_budget(planned.todo)}; {counts}.")
    for line in planned.notes:
        print(printable(line))


def list_suites(out: Path = RESULTS) -> None:
    """List the suites: how many experiments they have, how many of these have results, their budget, what each asks.

    The budget is the sum of what the experiments learn for, without their evaluation.

    Args:
        out: folder of the results.
    """
    rows = [("suite", "experiments", "with results", "budget", "what it asks")]
    for suite in SUITES.values():
        done = sum(results.result_path(out / suite.name, one).exists() for one in suite.experiments)
        count = str(len(suite.experiments))
        rows.append((suite.name, count, str(done), total_budget(suite.experiments), suite.question))
    print(tabulate(rows, headers="firstrow", tablefmt="plain", colalign=("left", "right", "right", "right", "left")))
