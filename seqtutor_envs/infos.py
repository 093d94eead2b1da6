"""Infos of a batch, in the layout that Gymnasium's SyncVectorEnv gives to single environments' infos.

There every key stands beside a mask `_key` [N] that says which sequences have it; the others hold zero, or None in an
object array; a key that no sequence has is absent. All arrays are new: callers may keep or change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.observations import observation_of

Mask = NDArray[np.bool_]


class Outcome(NamedTuple):
    """What one token brought to each of N sequences; zero where a sequence took none."""

    prior_log_prob: NDArray[np.float64]  # [N]
    task_reward: NDArray[np.float64]  # [N], r_T / c
    terms: NDArray[np.float64]  # [N, K], raw
    ended: Mask  # [N], terminated
    truncated: Mask  # [N]


def row_infos(prior_log_probs: NDArray[np.float32], action_mask: NDArray[np.int8] | None, mask: Mask) -> dict[str, Any]:
    """What the next action will be judged by: rows [N, V] of log p and of allowed actions (None: all allowed)."""
    present = np.count_nonzero(mask)
    if not present:
        return {}
    allowed = np.ones(prior_log_probs.shape, np.int8) if action_mask is None else action_mask.copy()
    rows = prior_log_probs.copy()
    if present < len(mask):
        allowed[~mask] = 0
        rows[~mask] = 0.0
    masks = {"_prior_log_probs": mask.copy(), "_action_mask": mask.copy()}
    return {"prior_log_probs": rows, "action_mask": allowed, **masks}


def step_infos(outcome: Outcome, names: Sequence[str], mask: Mask) -> dict[str, Any]:
    """The two summands of the reward and the raw terms by name."""
    present = np.count_nonzero(mask)
    if not present:
        return {}
    table = np.empty((2 + len(names), len(mask)))
    table[0] = outcome.prior_log_prob
    table[1] = outcome.task_reward
    table[2:] = outcome.terms.T
    if present < len(mask):
        table[:, ~mask] = 0.0
    masks = np.empty((3 + len(names), len(mask)), np.bool_)  # one each, as users may change them
    masks[:] = mask
    terms: dict[str, Any] = dict(zip(names, table[2:]))
    terms.update(zip([f"_{name}" for name in names], masks[3:]))
    return {
        "prior_log_prob": table[0],
        "_prior_log_prob": masks[0],
        "task_reward": table[1],
        "_task_reward": masks[1],
        "terms": terms,
        "_terms": masks[2],
    }


def end_infos(sequences: NDArray[np.object_], mask: Mask, spent: bool) -> dict[str, Any]:
    """Sequences that are over, in their domain's words; and that the task's budget is spent, where it is."""
    infos = {"sequence": sequences, "_sequence": mask.copy()}
    if spent:
        infos |= {"oracle_budget_spent": mask.copy(), "_oracle_budget_spent": mask.copy()}
    return infos


def final_infos(observations: Any, infos: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """What SAME_STEP keeps of the sequences that ended and began anew within one step."""
    final = np.full(len(mask), None, dtype=object)
    for i in np.flatnonzero(mask).tolist():
        final[i] = observation_of(observations, i)
    return {"final_obs": final, "_final_obs": mask.copy(), "final_info": infos, "_final_info": mask.copy()}


def info_of(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """Sequence i's own info out of those of a batch, its numbers numpy's; `infos_of` gives those of many."""
    own = {}
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        if mask is not None and mask[i]:
            own[key] = info_of(values, i) if isinstance(values, dict) else values[i]
    return own


def infos_of(infos: dict[str, Any], rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The own infos of the sequences `rows` [n], in ascending order, out of those of a batch.

    Numbers are Python's, as single environments give them. It goes key by key through all sequences, which is several
    times faster than sequence by sequence.
    """
    own: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        if mask is None:
            continue
        at = slice(None) if len(rows) == len(mask) else rows
        if isinstance(values, dict):
            column = infos_of(values, rows)
        else:
            column = values[at].tolist() if values.ndim == 1 else list(values[at])
        present = mask[at]
        if np.count_nonzero(present) == len(rows):
            for info, value in zip(own, column):
                info[key] = value
        else:
            for i in np.flatnonzero(present).tolist():
                own[i][key] = column[i]
    return own
