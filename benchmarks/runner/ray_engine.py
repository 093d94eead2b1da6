"""Run experiments on a Ray cluster: each is a task of one core and a process of its own; the driver gets the results.

The nodes need this library installed. If a node is lost, its experiments run again elsewhere. A process that dies while
its node lives has failed, as on one machine.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.runner.local_engine import TIME_LIMIT, Engine, Event, read_tail

LOSSES = 5  # nodes lost under one experiment; after that, it is taken for the cause


def import_ray() -> Any:
    """Import Ray. Raises ImportError in one line if it is not installed."""
    try:
        import ray
    except ImportError:
        raise ImportError("Ray is not installed: pip install ray (or '.[sweep]'), or leave out --engine ray.") from None
    return ray


@dataclass
class RayTask:
    """Hold an experiment that was given to Ray."""

    experiment: Experiment
    begin: float | None = None  # when its process has begun; None while it waits for a core


class RayEngine(Engine):
    """Use a Ray cluster.

    Args:
        jobs: experiments at once; None: as many as the cluster has cores, also those that join later.
        address: "auto", "host:port" or "ray://host:port" of a cluster; None: the one of RAY_ADDRESS, or a new one on
            this machine.
        time_limit: seconds of an experiment, after which it has failed.
        source: folder of the user's Python files, which goes to the nodes.

    Raises ImportError without Ray, ValueError where there is no such cluster.
    """

    def __init__(self, jobs: int | None, address: str | None, time_limit: float | None, source: Path | None) -> None:
        self._ray = import_ray()
        self._jobs, self._time_limit = jobs, TIME_LIMIT.check("--time-limit", time_limit)
        environment = {} if source is None else {"working_dir": str(source.resolve())}
        try:
            # a cluster that exists has its own dashboard, or none
            options = {"include_dashboard": False} if address is None else {}
            self._ray.init(
                address=address,
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
                **options,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f"No Ray cluster at {address or 'this machine'}: {error}") from error
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # on the driver's node, which is not lost before the driver is
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        # max_calls: a process each, as on one machine; max_retries: this class decides what becomes of a dead one
        self._perform = self._ray.remote(num_cpus=1, max_calls=1, max_retries=0)(perform_on_node)
        self._tasks: dict[Any, RayTask] = {}
        self._losses: dict[str, int] = {}

    @property
    def slots(self) -> int:
        return self._jobs or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, experiment: Experiment) -> None:
        self._tasks[self._perform.remote(experiment, self._queue, tuple(sys.path))] = RayTask(experiment)

    def wait(self, seconds: float) -> list[Event]:
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds) if self._tasks else ([], [])
        return [*self._progress(), *(self._ended(reference) for reference in ready), *self._late()]

    def _progress(self) -> list[Event]:
        by_id = {task.experiment.id: task for task in self._tasks.values()}
        events = []
        for identity, facts in self._queue.get_nowait_batch(self._queue.size()):
            # None: it has ended or was cancelled, and this news is late
            task = by_id.get(identity)
            if task is None:
                continue
            # its first word; before that it waited for a core, which is no part of the time limit
            task.begin = task.begin or time.monotonic()
            if facts:
                events.append(Event(task.experiment, "progress", facts))
        return events

    def _ended(self, reference: Any) -> Event:
        """Return how a task ended."""
        task = self._tasks.pop(reference)
        errors = self._ray.exceptions
        try:
            kind, facts = self._ray.get(reference)
        # the node is gone: no fault of the experiment
        except (errors.NodeDiedError, errors.ObjectLostError) as error:
            return self._lost(task.experiment, str(error).partition(". ")[0])
        except errors.WorkerCrashedError as error:
            kind, facts = "failed", {"reason": "its process died: a crash, or memory ran out", "log": str(error)}
        except errors.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            kind, facts = "failed", {"reason": reason, "log": str(error)}
        if kind == "failed":
            facts["seconds"] = round(time.monotonic() - task.begin, 1) if task.begin else None
        return Event(task.experiment, kind, facts)

    def _lost(self, experiment: Experiment, reason: str) -> Event:
        # one that fills a node's memory would otherwise take down node after node
        count = self._losses[experiment.id] = self._losses.get(experiment.id, 0) + 1
        if count < LOSSES:
            return Event(experiment, "lost", {"reason": reason})
        facts = {"reason": f"{count} nodes were lost while they ran it", "log": reason}
        return Event(experiment, "failed", facts)

    def _late(self) -> list[Event]:
        """End what takes longer than the limit."""
        if self._time_limit is None:
            return []
        events, now = [], time.monotonic()
        for reference, task in list(self._tasks.items()):
            if task.begin is not None and now - task.begin > self._time_limit:
                # force kills the process: an agent need not answer KeyboardInterrupt
                self._ray.cancel(reference, force=True)
                del self._tasks[reference]
                facts = {"reason": f"it took more than {self._time_limit:g} seconds", "log": ""}
                events.append(Event(task.experiment, "failed", {**facts, "seconds": round(now - task.begin, 1)}))
        return events

    def stop(self) -> None:
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks = {}
        self._ray.shutdown()


def perform_on_node(experiment: Experiment, queue: Any, path: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Run an experiment on a node. Return ("done", result) or ("failed", {"reason", "log"})."""
    from benchmarks.runner.worker import attempt, print_to
    from seqtutor_envs.command import keep_freed_memory

    # no facts yet: they say that the experiment has started, from when on its time is limited
    queue.put((experiment.id, {}))
    # for nodes that share this machine's files; elsewhere `source` has brought them
    sys.path += [folder for folder in path if folder not in sys.path]
    keep_freed_memory()
    # the node may not share the folder of results: the log travels in the result
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        print_to(log)
        kind, facts = attempt(experiment, lambda progress: queue.put((experiment.id, progress)))
        if kind == "failed":
            facts["log"] = read_tail(log)
    return kind, facts
