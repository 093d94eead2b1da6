"""Run by test_torchrl.py: single environments and the native batch in TorchRL, their masks and infos.

T steps. TorchRL prefers autoreset mode Disabled, in which it resets by mask itself.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorWrapper
from torchrl.data import Unbounded
from torchrl.envs import (
    ActionMask,
    Compose,
    DTypeCastTransform,
    GymEnv,
    GymWrapper,
    SerialEnv,
    TransformedEnv,
    default_info_dict_reader,
)
from torchrl.envs.utils import check_env_specs

import benchmarks
from toys.env_toys import HORIZON, IDS, OBS_MODES
from toys.forbidding import FORBIDDING, is_legal

LENGTH, NUM_ENVS, STEPS = 6, 3, 20
ENVS = {id: {HORIZON[id]: LENGTH} for id in IDS}
EXACT = "SeqTutor-Exact-v0"
each_id = pytest.mark.parametrize("id", IDS)
each_obs_mode = pytest.mark.parametrize("obs_mode", OBS_MODES)
each_encoding = pytest.mark.parametrize("categorical", [True, False])


class TermsLeftOut(VectorWrapper):
    """In SAME_STEP mode TorchRL 0.14 reads no infos that hold dicts, as `terms` is, and asks for the mode here."""

    @property
    def autoreset_mode(self):
        return self.env.unwrapped.autoreset_mode

    def step(self, actions):
        *results, infos = self.env.step(actions)
        for told in (infos, infos.get("final_info", {})):
            told.pop("terms", None)
            told.pop("_terms", None)
        return *results, infos


def native(id, autoreset_mode="Disabled", num_envs=NUM_ENVS, **kwargs):
    return gym.make_vec(id, num_envs=num_envs, autoreset_mode=autoreset_mode, **ENVS.get(id, {}), **kwargs)


def rollout(env, steps=STEPS):
    torch.manual_seed(0)
    check_env_specs(env)
    return env.rollout(steps, break_when_any_done=False)


def assert_shows(data, observation):
    """Of one sequence at one step."""
    shown = observation if isinstance(observation, dict) else {"observation": observation}
    for key, value in shown.items():
        np.testing.assert_array_equal(data[key].numpy(), value, err_msg=key)


def assert_replays(data, id, **kwargs):
    """The rollout [T] of one sequence after the other is what a single environment does with the same actions."""
    env = gym.make(id, **ENVS.get(id, {}), **kwargs)
    observation, _ = env.reset()
    ended = 0
    for step in data:
        assert_shows(step, observation)
        observation, reward, terminated, truncated, _ = env.step(step["action"].item())
        assert_shows(step["next"], observation)
        assert step["next", "reward"].item() == pytest.approx(reward, rel=1e-5, abs=1e-5)
        flags = [step["next", name].item() for name in ("done", "terminated", "truncated")]
        assert flags == [terminated, terminated, truncated]
        if terminated:
            observation, _ = env.reset()
            ended += 1
    assert ended >= 2


@each_id
@each_obs_mode
@each_encoding
def test_single_environments_meet_their_specs(id, obs_mode, categorical):
    for env in (
        GymEnv(id, obs_mode=obs_mode, categorical_action_encoding=categorical, **ENVS[id]),
        GymWrapper(gym.make(id, obs_mode=obs_mode, **ENVS[id]), categorical_action_encoding=categorical),
    ):
        data = rollout(env)
        if categorical:
            assert_replays(data, id, obs_mode=obs_mode)


@each_id
@each_obs_mode
@each_encoding
def test_the_native_batch_meets_its_specs(id, obs_mode, categorical):
    data = rollout(GymWrapper(native(id, obs_mode=obs_mode), categorical_action_encoding=categorical))
    assert data.shape == (NUM_ENVS, STEPS)
    if categorical:
        for sequence in data:
            assert_replays(sequence, id, obs_mode=obs_mode)


@each_id
@pytest.mark.parametrize("obs_mode", ["token", "prefix"])
def test_same_step_works_without_nested_infos(id, obs_mode):
    """Of a dict's last observation TorchRL 0.14 makes zeros, of any environment."""
    env = TermsLeftOut(native(id, "SameStep", obs_mode=obs_mode))
    for sequence in rollout(GymWrapper(env, categorical_action_encoding=True)):
        assert_replays(sequence, id, obs_mode=obs_mode)


def test_torchrl_refuses_next_step():
    with pytest.raises(RuntimeError, match="one of SAME_STEP or DISABLED"):
        GymWrapper(native(EXACT, "NextStep"))


def test_environments_in_series():
    data = rollout(SerialEnv(2, lambda: GymEnv(EXACT, categorical_action_encoding=True, length=LENGTH)))
    for sequence in data:
        assert_replays(sequence, EXACT)


def rows_reader(size, num_envs=None):
    """Reads the rows of the next action out of the infos; where an episode has ended and none follows, zeros."""
    shape = (size,) if num_envs is None else (num_envs, size)
    spec = [Unbounded(shape), Unbounded(shape, dtype=torch.int8)]
    return default_info_dict_reader(["prior_log_probs", "action_mask"], spec=spec)


@each_id
def test_rows_of_the_prior_stand_beside_the_observations(id):
    base = native(id, obs_mode="prefix")
    size, prior = base.single_action_space.n, base.prior
    single = GymEnv(id, obs_mode="prefix", categorical_action_encoding=True, **ENVS[id])
    single.set_info_dict_reader(rows_reader(size))
    batch = GymWrapper(base, categorical_action_encoding=True).set_info_dict_reader(rows_reader(size, NUM_ENVS))
    for data in (rollout(single), rollout(batch).reshape(-1)):
        prefixes = data["observation"].numpy()
        steps = (prefixes != size).sum(axis=1)
        expected = prior.log_probs(np.where(prefixes == size, 0, prefixes))[np.arange(len(steps)), steps]
        np.testing.assert_allclose(data["prior_log_probs"].numpy(), expected, atol=1e-4)
        done = data["next", "done"][:, 0]
        assert done.sum() >= 2 and not data["next", "prior_log_probs"][done].any()
        assert data["next", "prior_log_probs"][~done].any(dim=1).all()


def masked(env):
    """Random actions keep to the mask, and MaskedCategorical may read it (it wants booleans)."""
    cast = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
    return TransformedEnv(GymWrapper(env, categorical_action_encoding=True), Compose(cast, ActionMask()))


def test_action_mask_keeps_the_rules():
    unmasked = GymWrapper(native(FORBIDDING, obs_mode="dict"), categorical_action_encoding=True)
    with pytest.raises(ValueError, match="forbidden by the task"):
        rollout(unmasked)
    batch = rollout(masked(native(FORBIDDING, obs_mode="dict")), steps=60)
    single = rollout(masked(gym.make(FORBIDDING, obs_mode="dict")), steps=60)
    for sequence in (*batch, single):
        written = torch.tensor_split(sequence["action"], sequence["next", "done"][:, 0].nonzero()[:, 0] + 1)
        assert len(written) > 10 and len({len(tokens) for tokens in written[:-1]}) > 2
        assert all(is_legal(tokens.tolist()) for tokens in written if len(tokens))


def test_our_benchmarks_are_found_beside_torchrls():
    """Its wheel puts a folder of that name into site-packages."""
    assert Path(benchmarks.__file__) == Path(__file__).parents[1] / "benchmarks" / "__init__.py"
