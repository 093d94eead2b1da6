"""Tell callbacks of a rollout step by step, and let Ctrl-C wait for the end of a rollout.

N sequences, T steps.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from agents.store.replay import Sequences
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


class Interrupt:
    """Remember a signal that arrived in the middle of a rollout."""

    def __init__(self) -> None:
        self.handle: Callable[[], Any] | None = None

    def check(self) -> None:
        """Do what the first signal asks for, if there was one; Ctrl-C raises KeyboardInterrupt."""
        if self.handle is not None:
            self.handle()


@contextmanager
def defer_interrupt() -> Iterator[Interrupt]:
    """Let the first Ctrl-C wait for `check`, so that a rollout can end; a second one interrupts at once.

    So does SIGTERM where this program handles it. Only the main thread can handle signals.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # SIG_DFL and SIG_IGN are no functions: what ends a process at once, or never, stays as it is
    handlers = {number: handler for number, handler in before.items() if callable(handler)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        interrupt.handle = partial(handlers[signal.Signals(number)], number, None)
        restore()  # so that a second one meets the handlers from before

    for number in handlers:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        restore()
