"""`bounds.draw_tail` and what `log_z` makes of it, against enumeration. Seeds are fixed."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import binom

from seqtutor_envs import exact
from seqtutor_envs.bounds import Tail, draw_tail, log_z
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.exact import make_random_task, solve
from toys.bounds_toys import wrong_twist
from toys.env_toys import ToyTask, toy_prior

SAMPLES = 40_000


@pytest.fixture
def sampled(monkeypatch):
    """Let tasks that could be enumerated be sampled."""
    monkeypatch.setattr(exact, "enumerable", lambda task: False)


def random_env(c):
    return SequenceTutorEnv(*make_random_task(4, 6, seed=0), c=c)


def ending_env(c):
    return SequenceTutorEnv(ToyTask(6, masked=True), toy_prior(6, impossible=False), c=c)


def returns_of(env):
    """Return R and p of all sequences."""
    found = solve(env.task, env.prior, 1.0)
    return found["task_returns"], np.exp(found["prior_log_probs"])


@pytest.mark.parametrize("make", [random_env, ending_env])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_hits_are_as_many_as_the_prior_has(make, quantile):
    """One binomial number, of the probability that enumeration says."""
    env = make(1.0)
    returns, p = returns_of(env)
    order = np.argsort(returns)
    above = float(returns[order[np.searchsorted(np.cumsum(p[order]), quantile)]])
    truth = float(p[returns > above].sum())
    hits = [draw_tail(env, above=above, samples=SAMPLES, seed=seed).hits for seed in range(5)]
    low, high = binom.ppf([0.0001, 0.9999], SAMPLES * 5, truth)
    assert low <= sum(hits) <= high
    assert len(set(hits)) > 1


def test_a_tail_of_all_samples_has_mass_one(sampled):
    """Nothing is known above it, so log Z is bounded by the greatest return alone."""
    assert Tail(-1e9, 1_000, 1_000).mass(0.005) == 1.0
    env = random_env(1.0)
    found = log_z(env, samples=512, tail=draw_tail(env, above=-1e9, samples=1_000))
    assert found.upper == pytest.approx(env.task.max_return())


def test_samples_that_begin_alike_are_fed_once():
    """At most the 1 + 4 + ... + 4^5 prefixes of 6 tokens, however many samples; the same for the same seed."""
    found = draw_tail(random_env(1.0), above=-1e9, samples=10**12, seed=3)
    assert (found.hits, found.nodes) == (10**12, sum(4**n for n in range(6)))
    few = [draw_tail(random_env(1.0), above=0.0, samples=500, seed=3) for _ in range(2)]
    assert few[0] == few[1]


def test_no_prefix_is_followed_that_cannot_return_enough(monkeypatch):
    """The proof of the task decides, and what it cuts off was no hit."""
    env = random_env(1.0)
    returns, _ = returns_of(env)
    sequences = solve(env.task, env.prior, 1.0)["sequences"]
    above = float(np.quantile(returns, 0.9))
    full = draw_tail(env, above=above, samples=10**9, seed=1)

    def best_beyond(tokens, so_far):
        """The true greatest return of what begins so."""
        begins = sequences[:, None, : tokens.shape[1]] == tokens[None]
        return np.where(begins.all(axis=2), returns[:, None], -np.inf).max(axis=0)

    monkeypatch.setattr(env.task, "bound_returns", best_beyond, raising=False)
    cut = draw_tail(env, above=above, samples=10**9, seed=1)
    assert cut.nodes < full.nodes
    truth = float(returns_of(env)[1][returns > above].sum())
    assert cut.hits / 10**9 == pytest.approx(truth, rel=1e-3) and full.hits / 10**9 == pytest.approx(truth, rel=1e-3)


def test_its_mass_is_the_bound_of_clopper_and_pearson():
    assert Tail(0.0, 1_000, 0).mass(0.01) == pytest.approx(1 - 0.01 ** (1 / 1_000))
    for hits in (1, 7, 500):
        bound = Tail(0.0, 1_000, hits).mass(0.01)
        assert binom.cdf(hits, 1_000, bound) == pytest.approx(0.01)


@pytest.mark.parametrize("twisted", [False, True])
@pytest.mark.parametrize("c", [1.0, 0.3])
def test_an_upper_bound_with_a_tail_holds(c, twisted, sampled):
    """25 seeds. Nothing but the upper bound changes."""
    env = random_env(c)
    twist = wrong_twist(env.task, seed=1, spread=0.7) if twisted else None
    truth = solve(env.task, env.prior, c)["log_z"]
    above = float(np.quantile(returns_of(env)[0], 0.8))
    with_tail, without = [], []
    for seed in range(25):
        tail = draw_tail(env, above=above, samples=10**7, seed=seed)
        with_tail.append(log_z(env, samples=512, seed=seed, twist=twist, tail=tail))
        without.append(log_z(env, samples=512, seed=seed, twist=twist))
    above_truth = sum(one.upper < truth - 1e-5 for one in with_tail)
    assert binom.sf(above_truth - 1, 25, 0.005) > 0.001
    assert {one.upper_method for one in with_tail} == {"importance sampling and tail"}
    assert all(one.diagnostics["tail"]["samples"] == 10**7 for one in with_tail)
    assert [one.lower for one in with_tail] == [one.lower for one in without]
    assert np.isfinite([one.upper for one in with_tail]).all()


def test_melodies_have_a_lower_upper_bound_by_it():
    """512 samples leave 10 nats at c = 20; a tail that needs few prefixes takes some of them."""
    made = gym.make("SeqTutor-Melody-v0", c=20.0)
    tail = draw_tail(made, above=280.0, samples=100_000)
    assert tail.hits == 0 and tail.nodes < 32 * 100_000 / 20
    with_tail, without = (log_z(made, samples=512, tail=one) for one in (tail, None))
    assert with_tail.upper < without.upper - 0.5
    assert math.log(tail.mass(0.0025)) == pytest.approx(math.log(-math.log(0.0025) / 100_000), abs=1e-3)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"above": math.nan, "samples": 10}, "above must be a finite number"),
        ({"above": 1.0, "samples": 0}, "samples must be"),
        ({"above": 1.0, "samples": 2.5}, "samples must be"),
        ({"above": 1.0, "samples": 10, "seed": -1}, "seed must be"),
    ],
)
def test_bad_numbers_are_one_line(kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        draw_tail(random_env(1.0), **kwargs)
    assert "\n" not in str(error.value)
