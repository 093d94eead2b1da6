"""The SB3 adapter against SB3's own DummyVecEnv over single environments."""

from __future__ import annotations

import copy
import json
import pickle

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env
from toys.env_toys import HORIZON, IDS, OBS_MODES, ToyTask, assert_same, toy_prior
from toys.forbidding import FORBIDDING

ID = "SeqTutor-Melody-v0"
EXACT = "SeqTutor-Exact-v0"
LENGTH = 6  # short episodes, so that a few steps end some
each_id = pytest.mark.parametrize("id", [*IDS, FORBIDDING])


def short(id, n_envs, **kwargs):
    return make_vec_env(id, n_envs, env_kwargs={HORIZON.get(id, "length"): LENGTH}, **kwargs)


def dummy(id, n_envs, **kwargs):
    horizon = {HORIZON.get(id, "length"): LENGTH}
    return DummyVecEnv([lambda: Monitor(gymnasium.make(id, **horizon, **kwargs))] * n_envs)


def both(id, n_envs, **kwargs):
    return short(id, n_envs, infos="full", **kwargs), dummy(id, n_envs, **kwargs)


def plain(data):
    """Without what may differ: numpy scalars become Python's, ordered dicts dicts, and clocks go."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items() if key != "t"}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    return data.item() if isinstance(data, np.generic) else data


def assert_alike(ours, theirs, steps, before=lambda t: None):
    """Resets and steps both with the same random allowed actions; returns the infos of all episodes that ended."""
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert_same(*(plain(env.reset()) for env in (ours, theirs)))
    rng, ended = np.random.default_rng(0), []
    for t in range(steps):
        before(t)
        assert_same(*(plain(env.unwrapped.reset_infos) for env in (ours, theirs)))
        masks, expected = (np.stack(env.env_method("action_masks")) for env in (ours, theirs))
        assert_same(masks, expected)
        actions = (rng.random(masks.shape) * masks).argmax(axis=1)
        result, expected = ours.step(actions), theirs.step(actions)
        assert_same(plain(result), plain(expected))
        assert result[1].dtype == np.float32
        ended += [info for info, done in zip(result[3], result[2]) if done]
    return ended


@each_id
@pytest.mark.parametrize("obs_mode", OBS_MODES)
def test_with_full_infos_it_equals_dummy_vec_env(id, obs_mode):
    ours, theirs = both(id, 3, obs_mode=obs_mode)
    assert ours.seed(5) == theirs.seed(5) == [5, 6, 7]
    assert len(assert_alike(ours, theirs, 2 * LENGTH + 1)) >= 6
    ours.set_options({"any": 1}), theirs.set_options({"any": 1})
    assert_alike(ours, theirs, 3)  # a reset in the midst of episodes


def test_a_spent_budget_is_told_as_a_truncation():
    task, prior = ToyTask(), toy_prior()
    ours = SB3VecEnv(SequenceTutorVectorEnv(task, prior, num_envs=4, c=1.0, autoreset_mode="SameStep"))
    theirs = DummyVecEnv([lambda: Monitor(SequenceTutorEnv(task, prior, c=1.0))] * 4)

    def spend(t):
        task.spent = t >= 6

    ended = assert_alike(ours, theirs, 9, spend)
    assert {info["TimeLimit.truncated"] for info in ended} == {False, True}
    assert all(info["TimeLimit.truncated"] for info in ended[-4:]), "an episode begun afterwards is cut at once"


def test_vec_monitor_writes_the_id_to_its_file(tmp_path):
    with pytest.warns(UserWarning, match="already wrapped"):
        VecMonitor(short(EXACT, 2), str(tmp_path / "log")).close()
    header = (tmp_path / "log.monitor.csv").read_text().splitlines()[0]
    assert json.loads(header.lstrip("#"))["env_id"] == EXACT


def test_by_default_infos_come_where_an_episode_ends():
    env = short(ID, 2)
    env.reset()
    for t in range(LENGTH):
        _, _, dones, infos = env.step(np.array([14, 1]))
        assert infos == [{}, {}] or t == LENGTH - 1
        infos[0]["mine"] = t  # is nobody else's, neither of another sequence nor of the next step
        assert "mine" not in infos[1]
    assert dones.all()
    for info in infos:
        assert info["episode"]["l"] == LENGTH and info["TimeLimit.truncated"] is False
        assert len(info["sequence"]) == LENGTH and len(info["terms"]) == 9
    assert [info["terminal_observation"] for info in infos] == [14, 1]


@pytest.mark.parametrize("indices", [None, 1, -1, [2, 0], (0,), range(2), np.array([1, 1])], ids=str)
def test_attributes_and_methods_of_some_are_dummy_vec_envs(indices):
    ours, theirs = both(FORBIDDING, 3, c=2.0, render_mode="ansi")
    for env in (ours, theirs):
        env.reset()
        env.step(np.array([0, 1, 2]))
    for name in ("c", "obs_mode", "render_mode", "observation_space", "action_space", "metadata"):
        assert ours.get_attr(name, indices) == theirs.get_attr(name, indices)
    assert_same(*(env.env_method("action_masks", indices=indices) for env in (ours, theirs)))
    assert ours.env_method("render", indices=indices) == theirs.env_method("render", indices=indices)
    assert ours.env_is_wrapped(Monitor, indices) == theirs.env_is_wrapped(Monitor, indices)
    assert ours.env_is_wrapped(VecMonitor, indices) == theirs.env_is_wrapped(VecMonitor, indices)
    assert ours.metadata == theirs.metadata and ours.render_mode == theirs.render_mode


@pytest.mark.parametrize("made", [short, dummy])
def test_what_is_not_there_is_an_error_of_the_same_kind(made):
    env = made(FORBIDDING, 3)
    assert env.has_attr("prior") and env.has_attr("action_masks") and not env.has_attr("nonsense")
    for call in (lambda: env.get_attr("c", 3), lambda: env.env_method("action_masks", indices=[0, 3])):
        with pytest.raises(IndexError):
            call()
    for call in (lambda: env.get_attr("nonsense"), lambda: env.env_method("nonsense")):
        with pytest.raises(AttributeError, match="nonsense"):
            call()


def test_a_method_that_is_not_of_one_sequence_is_called_once():
    env = make_vec_env(EXACT, 3, vocab_size=2)
    first, second = env.env_method("solution", gamma=0.5, indices=[0, 2])
    assert first is second and first["log_z"] == env.native.solution(0.5)["log_z"]
    for name in ("reset", "step", "close"):
        with pytest.raises(ValueError, match=rf"call {name}\(\) of the VecEnv"):
            env.env_method(name)


def test_attributes_are_set_for_all_or_not_at_all():
    env = make_vec_env(EXACT, 2)
    env.set_attr("c", 2.0)
    env.set_attr("c", 2.0, indices=[1, 0])
    assert env.native.c == 2.0
    for some in ([0], [0, 0], 1):
        with pytest.raises(ValueError, match="some sequences"):
            env.set_attr("c", 3.0, indices=some)
    assert env.get_attr("c") == [2.0, 2.0]


def test_copies_go_on_alike_and_apart():
    env = short(FORBIDDING, 3, infos="full")
    env.reset()
    env.step(np.array([0, 1, 2]))
    copies = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    expected = env.step(np.array([1, 2, 3]))
    for other in copies:
        assert_same(plain(other.step(np.array([1, 2, 3]))), plain(expected))
    env.close()
    env.close()


def test_pictures_are_tiled_and_none_are_made_of_text():
    ours, theirs = both(EXACT, 3, render_mode="rgb_array")
    for env in (ours, theirs):
        env.reset()
        env.step(np.array([0, 1, 2]))
    height, width, _ = theirs.get_images()[0].shape
    assert ours.render().shape == theirs.render().shape == (2 * height, 2 * width, 3)
    assert_same(ours.get_images(), theirs.get_images())
    assert_same(ours.env_method("render"), theirs.env_method("render"))
    for mode in (None, "ansi"):
        with pytest.warns(UserWarning, match="rgb_array"):
            assert short(EXACT, 3, render_mode=mode).get_images() == [None] * 3
