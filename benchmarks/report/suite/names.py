"""Short names for what differs: tasks of one environment, and configurations that share a label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.experiment import Experiment


def short_tasks(experiments: Iterable[Experiment]) -> dict[str, str]:
    """Task -> a name without what all tasks share, "c=0.5"; as it is where tasks have names of their own, or several
    environments. A task's own seed is told from those of learning."""
    tasks = {one.task: one for one in experiments}
    as_they_are = {task: task for task in tasks}
    if len(tasks) < 2 or any(one.group for one in tasks.values()) or len({one.env for one in tasks.values()}) > 1:
        return as_they_are
    varied = _varied([one.env_kwargs for one in tasks.values()])
    short = {task: ", ".join(_keyword(one.env_kwargs, name) for name in varied) for task, one in tasks.items()}
    return short if len(set(short.values())) == len(tasks) else as_they_are


def _keyword(keywords: Mapping[str, Any], name: str) -> str:
    return f"{'task ' * (name == 'seed')}{name}={_value(keywords[name]) if name in keywords else 'default'}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def shared(experiments: Iterable[Experiment]) -> list[str]:
    """Each environment with the keywords that all its tasks share."""
    by_env: dict[str, list[Mapping[str, Any]]] = {}
    for one in experiments:
        by_env.setdefault(one.env, []).append(one.env_kwargs)
    told = []
    for env, keywords in by_env.items():
        common = {name: value for name, value in keywords[0].items() if name not in _varied(keywords)}
        words = ", ".join(f"{name}={_value(value)}" for name, value in sorted(common.items()))
        told.append(f"{env} ({words})" if words else env)
    return told


def differences(experiments: Sequence[Experiment]) -> list[str]:
    """What tells configurations apart, " (steps=1000)", each; "" where there is but one."""
    flat = [_flat({name: value for name, value in asdict(one).items() if name != "seed"}) for one in experiments]
    varied = _varied(flat)
    told = [
        ", ".join(f"{name.rpartition('.')[2]}={one[name]}" for name in varied if one.get(name) is not None)
        for one in flat
    ]
    return [f" ({text})" if text else "" for text in told]


def _varied(contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same everywhere."""
    keys = dict.fromkeys(key for one in contents for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in contents}) > 1]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in content.items():
        inner = isinstance(value, Mapping) and value
        made |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return made
