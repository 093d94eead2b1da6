"""The reward of every environment: log p(a | s) + r_T(s, a) / c, in nats.

Each function takes numbers or arrays of one shape. Compiled code (env_kernels.py) calls these very functions. After a
change here delete `__pycache__`: numba's cache does not see that a function of another file has changed.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable


@register_jitable
def scaled(r_t: Any, c: Any) -> Any:
    """Return r_T / c, the task's part of the reward: `task_reward` in the infos."""
    return r_t / c


@register_jitable
def reward(log_p: Any, r_t: Any, c: Any) -> Any:
    """Return log p + r_T / c. Its expectation under pi plus the entropy of pi is J = E[R / c] - KL(pi || p)."""
    return log_p + scaled(r_t, c)
