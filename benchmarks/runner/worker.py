"""Run one experiment in a process that ends when its runner does, even after kill -9.

The runner imports this module, so nothing heavy is imported at its top.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.experiment import Experiment
from seqtutor_envs.command import keep_freed_memory, set_threads
from seqtutor_envs.files import finite


def run_worker(experiment: Experiment, pipe: Connection, lifeline: Connection, log: Path, path: Sequence[str]) -> None:
    """Run an experiment and send events: ("progress", {...}), then ("done", result) or ("failed", {...}).

    Args:
        pipe: to the runner.
        lifeline: from the runner, which sends nothing; it closes when the runner ends.
        log: the file that gets all that is printed.
        path: the runner's sys.path, for agents and environments of the user's own.
    """
    # Ctrl-C reaches the whole terminal group; the runner ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # an ignored signal is inherited, and the runner ends its workers by this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # a daemon, so that it does not keep the process from ending
    threading.Thread(target=_end_with_runner, args=(lifeline,), daemon=True).start()
    # tqdm's own is a semaphore, which stays behind if this process is killed
    tqdm.set_lock(threading.RLock())
    print_to(log)
    sys.path[:] = list(path)
    keep_freed_memory()
    pipe.send(attempt(experiment, lambda progress: pipe.send(("progress", progress))))
    pipe.close()


def attempt(experiment: Experiment, on_progress: Callable[[dict[str, Any]], None]) -> tuple[str, dict[str, Any]]:
    """Run an experiment. Return ("done", result), or ("failed", {"reason"}) with the traceback in the log."""
    try:
        # within the try: a package that is missing is a failure with a reason
        from benchmarks.runner.perform import perform

        set_threads(1)
        result = perform(experiment, on_progress)
        # what JSON cannot hold is a failure of this experiment, not of the runner
        json.dumps(finite(result))
        return "done", result
    except Exception as error:  # the agent is the user's; the other experiments go on
        traceback.print_exc()
        return "failed", {"reason": f"{type(error).__name__}: {error}"}


def _end_with_runner(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        # without cleaning up: the thread cannot end the process otherwise, and nobody reads the result
        os._exit(1)


def print_to(log: Path) -> None:
    """Redirect standard output and error, of C libraries too, and the traceback of a crash to the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # file descriptors, not sys.stdout alone: RDKit and numba print from C
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # line by line, so that the log of a killed process holds all that it printed
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    faulthandler.enable(file=2)
