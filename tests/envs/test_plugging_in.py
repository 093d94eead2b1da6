"""What programs of other libraries rest on when they know an id alone: vectors of floats, and infos they can read."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import ReplayBuffer
from torch import nn

from agents.evaluate import evaluate
from agents.sb3.one_hot_prefix import OneHotPrefix
from seqtutor_envs.infos import one_hot_prefixes, prefixes_of_one_hot
from seqtutor_envs.sb3 import make_vec_env
from toys.env_toys import AUTORESET_MODES, HORIZON, IDS, assert_same, walk

MELODY, SMILES = "SeqTutor-MelodyOneHot-v0", "SeqTutor-SMILESOneHot-v0"
each_one_hot_id = pytest.mark.parametrize("id", [MELODY, SMILES])


def test_one_hot_prefixes_are_those_of_the_features_extractor_and_are_read_back():
    prefixes = np.random.default_rng(0).integers(0, 5, (7, 3))
    vectors = one_hot_prefixes(prefixes, 4)
    theirs = OneHotPrefix(gym.spaces.Box(0, 4, (3,), np.int64))(torch.as_tensor(prefixes, dtype=torch.float32))
    np.testing.assert_array_equal(vectors, theirs.numpy())
    np.testing.assert_array_equal(prefixes_of_one_hot(vectors, 4), prefixes)
    np.testing.assert_array_equal(prefixes_of_one_hot(vectors[2], 4), prefixes[2])


def cleanrl_env(id, idx, seed=1):
    """As the `make_env` of CleanRL's scripts."""

    def thunk():
        env = gym.wrappers.RecordEpisodeStatistics(gym.make(id))
        env.action_space.seed(seed + idx)
        return env

    return thunk


@each_one_hot_id
def test_a_loop_as_cleanrls_ppo_runs_by_id_alone(id):
    """Observations go through torch.Tensor and shapes through `prod`, and an end shows `episode` at the top."""
    torch.manual_seed(0)
    envs = SyncVectorEnv([cleanrl_env(f"seqtutor_envs:{id}", i) for i in range(2)])
    shape, steps = envs.single_observation_space.shape, envs.envs[0].unwrapped.task.length + 2
    network = nn.Sequential(nn.Linear(int(np.array(shape).prod()), 16), nn.Tanh())
    actor, critic = nn.Linear(16, int(envs.single_action_space.n)), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*network.parameters(), *actor.parameters(), *critic.parameters()])
    obs, rewards = torch.zeros((steps, 2, *shape)), torch.zeros((steps, 2))
    actions, episodes = torch.zeros((steps, 2) + envs.single_action_space.shape), []
    next_obs, _ = envs.reset(seed=1)
    assert next_obs.dtype == np.float32
    next_obs, before = torch.Tensor(next_obs), actor.weight.detach().clone()
    for _ in range(2):
        for step in range(steps):
            obs[step] = next_obs
            with torch.no_grad():
                actions[step] = torch.distributions.Categorical(logits=actor(network(next_obs))).sample()
            next_obs, reward, terminated, truncated, infos = envs.step(actions[step].long().numpy())
            assert not truncated.any() and "final_info" not in infos
            rewards[step], next_obs = torch.tensor(reward), torch.Tensor(next_obs)
            if terminated.any():
                episodes += infos["episode"]["r"][terminated].tolist()
        hidden = network(obs.reshape((-1, *shape)))
        advantages = rewards.reshape(-1) - critic(hidden)[:, 0]
        chosen = torch.distributions.Categorical(logits=actor(hidden)).log_prob(actions.reshape(-1))
        optimizer.zero_grad()
        (advantages.square().mean() - (chosen * advantages.detach()).mean()).backward()
        optimizer.step()
    assert len(episodes) >= 2 and np.isfinite(episodes).all() and not before.equal(actor.weight)


def test_a_replay_buffer_as_cleanrls_dqn_fills_it_holds_one_ignored_action_an_episode():
    envs = SyncVectorEnv([cleanrl_env(MELODY, 0)])
    buffer = ReplayBuffer(80, envs.single_observation_space, envs.single_action_space, "cpu",
                          handle_timeout_termination=False)
    obs, _ = envs.reset(seed=1)
    ends = []
    for step in range(66):
        actions = np.array([envs.single_action_space.sample()])
        next_obs, rewards, terminations, _, infos = envs.step(actions)
        buffer.add(obs, next_obs.copy(), actions, rewards, terminations, infos)
        ends += [step] * bool(terminations[0])
        obs = next_obs
    assert ends == [31, 64]  # 32 tokens, one step that resets, 32 tokens
    assert buffer.rewards[32, 0] == 0.0 and buffer.rewards[33, 0] != 0.0
    places = prefixes_of_one_hot(buffer.next_observations[32, 0], 38)
    assert (places == 38).all(), "the step after an end shows a start, whatever the action was"
    assert buffer.sample(4).observations.shape == (4, 32 * 39)


@pytest.mark.parametrize("algorithm, settings", [
    (PPO, {"n_steps": 8, "batch_size": 16, "n_epochs": 1}),
    (DQN, {"buffer_size": 100, "learning_starts": 8, "batch_size": 8}),
])
def test_stable_baselines3_learns_by_id_and_its_model_is_evaluated_by_id(algorithm, settings):
    env = make_vec_env(MELODY, 4, length=4)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings).learn(64)
    for id in (MELODY, "SeqTutor-Melody-v0"):  # the model's space says what it reads
        assert np.isfinite(evaluate(model, id, 20, length=4)["task_return"])


# ---------------------------------------------------------------- infos without nesting


@pytest.mark.parametrize("infos", ["full", "end"])
@pytest.mark.parametrize("autoreset_mode", AUTORESET_MODES)
@pytest.mark.parametrize("id", IDS)
def test_flat_infos_hold_the_same_numbers_side_by_side(id, autoreset_mode, infos):
    kwargs = {"num_envs": 2, "autoreset_mode": autoreset_mode, "infos": infos, HORIZON[id]: 3}
    nested, flat = (gym.make_vec(id, flat_infos=is_flat, **kwargs) for is_flat in (False, True))

    def flattened(told):
        told = {key: value for key, value in told.items() if key not in ("sequence", "_sequence")}
        terms, _ = told.pop("terms", {}), told.pop("_terms", None)
        if "final_info" in told:
            told["final_info"] = flattened(told["final_info"])
        mask = "_term_{}".format
        return told | {mask(name[1:]) if name[0] == "_" else f"term_{name}": each for name, each in terms.items()}

    for call, (ours, theirs) in walk([nested, flat], calls=8):
        assert_same(flattened(ours[-1]), theirs[-1], call)
        assert_same(ours[:-1], theirs[:-1], call)


@pytest.mark.parametrize("autoreset_mode", AUTORESET_MODES)
def test_flat_infos_of_a_native_batch_are_those_of_single_environments(autoreset_mode):
    native = gym.make_vec(SMILES, num_envs=2, autoreset_mode=autoreset_mode, flat_infos=True, max_length=3)
    one = partial(gym.make, SMILES, flat_infos=True, max_length=3)
    for call, (ours, theirs) in walk([native, SyncVectorEnv([one] * 2, autoreset_mode=autoreset_mode)], calls=8):
        assert_same(ours, theirs, call)


def test_flat_infos_is_yes_or_no():
    with pytest.raises(ValueError, match="flat_infos must be one of False, True"):
        gym.make(MELODY, flat_infos="terms")
