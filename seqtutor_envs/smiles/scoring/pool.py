"""Persistent scoring processes: started with the first batch, fed in chunks, replaced when they are lost.

They are subprocesses of this package's own module and not of `multiprocessing`, whose pools need a main guard in the
user's script and cannot be started by a daemon. Strings and answers travel as lines of JSON (see worker.py). A worker
ends with this process, even after kill -9: its standard input then ends. POSIX only.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn

import seqtutor_envs

Answer = Any  # a Score's fields, as JSON gives them back
COMMAND = (sys.executable, "-P", "-m", "seqtutor_envs.smiles.scoring.worker")  # -P: not the current directory's modules
CHUNK = 32  # molecules sent at once, at most; some 30 ms of scoring against .1 ms for the way there and back
HANG_LIMIT = 600.0  # seconds for a molecule where no timeout is asked for; those of MOSES take .002
GRACE = 5.0  # seconds after its limit until a worker that does not end itself, being stopped, is ended
START_LIMIT = 300.0  # seconds until a worker has imported RDKit and answers; 1 on an idle machine
TIMEOUT, DIED = "timeout", "worker died"
SCORE, OBJECTIVE = "score", "objective"  # what is asked of a worker
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerPool:
    """Score strings in processes: `pool(smiles)` gives the fields of `scoring.score` of each, as lists of JSON.

    `pool(smiles, OBJECTIVE)` gives the scores of a task of PMO instead, floats, None where there is none.

    Args:
        spec: ScoreSpec.as_dict().
        workers: number of processes.
        score_timeout: seconds for one molecule; None: HANG_LIMIT.
        command: what starts a worker.
        pmo_task: the task of PMO that may be asked for.

    A worker that dies or takes longer is replaced, and each molecule of its chunk is tried again alone, since a worker
    may also die of something else (the kernel's out-of-memory killer). The one at which a worker is lost again has the
    reason "timeout" or "worker died" and is named in a warning.

    Raises RuntimeError where workers cannot be started.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        workers: int,
        score_timeout: float | None = None,
        command: Sequence[str] = COMMAND,
        pmo_task: str | None = None,
    ) -> None:
        if os.name != "posix":
            raise ValueError("Scoring processes need Linux or macOS; use workers=0 here.")
        self.limit = HANG_LIMIT if score_timeout is None else score_timeout
        self.number, self.command = workers, command
        self._hello = {"spec": spec, "limit": self.limit, "pmo_task": pmo_task}
        self._workers: list[_Worker] = []
        _POOLS.add(self)
        weakref.finalize(self, _end, self._workers)  # also when the interpreter ends

    @property
    def running(self) -> bool:
        """Return whether there are processes."""
        return bool(self._workers)

    @property
    def pids(self) -> list[int]:
        """Return the workers' process ids."""
        return [worker.process.pid for worker in self._workers]

    def __call__(self, smiles: Sequence[str], question: str = SCORE) -> list[Answer]:
        """Score `smiles`; the answers are in their order."""
        if not smiles:
            return []
        batch = _Batch(smiles, question)
        try:
            while len(self._workers) < self.number:
                self._workers.append(_Worker(self.command, self._hello))
            while batch.open:
                for worker in self._workers:  # all: there may be work again for one that has been idle
                    self._feed(worker, batch)
                self._wait(batch)
        except BaseException:
            self.close()  # half a batch is under way: its answers must not be taken for those of the next
            raise
        return batch.answers

    def close(self) -> None:
        """End the workers; the next call starts new ones. Safe to call more than once."""
        _end(self._workers)

    def _wait(self, batch: _Batch) -> None:
        """Wait until a worker answers and take all answers there are, or end the workers that are overdue."""
        busy = [worker for worker in self._workers if worker.todo or not worker.ready]
        patience = min(worker.deadline(self.limit) for worker in busy) - time.monotonic()
        # the outputs of all at once: waiting for one would let the others idle
        answering = wait([worker.output.fileno() for worker in busy], max(patience, 0.0))
        for worker in busy:
            if worker.output.fileno() in answering and not worker.read(batch):
                self._replace(worker, batch)
            elif not answering and worker.deadline(self.limit) <= time.monotonic():
                worker.overdue = True
                worker.process.kill()  # its output then ends, which is read as any other end

    def _feed(self, worker: _Worker, batch: _Batch) -> None:
        """Send the next chunk to a worker that has none: smaller ones towards the end, so that all end together."""
        if worker.todo or not worker.ready:
            return
        # half of an equal share: the last chunks are small, so no worker is left with a large one
        size = min(CHUNK, math.ceil(len(batch.waiting) / (2 * self.number)))
        # suspects first and alone: a second loss then names the molecule
        worker.alone = bool(batch.suspects)
        chunk = [batch.suspects.pop()] if worker.alone else [batch.waiting.popleft() for _ in range(size)]
        if chunk:
            worker.send(chunk, batch)

    def _replace(self, worker: _Worker, batch: _Batch) -> None:
        """Replace a worker that has ended. Its molecules are tried again alone, or given up if it had one alone."""
        code = worker.stop()
        if not worker.ready:
            what = f"A scoring process ended before it could score (exit code {code})"
            raise RuntimeError(f"{what}; use workers=0, or see what this says: {' '.join(self.command)}")
        if worker.alone and worker.todo:
            batch.lost(worker.todo[0], TIMEOUT if worker.overdue or code == -signal.SIGALRM else DIED, self.limit)
        else:
            batch.suspects.extend(worker.todo)
        self._workers.remove(worker)
        self._workers.append(_Worker(self.command, self._hello))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A WorkerPool holds processes and cannot be pickled or copied; pickle the Scorer.")


class _Batch:
    """Hold the strings being scored, by index: `waiting` have no worker yet, one of the `suspects` ended its worker."""

    def __init__(self, smiles: Sequence[str], question: str) -> None:
        self.smiles, self.question = smiles, question
        self.waiting = deque(range(len(smiles)))
        self.suspects: list[int] = []
        self.answers: list[Answer] = [None] * len(smiles)
        self.open = len(smiles)  # how many have no answer

    def answer(self, place: int, answer: Answer) -> None:
        self.answers[place] = answer
        self.open -= 1

    def lost(self, place: int, reason: str, limit: float) -> None:
        """Give up a molecule that has ended its worker twice: warn, and count it as invalid."""
        why = f"took more than {limit:g} s" if reason == TIMEOUT else "ended its scoring process"
        warnings.warn(f"Scoring {self.smiles[place]!r} {why}: it counts as invalid ({reason}).", stacklevel=2)
        self.answer(place, [reason, None, [], []] if self.question == SCORE else None)


class _Worker:
    """Run one process; `todo` are the places of its chunk, `alone` says whether that is one suspect."""

    def __init__(self, command: Sequence[str], hello: dict[str, Any]) -> None:
        # a session of its own: Ctrl-C in the terminal is this process's matter alone
        self.process = subprocess.Popen(
            # unbuffered (0): a line must be under way when `send` returns
            command, 0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(), start_new_session=True
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.todo: list[int] = []
        self.ready = self.alone = self.overdue = False
        self._line = b""  # as far as it has come
        self._since = time.monotonic()  # when it got what it is busy with
        self._write(hello)

    def deadline(self, limit: float) -> float:
        """Return when it must have answered, by time.monotonic()."""
        return self._since + (limit * len(self.todo) + GRACE if self.ready else START_LIMIT)

    def send(self, chunk: list[int], batch: _Batch) -> None:
        """Send a chunk to an idle worker, which reads it at once, so that the pipe cannot fill."""
        self.todo, self._since = chunk, time.monotonic()
        self._write([batch.question, [batch.smiles[place] for place in chunk]])

    def read(self, batch: _Batch) -> bool:
        """Take what is there of its answer. Return False if it has ended."""
        # os.read takes what is there; a file's read would wait for more
        data = os.read(self.output.fileno(), 1 << 16)
        self._line += data
        if self._line.endswith(b"\n"):
            answers, self._line = json.loads(self._line), b""
            for place, answer in zip(self.todo, answers, strict=True):
                batch.answer(place, answer)
            self.todo, self.ready = [], True
        return bool(data)

    def stop(self) -> int:
        """End it now. Return its exit code."""
        self.process.kill()
        self.output.close()
        self.input.close()
        return self.process.wait()

    def _write(self, line: Any) -> None:
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[self.input.write(data) :]
        except BrokenPipeError:
            pass  # it has ended, which its output will say


def _environment() -> dict[str, str]:
    """Set one thread, and find modules where this process does: the current directory may have changed."""
    root = str(Path(seqtutor_envs.__file__).parents[1])
    paths = [path for path in sys.path if os.path.isabs(path)]
    # our root first: a worker must run the same version as this process
    search = os.pathsep.join(paths if root in paths else [root, *paths])
    return {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": search}


def _end(workers: list[_Worker]) -> None:
    """End workers, which hold nothing that would have to be saved."""
    while workers:
        workers.pop().stop()


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _forget() -> None:
    """Forget the parent's workers in a forked child, whose ends of their pipes must not keep them alive."""
    for pool in _POOLS:
        for worker in pool._workers:
            worker.process.returncode = 0  # or its destructor would wait for a process that is not this one's child
            worker.input.close()
            worker.output.close()
        pool._workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class Ahead:
    """Score strings in processes while this one does something else; a thread waits for them.

    `give` strings, do something else, `take` all answers. One thread may use it, and `score` for itself only between
    `take` and the next `give`.
    """

    def __init__(self, score: Callable[[Sequence[str]], Sequence[Answer]]) -> None:
        self._score = score
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: list[str] = []
        self._given: set[str] = set()
        self._answers: dict[str, Any] = {}
        self._error: BaseException | None = None

    def give(self, smiles: Sequence[str]) -> None:
        """Begin to score strings, each once; those given since the last `take` are left out."""
        new = [text for text in dict.fromkeys(smiles) if text not in self._given]
        self._given.update(new)
        # the lock guards only the list and the thread's end: scoring itself runs without it
        with self._lock:
            self._waiting += new
            if self._thread is None and self._waiting:
                # a daemon: where a molecule hangs, the interpreter ends all the same
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def take(self) -> dict[str, Any]:
        """Wait for what was given; return the answer of each string. Raise what `score` has raised."""
        thread = self._thread
        if thread is not None:
            thread.join()
        answers, error = self._answers, self._error
        self._answers, self._error, self._given = {}, None, set()
        if error is not None:
            raise error
        return answers

    def _run(self) -> None:
        """Score what has come meanwhile, until nothing has."""
        while True:
            with self._lock:
                # under the lock: `give` must see either a thread that will look again, or none
                batch, self._waiting = self._waiting, []
                if not batch:
                    self._thread = None
                    return
            try:
                self._answers.update(zip(batch, self._score(batch), strict=True))
            except BaseException as error:  # not swallowed: `take` raises it where somebody sees it
                self._error = error
