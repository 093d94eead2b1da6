"""Observations in each obs_mode, and infos in the layout of Gymnasium's SyncVectorEnv.

In that layout every key stands beside a mask `_key` [N] that says which sequences have it; the others hold zero, or
None in an object array; a key that no sequence has is absent. All arrays are new: callers may keep or change them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

OBS_MODES = ("token", "prefix", "dict", "one_hot")


def observation_space(obs_mode: str, size: int, length: int) -> spaces.Space[Any]:
    """Return the space of one sequence of at most `length` tokens out of V = `size`.

    Id V is the start token, and fills a prefix.
    """
    token = spaces.Discrete(size + 1)
    if obs_mode == "token":
        return token
    if obs_mode == "prefix":
        return spaces.Box(0, size, (length,), np.int64)
    if obs_mode == "one_hot":
        return spaces.Box(0.0, 1.0, (length * (size + 1),), np.float32)
    allowed = spaces.Box(0, 1, (size,), np.int8)
    return spaces.Dict({"token": token, "step": spaces.Discrete(length + 1), "action_mask": allowed})


def observation_of(observations: Any, i: int) -> Any:
    """Take the observation of sequence i out of those of a batch."""
    if isinstance(observations, dict):
        return {key: values[i] for key, values in observations.items()}
    return observations[i]


def one_hot_prefixes(prefixes: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """Write prefixes [N, L] of ids 0..V as [N, L * (V + 1)]: each place's one-hot vector, one after the other.

    The filler, id V = `size`, is one-hot as the tokens are, so it tells how many tokens are there. New arrays.
    """
    # `take` of an identity's rows: as fast as a copy of the result, three times as fast as indexing
    return np.eye(size + 1, dtype=np.float32).take(prefixes, axis=0).reshape(len(prefixes), -1)


def prefixes_of_one_hot(observations: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """Read prefixes [N, L], or a single one [L], out of what `one_hot_prefixes` wrote."""
    prefixes: NDArray[np.int64] = observations.reshape(*observations.shape[:-1], -1, size + 1).argmax(axis=-1)
    return prefixes


class Outcome(NamedTuple):
    """Hold the result of one token for each of N sequences; zero for a sequence that took none."""

    table: NDArray[np.float64]  # [2 + K, N]: log p of the token, r_T / c, the raw terms
    rewards: NDArray[np.float64]  # [N]
    ended: Mask  # [N], terminated
    truncated: Mask  # [N]
    over: bool  # whether any sequence did either


def row_infos(prior_log_probs: NDArray[np.float32], action_mask: NDArray[np.int8], mask: Mask) -> dict[str, Any]:
    """Build the infos that score the next action: rows [N, V] of log p and of allowed actions."""
    present = np.count_nonzero(mask)
    if not present:
        return {}
    # copies: the environment writes its arrays in place at the next step
    allowed, rows = action_mask.copy(), prior_log_probs.copy()
    if present < len(mask):
        allowed[~mask] = 0
        rows[~mask] = 0.0
    masks = {"_prior_log_probs": mask.copy(), "_action_mask": mask.copy()}
    return {"prior_log_probs": rows, "action_mask": allowed, **masks}


def step_infos(outcome: Outcome, names: tuple[list[str], list[str]], mask: Mask, flat: bool) -> dict[str, Any]:
    """Build the infos of a step: both summands of the reward, and the raw terms; `flat` puts these beside the summands.

    `names`: keys of the terms and of their masks. If `mask` leaves out no sequence, the arrays are the outcome's own.
    """
    present, table = np.count_nonzero(mask), outcome.table
    if not present:
        return {}
    if present < len(mask):
        table = np.where(mask, table, 0.0)
    masks = np.empty((len(table) + 1, len(mask)), np.bool_)  # one each, as users may change them
    masks[:] = mask
    # one table in one order: log p, r_T / c, then the terms (`Outcome.table`)
    prior_log_prob, task_reward, *terms = table
    of_log_prob, of_reward, of_terms, *of_each = masks
    by_name = dict(zip(names[0] + names[1], terms + of_each))
    return {
        "prior_log_prob": prior_log_prob,
        "_prior_log_prob": of_log_prob,
        "task_reward": task_reward,
        "_task_reward": of_reward,
        **(by_name if flat else {"terms": by_name, "_terms": of_terms}),
    }


def term_keys(names: Iterable[str], flat: bool) -> list[str]:
    """Return the keys of reward terms in infos."""
    return [f"term_{name}" if flat else name for name in names]


def end_infos(sequences: NDArray[np.object_] | None, mask: Mask, spent: bool) -> dict[str, Any]:
    """Build the infos of sequences that are over: their text, if it is told, and whether the task's budget is spent."""
    infos: dict[str, Any] = {} if sequences is None else {"sequence": sequences, "_sequence": mask.copy()}
    if spent:
        infos |= {"oracle_budget_spent": mask.copy(), "_oracle_budget_spent": mask.copy()}
    return infos


def final_infos(observations: Any, infos: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """Build SAME_STEP's infos of sequences that ended and began anew within one step."""
    # an object array, one observation each, as SyncVectorEnv gives it
    final = np.full(len(mask), None, dtype=object)
    for i in np.flatnonzero(mask).tolist():
        final[i] = observation_of(observations, i)
    return {"final_obs": final, "_final_obs": mask.copy(), "final_info": infos, "_final_info": mask.copy()}


def infos_of(infos: dict[str, Any], rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Take the infos of the sequences `rows` [n], in ascending order, out of those of a batch.

    Numbers are Python's, as single environments give them.
    """
    own: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    # key by key through all sequences: several times faster than sequence by sequence
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        # a mask itself has no mask: it belongs to the key beside it
        if mask is None:
            continue
        # a slice is a view; an index array would copy every column
        at = slice(None) if len(rows) == len(mask) else rows
        if isinstance(values, dict):
            column = infos_of(values, rows)
        else:
            # tolist turns numpy scalars into Python numbers; rows of a matrix stay arrays
            column = values[at].tolist() if values.ndim == 1 else list(values[at])
        present = mask[at]
        # count_nonzero is the quickest test of a mask, and this runs at every step
        if np.count_nonzero(present) == len(rows):
            for info, value in zip(own, column):
                info[key] = value
        else:
            for i in np.flatnonzero(present).tolist():
                own[i][key] = column[i]
    return own
