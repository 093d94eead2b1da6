"""Rounds of whole sequences out of every kind of environment, and what a user may pass as one."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env as dummy_vec_env

from agents.envs import get_env_attribute, make_batch
from agents.networks import FORBIDDEN, Policy, ValueNetwork
from agents.rollouts import Rollouts, choose_tokens
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, mask_prior
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import KINDS, single_toy, toy_batch
from toys.env_toys import ToyTask, toy_prior

N = 16
TASKS = {"open": ToyTask(), "masked": ToyTask(masked=True)}  # of lengths 1 to 5
PRIORS = {"open": toy_prior(), "masked": toy_prior(impossible=False)}


def native(task="open", **kwargs):
    return toy_batch(N, task == "masked", c=2.0, **kwargs)


def collected(env, task="open", residual=False, epsilon=None, rounds=2):
    """All rounds of an untrained network, which knows the prior's forbidden tokens."""
    prior = mask_prior(PRIORS[task], TASKS[task])
    network = ValueNetwork(prior, residual, 1.0, torch.Generator().manual_seed(0))
    rollouts, rng = Rollouts(env, prior, ToyTask().length), np.random.default_rng(3)
    policy = Policy(network, prior, ToyTask().length)
    return [rollouts.collect(policy, rng, epsilon) for _ in range(rounds)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("residual", [False, True], ids=["psi", "g"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_environment_gives_the_same_rounds(kind, residual, task):
    """Sequences end at different steps; meanwhile those that are over get no forbidden token, which is an error."""
    expected = collected(native(task, autoreset_mode="SameStep"), task, residual)
    assert len(set(expected[0][0].lengths)) >= 4
    found = collected(KINDS[kind](masked=task == "masked", c=2.0), task, residual)
    for (sequences, log_policy), (other, other_log_policy) in zip(expected, found):
        np.testing.assert_array_equal(sequences.tokens, other.tokens)
        np.testing.assert_array_equal(sequences.lengths, other.lengths)
        np.testing.assert_allclose(sequences.prior_log_probs, other.prior_log_probs, atol=1e-5)
        np.testing.assert_allclose(sequences.task_rewards, other.task_rewards, atol=1e-5)
        np.testing.assert_allclose(log_policy, other_log_policy, atol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_round_is_what_a_walk_through_single_environments_says(task):
    (sequences, log_policy), _ = collected(native(task), task)
    policy = Policy(
        ValueNetwork(mask_prior(PRIORS[task], TASKS[task]), False, 1.0, torch.Generator().manual_seed(0)),
        mask_prior(PRIORS[task], TASKS[task]),
        5,
    )
    for i in range(N):
        env = single_toy(task == "masked", c=2.0)
        observation, info = env.reset()
        state, over, log_pi = policy.initial_state(1), False, 0.0
        for t in range(sequences.lengths[i]):
            assert not over
            np.testing.assert_allclose(sequences.prior_log_probs[i, t], info["prior_log_probs"], atol=1e-6)
            rows, state = policy.step(np.array([observation]), state, info["prior_log_probs"][None])
            token = int(sequences.tokens[i, t])
            log_pi += float(rows[0, token])
            observation, _, over, _, info = env.step(token)
            assert sequences.task_rewards[i, t] == pytest.approx(info["task_reward"], abs=1e-5)
        assert over
        assert log_policy[i] == pytest.approx(log_pi, abs=1e-4)
        assert not sequences.tokens[i, sequences.lengths[i] :].any(), "filler is token 0"
        assert not sequences.task_rewards[i, sequences.lengths[i] :].any()


@pytest.mark.parametrize("epsilon", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("task", TASKS)
def test_forbidden_tokens_are_never_chosen(task, epsilon):
    for sequences, log_policy in collected(native(task), task, epsilon=epsilon, rounds=20):
        inside = np.arange(5) < sequences.lengths[:, None]
        rows = np.take_along_axis(sequences.prior_log_probs, sequences.tokens[:, :, None], axis=2)[:, :, 0]
        assert (rows[inside] > LOG_PROB_FLOOR).all()
        assert np.isfinite(log_policy).all()
        assert (sequences.prior_log_probs[inside] <= LOG_PROB_FLOOR).any(), "there are forbidden tokens"


def test_epsilon_greedy_takes_the_best_token_but_for_a_share_of_uniform_ones():
    rows = np.tile(np.float32([-2.0, -0.3, FORBIDDEN, -1.7]), (4000, 1))
    rng = np.random.default_rng(0)
    assert (choose_tokens(rows, rng, 0.0) == 1).all()
    # 0.6 uniform over three tokens: 0.2, 0.6, 0, 0.2; the bound is 5 standard deviations of 4,000 draws
    shares = np.bincount(choose_tokens(rows, rng, 0.6), minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.2, 0.6, 0.0, 0.2], atol=5 * (0.24 / 4000) ** 0.5)
    assert shares[2] == 0.0


def test_epsilon_greedy_breaks_no_row_without_a_preference():
    assert set(choose_tokens(np.zeros((50, 3), np.float32), np.random.default_rng(0), 1.0)) == {0, 1, 2}


# -- what a user may pass ---------------------------------------------------------------------------------------------

EXACT = "SeqTutor-Exact-v0"


def test_an_id_or_a_single_env_becomes_a_native_batch():
    kwargs = {"vocab_size": 2, "length": 3, "seed": 4, "c": 0.5}
    for env, env_kwargs in ((EXACT, kwargs), (gym.make(EXACT, **kwargs), None)):
        batch, recipe = make_batch(env, 5, env_kwargs)
        assert isinstance(batch.unwrapped, SequenceTutorVectorEnv)
        assert batch.num_envs == 5
        assert batch.unwrapped.c == 0.5
        assert recipe == {"id": EXACT, "kwargs": kwargs}
        np.testing.assert_array_equal(batch.unwrapped.task.rewards, gym.make(EXACT, **kwargs).unwrapped.task.rewards)


@pytest.mark.parametrize(
    "env_id, size", [("SeqTutor-Melody-v0", 64), ("SeqTutor-Exact-v0", 64), ("SeqTutor-SMILES-v0", 256)]
)
def test_a_round_is_as_large_as_the_domain_says_unless_the_user_does(env_id, size):
    for env in (env_id, gym.make(env_id)):
        batch, _ = make_batch(env, None, None)
        assert batch.num_envs == size
        assert make_batch(env, 3, None)[0].num_envs == 3


def test_an_env_of_objects_has_no_recipe():
    env = SequenceTutorEnv(TASKS["open"], PRIORS["open"], c=2.0)
    assert make_batch(env, 3, None)[1] is None
    made = gym.make(EXACT, prior=gym.make(EXACT, seed=3).unwrapped.prior)
    assert make_batch(made, 3, None)[1] is None


@pytest.mark.parametrize("made", [lambda: gym.make_vec(EXACT, num_envs=3), lambda: make_vec_env(EXACT, 3)])
def test_a_batch_is_used_as_it_is(made):
    env = made()
    assert make_batch(env, None, None) == (env, None)
    with pytest.raises(ValueError, match="batch of 3 already"):
        make_batch(env, 3, None)
    with pytest.raises(ValueError, match="batch of 3 already"):
        make_batch(env, None, {"c": 2.0})


def test_wrappers_of_a_single_env_are_not_lost_silently():
    with pytest.raises(ValueError, match="TransformReward would be lost"):
        make_batch(gym.wrappers.TransformReward(gym.make(EXACT), lambda reward: 2 * reward), 3, None)


def test_other_environments_are_refused_by_name():
    with pytest.raises(ValueError, match="CartPoleEnv is no environment of this library"):
        make_batch(gym.make("CartPole-v1"), 3, None)


@pytest.mark.parametrize(
    "made",
    [
        lambda: gym.make(EXACT, c=3.0),
        lambda: gym.make_vec(EXACT, num_envs=2, c=3.0),
        lambda: gym.make_vec(EXACT, num_envs=2, c=3.0, vectorization_mode="sync"),
        lambda: make_vec_env(EXACT, 2, c=3.0),
        lambda: dummy_vec_env(EXACT, 2, env_kwargs={"c": 3.0}),
    ],
)
def test_attributes_are_found_under_all_wrappers(made):
    env = made()
    assert get_env_attribute(env, "c") == 3.0
    assert get_env_attribute(env, "task").length == 4
    assert get_env_attribute(env, "no_such_attribute") is None


def test_a_task_is_told_of_sequences_as_they_end():
    class Told(ToyTask):
        announced: list[list[int]] = []

        def announce(self, tokens, lengths):
            assert (lengths == tokens.shape[1]).all()
            self.announced.extend(tokens.tolist())

        def terms(self, tokens, lengths=None):
            ended = [row[:n].tolist() for row, n in zip(tokens, lengths) if row[n - 1] == self.vocab.end]
            assert sorted(self.announced) == sorted(ended)
            return super().terms(tokens, lengths)

    task = Told()
    env = SequenceTutorVectorEnv(task, PRIORS["open"], num_envs=N, c=2.0)
    network = ValueNetwork(PRIORS["open"], False, 1.0, torch.Generator().manual_seed(0))
    policy = Policy(network, PRIORS["open"], 5)
    sequences, _ = Rollouts(env, PRIORS["open"], 5).collect(policy, np.random.default_rng(3))
    assert 2 < len(task.announced) <= N and sequences.task_rewards.any()
