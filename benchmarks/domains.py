"""What differs between environments when agents are measured: the clock of a budget, and scoring processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from seqtutor_envs.checks import Range
from seqtutor_envs.command import json_object, scoring_processes

MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
SCORED_BY_PROCESSES = {SMILES, "SeqTutor-SMILESOneHot-v0"}  # ids whose environment takes `workers`
Clock = Literal["cpu", "wall"]
CLOCKS: dict[Clock, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
SEED_APART = 1_000_000  # between the seeds of learning and of evaluation


def choose_clock(env_id: str) -> Clock:
    """Name the clock of budgets in seconds: CPU time, which is the same on a busy machine, wherever it is all of it."""
    # this process's CPU time would leave out the work of scoring processes
    return "wall" if env_id in SCORED_BY_PROCESSES else "cpu"


def build_env_kwargs(
    env_id: str, env_kwargs: str, weights: str = "{}", prior: str | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Build the environment's keywords from a command's options.

    Args:
        env_kwargs, weights: JSON objects.
        workers: None asks for all cores, if there are several and the environment takes them.

    Raises ValueError if a text is no JSON object, or if `workers` are given and the environment takes none.
    """
    kwargs = json_object(env_kwargs, "--env-kwargs")
    if term_weights := json_object(weights, "--weights"):
        kwargs["term_weights"] = term_weights
    if prior is not None:
        kwargs["prior"] = prior
    # an environment without the keyword would refuse it with a message about Python, not about the option
    if env_id not in SCORED_BY_PROCESSES:
        if workers:
            raise ValueError(f"{env_id} has no scoring processes: leave out --workers.")
        return kwargs
    if workers is not None:
        kwargs["workers"] = Range(0, whole=True).check("--workers", workers)
    return {"workers": scoring_processes(), **kwargs}
