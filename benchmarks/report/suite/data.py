"""What is known of a suite, and its figures by task and configuration."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiment import Experiment, reseeded
from benchmarks.report.suite.names import differences, short_tasks
from benchmarks.statistics import Interval, interval, mean

Scores = NDArray[np.float64]
NO_KL = 1e-3  # nats; who does not learn and is no further from the prior than this is the prior

# figures that stand beside `metrics` in a result
BESIDE: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "timesteps": lambda result: result.get("timesteps"),
    "learning_cpu": lambda result: (result.get("time") or {}).get("learning_cpu"),
    "learning_wall": lambda result: (result.get("time") or {}).get("learning_wall"),
    "peak_memory_mib": lambda result: result.get("peak_memory_mib"),
}


@dataclass(frozen=True)
class Findings:
    """What is known of a suite.

    Attributes:
        name, question: the suite's.
        experiments: all of it, in its order.
        results, failures: the files' contents, of those that have ended.
        missing: those that have neither.
        notes: what a reader must know besides: damaged files, say.
        source: what `run` is given for this suite, a file's path; "": its name.
    """

    name: str
    question: str
    experiments: tuple[Experiment, ...]
    results: list[dict[str, Any]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    missing: tuple[Experiment, ...] = ()
    notes: list[str] = field(default_factory=list)
    source: str = ""

    @property
    def command(self) -> str:
        """What runs all of it."""
        return f"python -m benchmarks run {shlex.quote(self.source or self.name)}"


@dataclass(frozen=True)
class Run:
    """One experiment that has ended well."""

    experiment: Experiment
    result: Mapping[str, Any]

    def value(self, key: str) -> float | None:
        """One of its figures; None where it has none, or one that is not finite."""
        found = BESIDE[key](self.result) if key in BESIDE else (self.result.get("metrics") or {}).get(key)
        return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else None


@dataclass(frozen=True)
class Arm:
    """One configuration in one task, called by its short name: runs that differ in their seed alone, by rising seed."""

    task: str
    label: str
    runs: tuple[Run, ...]

    @property
    def learns(self) -> bool:
        first = self.runs[0].experiment
        return first.steps is not None or first.seconds is not None

    @property
    def is_prior(self) -> bool:
        """Whether it writes as the prior does: it does not learn, and its KL is 0."""
        kl = self.values("kl")
        return not self.learns and len(kl) > 0 and bool(np.all(np.abs(kl) < NO_KL))

    def values(self, key: str) -> Scores:
        """A figure of every run that has it, by rising seed."""
        return np.array([value for run in self.runs if (value := run.value(key)) is not None], dtype=np.float64)

    def by_seed(self, key: str) -> dict[int, float]:
        """The same by seed."""
        return {run.experiment.seed: value for run in self.runs if (value := run.value(key)) is not None}

    def interval(self, key: str) -> Interval:
        """The mean over runs with its 95% interval; a value that is NaN where no run has the figure."""
        return interval_of(tuple(self.values(key).tolist()))


@lru_cache(maxsize=100_000)  # tables, plots and answers ask for the same ones
def interval_of(values: tuple[float, ...]) -> Interval:
    """The mean of runs with its 95% interval: NaN at both ends with one run, and everywhere with none."""
    if not values:
        return Interval(math.nan, math.nan, math.nan, 0)
    return interval(mean, [np.array(values)])


def runs(findings: Findings) -> list[Run]:
    """Every result in the suite's order, called as the suite calls it now, whatever its file says."""
    known = {one.id: one for one in findings.experiments}
    order = {one.id: place for place, one in enumerate(findings.experiments)}
    found = [Run(known.get(one["id"]) or Experiment.of(one["experiment"]), one) for one in findings.results]
    return sorted(found, key=lambda run: order.get(run.experiment.id, len(order)))


def arms(findings: Findings) -> list[Arm]:
    """Every configuration with a result, in the suite's order, with its task's short name.

    Those that share task and label but differ in more than the seed are kept apart, and what differs is added to their
    labels.
    """
    found = runs(findings)
    names = short_tasks([*findings.experiments, *(run.experiment for run in found)])
    grouped: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in found:
        experiment = run.experiment
        alike = grouped.setdefault((experiment.task, experiment.name), {})
        alike.setdefault(reseeded(experiment, 0).id, []).append(run)
    return [
        Arm(names[task], label + suffix, tuple(sorted(members, key=lambda run: run.experiment.seed)))
        for (task, label), variants in grouped.items()
        for members, suffix in zip(variants.values(), differences([m[0].experiment for m in variants.values()]))
    ]


def by_task(found: Iterable[Arm]) -> dict[str, list[Arm]]:
    """Configurations by task, in their order."""
    made: dict[str, list[Arm]] = {}
    for arm in found:
        made.setdefault(arm.task, []).append(arm)
    return made


def labels(found: Iterable[Arm]) -> list[str]:
    """Each label once, in order."""
    return list(dict.fromkeys(arm.label for arm in found))


def has(found: Iterable[Arm], key: str) -> bool:
    """Whether any run has the figure."""
    return any(run.value(key) is not None for arm in found for run in arm.runs)


def prior_among(found: Iterable[Arm]) -> Arm | None:
    """The prior's own configuration, if it is there."""
    return next((arm for arm in found if arm.is_prior), None)


def pairs(x: Arm, y: Arm, key: str) -> tuple[Scores, Scores]:
    """A figure of two configurations at the seeds that both have, run beside run.

    A single run of what does not learn stands beside every run of the other: its seed decides nothing.
    """
    left, right = x.by_seed(key), y.by_seed(key)
    if not x.learns and len(left) == 1:
        left = dict.fromkeys(right, *left.values())
    elif not y.learns and len(right) == 1:
        right = dict.fromkeys(left, *right.values())
    common = sorted(left.keys() & right.keys())
    return np.array([left[seed] for seed in common]), np.array([right[seed] for seed in common])


def settled(arm: Arm, key: str) -> Interval:
    """Its interval as others are compared with it."""
    return as_compared(arm.interval(key), arm.learns)


def as_compared(found: Interval, learns: bool) -> Interval:
    """The interval, or a point (n = 1) for single runs of what does not learn, since their seeds decide nothing."""
    return Interval(found.value, found.value, found.value, 1) if math.isnan(found.low) and not learns else found
