"""The SB3 adapter against SB3's own DummyVecEnv, and in short trainings of SB3's algorithms."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from env_toys import HORIZON, IDS, OBS_MODES, assert_same
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from seqtutor_envs.sb3 import SB3VecEnv, make_sb3

ID = "SeqTutor-Melody-v0"
LENGTH = 6  # short episodes, so that a few steps end some
each_id = pytest.mark.parametrize("id", IDS)


def short(id, num_envs, **kwargs):
    return make_sb3(id, num_envs, **{HORIZON[id]: LENGTH}, **kwargs)


def dummy(id, num_envs, **kwargs):
    return DummyVecEnv([lambda: Monitor(gymnasium.make(id, **{HORIZON[id]: LENGTH}, **kwargs))] * num_envs)


def plain(data):
    """Without what may differ: numpy scalars become Python's, ordered dicts dicts, and clocks go."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items() if key != "t"}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    return data.item() if isinstance(data, np.generic) else data


@each_id
@pytest.mark.parametrize("obs_mode", OBS_MODES)
def test_with_full_infos_it_equals_dummy_vec_env(id, obs_mode):
    envs = short(id, 2, infos="full", obs_mode=obs_mode), dummy(id, 2, obs_mode=obs_mode)
    assert envs[0].observation_space == envs[1].observation_space and envs[0].action_space == envs[1].action_space
    assert_same(*(plain(env.reset()) for env in envs))
    assert_same(*(plain(env.reset_infos) for env in envs))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(2 * LENGTH + 1):
        actions = rng.integers(0, envs[0].action_space.n, 2)
        ours, theirs = (env.step(actions) for env in envs)
        assert_same(plain(ours), plain(theirs))
        assert_same(*(plain(env.reset_infos) for env in envs))
        ends += int(ours[2].sum())
    assert ends >= 4


def test_by_default_infos_come_where_an_episode_ends():
    env = short(ID, 2)
    env.reset()
    for t in range(LENGTH):
        _, rewards, dones, infos = env.step(np.array([14, 1]))
        assert infos == [{}, {}] or t == LENGTH - 1
    assert dones.all()
    for info in infos:
        assert info["episode"]["l"] == LENGTH and info["TimeLimit.truncated"] is False
        assert len(info["sequence"]) == LENGTH and len(info["terms"]) == 9
    assert [info["terminal_observation"] for info in infos] == [14, 1]


def test_vec_monitor_agrees_with_the_episodes():
    own = short(ID, 3)
    with pytest.warns(UserWarning, match="already wrapped"):
        monitored = VecMonitor(short(ID, 3))
    for env in (own, monitored):
        env.reset()
    for _ in range(2 * LENGTH):
        (*_, infos), (*_, infos2) = (env.step(np.array([2, 3, 4])) for env in (own, monitored))
    for ours, theirs in zip(infos, infos2):
        assert ours["episode"]["l"] == theirs["episode"]["l"] == LENGTH
        assert ours["episode"]["r"] == pytest.approx(theirs["episode"]["r"], rel=1e-5)


def test_attributes_methods_and_seeds():
    env = make_sb3("SeqTutor-Exact-v0", 2, seed=3)
    assert env.get_attr("c") == [1.0, 1.0] and env.get_attr("c", indices=1) == [1.0]
    assert env.has_attr("prior") and not env.has_attr("nonsense")
    assert [s["log_z"] for s in env.env_method("solution", gamma=0.5)] == 2 * [env.native.solution(0.5)["log_z"]]
    env.set_attr("c", 2.0)
    assert env.native.c == 2.0
    with pytest.raises(ValueError, match="some sequences"):
        env.set_attr("c", 3.0, indices=[0])
    assert env.seed(5) == [5, 6]
    env.reset()
    assert env.native.np_random_seed == 5
    assert env.env_is_wrapped(Monitor) == [True, True] and env.env_is_wrapped(gymnasium.Wrapper) == [False, False]
    env.close()
    env.close()


def test_pictures_are_tiled():
    env = short(ID, 3, render_mode="rgb_array")
    env.reset()
    one = env.get_images()[0]
    height, width, _ = one.shape
    assert env.render().shape == (2 * height, 2 * width, 3)


def test_another_autoreset_mode_is_refused():
    with pytest.raises(ValueError, match="SameStep"):
        SB3VecEnv(gymnasium.make_vec(ID, num_envs=2))


@each_id
@pytest.mark.parametrize(
    ("algorithm", "policy", "obs_mode", "kwargs"),
    [
        (PPO, "MlpPolicy", "token", {"n_steps": 16, "batch_size": 32, "n_epochs": 1}),
        (PPO, "MultiInputPolicy", "dict", {"n_steps": 16, "batch_size": 32, "n_epochs": 1}),
        (DQN, "MlpPolicy", "token", {"learning_starts": 32, "train_freq": 4}),
    ],
)
def test_sb3_algorithms_learn_on_it(id, algorithm, policy, obs_mode, kwargs):
    env = short(id, 4, obs_mode=obs_mode)
    agent = algorithm(policy, env, seed=0, device="cpu", **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.learn(256)
        mean, _ = evaluate_policy(agent, env, n_eval_episodes=4)
    assert len(agent.ep_info_buffer) > 20 and np.isfinite(mean)
