"""A features extractor for stable-baselines3: a prefix of token ids as one-hot vectors.

B observations, L = the horizon, V tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor


class OneHotPrefix(BaseFeaturesExtractor):
    """Turn prefixes [B, L] of ids 0..V into [B, L * (V + 1)]: each place's one-hot vector, one after the other.

    stable-baselines3 passes the ids of obs_mode "prefix" to a network as they are, as if token 20 were twice token 10.
    Those of "token" and "dict" it turns into one-hot vectors itself. The filler, id V, is a token like the others: it
    tells how far the sequence has come. The environment's obs_mode "one_hot" shows the same numbers and needs no
    extractor; buffers of "prefix" take (V + 1) / 2 times less memory.

        PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": OneHotPrefix})

    Args:
        observation_space: that of obs_mode "prefix", Box(0, V, (L,)) of integers.
    """

    def __init__(self, observation_space: spaces.Space[np.ndarray]) -> None:
        space = observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.dtype.kind not in "iu":
            raise ValueError(f"OneHotPrefix reads observations of obs_mode='prefix', not {space}.")
        self.num_ids = int(space.high.max()) + 1
        super().__init__(space, space.shape[0] * self.num_ids)

    def forward(self, observations: Tensor) -> Tensor:
        """Return one-hot vectors as floats; the ids come as floats too."""
        return torch.nn.functional.one_hot(observations.long(), self.num_ids).flatten(1).float()
