"""The tables of PMO: the area under the curve of the best ten by task beside published ones, and all else."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import metrics
from benchmarks.report.data import Arm, Results, TaskResults
from benchmarks.report.metrics import Metric
from benchmarks.report.tables import Cell, Table
from seqtutor_envs.smiles.pmo.task import PMO_NAMES

CLASSIFIERS = ("drd2", "gsk3b", "jnk3")  # of which no published figure by task is at hand
OTHERS = tuple(name for name in PMO_NAMES if name not in CLASSIFIERS)
PREFIX, SUFFIX = "SeqTutor-PMO-", "-v0"
PUBLISHED_CALLS = 10_000
BEST = 3  # molecules of a task that are drawn


@dataclass(frozen=True)
class Published:
    """Hold an agent's published figures: the sum over all tasks, and (mean, standard deviation) of some."""

    sum: float
    tasks: Mapping[str, tuple[float, float]]

    def sum_over(self, names: Sequence[str]) -> float:
        """Return the sum over all tasks, or over some that are all known; else NaN."""
        if len(names) == len(PMO_NAMES):
            return self.sum
        return sum(self.tasks[name][0] if name in self.tasks else math.nan for name in names)


_read = tomllib.loads(Path(__file__).with_name("pmo.toml").read_text(encoding="utf-8"))
PUBLISHED = {
    label: Published(rows["sum"], {name: (row[0], row[1]) for name, row in rows.items() if name != "sum"})
    for label, rows in _read.items()
}


def find_pmo_name(task: TaskResults) -> str | None:
    """Return the name of the task of PMO that results are of; None if they are of something else."""
    name = _strip(task.arms[0].experiments[0].env)
    return name if name in PMO_NAMES else None


def _strip(env_id: str) -> str:
    return env_id.rpartition(":")[2].removeprefix(PREFIX).removesuffix(SUFFIX)


def collect_arms(tasks: Sequence[TaskResults]) -> dict[str, dict[str, Arm]]:
    """Return the arms of those of the tasks that are PMO's: label -> name of the task -> arm.

    Of an id with several settings, such as two temperatures, the label says which.
    """
    found: dict[str, list[TaskResults]] = {}
    for task in tasks:
        if (name := find_pmo_name(task)) is not None:
            found.setdefault(name, []).append(task)
    arms: dict[str, dict[str, Arm]] = {}
    for name in (name for name in PMO_NAMES if name in found):
        for task in found[name]:
            suffix = "" if len(found[name]) == 1 else f", {task.name}"
            for arm in task.arms:
                arms.setdefault(arm.label + suffix, {})[name] = arm
    return arms


def find_published(arms: Mapping[str, Mapping[str, Arm]]) -> Mapping[str, Published]:
    """Return the published figures if all runs had their number of calls, else none."""
    found = [arm.numbers.reindex(columns=["budget"]) for by_task in arms.values() for arm in by_task.values()]
    return PUBLISHED if (pd.concat(found) == PUBLISHED_CALLS).all(axis=None) else {}


def make_tables(arms: Mapping[str, Mapping[str, Arm]]) -> list[Table]:
    """Make both tables of the arms by label and task."""
    return [_area_table(arms), _overview_table(arms)]


def describe_sums(arms: Mapping[str, Mapping[str, Arm]]) -> str:
    """Say the sums of the agents that ran on all tasks, beside the published ones."""
    write = metrics.AUC.format
    ours = {label: sum_over(by_task, metrics.AUC.key) for label, by_task in arms.items()}
    known = sorted((label for label in ours if math.isfinite(ours[label])), key=lambda label: -ours[label])
    texts = [f"{label} {write(ours[label])}" for label in known] or ["no agent has run on all of them"]
    published = [f"{name} {write(one.sum)}" for name, one in find_published(arms).items()]
    beside = f" Published: {', '.join(published)}." if published else ""
    return f"AUC of the best ten, summed over 23 tasks: {', '.join(texts)}.{beside}"


def sum_over(arms: Mapping[str, Arm], key: str, names: Sequence[str] = PMO_NAMES) -> float:
    """Sum the mean of a metric over tasks; NaN where one of them is missing."""
    return sum(arms[name].interval(key).value if name in arms else math.nan for name in names)


def sum_by_seed(arms: Mapping[str, Arm], key: str, names: Sequence[str] = PMO_NAMES) -> pd.Series[float]:
    """Sum a metric over tasks for each seed that has run on all of them."""
    if not set(names) <= set(arms):
        return pd.Series(dtype=float)
    return pd.DataFrame({name: arms[name].values(key) for name in names}).dropna().sum(axis=1)


def _describe_spread(values: pd.Series[float]) -> str:
    """Say the standard deviation over seeds: "± 0.013"; "" of fewer than two."""
    return f"± {values.std():.3f}" if len(values) > 1 else ""


def _area_table(arms: Mapping[str, Mapping[str, Arm]]) -> Table:
    key, write, published = metrics.AUC.key, metrics.AUC.format, find_published(arms)
    rows: list[list[Cell]] = []
    for name in PMO_NAMES:
        if not any(name in by_task for by_task in arms.values()):
            continue
        row = [Cell(name)]
        for by_task in arms.values():
            values = by_task[name].values(key) if name in by_task else pd.Series(dtype=float)
            row.append(Cell(write(float(values.mean()) if len(values) else None), _describe_spread(values)))
        for other in published.values():
            mean, deviation = other.tasks.get(name, (None, None))
            row.append(Cell(write(mean), "" if deviation is None else f"± {deviation:.3f}"))
        rows.append(row)
    for title, names in (("sum of all 23", PMO_NAMES), ("sum of 20, without the classifiers", OTHERS)):
        row = [Cell(title)]
        for by_task in arms.values():
            spread = _describe_spread(sum_by_seed(by_task, key, names))
            row.append(Cell(write(sum_over(by_task, key, names)), spread))
        row += [Cell(write(one.sum_over(names))) for one in published.values()]
        rows.append(row)
    caption = "PMO: AUC of the best ten, mean over seeds and standard deviation (none: one run)"
    heads = [Cell("Task"), *map(Cell, arms), *(Cell(f"published: {name}", "5 runs") for name in published)]
    return Table(caption, heads, rows)


def _overview_table(arms: Mapping[str, Mapping[str, Arm]]) -> Table:
    """Make a table with a row for each agent: sums of areas, and means of all else over its tasks."""
    counts = [len(by_task) for by_task in arms.values()]
    heads = [Cell("Agent"), Cell("Tasks")]
    rows = [[Cell(label, arm=label), Cell(str(n))] for label, n in zip(arms, counts)]
    for one in metrics.DESIGN:
        heads.append(Cell(one.short or one.title, one.meaning, better=one.better))
        for row, by_task in zip(rows, arms.values()):
            row.append(_over_tasks(one, list(by_task.values())))
    heads.append(Cell("Stalled", "runs that spent fewer calls than the budget; their curves are filled flat"))
    for row, by_task in zip(rows, arms.values()):
        # without a budget nothing can stall
        runs = [arm.numbers.reindex(columns=["calls", "budget"]).dropna() for arm in by_task.values()]
        stalled = sum(int((one["calls"] < one["budget"]).sum()) for one in runs)
        row.append(Cell(f"{stalled} of {sum(map(len, runs))}"))
    return Table("PMO: means over tasks", heads, rows)


def _over_tasks(one: Metric, arms: Sequence[Arm]) -> Cell:
    means = [arm.interval(one.key).value for arm in arms if len(arm.values(one.key))]
    return Cell(one.format(float(np.mean(means)) if means else None))


def draw_best(results: Results) -> dict[str, bytes]:
    """Draw the BEST best molecules of each task that score above 0, over all agents, as PNG files: name -> bytes."""
    # imported late: RDKit is slow to import, and other reports do without it
    from seqtutor_envs.smiles.chem.drawing import draw_row

    labels = {one.id: one.name for one in results.experiments}
    found: dict[str, dict[str, tuple[float, str]]] = {}  # task -> SMILES -> its score, and who found it first
    for one in results.results:
        task = _strip(one["experiment"]["env"])
        for row in one.get("best") or () if task in PMO_NAMES else ():
            label = labels.get(one["id"], one["experiment"].get("label", ""))
            if row["score"] > 0:
                found.setdefault(task, {}).setdefault(row["smiles"], (float(row["score"]), label))
    pictures = {}
    for task in (name for name in PMO_NAMES if name in found):
        best = sorted(found[task].items(), key=lambda item: -item[1][0])[:BEST]
        legends = [f"{metrics.AUC.format(score)}, {label.replace('Ψ', 'Psi')}" for _, (score, label) in best]
        pictures[f"pmo-{task}"] = draw_row([smiles for smiles, _ in best], legends)
    return pictures
