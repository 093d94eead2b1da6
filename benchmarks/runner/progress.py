"""Progress of a sweep: a line for each result, and in a terminal a bar that names what is running."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from benchmarks.experiment import Experiment
from benchmarks.suites import estimate_cost

SHOWN = 3  # experiments in progress that the bar has room for
BAR = "{percentage:3.0f}%|{bar:20}| {desc}"


class SweepProgress:
    """Count experiments and show progress: tqdm's bar, with a time left by each experiment's estimated cost.

    Args:
        todo: the experiments that this call will perform.
        before: how many of the suite are there already.
        slots: experiments at once, for the time left.
        stream: where to; a terminal gets a bar besides.
    """

    def __init__(
        self, todo: tuple[Experiment, ...], before: int, slots: int, stream: TextIO | None = None
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.total, self.done, self.failed = before + len(todo), before, 0
        self.slots = slots
        self._left = {one.id: estimate_cost(one) for one in todo}
        self._running: dict[str, tuple[Experiment, float, Mapping[str, Any]]] = {}
        self._guessed = self._taken = 0.0
        tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, shared with processes
        self._bar: Any = tqdm(
            total=self.total,
            initial=before,
            file=self.stream,
            bar_format=BAR,
            disable=not self.stream.isatty(),
            leave=False,
            mininterval=0.2,
        )

    def on_start(self, experiment: Experiment) -> None:
        """Note that an experiment started."""
        self._running[experiment.id] = (experiment, time.monotonic(), {})
        self._show()

    def on_progress(self, experiment: Experiment, facts: Mapping[str, Any]) -> None:
        """Update a running experiment's progress."""
        if experiment.id in self._running:
            self._running[experiment.id] = (*self._running[experiment.id][:2], facts)
        self._show()

    def on_result(self, experiment: Experiment, facts: Mapping[str, Any]) -> None:
        """Report a result."""
        self.done += 1
        metrics = facts["metrics"]
        known = {title: metrics[name] for name, title in SHORT.items() if metrics.get(name) is not None}
        told = " ".join(f"{title} {value:.4g}" for title, value in known.items())
        self._on_end(experiment, f"done    {describe(experiment)}: {told}")

    def on_failure(self, experiment: Experiment, reason: str) -> None:
        """Report a failure."""
        self.failed += 1
        self._on_end(experiment, f"FAILED  {describe(experiment)}: {' '.join(reason.split())}")

    def on_lost(self, experiment: Experiment, reason: str) -> None:
        """Report that an experiment was lost and will run again."""
        self._running.pop(experiment.id, None)
        self.say(f"lost    {describe(experiment)}: {reason}; it is run again")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line, file=self.stream)
        self.stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def _on_end(self, experiment: Experiment, line: str) -> None:
        _, begin, _ = self._running.pop(experiment.id, (experiment, time.monotonic(), {}))
        seconds = time.monotonic() - begin
        self._taken += seconds
        self._guessed += self._left.pop(experiment.id, 0.0)
        count = f"{self.done + self.failed:>{len(str(self.total))}}/{self.total}"
        self.say(f"{count}  {line}  ({seconds:.0f} s; {self.time_left()})")
        self._bar.update(1)
        self._show()

    def time_left(self) -> str:
        """Estimate the time left, by how long the first experiments took beside their estimated cost."""
        if not self._left:
            return "nothing left"
        pace = self._taken / self._guessed if self._guessed else 1.0
        seconds = pace * sum(self._left.values()) / min(self.slots, len(self._left))
        return f"about {format_duration(seconds)} left"

    def _show(self) -> None:
        parts = [describe_running(*entry) for entry in list(self._running.values())[:SHOWN]]
        more = len(self._running) - SHOWN
        parts += [f"{more} more"] if more > 0 else []
        failed = f", {self.failed} failed" if self.failed else ""
        text = f"{self.done}/{self.total} done{failed}, {self.time_left()} | " + "; ".join(parts)
        self._bar.set_description_str(text)


SHORT = {"j": "J", "task_return": "R", "kl": "KL", "gap": "gap"}


def describe(experiment: Experiment) -> str:
    """Describe an experiment in a line."""
    return f"{experiment.name}, seed {experiment.seed}, {experiment.task}"


def describe_running(experiment: Experiment, begin: float, facts: Mapping[str, Any]) -> str:
    """Describe a running experiment: its J so far, or its return if log pi is not known."""
    name, title = ("j", "J") if facts.get("j") is not None else ("task_return", "R")
    figure = f" {title} {facts[name]:.1f}" if facts.get(name) is not None else ""
    share = f" {facts['share']:.0%}" if "share" in facts else ""
    return f"{experiment.name} {experiment.seed}{share}{figure}"


def format_duration(seconds: float) -> str:
    """Format seconds for a reader."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
