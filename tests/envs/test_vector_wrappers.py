"""Gymnasium's vector wrappers around the native batch do what they do around a SyncVectorEnv of single environments.

In every autoreset mode that a wrapper supports; where it refuses one, it does so by its own error for both.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as single_wrappers
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from gymnasium.wrappers.vector import (
    ClipReward,
    DictInfoToList,
    DtypeObservation,
    FilterObservation,
    FlattenObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    RescaleObservation,
    ReshapeObservation,
    TransformAction,
    TransformObservation,
    TransformReward,
    VectorizeTransformAction,
    VectorizeTransformReward,
)

from toys.env_toys import AUTORESET_MODES, HORIZON, IDS, OBS_MODES, assert_same, walk
from toys.forbidding import FORBIDDING

NUM_ENVS, LENGTH = 3, 6
ENVS = [*IDS, FORBIDDING]  # the last one forbids tokens, and its sequences differ in length
KEYWORD = HORIZON | {FORBIDDING: "length"}


class Case(NamedTuple):
    """A wrapper, the observations that it takes, and what it says of the autoreset modes that it refuses."""

    wrap: object
    obs_modes: tuple[str, ...] = OBS_MODES
    refused: dict[str, str] = {}


class OptionsKept(VectorWrapper):
    """SyncVectorEnv takes `reset_mask` out of the options; RecordEpisodeStatistics around it misses that and restarts
    the statistics of all (Gymnasium 1.4). So it gets a copy."""

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options=None if options is None else dict(options))


def next_token(env):
    return TransformAction(env, lambda actions: (actions + 1) % env.single_action_space.n, env.action_space)


def not_the_first_token(env):
    """Change one action at a time. Applying it twice changes nothing more, as this wrapper writes into its input."""
    space = env.single_action_space
    return VectorizeTransformAction(env, single_wrappers.TransformAction, func=lambda a: max(a, 1), action_space=space)


def doubled(env):
    space = env.single_observation_space
    twice = gym.spaces.Box(0, 2 * int(space.high.max()), space.shape, space.dtype)
    return TransformObservation(env, lambda observations: 2 * observations, single_observation_space=twice)


REWARDS = ACTIONS = ("dict",)  # of observations these wrappers know nothing: one kind is enough
ANY_BUT_DICT = ("token", "prefix")
OBSERVATION = {"SameStep": "Expected autoreset_mode to be NEXT_STEP or DISABLED"}
CASES = {
    "RecordEpisodeStatistics": Case(RecordEpisodeStatistics),
    "DictInfoToList": Case(DictInfoToList),
    "DictInfoToList of RecordEpisodeStatistics": Case(lambda env: DictInfoToList(RecordEpisodeStatistics(env))),
    "NormalizeReward": Case(NormalizeReward, REWARDS),
    "TransformReward": Case(partial(TransformReward, func=lambda rewards: 2 * rewards - 1), REWARDS),
    "VectorizeTransformReward": Case(
        partial(VectorizeTransformReward, wrapper=single_wrappers.TransformReward, func=lambda r: 2 * r), REWARDS
    ),
    "ClipReward": Case(partial(ClipReward, min_reward=-1.0, max_reward=0.5), REWARDS),
    "TransformAction": Case(next_token, ACTIONS),
    "VectorizeTransformAction": Case(not_the_first_token, ACTIONS),
    "NormalizeObservation": Case(
        NormalizeObservation, ANY_BUT_DICT, OBSERVATION | {"Disabled": "to be AutoresetMode.NEXT_STEP"}
    ),
    "FlattenObservation": Case(FlattenObservation, OBS_MODES, OBSERVATION),
    "FilterObservation": Case(partial(FilterObservation, filter_keys=["token", "step"]), ("dict",), OBSERVATION),
    "DtypeObservation": Case(partial(DtypeObservation, dtype=np.float32), ("prefix",), OBSERVATION),
    "ReshapeObservation": Case(partial(ReshapeObservation, shape=(LENGTH // 2, 2)), ("prefix",), OBSERVATION),
    "RescaleObservation": Case(partial(RescaleObservation, min_obs=0.0, max_obs=1.0), ("prefix",), OBSERVATION),
    "TransformObservation": Case(doubled, ("prefix",), OBSERVATION),
}
ALLOWED_ONLY = {"TransformAction", "VectorizeTransformAction"}  # the walk's actions are allowed before they are changed
COVERED = [
    pytest.param(name, id, obs_mode, id=f"{name}-{id}-{obs_mode}")
    for name, case in CASES.items()
    for id in ENVS
    for obs_mode in case.obs_modes
    if not (id == FORBIDDING and (name in ALLOWED_ONLY or "DictInfoToList" in name))  # a list does not show the masks
]
each_autoreset_mode = pytest.mark.parametrize("autoreset_mode", AUTORESET_MODES)


def both(id, autoreset_mode, **kwargs):
    """The native batch and its equal of single environments."""
    kwargs[KEYWORD[id]] = LENGTH
    native = gym.make_vec(id, num_envs=NUM_ENVS, autoreset_mode=autoreset_mode, **kwargs)
    reference = SyncVectorEnv([partial(gym.make, id, **kwargs)] * NUM_ENVS, autoreset_mode=autoreset_mode)
    return native, OptionsKept(reference)


def clocks_left_out(result):
    """What reset or step returned, without how long an episode took; and whether there was such a clock."""
    infos = result[-1] if isinstance(result[-1], list) else [result[-1]]
    clocks = [info["episode"].pop("t") for info in infos if "episode" in info]
    return result, bool(clocks)


@pytest.mark.parametrize(("name", "id", "obs_mode"), COVERED)
@each_autoreset_mode
def test_around_the_native_batch_as_around_single_environments(name, id, obs_mode, autoreset_mode):
    case, envs = CASES[name], both(id, autoreset_mode, obs_mode=obs_mode)
    if autoreset_mode in case.refused:
        for env in envs:
            with pytest.raises(ValueError, match=case.refused[autoreset_mode]):
                case.wrap(env)
        return
    native, reference = map(case.wrap, envs)
    assert native.observation_space == reference.observation_space
    assert native.action_space == reference.action_space
    assert native.metadata == reference.metadata
    ended = clocks = 0
    for call, (ours, theirs) in walk([native, reference], calls=2 * LENGTH + 4):
        (ours, clock), (theirs, _) = clocks_left_out(ours), clocks_left_out(theirs)
        assert_same(ours, theirs, call)
        ended += int(ours[2].sum()) if call == "step" else 0
        clocks += clock
    assert ended >= NUM_ENVS
    assert (clocks > 0) == ("RecordEpisodeStatistics" in name)


@each_autoreset_mode
def test_statistics_are_plain_sums(autoreset_mode):
    env = RecordEpisodeStatistics(gym.make_vec(FORBIDDING, num_envs=NUM_ENVS, autoreset_mode=autoreset_mode))
    returns, lengths, over, seen = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, int), np.zeros(NUM_ENVS, bool), set()
    for call, ((_, *result),) in walk([env], calls=40):
        begun = over if call in ("step", "reset some") else np.ones(NUM_ENVS, bool)
        returns[begun] = lengths[begun] = 0
        if call != "step":
            over[:] = False
            continue
        rewards, terminated, _, infos = result
        writes = ~over | (autoreset_mode != "NextStep")  # there the call that begins a sequence writes nothing
        over[:] = terminated
        returns += np.where(writes, rewards, 0)
        lengths += writes
        if over.any():
            np.testing.assert_allclose(infos["episode"]["r"], np.where(over, returns, 0), atol=1e-6)
            np.testing.assert_array_equal(infos["episode"]["l"], np.where(over, lengths, 0))
            seen |= set(lengths[over].tolist())
    assert seen >= {2, 3, 4, 5, 6}
