"""`action_masks()`, by which sb3-contrib's MaskablePPO learns what a task forbids, on every kind of environment."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from seqtutor_envs.sb3 import make_vec_env
from toys.forbidding import END, FORBIDDING, LENGTH, is_legal

KINDS = {
    "make_vec_env": lambda **kwargs: make_vec_env(FORBIDDING, 4, **kwargs),
    "make_vec_env, wrapped": lambda **kwargs: VecNormalize(make_vec_env(FORBIDDING, 4, **kwargs), norm_obs=False),
    "DummyVecEnv": lambda **kwargs: DummyVecEnv([lambda: gymnasium.make(FORBIDDING, **kwargs)] * 4),
    "one environment": lambda **kwargs: gymnasium.make(FORBIDDING, **kwargs),
}
MASKABLE = {"n_steps": 64, "batch_size": 64, "n_epochs": 4, "seed": 0, "device": "cpu"}


def allowed_after(tokens):
    """[V] by the rules as they are written down; everything once the sequence is over."""
    over = len(tokens) == LENGTH or END in tokens
    return [over or is_legal([*tokens, a]) for a in range(4)]


@pytest.mark.parametrize("obs_mode", ["token", "dict"])
def test_masks_are_the_tasks_rules_and_all_true_after_the_end(obs_mode):
    batch = gymnasium.make_vec(FORBIDDING, num_envs=3, obs_mode=obs_mode, autoreset_mode="Disabled")
    single = gymnasium.make(FORBIDDING, obs_mode=obs_mode)
    assert batch.action_masks().all() and single.unwrapped.action_masks().all(), "nothing begun, nothing forbidden"
    written = np.array([[0, 1, 0, 2, 1, 2], [2, 1, 2, 0, 2, 0], [1, 2, 1, 2, 0, 1]])
    observations, _ = batch.reset()
    observation, _ = single.reset()
    for t in range(LENGTH + 1):
        masks = batch.action_masks()
        assert masks.tolist() == [allowed_after(row[:t].tolist()) for row in written] and masks.dtype == bool
        mask = single.get_wrapper_attr("action_masks")()
        assert mask.tolist() == masks[0].tolist() and mask.dtype == bool and mask.shape == (4,)
        if obs_mode == "dict":
            assert observations["action_mask"].tolist() == masks.tolist()
            assert observation["action_mask"].tolist() == mask.tolist()
        masks[:] = False  # the caller's own
        if t < LENGTH:
            observations, *_ = batch.step(written[:, t])
            observation, *_ = single.step(written[0, t])
    single.reset()
    single.step(0)
    single.step(END)
    assert single.unwrapped.action_masks().all()


@pytest.mark.parametrize("kind", KINDS)
def test_maskable_ppo_writes_no_forbidden_token(kind):
    env = KINDS[kind](obs_mode="prefix")
    assert is_masking_supported(env)
    agent = MaskablePPO("MlpPolicy", env, **MASKABLE).learn(512)  # a forbidden token would be an error
    env = agent.get_env()
    observations = env.reset()
    for _ in range(20):
        masks = get_action_masks(env)
        actions, _ = agent.predict(observations, action_masks=masks, deterministic=True)
        assert masks[np.arange(len(actions)), actions].all()
        observations, *_ = env.step(actions)
