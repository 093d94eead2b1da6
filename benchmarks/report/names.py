"""Short names: of tasks by what tells their environments apart, of agents by the settings that differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from benchmarks.experiment import Experiment


def short_task_names(experiments: Iterable[Experiment]) -> dict[str, str]:
    """Map each task to a name without what all tasks share, "c=0.5".

    Tasks keep their names if they are named groups or of several environments. "task seed=0" is not a learning seed.
    """
    tasks = {one.task: one for one in experiments}
    unchanged = {task: task for task in tasks}
    if len(tasks) < 2 or any(one.group for one in tasks.values()) or len({one.env for one in tasks.values()}) > 1:
        return unchanged
    varied = varied_keys([one.env_kwargs for one in tasks.values()])
    short = {task: ", ".join(_keyword(one.env_kwargs, name) for name in varied) for task, one in tasks.items()}
    # two tasks must not share a name
    return short if len(set(short.values())) == len(tasks) else unchanged


def shared_environments(experiments: Iterable[Experiment]) -> list[str]:
    """List each environment with the keywords that all its tasks share."""
    by_env: dict[str, list[Mapping[str, Any]]] = {}
    for one in experiments:
        by_env.setdefault(one.env, []).append(one.env_kwargs)
    names = []
    for env, keywords in by_env.items():
        shared = sorted(set(keywords[0]) - set(varied_keys(keywords)))
        text = ", ".join(f"{name}={_value(keywords[0][name])}" for name in shared)
        names.append(f"{env} ({text})" if text else env)
    return names


def describe_differences(experiments: Sequence[Experiment]) -> list[str]:
    """Describe how each of several configurations differs from the others, " (steps=1000)"; "" for a single one."""
    # flat, so that "agent_kwargs.lam" is a key of its own; the seed is no difference
    flat: Any = [pd.json_normalize({**asdict(one), "seed": 0}).iloc[0].to_dict() for one in experiments]
    varied = varied_keys(flat)
    texts = [
        ", ".join(f"{key.rpartition('.')[2]}={one[key]}" for key in varied if one.get(key) is not None) for one in flat
    ]
    return [f" ({text})" if text else "" for text in texts]


def varied_keys(contents: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the keys whose values are not the same everywhere."""
    keys = dict.fromkeys(key for one in contents for key in one)
    # by repr, because lists and dicts have no hash
    return [key for key in keys if len({repr(one.get(key)) for one in contents}) > 1]


def _keyword(keywords: Mapping[str, Any], name: str) -> str:
    title = "task seed" if name == "seed" else name
    return f"{title}={_value(keywords[name]) if name in keywords else 'default'}"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
