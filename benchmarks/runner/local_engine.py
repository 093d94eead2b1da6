"""Run experiments on this machine's cores: an engine, which starts processes and reports what becomes of them.

An engine knows no suite and writes no results. Its caller keeps to the number of `slots`. The other engine is in
ray_engine.py.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.experiment import Experiment
from benchmarks.runner.results import log_path
from benchmarks.runner.worker import run_worker
from seqtutor_envs.checks import Range
from seqtutor_envs.command import usable_cores

TIME_LIMIT = Range(0.0, above=True, optional=True)  # seconds
GRACE = 5.0  # seconds between terminating a process and killing it
LOG_LINES = 30  # of a failure's log that its file keeps
Kind = Literal["progress", "done", "failed", "lost"]


class Event(NamedTuple):
    """Say what happened to an experiment.

    Attributes:
        kind: "progress"; "done", with its result; "failed", with a "reason" and the end of its "log"; "lost" if its
            node is gone, so that it must run again.
    """

    experiment: Experiment
    kind: Kind
    facts: dict[str, Any]


class Engine(ABC):
    """Run experiments, each in a process of its own."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """Return how many experiments may run at once."""

    @abstractmethod
    def start(self, experiment: Experiment) -> None:
        """Start an experiment."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened since the last call. Waits so many seconds at most."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all running experiments at once. They leave no files."""


@dataclass
class Running:
    """Hold a process and the pipes to it."""

    experiment: Experiment
    process: Any
    pipe: Connection
    lifeline: Connection
    begin: float
    over: bool = False  # its last event is known


class LocalEngine(Engine):
    """Use this machine's cores: a process for each experiment, forked from one that has imported everything already.

    Args:
        jobs: experiments at once.
        folder: of the results; what processes print goes to logs/ in it.
        time_limit: seconds, after which an experiment has failed; None: no limit.
    """

    def __init__(self, jobs: int, folder: Path, time_limit: float | None = None) -> None:
        self._jobs, self._folder, self._time_limit = jobs, folder, TIME_LIMIT.check("--time-limit", time_limit)
        kinds = multiprocessing.get_all_start_methods()
        # a fork of this process could inherit locks that its threads hold; the server has no threads
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
        # imported once in the server, for all experiments; each would need seconds for it
        self._context.set_forkserver_preload(["benchmarks.runner.warm"])
        self._running: list[Running] = []

    @property
    def slots(self) -> int:
        return self._jobs

    def start(self, experiment: Experiment) -> None:
        pipe, theirs = self._context.Pipe(duplex=False)
        # nothing is sent through it: it closes when this process dies, even by kill -9, and the worker then ends
        their_lifeline, lifeline = self._context.Pipe(duplex=False)
        log = log_path(self._folder, experiment)
        arguments = (experiment, theirs, their_lifeline, log, tuple(sys.path))
        # not a daemon: those may have no children, and environments start scoring processes
        process = self._context.Process(target=run_worker, args=arguments, daemon=False)
        process.start()
        # the ends of the worker; as long as a copy is open here, its end would not be seen in the pipe
        theirs.close()
        their_lifeline.close()
        self._running.append(Running(experiment, process, pipe, lifeline, time.monotonic()))

    def wait(self, seconds: float) -> list[Event]:
        # a sentinel is ready when a process ends without a word, as after a segmentation fault
        wait([part for one in self._running for part in (one.pipe, one.process.sentinel)], seconds)
        events = [event for one in self._running for event in self._collect_events(one)]
        self._running = [one for one in self._running if not one.over]
        return events

    def _collect_events(self, one: Running) -> list[Event]:
        """Return the events of a process: what it has sent, and how it ended."""
        events: list[Event] = []
        ended = not one.process.is_alive()  # asked before the pipe is read: what it sent last is in there then
        try:
            while not one.over and one.pipe.poll():
                kind, facts = one.pipe.recv()
                one.over = kind != "progress"
                events.append(Event(one.experiment, kind, facts))
        except (EOFError, OSError):
            ended = True
        # by the wall clock, because a process that hangs uses no CPU time
        late = self._time_limit is not None and time.monotonic() - one.begin > self._time_limit
        if not one.over and (ended or late):
            self._end(one)
            code = one.process.exitcode
            reason = f"it took more than {self._time_limit:g} seconds" if late and not ended else explain_exit(code)
            events.append(Event(one.experiment, "failed", {"reason": reason}))
            one.over = True
        if one.over:
            self._end(one)
            log = log_path(self._folder, one.experiment)
            if events[-1].kind == "failed":
                events[-1].facts.update(log=read_tail(log), seconds=round(time.monotonic() - one.begin, 1))
            # most experiments print nothing: their empty logs would fill the folder
            elif log.exists() and not log.stat().st_size:
                log.unlink()
        return events

    def _end(self, one: Running) -> None:
        """End a process, the harder the longer it takes, and close the pipes to it."""
        # one that has sent its result ends by itself; one that is late or lost gets no time
        one.process.join(0.0 if not one.over else GRACE)
        if one.process.is_alive():
            one.process.terminate()
            one.process.join(GRACE)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        one.pipe.close()
        one.lifeline.close()

    def stop(self) -> None:
        # all are told first, so that they end side by side and not one GRACE after the other
        for one in self._running:
            one.process.terminate()
        for one in self._running:
            self._end(one)
            # it runs again from the start, with a log of its own
            log_path(self._folder, one.experiment).unlink(missing_ok=True)
        self._running = []


def explain_exit(code: int | None) -> str:
    """Explain why a process may have ended without a result."""
    if code is None or code >= 0:
        return f"its process ended with status {code} and no result"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    guess = "; the system does so when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{guess}"


def read_tail(log: Path) -> str:
    """Read the end of a log."""
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def count_jobs(asked: int | None) -> int:
    """Return how many experiments run at once: `asked`, or one for each usable core. Raises ValueError below 1."""
    if asked is not None and asked < 1:
        raise ValueError(f"--jobs must be at least 1, not {asked}.")
    return asked or usable_cores()
