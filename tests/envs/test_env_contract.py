"""What every registered id promises, in all observation and autoreset modes. To register a task is to cover it."""

from __future__ import annotations

import importlib
import itertools
import json
import pickle
import subprocess
import sys
import warnings
from copy import deepcopy
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.passive_env_checker import data_shares_objects
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from toys.env_toys import (
    AUTORESET_MODES,
    HORIZON,
    ID_OBS_MODES,
    IDS,
    SLOW_ID_OBS_MODES,
    SLOW_IDS,
    assert_same,
    of_some,
    walk,
)

each_id = pytest.mark.parametrize("id", [*IDS, *SLOW_IDS])
each_id_and_obs_mode = pytest.mark.parametrize("id, obs_mode", [*ID_OBS_MODES, *SLOW_ID_OBS_MODES])
each_autoreset_mode = pytest.mark.parametrize("autoreset_mode", AUTORESET_MODES)


def make(id, **kwargs):
    return gymnasium.make(id, **kwargs)


def make_vec(id, num_envs, **kwargs):
    return gymnasium.make_vec(id, num_envs=num_envs, **kwargs)


def sync(id, num_envs, autoreset_mode, **kwargs):
    return SyncVectorEnv([partial(make, id, **kwargs)] * num_envs, autoreset_mode=autoreset_mode)


def episode(env, actions, seed=None):
    """All that reset and step return; stops at the end."""
    seen = [env.reset(seed=seed)]
    for action in actions:
        seen.append(env.step(action))
        if seen[-1][2]:
            return seen
    raise AssertionError("too few actions")


def horizon(env):
    return env.unwrapped.task.length


def test_three_ids_of_one_family_are_registered():
    assert {"SeqTutor-Melody-v0", "SeqTutor-SMILES-v0", "SeqTutor-Exact-v0"} <= set(IDS)
    for id in IDS:
        assert gymnasium.spec(id).max_episode_steps is None


@each_id_and_obs_mode
def test_both_checkers_find_nothing(id, obs_mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(id, obs_mode=obs_mode).unwrapped)
        sb3_check_env(make(id, obs_mode=obs_mode, render_mode="rgb_array").unwrapped)


@each_id_and_obs_mode
@each_autoreset_mode
def test_native_equals_sync(id, obs_mode, autoreset_mode):
    native = make_vec(id, 3, obs_mode=obs_mode, autoreset_mode=autoreset_mode)
    reference = sync(id, 3, autoreset_mode, obs_mode=obs_mode)
    assert native.observation_space == reference.observation_space
    assert native.action_space == reference.action_space
    assert native.single_observation_space == reference.single_observation_space
    assert native.single_action_space == reference.single_action_space
    assert native.metadata == reference.metadata
    ended = 0
    for call, (ours, theirs) in walk([native, reference], calls=2 * horizon(native) + 3):
        assert_same(ours, theirs, call)
        assert ours[0] in native.observation_space
        ended += int(ours[2].sum()) if call == "step" else 0
    assert ended >= 6  # so that ends and what follows them were compared


@each_id_and_obs_mode
@each_autoreset_mode
def test_what_a_batch_returned_never_changes_later(id, obs_mode, autoreset_mode):
    env = make_vec(id, 2, obs_mode=obs_mode, autoreset_mode=autoreset_mode)
    kept = [(results[0], deepcopy(results[0])) for _, results in walk([env], calls=2 * horizon(env) + 2)]
    for result, copy in kept:
        assert_same(result, copy)
    for (before, _), (after, _) in itertools.pairwise(kept):
        for one, other in zip((before[0], before[-1], *before[1:-1]), (after[0], after[-1], *after[1:-1])):
            assert not data_shares_objects(one, other)


@each_id_and_obs_mode
def test_observations_spell_the_tokens_so_far(id, obs_mode):
    env = make(id, obs_mode=obs_mode)
    start = env.unwrapped.task.vocab.start
    actions = np.random.default_rng(3).integers(0, start, horizon(env)).tolist()
    for t, (observation, *_) in enumerate(episode(env, actions)):
        last = actions[t - 1] if t else start
        if obs_mode == "token":
            assert observation == last
        elif obs_mode == "prefix":
            assert observation.tolist() == actions[:t] + [start] * (horizon(env) - t)
        elif obs_mode == "one_hot":
            places = [[float(i == id) for i in range(start + 1)] for id in actions[:t] + [start] * (horizon(env) - t)]
            assert observation.tolist() == sum(places, []) and observation.dtype == np.float32
        else:
            assert (observation["token"], observation["step"]) == (last, t)
            assert observation["action_mask"].tolist() == [1] * start


@each_id
def test_actions_alone_decide(id):
    env = make(id)
    actions = np.random.default_rng(4).integers(0, env.action_space.n, horizon(env))
    assert_same(episode(env, actions, seed=1), episode(make(id), actions, seed=2))
    vector = make_vec(id, 2)
    assert_same(vector.reset(seed=1), vector.reset(seed=[5, None]))


@each_id
def test_rewards_are_the_two_summands_and_everything_is_finite(id):
    env = make(id)
    task, prior, c = (env.get_wrapper_attr(name) for name in ("task", "prior", "c"))
    actions = np.random.default_rng(5).integers(0, env.action_space.n, horizon(env))
    seen = episode(env, actions)
    tokens = actions[None, : len(seen) - 1]
    rows = prior.log_probs(tokens)[0]
    task_rewards = task.reward(tokens)[0] / c
    for t, (_, reward, terminated, truncated, info) in enumerate(seen[1:]):
        judged = seen[t][-1]["prior_log_probs"]
        assert reward == info["prior_log_prob"] + info["task_reward"] and np.isfinite(reward)
        assert info["prior_log_prob"] == pytest.approx(rows[t, actions[t]], abs=1e-5)
        assert info["prior_log_prob"] == judged[actions[t]] and np.isfinite(judged).all()
        assert info["task_reward"] == pytest.approx(task_rewards[t], abs=1e-9)
        flat = "terms" not in info
        terms = {name: info[f"term_{name}"] for name in task.weights} if flat else info["terms"]
        weighted = sum(task.weights[name] * term for name, term in terms.items())
        assert weighted / c == pytest.approx(info["task_reward"], abs=1e-9)
        assert truncated is False and terminated is (t == len(seen) - 2)
    assert flat or seen[-1][-1]["sequence"] == task.sequence(tokens[0])
    assert not {"prior_log_probs", "action_mask"} & seen[-1][-1].keys()


@each_id
def test_pickled_copies_continue_identically(id):
    env = make(id, obs_mode="dict")
    actions = np.random.default_rng(6).integers(0, env.action_space.n, horizon(env))
    env.reset(seed=1)
    env.step(actions[0])
    copy = pickle.loads(pickle.dumps(env))
    vector = make_vec(id, 3, autoreset_mode="SameStep")
    vector.reset(seed=1)
    vector.step(actions[:3] * 0)
    vector_copy = pickle.loads(pickle.dumps(vector))
    for action in actions[1:]:
        ours, theirs = env.step(action), copy.step(action)
        assert_same(ours, theirs)
        if ours[2]:
            assert_same(env.reset(), copy.reset())
        batch = np.full(3, action)
        assert_same(vector.step(batch), vector_copy.step(batch))
    assert env.np_random.random() == copy.np_random.random()


@each_id
def test_workers_under_spawn_give_the_same_episode(id):
    actions = np.random.default_rng(7).integers(0, make(id).action_space.n, (2, 3)).T
    reference = sync(id, 2, "NextStep")
    expected = [reference.reset(seed=1), *(reference.step(action) for action in actions)]
    workers = AsyncVectorEnv([partial(gymnasium.make, f"seqtutor_envs:{id}")] * 2, context="spawn")
    try:
        assert_same([workers.reset(seed=1), *(workers.step(action) for action in actions)], expected)
    finally:
        workers.close()


@each_id
def test_rendering(id):
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        env = make(id, render_mode=mode)
        env.reset()
        empty = env.render()
        last = env.action_space.n - 1
        env.step(last)
        frame = env.render()
        assert isinstance(frame, kind) and not np.array_equal(frame, empty)
        if mode == "rgb_array":
            assert frame.dtype == np.uint8 and frame.shape == (*frame.shape[:2], 3) == empty.shape
        vector = make_vec(id, 18, render_mode=mode)
        vector.reset()
        vector.step(np.arange(18) % 2 * last)
        frames = vector.render()
        assert len(frames) == 16 and np.array_equal(frames[1], frame) and not np.array_equal(frames[0], frame)
    env = make(id)
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.unwrapped.render() is None


@each_id
def test_close_twice(id):
    for env in (make(id), make_vec(id, 2)):
        env.close()
        env.close()


@each_id
def test_a_step_at_the_wrong_time_is_an_error(id):
    env = make(id).unwrapped
    with pytest.raises(ResetNeeded, match="before step"):
        env.step(0)
    episode(env, [0] * horizon(env))
    with pytest.raises(ResetNeeded, match="over"):
        env.step(0)
    vector = make_vec(id, 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ResetNeeded, match="before step"):
        vector.step(np.zeros(2, int))
    with pytest.raises(ResetNeeded, match="all"):
        vector.reset(options={"reset_mask": np.array([True, False])})
    vector.reset()
    for _ in range(horizon(vector)):
        terminated = vector.step(np.zeros(2, int))[2]
    assert terminated.all()
    vector.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1\] are over"):
        vector.step(np.zeros(2, int))


@each_id
@pytest.mark.parametrize("action", [-1, 10_000, 1.0, True, "1", None, [1], np.array([1])])
def test_a_wrong_action_is_an_error(id, action):
    env = make(id).unwrapped
    before = env.reset()
    last = env.action_space.n - 1
    with pytest.raises(ValueError, match=rf"0\.\.{last}"):
        env.step(action)
    assert_same(before, env.reset())


@each_id
@pytest.mark.parametrize("actions", [[0, -1], [0, 10_000], [0.0, 1.0], [0], [[0, 1]], [False, True], 0, None])
def test_a_wrong_batch_of_actions_is_an_error(id, actions):
    env = make_vec(id, 2)
    env.reset()
    with pytest.raises(ValueError, match=rf"0\.\.{env.single_action_space.n - 1}"):
        env.step(np.array(actions))
    env.step([0, 1])


@each_id
@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("c", 0, "positive"),
        ("c", -1.0, "positive"),
        ("c", float("nan"), "positive"),
        ("c", float("inf"), "finite"),
        ("c", "2", "positive"),
        ("obs_mode", "tokens", "'token', 'prefix', 'dict', 'one_hot'"),
        ("render_mode", "human", "'ansi', 'rgb_array'"),
        ("infos", "none", "'full', 'end'"),
        ("autoreset_mode", "next_step", "'NextStep', 'SameStep', 'Disabled'"),
        ("num_envs", 0, "at least 1"),
        ("length", 0, "at least 1"),
        ("term_weights", {"nonsense": 1.0}, "nonsense"),
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(id, argument, value, says):
    argument = HORIZON[id] if argument == "length" else argument
    with pytest.raises(ValueError) as error:
        make_vec(id, **{"num_envs": 2, argument: value})
    assert says in str(error.value) and "\n" not in str(error.value)


@each_id
def test_reset_masks_and_seeds_are_checked(id):
    env = make_vec(id, 2)
    env.reset()
    for mask, error in (
        ([True, False], TypeError),
        (np.array([1, 0]), TypeError),
        (np.array([True]), ValueError),
        (np.array([False, False]), ValueError),
    ):
        with pytest.raises(error, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    options = {"reset_mask": np.array([True, False])}
    env.reset(options=options)
    assert "reset_mask" in options  # the caller's dict is the caller's
    with pytest.raises(ValueError, match="list of seeds"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=11)
    first = env.np_random.random()
    env.reset(seed=[11, 12])
    assert env.np_random_seed == 11 and env.np_random.random() == first
    env.reset()
    assert env.np_random.random() != first


@each_id
@each_autoreset_mode
def test_infos_of_ends_only(id, autoreset_mode):
    full, end = (make_vec(id, 2, autoreset_mode=autoreset_mode, infos=infos) for infos in ("full", "end"))
    ends, over = 0, np.zeros(2, bool)
    for call, (of_full, of_end) in walk([full, end], calls=2 * horizon(full) + 2):
        assert_same(of_full[:-1], of_end[:-1])
        if call != "step":
            assert_same(of_full[-1], of_end[-1])
            over = np.zeros(2, bool)
            continue
        ended = of_full[2]
        same_step, fresh = autoreset_mode == "SameStep", over if autoreset_mode == "NextStep" else np.zeros(2, bool)
        rows = {key: of_full[-1][key] for key in of_full[-1] if key.endswith(("prior_log_probs", "action_mask"))}
        final = {key: of_full[-1][key] for key in of_full[-1] if "final" in key}
        told = {key: of_full[-1][key] for key in of_full[-1].keys() - rows.keys() - final.keys()}
        expected = of_some(rows, ended if same_step else fresh) | final
        assert_same(expected | ({} if same_step else of_some(told, ended)), of_end[-1])
        ends, over = ends + int(ended.sum()), ended
    assert ends >= 4


@each_id
def test_specs_survive_json(id):
    env = make_vec(id, 2, autoreset_mode="SameStep", c=0.5)
    again = gymnasium.make_vec(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert (again.num_envs, again.c, again.autoreset_mode) == (2, 0.5, AutoresetMode.SAME_STEP)
    assert json.loads(make(id).spec.to_json())["id"] == id


@pytest.mark.parametrize("package, task, slow", [("melody", "MelodyTask", "numba"), ("smiles", "SmilesTask", "rdkit")])
def test_a_package_offers_its_task_without_importing_what_is_slow_before_its_use(package, task, slow):
    code = (
        f"import sys, seqtutor_envs.{package} as package; from seqtutor_envs.{package} import vocab; "
        f"assert '{slow}' not in sys.modules; package.{task}; assert '{slow}' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="Harmony"):
        importlib.import_module(f"seqtutor_envs.{package}").Harmony


def test_an_exact_task_needs_no_torch():
    make = "import sys, seqtutor_envs, gymnasium; gymnasium.make('SeqTutor-Exact-v0')"
    subprocess.run([sys.executable, "-c", f"{make}; assert 'torch' not in sys.modules"], check=True)
