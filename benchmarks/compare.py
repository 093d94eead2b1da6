"""`python -m benchmarks compare`: agents side by side under the same seconds of one core, judged at several marks.

One JSON file for each run and mark, so that an interrupted comparison goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from seqtutor_envs.command import one_thread

MELODY = "SeqTutor-Melody-v0"
ENOUGH = 10**12  # timesteps that no budget of seconds reaches
SHOWN = (
    "j",
    "kl",
    "task_return",
    "log_p_per_step",
    "distinct",
    "excessively_repeated",
    "not_in_key",
    "starts_with_tonic",
    "leaps_resolved",
    "unique_maximum",
    "unique_minimum",
    "in_motif",
    "in_repeated_motif",
    "autocorrelation_1",
    "autocorrelation_2",
    "autocorrelation_3",
)


def compare(
    agents: tuple[Literal["psi", "g", "q", "rl", "pg"], ...] = ("psi", "g", "pg"),
    seconds: tuple[float, ...] = (60.0, 300.0),
    steps: int | None = None,
    seeds: tuple[int, ...] = (0,),
    c: float = 2.0,
    gamma: float = 1.0,
    n: int = 10_000,
    out: Path = Path("comparison"),
    label: str = "",
    settings: str = "{}",
    weights: str = "{}",
    prior: str = "melody",
) -> None:
    """Trains melody agents from the same prior and prints each metric's mean and standard deviation over seeds.

    Args:
        agents: which ones: Psi-, G-, Q-learning, reinforcement learning alone, policy gradient.
        seconds: marks, in CPU seconds of learning, at which an agent is judged.
        steps: learn from so many tokens instead, and judge at the end.
        seeds: one run each.
        c: temperature.
        gamma: discount.
        n: melodies judged at each mark.
        out: folder of the JSON files; runs that are in it already are not repeated.
        label: distinguishes settings within a folder.
        settings: further keywords of the agents as JSON, such as '{"lam": 0.0}'.
        weights: of the rules, as JSON, such as '{"repeated_motif": 0}'.
        prior: a shipped name or a path.
    """
    one_thread()
    keywords, term_weights = json.loads(settings), json.loads(weights)
    marks = [float(steps)] if steps is not None else sorted(seconds)
    if not marks or min(marks) <= 0:
        raise ValueError("Give marks of more than 0 seconds, or more than 0 steps.")
    out.mkdir(parents=True, exist_ok=True)
    unit = "s" if steps is None else "steps"
    for seed in seeds:
        for agent in agents:
            paths = [out / f"{agent}{label}-seed{seed}-{mark:.0f}{unit}.json" for mark in marks]
            if not all(path.exists() for path in paths):
                env_kwargs = {"c": c, "prior": prior, "term_weights": term_weights}
                run(agent, marks, unit, paths, seed, n, {"gamma": gamma, **keywords}, env_kwargs)
    print(summary(out, agents, label, [f"{mark:.0f}{unit}" for mark in marks]))


def run(
    name: str,
    marks: Sequence[float],
    unit: str,
    paths: Sequence[Path],
    seed: int,
    n: int,
    settings: dict[str, Any],
    env_kwargs: dict[str, Any],
) -> None:
    """One agent, judged at each mark, which are CPU seconds ("s") or timesteps; writes one file a mark."""
    from agents.__main__ import agent_classes
    from agents.budget import SecondsBudget
    from agents.evaluate import evaluate
    from seqtutor_envs.files import write_atomically

    agent = agent_classes()[name](MELODY, seed=seed, env_kwargs=env_kwargs, **settings)
    spent = 0.0
    for mark, path in zip(marks, tqdm(paths, desc=f"{name} seed {seed}", unit="mark")):
        budget = SecondsBudget(mark - spent if unit == "s" else math.inf)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            agent.learn(ENOUGH if unit == "s" else int(mark), callback=budget, reset_num_timesteps=False)
        spent += budget.spent
        facts = {"agent": name, "seed": seed, "seconds": spent, "n": n, "settings": settings, "env": env_kwargs}
        facts |= {"timesteps": agent.num_timesteps, "warnings": [str(entry.message) for entry in caught]}
        figures = evaluate(agent, MELODY, n, seed=seed + 1_000_000, **env_kwargs)
        write_atomically(path, json.dumps({**facts, "figures": figures}, indent=1).encode())


def summary(out: Path, agents: Sequence[str], label: str, marks: Sequence[str]) -> str:
    """Mean and standard deviation over seeds of each metric: a line a metric, a column an agent and mark."""
    columns: dict[str, list[dict[str, float]]] = {}
    for agent in agents:
        for mark in marks:
            files = sorted(out.glob(f"{agent}{label}-seed*-{mark}.json"))
            if files:
                columns[f"{agent}{label} {mark} ({len(files)})"] = [
                    json.loads(path.read_text())["figures"] for path in files
                ]
    width = max(map(len, columns), default=0) + 2
    lines = [" " * 22 + "".join(f"{head:>{max(width, 20)}}" for head in columns)]
    for metric in SHOWN:
        cells = [np.array([figures[metric] for figures in rows]) for rows in columns.values()]
        lines.append(
            f"{metric:22}" + "".join(f"{cell.mean():.4f} ± {cell.std():.4f}".rjust(max(width, 20)) for cell in cells)
        )
    return "\n".join(lines)
