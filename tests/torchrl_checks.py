"""Run by test_torchrl.py: TorchRL steps, masks and learns from our environments, single ones and the native batch.

T steps, V tokens, L the horizon; log p and log pi in nats. TorchRL prefers autoreset mode Disabled, in which it resets
by mask itself.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import Unbounded
from torchrl.envs import (
    ActionMask,
    Compose,
    DTypeCastTransform,
    GymEnv,
    GymWrapper,
    TransformedEnv,
    default_info_dict_reader,
)
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MLP, MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import benchmarks
from seqtutor_envs.exact import objective
from toys.agent_toys import EXACT, enumerated_log_probs
from toys.env_toys import HORIZON, ID_OBS_MODES, IDS
from toys.forbidding import FORBIDDING, is_legal

LENGTH, NUM_ENVS, STEPS = 6, 3, 20
ENVS = {id: {HORIZON[id]: LENGTH} for id in IDS}
each_id = pytest.mark.parametrize("id", IDS)


def native(id, **kwargs):
    return gym.make_vec(id, num_envs=NUM_ENVS, autoreset_mode="Disabled", **ENVS.get(id, {}), **kwargs)


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


@pytest.mark.parametrize("id, obs_mode", ID_OBS_MODES)
@pytest.mark.parametrize("categorical", [True, False])
def test_single_environments_and_the_native_batch_meet_their_specs(id, obs_mode, categorical):
    single = rollout(GymEnv(id, obs_mode=obs_mode, categorical_action_encoding=categorical, **ENVS[id]))
    batch = rollout(GymWrapper(native(id, obs_mode=obs_mode), categorical_action_encoding=categorical))
    assert batch.shape == (NUM_ENVS, STEPS)
    for sequence in (single, *batch) if categorical else ():
        assert_replays(sequence, id, obs_mode=obs_mode)


@pytest.mark.parametrize("id, obs_mode", [(id, mode) for id, mode in ID_OBS_MODES if mode in ("one_hot", "token")])
def test_infos_are_read_where_gymnasium_resets_in_the_same_step(id, obs_mode):
    base = gym.make_vec(
        id, num_envs=NUM_ENVS, obs_mode=obs_mode, autoreset_mode="SameStep", flat_infos=True, **ENVS[id]
    )
    env = GymWrapper(base, categorical_action_encoding=True)
    data = rollout(env)
    for sequence in data:
        assert_replays(sequence, id, obs_mode=obs_mode)
    summands = data["next", "prior_log_prob"] + data["next", "task_reward"]
    torch.testing.assert_close(summands.float(), data["next", "reward"][..., 0], atol=1e-4, rtol=1e-5)
    assert {f"term_{name}" for name in base.task.weights} <= set(data["next"].keys())
    frames = sum(len(part.reshape(-1)) for part in Collector(env, None, frames_per_batch=12, total_frames=24))
    assert frames == 24


def test_gym_env_makes_several_environments_by_id_alone():
    env = GymEnv("seqtutor_envs:SeqTutor-MelodyOneHot-v0", num_envs=4)
    data = env.rollout(3, break_when_any_done=False)
    env.close()
    assert data.shape == (4, 3) and bool(data["next", "term_key"].isfinite().all())


def test_gym_env_makes_several_environments_by_id():
    """TorchRL makes them with Gymnasium's AsyncVectorEnv in NEXT_STEP, which it knows as the old way of resetting."""
    kwargs = {"obs_mode": "one_hot", "length": 3, "categorical_action_encoding": True}
    env = GymEnv(f"seqtutor_envs:{EXACT}", num_envs=2, flat_infos=True, **kwargs)
    torch.manual_seed(0)
    data, replay = env.rollout(9, break_when_any_done=False), gym.make(EXACT, obs_mode="one_hot", length=3)
    env.close()
    for sequence in data:
        replay.reset()
        for step in sequence[:3]:
            observation, reward, terminated, *_ = replay.step(step["action"].item())
            assert step["next", "reward"].item() == pytest.approx(reward, rel=1e-5, abs=1e-5)
            assert step["next", "done"].item() is terminated
            if not terminated:
                assert_shows(step["next"], observation)
    assert "term_prefix" in data["next"].keys()


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


class OneHot(nn.Module):
    """Prefixes [..., L] as [..., L (V + 1)]."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, prefix):
        return nn.functional.one_hot(prefix, self.size).flatten(-2).float()


class AwayFromPrior(nn.Module):
    """Logits [..., V]: log p and a correction that reads the prefix."""

    def __init__(self, size, length):
        super().__init__()
        self.net = nn.Sequential(OneHot(size + 1), MLP((size + 1) * length, size, num_cells=[64, 64]))

    def forward(self, prefix, rows):
        return self.net(prefix) + rows


def actor_critic(env, size, length):
    logits = AwayFromPrior(size, length)
    actor = ProbabilisticActor(
        TensorDictModule(logits, in_keys=["observation", "prior_log_probs"], out_keys=["logits"]),
        in_keys={"logits": "logits", "mask": "action_mask"},
        spec=env.action_spec,
        distribution_class=MaskedCategorical,
        return_log_prob=True,
    )
    values = nn.Sequential(OneHot(size + 1), MLP((size + 1) * length, 1, num_cells=[64, 64]))
    return actor, ValueOperator(values, in_keys=["observation"])


def gap(actor, id, **kwargs):
    """log Z - J in nats, over all sequences."""

    def log_pi(t, observation, infos, actions):
        mask, rows = torch.as_tensor(infos["action_mask"]).bool(), torch.as_tensor(infos["prior_log_probs"])
        seen = {"observation": torch.as_tensor(observation), "prior_log_probs": rows, "action_mask": mask}
        return actor.get_dist(TensorDict(seen, batch_size=[len(actions)])).log_prob(actions)

    solution = gym.make(id, **kwargs).unwrapped.solution()
    return solution["log_z"] - objective(solution, enumerated_log_probs(log_pi, id, solution, "prefix", **kwargs))


@pytest.mark.parametrize("id", [EXACT, FORBIDDING])
def test_ppo_comes_near_the_enumerated_optimum(id):
    """The native batch, rows of log p and masks from the infos, and the KL term: log pi is taken from each reward."""
    torch.manual_seed(0)
    num_envs, kwargs, frames, round_frames = 32, {"length": 4}, 15_360, 512
    base = gym.make_vec(id, num_envs=num_envs, obs_mode="prefix", autoreset_mode="Disabled", **kwargs)
    size = int(base.single_action_space.n)
    env = masked(base)
    env.base_env.set_info_dict_reader(rows_reader(size, num_envs))
    actor, critic = actor_critic(env, size, **kwargs)
    untrained = gap(actor, id, **kwargs)
    loss = ClipPPOLoss(actor, critic, entropy_bonus=False, normalize_advantage=True)
    gae = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, frames // round_frames)
    for data in Collector(env, actor, frames_per_batch=round_frames, total_frames=frames):
        data["next", "reward"] -= data["action_log_prob"][..., None]
        flat = gae(data).reshape(-1)
        for _ in range(4):
            for batch in flat[torch.randperm(len(flat))].split(64):
                losses = loss(batch)
                optimizer.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
        schedule.step()
    assert untrained > 0.1
    assert gap(actor, id, **kwargs) < untrained / 8
