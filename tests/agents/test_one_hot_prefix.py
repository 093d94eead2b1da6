"""One-hot prefixes against numpy's identity matrix, alone and within stable-baselines3's policies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.sb3.one_hot_prefix import OneHotPrefix

EXACT = "SeqTutor-Exact-v0"
V, L = 3, 4


def one_hot(prefixes):
    return np.concatenate([np.eye(V + 1)[prefixes[:, t]] for t in range(L)], axis=1)


def test_each_place_is_a_one_hot_vector():
    prefixes = np.array([[3, 3, 3, 3], [0, 2, 3, 3], [1, 0, 2, 1]])
    extractor = OneHotPrefix(spaces.Box(0, V, (L,), np.int64))
    features = extractor(torch.tensor(prefixes, dtype=torch.float32))
    assert extractor.features_dim == L * (V + 1) and features.dtype == torch.float32
    np.testing.assert_array_equal(features.numpy(), one_hot(prefixes))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.Box(0, V, (L,), np.float32),
        spaces.Box(0, V, (L, 1), np.int64),
        spaces.Dict({"token": spaces.Discrete(4)}),
    ],
)
def test_other_observations_are_refused(space):
    with pytest.raises(ValueError, match="obs_mode='prefix'"):
        OneHotPrefix(space)
