"""Turn results into data frames, grouped once: a `TaskResults` holds `Arm`s; an arm is the runs of one agent."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluate.gaps import EXACT, LOG_Z, LOWER_BOUND, Known, compute_gap, read_bounds
from benchmarks.experiment import Experiment
from benchmarks.report.metrics import RETURN, SCORE, Metric
from benchmarks.report.names import describe_differences, short_task_names
from benchmarks.report.statistics import Interval, interval, mean
from seqtutor_envs.bounds import Bounds

Scores = NDArray[np.float64]  # [runs]
DOMAINS = {"excessively_repeated": "melody", "internal_diversity_1": "molecule", "mean_qed": "molecule"}  # by metric
NO_KL = 1e-3  # nats; an agent that does not learn and is no further from the prior than this is the prior


@dataclass(frozen=True, eq=False)
class Results:
    """Hold what is known of a suite.

    Attributes:
        name, question: the suite's.
        experiments: all of the suite's, in its order.
        results, failures: the contents of the files.
        missing: experiments that have neither.
        notes: what a reader must know first, such as damaged files.
        source: what `run` takes for this suite, its name or its file; "": unknown.
        bounds: of log Z, by the id of an experiment; it lacks those of whose task nothing is known.
    """

    name: str
    question: str
    experiments: tuple[Experiment, ...]
    results: list[dict[str, Any]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    missing: tuple[Experiment, ...] = ()
    notes: list[str] = field(default_factory=list)
    source: str = ""
    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """Return the command that runs the suite, or "" if it is unknown."""
        return f"python -m benchmarks run {shlex.quote(self.source)}" if self.source else ""

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Make one row for each result, in the suite's order and with the suite's present labels."""
        # the label of a result file may be out of date: the suite's own wins
        known = {one.id: (k, one) for k, one in enumerate(self.experiments)}
        found = [(*known.get(one["id"], (len(known), Experiment.of(one["experiment"]))), one) for one in self.results]
        found = sorted(found, key=lambda row: row[0])
        rows = [run_row(experiment, one, self.bounds.get(one["id"])) for _, experiment, one in found]
        # as objects, so that whole numbers stay whole beside missing ones
        return pd.DataFrame(rows, dtype=object)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Make one row for each point of each learning curve."""
        points = {one["id"]: one.get("curve") or () for one in self.results}
        rows = [
            {**point, "id": run.id, "task": run.task, "label": run.label, "seed": run.seed}
            for run in self.runs.itertuples()
            for point in points[str(run.id)]
        ]
        return pd.DataFrame(rows, dtype=object)

    @cached_property
    def tasks(self) -> list[TaskResults]:
        """Group the runs into tasks and arms, in the suite's order.

        Runs that share task and label but differ in more than their seed are arms of their own, with the difference in
        their labels.
        """
        if self.runs.empty:
            return []
        experiments = self.runs["experiment"]
        # of the whole suite, so that a name does not change as results arrive
        names = short_task_names([*self.experiments, *experiments])
        curves = dict(tuple(self.curves.groupby("id"))) if len(self.curves) else {}
        # equal but for the seed: the runs that a mean is taken over
        runs = self.runs.assign(variant=[replace(one, seed=0).id for one in experiments])
        arms: dict[str, list[Arm]] = {}
        for key, group in runs.groupby(["task", "label"], sort=False):
            task, label = map(str, key)
            variants = [members.sort_values("seed") for _, members in group.groupby("variant", sort=False)]
            suffixes = describe_differences([members["experiment"].iloc[0] for members in variants])
            for members, suffix in zip(variants, suffixes):
                own = [curves[one] for one in members["id"] if one in curves]
                arms.setdefault(names[task], []).append(Arm(names[task], label + suffix, members, own))
        return [TaskResults(name, members) for name, members in arms.items()]

    @property
    def arms(self) -> list[Arm]:
        """List the arms of all tasks."""
        return [arm for task in self.tasks for arm in task.arms]


@dataclass(frozen=True, eq=False)
class Arm:
    """Hold the runs of one agent configuration in one task.

    Attributes:
        runs: rows of `Results.runs` that differ in their seed alone, by rising seed.
        curves: rows of `Results.curves`, a frame for each run that has a curve.
    """

    task: str
    label: str
    runs: pd.DataFrame
    curves: list[pd.DataFrame] = field(default_factory=list)

    @property
    def experiments(self) -> list[Experiment]:
        """List the experiments of its runs."""
        return list(self.runs["experiment"])

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Return the samples of its lowest seed."""
        return self.runs["samples"].iloc[0] or []

    @property
    def c(self) -> float | None:
        """Return the temperature of its task, or None if the results do not hold it."""
        c = self.runs["c"].iloc[0]
        return float(c) if isinstance(c, (int, float)) else None

    @cached_property
    def learns(self) -> bool:
        """Check whether it has a budget to learn."""
        first = self.experiments[0]
        return first.steps is not None or first.seconds is not None

    @cached_property
    def is_prior(self) -> bool:
        """Check whether it samples as the prior does: it does not learn, and its KL is 0."""
        kl = self.values("kl")
        return not self.learns and len(kl) > 0 and bool((kl.abs() < NO_KL).all())

    @property
    def bounds(self) -> Bounds | None:
        """Return the bounds of its task's log Z, or None if nothing is known of it."""
        found = self.runs["bounds"].iloc[0]
        return found if isinstance(found, Bounds) else None

    @cached_property
    def gap(self) -> Known | None:
        """Return what its mean J leaves of log Z, by the bounds of its task; None without bounds or without J."""
        j, log_z = self.interval("j"), read_bounds(self.bounds)
        if self.samples_optimum:
            return Known(0.0, 0.0, 0.0)
        return None if log_z is None or not j.n else compute_gap(j.value, log_z, self.j_is_bound)

    @cached_property
    def samples_optimum(self) -> bool:
        """Check whether its sequences are the optimum's own: its J is log Z, as its draws estimate it."""
        return bool((self.runs["j_kind"] == EXACT).all())

    @cached_property
    def j_is_bound(self) -> bool:
        """Check whether its J is a lower bound, as that of some samplers is; its KL is an upper bound then."""
        return bool((self.runs["j_kind"] == LOWER_BOUND).any())

    def sign(self, key: str) -> str:
        """Return what stands before a metric that is a bound: "≥ " or "≤ ", else ""."""
        return {"j": "≥ ", "kl": "≤ ", "gap": "≤ "}.get(key, "") if self.j_is_bound else ""

    def describe(self, metric: Metric) -> str:
        """Say the mean of a metric with its interval, for a sentence: "≥ 61.4 [61.3, 61.5]"."""
        return self.sign(metric.key) + metric.format_interval(self.interval(metric.key))

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """Collect metrics and times by seed; NaN where a run has no finite number."""
        kinds = ("timesteps", "metrics.", "time.", "peak_memory_mib")
        columns = [name for name in map(str, self.runs) if name.startswith(kinds)]
        frame = self.runs.set_index("seed")[columns].rename(columns=lambda name: name.partition(".")[2] or name)
        # JSON has no NaN: what was not finite is null in the file
        frame = frame.apply(pd.to_numeric, errors="coerce").astype(float)
        return frame.where(np.isfinite(frame))

    @cached_property
    def known(self) -> dict[str, pd.Series[float]]:
        """Map each metric to its values by seed, without the runs that lack it."""
        # once for all: tables, plots and answers ask for the same metrics again and again
        return {str(name): column.dropna() for name, column in self.numbers.items()}

    def values(self, key: str) -> pd.Series[float]:
        """Return a metric by seed, without the runs that lack it."""
        return self.known.get(key, pd.Series(dtype=float))

    def interval(self, key: str) -> Interval:
        """Compute the mean over runs with its 95% interval; NaN if no run has the metric."""
        return mean_interval(tuple(self.values(key)))

    def compared_interval(self, key: str) -> Interval:
        """Return the interval that other arms are compared with: see `point_if_fixed`.

        Above a lower bound of J, and below an upper bound of the gap, anything may be: no other arm is clearly better.
        """
        found = point_if_fixed(self.interval(key), self.learns)
        sign = self.sign(key)
        low, high = -math.inf if sign == "≤ " else found.low, math.inf if sign == "≥ " else found.high
        return Interval(found.value, low, high, found.n)


@dataclass(frozen=True, eq=False)
class TaskResults:
    """Hold the arms of one task."""

    name: str
    arms: list[Arm]

    def has(self, key: str) -> bool:
        """Check whether any run has the metric."""
        return any(len(arm.values(key)) for arm in self.arms)

    @cached_property
    def domain(self) -> str:
        """Infer the kind of task from the metrics of its results: "melody", "molecule", or "" for others."""
        return domain_of(key for key in DOMAINS if self.has(key))

    @cached_property
    def is_exact(self) -> bool:
        """Check whether the optimum is known."""
        return self.has("gap")

    @cached_property
    def bounds(self) -> Bounds | None:
        """Return what is known of log Z where the optimum is not known; None if it is, or if nothing is known."""
        return None if self.is_exact else next((arm.bounds for arm in self.arms if arm.bounds), None)

    @property
    def return_metric(self) -> Metric:
        """Return the metric R as this domain names and formats it."""
        return SCORE if self.domain == "molecule" else RETURN

    @cached_property
    def prior(self) -> Arm | None:
        """Return the arm of the prior, or None if the task has none."""
        return next((arm for arm in self.arms if arm.is_prior), None)

    @cached_property
    def clock(self) -> str:
        """Choose the x axis of curves: "seconds" if every budget is one of seconds, else "timesteps"."""
        budgets = [one.seconds for arm in self.arms if arm.learns for one in arm.experiments]
        return "seconds" if budgets and all(budgets) else "timesteps"


def domain_of(keys: Iterable[str]) -> str:
    """Infer the kind of task from the keys of metrics: "melody", "molecule", or "" for others."""
    known = set(keys)
    return next((name for key, name in DOMAINS.items() if key in known), "")


@lru_cache(maxsize=100_000)  # tables, plots and answers ask for the same ones
def mean_interval(values: tuple[float, ...]) -> Interval:
    """Compute the mean with its 95% interval: NaN ends for one value, all NaN for none."""
    return interval(mean, [np.array(values)]) if values else Interval(math.nan, math.nan, math.nan, 0)


def point_if_fixed(found: Interval, learns: bool) -> Interval:
    """Replace the unknown interval of a single run by a point (n = 1) if the agent does not learn.

    Its seed decides nothing, so other agents can be apart from it.
    """
    return Interval(found.value, found.value, found.value, 1) if math.isnan(found.low) and not learns else found


def pair_by_seed(x: Arm, y: Arm, key: str) -> tuple[Scores, Scores]:
    """Return a metric of two arms at the seeds that both have.

    A single run of an agent that does not learn is paired with every run of the other: its seed decides nothing.
    """
    left, right = x.values(key), y.values(key)
    if not x.learns and len(left) == 1:
        left = pd.Series(left.iloc[0], index=right.index)
    elif not y.learns and len(right) == 1:
        right = pd.Series(right.iloc[0], index=left.index)
    common = left.index.intersection(right.index).sort_values()
    return np.asarray(left[common], np.float64), np.asarray(right[common], np.float64)


def curve_points(curve: pd.DataFrame, key: str, clock: str) -> Scores:
    """Return the known points of a metric's curve [K, 2]: tokens or seconds, and value."""
    if not {clock, key} <= set(curve):
        return np.zeros((0, 2))
    points = np.column_stack([curve[clock], curve[key]]).astype(np.float64)
    return points[~np.isnan(points).any(axis=1)]


def fronts(tasks: Sequence[TaskResults]) -> dict[str, dict[str, list[Arm]]]:
    """Group arms that differ in the temperature c alone: environment -> label -> arms by rising c.

    Only labels with two temperatures or more are kept, and not the prior, whose KL is 0 at every c.
    """
    found: dict[tuple[str, str], dict[float, Arm]] = {}
    for arm in (arm for task in tasks for arm in task.arms):
        if arm.c is not None and len(arm.values("kl")) and len(arm.values("task_return")):
            one = arm.experiments[0]
            # all keywords but c tell environments apart; c is what the line varies
            rest = [f"{name}={json.dumps(value)}" for name, value in sorted(one.env_kwargs.items()) if name != "c"]
            where = one.env + (f" ({', '.join(rest)})" if rest else "")
            found.setdefault((where, arm.label), {})[arm.c] = arm
    lines: dict[str, dict[str, list[Arm]]] = {}
    for (where, label), by_c in found.items():
        # one temperature is a point, not a line
        if len(by_c) > 1 and not all(arm.is_prior for arm in by_c.values()):
            lines.setdefault(where, {})[label] = [by_c[c] for c in sorted(by_c)]
    return lines


def run_row(one: Experiment, result: Mapping[str, Any], bounds: Bounds | None = None) -> dict[str, Any]:
    """Flatten a result into a row of `Results.runs`, with what is known of its task's log Z."""
    row = {"id": one.id, "task": one.task, "label": one.name, "seed": one.seed, "env": one.env, "agent": one.agent}
    row |= {name: json.dumps(getattr(one, name), sort_keys=True) for name in ("env_kwargs", "agent_kwargs")}
    row |= {"steps": one.steps, "seconds": one.seconds, "n": one.n}
    row |= {name: result.get(name) for name in ("c", "timesteps", "peak_memory_mib")}
    # a result of a version that did not say so was estimated
    row |= {"j_kind": result.get("j_kind", "estimate"), **_log_z_columns(result.get("metrics") or {}, bounds)}
    for name in ("metrics", "time", "machine", "git", "versions"):
        row |= {f"{name}.{key}": value for key, value in (result.get(name) or {}).items()}
    row |= {"warnings": " | ".join(result.get("warnings") or ()), "finished": result.get("finished")}
    return row | {"experiment": one, "samples": result.get("samples"), "bounds": bounds}


def _log_z_columns(metrics: Mapping[str, Any], bounds: Bounds | None) -> dict[str, float | None]:
    """Return what is known of log Z, and the gap; on exact tasks all of them are known."""
    exact, j, log_z = metrics.get("log_z"), metrics.get("j"), read_bounds(bounds)
    if exact is not None or log_z is None:
        return {**dict.fromkeys(LOG_Z, exact), "gap": metrics.get("gap")}
    gap = math.nan if j is None else compute_gap(j, log_z).estimate
    return {**dict(zip(LOG_Z, log_z)), "gap": gap if math.isfinite(gap) else None}
