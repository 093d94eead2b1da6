"""What an agent sees of a sequence: its space in each obs_mode, and one sequence's part of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

OBS_MODES = ("token", "prefix", "dict")


def observation_space(obs_mode: str, size: int, length: int) -> spaces.Space[Any]:
    """Of one sequence of at most `length` tokens out of V = `size`; id V is the start token, and a prefix's filler."""
    token = spaces.Discrete(size + 1)
    if obs_mode == "token":
        return token
    if obs_mode == "prefix":
        return spaces.Box(0, size, (length,), np.int64)
    allowed = spaces.Box(0, 1, (size,), np.int8)
    return spaces.Dict({"token": token, "step": spaces.Discrete(length + 1), "action_mask": allowed})


def observation_of(observations: Any, i: int) -> Any:
    """Sequence i's own observation out of a batch of them."""
    if isinstance(observations, dict):
        return {key: values[i] for key, values in observations.items()}
    return observations[i]
