"""What differs between domains when agents are measured, as data: the clock, scoring processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from seqtutor_envs.command import json_object, scoring_processes

MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
Clock = Literal["cpu", "wall"]
# the wall's clock for what scoring processes share: this process's CPU time would leave their work out
CLOCKS: dict[Clock, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
SEED_APART = 1_000_000  # seeds of judging lie so far from those of learning


@dataclass(frozen=True)
class Domain:
    """How one environment id is measured.

    Attributes:
        clock: of budgets in seconds.
        workers: whether the environment takes `workers`, scoring processes.
    """

    clock: Clock = "cpu"
    workers: bool = False


DOMAINS = {MELODY: Domain(), SMILES: Domain(clock="wall", workers=True)}


def get_domain(env_id: str) -> Domain:
    """Return how this id is measured; an unknown id in CPU time."""
    return DOMAINS.get(env_id, Domain())


def build_env_kwargs(
    env_id: str, env_kwargs: str, weights: str = "{}", prior: str | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Build the environment's keywords from a command's options.

    Args:
        env_kwargs, weights: JSON objects.
        workers: None asks for all cores, where there are several and the environment takes them.

    Raises ValueError on what is no JSON object, and on workers where there are none.
    """
    made = json_object(env_kwargs, "--env-kwargs")
    if weights_given := json_object(weights, "--weights"):
        made["term_weights"] = weights_given
    if prior is not None:
        made["prior"] = prior
    if not get_domain(env_id).workers:
        if workers:
            raise ValueError(f"{env_id} has no scoring processes: leave out --workers.")
        return made
    if workers is not None:
        made["workers"] = workers
    return {"workers": scoring_processes(), **made}
