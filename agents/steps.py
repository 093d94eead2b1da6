"""A round of whole sequences told to callbacks as stable-baselines3 tells of its rollouts: step by step.

N sequences, T steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from agents.replay import Sequences
from seqtutor_envs.judge import padding
from seqtutor_envs.prior import token_log_probs


def as_callback(callback: MaybeCallback) -> BaseCallback:
    """One callback of whatever stable-baselines3 takes for one: a callback, a list of them, a function or None."""
    if callback is None or isinstance(callback, list):
        return CallbackList(callback or [])
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)


def vector_steps(sequences: Sequences, began: float) -> Iterator[dict[str, Any]]:
    """What a callback finds in `locals` at each step of a round, as long as its longest sequence.

    actions [N]; rewards [N] float32, log p + r_T / c; dones [N]; infos, N dicts, with Monitor's `episode` where a
    sequence ends; `num_writing`, how many sequences wrote a token. A sequence that is over rests: action 0, reward 0.

    Args:
        began: when learning did, by `time.time`.
    """
    beyond = padding(sequences.tokens, sequences.lengths)
    log_p = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths)
    rewards = np.where(beyond, 0.0, sequences.task_rewards + log_p).astype(np.float32)
    returns, seconds = rewards.sum(axis=1), round(time.time() - began, 6)
    for t in range(int(sequences.lengths.max())):
        dones = sequences.lengths == t + 1
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for i in np.flatnonzero(dones).tolist():
            infos[i]["episode"] = {"r": float(returns[i]), "l": t + 1, "t": seconds}
        yield {
            "actions": np.where(beyond[:, t], 0, sequences.tokens[:, t]),
            "rewards": rewards[:, t].copy(),
            "dones": dones,
            "infos": infos,
            "num_writing": int(np.count_nonzero(~beyond[:, t])),
        }
