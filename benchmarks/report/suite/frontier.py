"""Tasks that differ in the temperature c alone: what an agent's return costs in KL."""

from __future__ import annotations

import json
from collections.abc import Iterable

from benchmarks.report.suite.data import Arm


def temperature(arm: Arm) -> float | None:
    """The c of its task."""
    c = arm.runs[0].result.get("c")
    return float(c) if isinstance(c, (int, float)) else None


def fronts(arms: Iterable[Arm]) -> dict[str, dict[str, list[Arm]]]:
    """Environment with its keywords but c -> label -> arms by rising c, of labels with two temperatures or more."""
    found: dict[str, dict[str, list[Arm]]] = {}
    for arm in arms:
        if temperature(arm) is None or not len(arm.values("kl")) or not len(arm.values("task_return")):
            continue
        found.setdefault(_but_c(arm), {}).setdefault(arm.label, []).append(arm)
    lines = {
        where: {label: by_c for label, members in found_lines.items() if (by_c := _line(members))}
        for where, found_lines in found.items()
    }
    return {where: members for where, members in lines.items() if members}


def _but_c(arm: Arm) -> str:
    experiment = arm.runs[0].experiment
    rest = {name: value for name, value in sorted(experiment.env_kwargs.items()) if name != "c"}
    return experiment.env + (f" ({', '.join(f'{k}={json.dumps(v)}' for k, v in rest.items())})" if rest else "")


def _line(members: list[Arm]) -> list[Arm]:
    """By rising c, one arm for each; nothing where there is one temperature only, or the prior, whose KL is 0."""
    by_c = {temperature(arm): arm for arm in members}
    if len(by_c) < 2 or all(arm.is_prior for arm in members):
        return []
    return [by_c[c] for c in sorted(by_c, key=float)]  # type: ignore[arg-type]
