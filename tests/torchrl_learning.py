"""Run by test_torchrl.py: TorchRL's own modules, collectors and losses learn from our environments.

V tokens, L the horizon; log p and log pi in nats.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import DTypeCastTransform, GymEnv, TransformedEnv
from torchrl.modules import MLP, MaskedCategorical, OneHotCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import A2CLoss, ClipPPOLoss
from torchrl.objectives.value import GAE
from torchrl_checks import ENVS, EXACT, masked, rows_reader

from toys.env_toys import IDS
from toys.forbidding import FORBIDDING


@pytest.mark.parametrize("id", IDS)
def test_a2c_learns_from_a_single_environment(id):
    """With TorchRL's defaults, one-hot tokens and actions: finite updates that move every weight."""
    torch.manual_seed(0)
    env = TransformedEnv(
        GymEnv(id, **ENVS[id]), DTypeCastTransform(torch.int64, torch.float32, in_keys=["observation"])
    )
    start, size = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    policy = TensorDictModule(MLP(start, size, num_cells=[16]), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(
        policy, in_keys=["logits"], spec=env.action_spec, distribution_class=OneHotCategorical, return_log_prob=True
    )
    critic = ValueOperator(MLP(start, 1, num_cells=[16]), in_keys=["observation"])
    loss, gae = A2CLoss(actor, critic), GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    before = {name: parameter.clone() for name, parameter in loss.named_parameters()}
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    for data in Collector(env, actor, frames_per_batch=64, total_frames=192):
        losses = loss(gae(data))
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
        optimizer.step()
    for name, parameter in loss.named_parameters():
        assert parameter.isfinite().all() and not torch.equal(parameter, before[name]), name


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
    """log Z - J in nats, over all sequences; each is written in an environment of its own."""
    solution = gym.make(id, **kwargs).unwrapped.solution()
    sequences, lengths = solution["sequences"], solution["lengths"]
    env = gym.make_vec(id, num_envs=len(sequences), obs_mode="prefix", autoreset_mode="SameStep", **kwargs)
    observation, infos = env.reset()
    log_pi = np.zeros(len(sequences))
    for t in range(sequences.shape[1]):
        mask = torch.as_tensor(infos["action_mask"]).bool()
        rows = torch.as_tensor(infos["prior_log_probs"])
        seen = {"observation": torch.as_tensor(observation), "prior_log_probs": rows, "action_mask": mask}
        going, anything = t < lengths, infos["action_mask"].argmax(axis=1)
        actions = np.where(going, sequences[:, t], anything)  # after its end another one is written, and not counted
        with torch.no_grad():
            policy = actor.get_dist(TensorDict(seen, batch_size=[len(sequences)]))
        log_pi += going * policy.log_prob(torch.as_tensor(actions)).numpy()
        observation, _, _, _, infos = env.step(actions)
    assert np.exp(log_pi).sum() == pytest.approx(1, abs=1e-4)
    j = solution["task_returns"] / solution["c"] + solution["prior_log_probs"] - log_pi
    return solution["log_z"] - np.exp(log_pi) @ j


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
