"""Tell callbacks of a rollout step by step, and let Ctrl-C wait for the end of a rollout.

N sequences, T steps.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from agents.replay import Sequences
from seqtutor_envs.metrics import padding
from seqtutor_envs.prior import token_log_probs


def make_callback(callback: MaybeCallback) -> BaseCallback:
    """Make one callback of what stable-baselines3 accepts: a callback, a list of them, a function or None."""
    if callback is None or isinstance(callback, list):
        return CallbackList(callback or [])
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)


def iterate_steps(sequences: Sequences, began: float) -> Iterator[dict[str, Any]]:
    """Iterate over the steps of a rollout; yield what a callback finds in `locals` at each of them.

    actions [N]; rewards [N] float32, log p + r_T / c; dones [N]; infos, N dicts, with Monitor's `episode` at the end of
    a sequence; `num_writing`, how many sequences got a token. A sequence that is over rests: action 0, reward 0.

    Args:
        sequences: the rollout.
        began: when learning did, by `time.time`.
    """
    beyond = padding(sequences.tokens, sequences.lengths)
    log_p = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths)
    rewards = np.where(beyond, 0.0, sequences.task_rewards + log_p).astype(np.float32)
    # six digits, as Monitor has
    returns, seconds = rewards.sum(axis=1), round(time.time() - began, 6)
    for t in range(int(sequences.lengths.max())):
        dones = sequences.lengths == t + 1
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for i in np.flatnonzero(dones).tolist():
            infos[i]["episode"] = {"r": float(returns[i]), "l": t + 1, "t": seconds}
        yield {
            "actions": np.where(beyond[:, t], 0, sequences.tokens[:, t]),
            # a callback may keep the array or change it
            "rewards": rewards[:, t].copy(),
            "dones": dones,
            "infos": infos,
            "num_writing": int(np.count_nonzero(~beyond[:, t])),
        }


@contextmanager
def defer_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that a rollout can end; a second one interrupts at once.

    Only the main thread can handle signals. In another thread the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        event.set()
        # so that a second Ctrl-C meets the handler from before
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
