"""Show the progress of a sweep: a line for each result, and in a terminal a bar that names what is running."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from benchmarks.experiment import Experiment
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.files.text import printable

SHOWN = 3  # running experiments that the bar has room for
BAR = "{percentage:3.0f}%|{bar:20}| {desc}, {remaining} left{postfix}"
SHORT = {"j": "J", "task_return": "R", "kl": "KL", "gap": "gap"}  # metric -> its name in a line


class SweepProgress:
    """Count experiments and show progress. The time left is tqdm's: by how long the finished ones took.

    Args:
        todo: how many experiments will run.
        before: how many have results already.
        stream: where to write; a terminal gets a bar besides the lines.
    """

    def __init__(self, todo: int, before: int, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.total, self.done, self.failed = before + todo, before, 0
        self._running: dict[str, tuple[Experiment, float, Mapping[str, Any]]] = {}
        # tqdm's own lock is a semaphore shared between processes, which one that is killed would leave behind
        tqdm.set_lock(threading.RLock())
        self._bar: Any = make_bar(
            total=self.total,
            initial=before,
            file=self.stream,
            bar_format=BAR,
            leave=False,
            mininterval=0.2,
            # the mean over all results: those of one agent arrive together
            smoothing=0,
        )

    def on_start(self, experiment: Experiment) -> None:
        """Note that an experiment started."""
        self._running[experiment.id] = (experiment, time.monotonic(), {})
        self._show()

    def on_progress(self, experiment: Experiment, facts: Mapping[str, Any]) -> None:
        """Update a running experiment's progress."""
        if experiment.id in self._running:  # else it has ended, and this news is late
            self._running[experiment.id] = (*self._running[experiment.id][:2], facts)
            self._show()

    def on_result(self, experiment: Experiment, metrics: Mapping[str, Any]) -> None:
        """Report a result."""
        self.done += 1
        known = [f"{title} {metrics[name]:.4g}" for name, title in SHORT.items() if metrics.get(name) is not None]
        self._on_end(experiment, f"done    {describe(experiment)}: {' '.join(known)}")

    def on_failure(self, experiment: Experiment, reason: str) -> None:
        """Report a failure."""
        self.failed += 1
        self._on_end(experiment, f"FAILED  {describe(experiment)}: {' '.join(reason.split())}")

    def on_loss(self, experiment: Experiment, reason: str) -> None:
        """Report that an experiment was lost with its node and will run again."""
        self._running.pop(experiment.id, None)
        self._print(f"lost    {describe(experiment)}: {reason}; it will run again")

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def _on_end(self, experiment: Experiment, line: str) -> None:
        _, begin, _ = self._running.pop(experiment.id)
        count = f"{self.done + self.failed:>{len(str(self.total))}}/{self.total}"
        self._print(f"{count}  {line}  ({time.monotonic() - begin:.0f} s)")
        self._bar.update(1)
        self._show()

    def _print(self, line: str) -> None:
        # not print, which would write into the bar
        tqdm.write(printable(line), file=self.stream)
        # a file or pipe is buffered, and someone may follow it
        self.stream.flush()

    def _show(self) -> None:
        parts = [describe_running(one, facts) for one, _, facts in list(self._running.values())[:SHOWN]]
        if (more := len(self._running) - SHOWN) > 0:
            parts.append(f"{more} more")
        failed = f", {self.failed} failed" if self.failed else ""
        # the description, set next, draws both at once
        self._bar.set_postfix_str(printable("; ".join(parts)), refresh=False)
        self._bar.set_description_str(f"{self.done}/{self.total} done{failed}")


def describe(experiment: Experiment) -> str:
    """Describe an experiment in a line."""
    return f"{experiment.name}, seed {experiment.seed}, {experiment.task}"


def describe_running(experiment: Experiment, facts: Mapping[str, Any]) -> str:
    """Describe a running experiment: its share of the budget, and its J so far, or its return if J is not known."""
    name = "j" if facts.get("j") is not None else "task_return"
    metric = f" {SHORT[name]} {facts[name]:.1f}" if facts.get(name) is not None else ""
    share = f" {facts['share']:.0%}" if "share" in facts else ""
    return f"{experiment.name} {experiment.seed}{share}{metric}"
