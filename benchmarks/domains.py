"""What differs between domains when agents are measured, as data: the clock, the figures that are shown."""

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
OBJECTIVE = ("j", "kl", "task_return", "log_p", "log_p_per_step", "distinct")


@dataclass(frozen=True)
class Domain:
    """How one environment id is measured.

    Attributes:
        shown: figures of the judge in the order of a table; those that a run does not have are left out.
        clock: of marks in seconds.
        workers: whether the environment takes `workers`, scoring processes.
    """

    shown: tuple[str, ...] = OBJECTIVE
    clock: Clock = "cpu"
    workers: bool = False


DOMAINS = {
    MELODY: Domain(
        (
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
    ),
    SMILES: Domain(
        (
            *OBJECTIVE,
            *(f"term_{name}" for name in ("valid", "qed", "logp", "sa", "ring", "objective", "constraints")),
            "valid",
            "unique_1000",
            "unique_10000",
            "novelty",
            "internal_diversity_1",
            "internal_diversity_2",
            "scaffold_diversity",
            "filters",
            *(f"distinct_mean_{name}" for name in ("qed", "logp", "sa", "mw", "tpsa", "ring_penalty")),
        ),
        clock="wall",
        workers=True,
    ),
}


def domain(env_id: str) -> Domain:
    """How this id is measured; an id that is not in the table by the objective alone, in CPU time."""
    return DOMAINS.get(env_id, Domain())


def keywords(
    env_id: str, env_kwargs: str, weights: str = "{}", prior: str | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Keywords of the environment from a command's options; what is not given stays the environment's own.

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
    if not domain(env_id).workers:
        if workers:
            raise ValueError(f"{env_id} has no scoring processes: leave out --workers.")
        return made
    if workers is not None:
        made["workers"] = workers
    return {"workers": scoring_processes(), **made}
