"""`seqtutor_envs.sb3.make_vec_env`: what it takes, what it refuses, and the seed."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env

EXACT = "SeqTutor-Exact-v0"


def test_the_seed_is_the_vec_envs_and_used_once():
    env = make_vec_env(EXACT, 2, 7, env_kwargs={"seed": 3}, vocab_size=4)
    task = gymnasium.make(EXACT, seed=3, vocab_size=4).unwrapped.task
    np.testing.assert_array_equal(env.native.task.rewards, task.rewards)
    again = make_vec_env(EXACT, 2, seed=7, vocab_size=4)
    assert [env.action_space.sample() for _ in range(20)] == [again.action_space.sample() for _ in range(20)]
    env.reset()
    drawn = env.native.np_random.random()
    assert env.native.np_random_seed == 7 and drawn == np.random.default_rng(7).random()
    env.reset()
    assert env.native.np_random.random() != drawn, "a seed holds for one reset"
    assert env.seed() != env.seed() and len(env.seed()) == 2


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (gymnasium.error.Error, "No-Such", lambda: make_vec_env("No-Such-v0")),
        (TypeError, "CartPole-v1 has no native batch", lambda: make_vec_env("CartPole-v1")),
        (TypeError, "Pendulum-v1 has no native batch", lambda: make_vec_env("gymnasium:Pendulum-v1")),
        (TypeError, "the id of an environment", lambda: make_vec_env(lambda: gymnasium.make(EXACT))),
        (ValueError, "n_envs must be an integer of at least 1, not 0", lambda: make_vec_env(EXACT, 0)),
        (ValueError, "seed must be an integer", lambda: make_vec_env(EXACT, 2, 1.5)),
        (ValueError, "seed must be an integer", lambda: make_vec_env(EXACT, 2, seed=-1)),
        (ValueError, "seed must be an integer", lambda: make_vec_env(EXACT).seed(True)),
        (TypeError, "num_envs: it is called n_envs", lambda: make_vec_env(EXACT, num_envs=2)),
        (TypeError, "autoreset_mode: ", lambda: make_vec_env(EXACT, env_kwargs={"autoreset_mode": "SameStep"})),
        (TypeError, "vec_env_cls: ", lambda: make_vec_env(EXACT, vec_env_cls=DummyVecEnv)),
        (TypeError, "multiple values for keyword argument 'c'", lambda: make_vec_env(EXACT, env_kwargs={"c": 1}, c=1)),
        (TypeError, "'temperature'", lambda: make_vec_env(EXACT, temperature=1.0)),
        (ValueError, "infos must be one of 'full', 'end'", lambda: make_vec_env(EXACT, infos="all")),
        (ValueError, "SameStep", lambda: SB3VecEnv(gymnasium.make_vec(EXACT, num_envs=2))),
        (TypeError, "native vector", lambda: SB3VecEnv(gymnasium.make_vec(EXACT, vectorization_mode="sync"))),
    ],
)
def test_a_mistake_is_one_clear_line(error, words, call):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
