"""The enumerated optimum against plain loops, and the identities that tie J, log Z and KL."""

from __future__ import annotations

import itertools
import math
from functools import partial

import gymnasium
import numpy as np
import pytest

from seqtutor_envs import exact
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.exact import (
    ExactEnv,
    ExactTask,
    ExactVectorEnv,
    kl_optimum_policy,
    kl_policy_optimum,
    make_random_task,
    objective,
    solve,
)
from seqtutor_envs.prior import Prior
from seqtutor_envs.vocab import TokenVocab
from toys.env_toys import ToyTask, toy_prior


class UniformPrior(Prior):
    vocab, length = ToyTask.vocab, 40

    def initial_state(self, n):
        return ()

    def step(self, tokens, state):
        return np.full((len(tokens), 4), -np.log(4), np.float32), state


def make(**kwargs):
    return gymnasium.make("SeqTutor-Exact-v0", **kwargs).unwrapped


def rollout(env, tokens):
    """Sum of rewards, sum of log p, length of the episode that these tokens make."""
    env.reset()
    total = log_p = 0.0
    for t, token in enumerate(tokens):
        _, reward, terminated, _, info = env.step(int(token))
        total, log_p = total + reward, log_p + info["prior_log_prob"]
        if terminated:
            return total, log_p, t + 1
    raise AssertionError("the sequence has no end")


def soft_values(env, prefix, gamma):
    """V(prefix) and {token: log pi} by plain recursion through the environment itself."""
    psi = {}
    for token in range(env.action_space.n):
        env.reset()
        info = {}
        try:
            for one in (*prefix, token):
                _, reward, terminated, _, info = env.step(one)
        except ValueError:  # the task forbids it
            continue
        after = 0.0 if terminated else soft_values(env, (*prefix, token), gamma)[0]
        psi[token] = reward + gamma * after
    value = math.log(sum(math.exp(one) for one in psi.values()))
    return value, {token: one - value for token, one in psi.items()}


def test_all_sequences_are_there_once():
    solution = make(vocab_size=3, length=4).solution()
    assert solution["sequences"].tolist() == [list(s) for s in itertools.product(range(3), repeat=4)]
    assert solution["lengths"].tolist() == [4] * 81
    assert np.exp(solution["log_probs"]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_the_optimum_is_p_exp_r_over_c_over_z(c):
    env = make(vocab_size=3, length=3, seed=5, c=c)
    solution = env.solution()
    totals = np.array([rollout(env, tokens)[0] for tokens in itertools.product(range(3), repeat=3)])
    z = sum(math.exp(total) for total in totals)  # E_p[exp(R / c)], written out
    assert solution["log_z"] == pytest.approx(math.log(z), abs=1e-6)
    np.testing.assert_allclose(solution["log_probs"], totals - math.log(z), atol=1e-6)
    np.testing.assert_allclose(solution["prior_log_probs"] + solution["task_returns"] / c, totals, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_any_small_task_by_recursion_through_the_environment(gamma, masked):
    task, prior = ToyTask(length=3, masked=masked), toy_prior(3)
    env = SequenceTutorEnv(task, prior, c=0.7)
    solution = solve(task, prior, 0.7, gamma)
    assert solution["log_z"] == pytest.approx(soft_values(env, (), gamma)[0], abs=1e-5)
    assert len({tuple(s) for s in solution["sequences"].tolist()}) == len(solution["sequences"])
    assert len(solution["sequences"]) == (3 + 6 * 3 if masked else 1 + 3 + 9 * 4)
    for tokens, length, log_pi, log_p in zip(
        solution["sequences"], solution["lengths"], solution["log_probs"], solution["prior_log_probs"]
    ):
        expected = sum(soft_values(env, tuple(tokens[:t].tolist()), gamma)[1][tokens[t]] for t in range(length))
        assert log_pi == pytest.approx(expected, abs=1e-4)
        assert (tokens[length:] == task.vocab.start).all()
        assert rollout(env, tokens)[1:] == (pytest.approx(log_p, abs=1e-5), length)
    assert np.exp(solution["log_probs"]).sum() == pytest.approx(1.0)


def test_log_z_less_j_is_kl_policy_optimum():
    solution = make(vocab_size=4, length=3, seed=2, c=0.6).solution()
    rng = np.random.default_rng(0)
    for log_pi in (solution["prior_log_probs"], np.log(rng.dirichlet(np.ones(64)))):
        gap = solution["log_z"] - objective(solution, log_pi)
        assert gap == pytest.approx(kl_policy_optimum(solution, log_pi), abs=1e-5) and gap > 0
    assert objective(solution, solution["log_probs"]) == pytest.approx(solution["log_z"], abs=1e-6)


def test_kl_by_hand_in_both_directions():
    solution = {
        "log_probs": np.log([0.5, 0.5]), "prior_log_probs": np.log([0.25, 0.75]),
        "task_returns": np.array([2.0, 4.0]), "c": 2.0,
    }  # fmt: skip
    with np.errstate(divide="ignore"):
        always_first = np.log([1.0, 0.0])
    assert kl_policy_optimum(solution, always_first) == pytest.approx(math.log(2))
    assert kl_optimum_policy(solution, always_first) == math.inf
    assert objective(solution, always_first) == pytest.approx(1.0 - math.log(4))
    third = np.log([1 / 3, 2 / 3])
    assert kl_optimum_policy(solution, third) == pytest.approx(0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4))


def test_a_policy_must_be_one():
    solution = make().solution()
    with pytest.raises(ValueError, match=r"shape \[81\]"):
        objective(solution, np.zeros(3))
    with pytest.raises(ValueError, match="sum to 0.5"):
        kl_policy_optimum(solution, solution["log_probs"] - math.log(2))


def test_the_seed_makes_the_task_and_a_greater_c_leaves_it_nearer_the_prior():
    one, same, other = make(seed=1).solution(), make(seed=1).solution(), make(seed=2).solution()
    np.testing.assert_array_equal(one["log_probs"], same["log_probs"])
    assert abs(one["log_z"] - other["log_z"]) > 1e-3
    kls = [kl_policy_optimum(s, s["prior_log_probs"]) for s in (make(c=c).solution() for c in (0.5, 1.0, 4.0))]
    assert kls == sorted(kls, reverse=True)


def test_tables_are_standard_normal():
    task, prior = make_random_task(8, 5, seed=0)
    rewards = task.rewards[1:]  # 37,448 of them: the bounds are about four standard errors
    assert rewards.mean() == pytest.approx(0.0, abs=0.02) and rewards.std() == pytest.approx(1.0, abs=0.02)
    rows = prior.log_probs(np.zeros((1, 5), int))[0]
    assert rows.shape == (5, 8)
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1.0, rtol=1e-5)


def test_rewards_belong_to_prefixes():
    vocab = TokenVocab(("x", "y"))
    task = ExactTask(vocab, np.arange(7.0), 2)  # "", x, y, xx, xy, yx, yy
    assert task.terms(np.array([[0, 1], [1, 0], [1, 1]]))["prefix"].tolist() == [[1, 4], [2, 5], [2, 6]]
    steps = np.array([0, 1])
    assert task.step_terms(np.array([[1, 2], [0, 0]]), steps).tolist() == [[2.0], [3.0]]  # sequences out of step
    with pytest.raises(ValueError, match=r"rewards \[7\], not \[6\]"):
        ExactTask(vocab, np.arange(6.0), 2)


def test_too_many_sequences_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="1,000,000"):
        make(vocab_size=10, length=7)
    monkeypatch.setattr(exact, "MAX_SEQUENCES", 1000)
    with pytest.raises(ValueError, match="over 1,000 after 6 tokens"):  # 3^5 go on, 1 + 3 + ... + 81 have ended
        solve(ToyTask(length=40), UniformPrior(), 1.0)


def test_gamma_is_a_discount():
    with pytest.raises(ValueError, match="gamma"):
        make().solution(gamma=1.5)


def test_native_and_single_share_the_solution():
    vector = gymnasium.make_vec("SeqTutor-Exact-v0", num_envs=2, seed=3)
    np.testing.assert_array_equal(vector.unwrapped.solution()["log_probs"], make(seed=3).solution()["log_probs"])


@pytest.mark.parametrize("given", [{"term_weights": {"prefix": 0.0}}, {"length": 2}])
@pytest.mark.parametrize("make_env", [ExactEnv, partial(ExactVectorEnv, num_envs=2)])
def test_what_describes_a_task_is_refused_beside_one(given, make_env):
    task, prior = make_random_task(2, 3, seed=0)
    assert make_env(task=task, prior=prior, length=3).task is task
    with pytest.raises(ValueError, match=f"A task brings its own {next(iter(given))}"):
        make_env(task=task, prior=prior, **given)
