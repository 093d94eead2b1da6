"""The collapse temperature against draws from the enumerated optimum, and bounds that hold as often as they say."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from seqtutor_envs import exact
from seqtutor_envs.bounds import collapse
from seqtutor_envs.bounds.collapse import collapse_temperature
from seqtutor_envs.bounds.smc import Draws
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.exact import make_random_task, solve
from seqtutor_envs.prior import TablePrior
from toys.env_toys import ToyTask, toy_prior

COLD, WARM = 0.3, 4.0


def random_env(vocab_size=5, length=6, c=1.0):
    """An environment of 15,625 sequences."""
    task, prior = make_random_task(vocab_size, length, seed=2)
    return SequenceTutorEnv(task, prior, c=c)


def drawn_share(task, prior, c, times=200):
    """The mean share of distinct sequences among 1,000 draws of the enumerated optimum, and its standard error."""
    log_probs = solve(task, prior, c)["log_probs"]
    p, rng = np.exp(log_probs), np.random.default_rng(0)
    shares = [len(np.unique(rng.choice(len(p), 1_000, p=p / p.sum()))) / 1_000 for _ in range(times)]
    return np.mean(shares), np.std(shares, ddof=1) / times**0.5


def variety_at(env, c, **kwargs):
    return collapse_temperature(env, temperatures=[c], **kwargs).varieties[0]


def sampled(monkeypatch):
    """Let tasks that could be enumerated be sampled."""
    monkeypatch.setattr(exact, "enumerable", lambda task: False)


@pytest.mark.parametrize("c", [COLD, 1.0, WARM])
def test_enumerated_shares_are_those_of_draws(c):
    """Within 4 standard errors."""
    env = random_env()
    found, (share, error) = variety_at(env, c), drawn_share(env.task, env.prior, c)
    assert abs(found.share - share) < 4 * error
    assert found.lower == found.upper == found.share and found.probability == 1.0


def test_two_sequences_by_hand():
    """A fair coin, and a heads that is worth log 999 more: 1,000 draws hold 1 + 1 - .999^1000 - .001^1000."""
    task, prior = make_random_task(2, 1, seed=0)
    prior = TablePrior(task.vocab, np.zeros((1, 2)), 1)
    task.rewards = np.array([0.0, math.log(999.0), 0.0])
    found = variety_at(SequenceTutorEnv(task, prior, c=1.0), 1.0)
    assert found.share == pytest.approx((2 - 0.999**1000 - 0.001**1000) / 1000, rel=1e-6)


@pytest.mark.parametrize("c", [1.5, 2.0, WARM])
def test_sampled_shares_agree_with_enumeration(c, monkeypatch):
    env = random_env()
    truth = variety_at(env, c).share
    sampled(monkeypatch)
    found = variety_at(env, c, samples=20_000)
    assert "exact samples" in found.method
    assert found.share == pytest.approx(truth, abs=0.03)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower < 0.4


def test_bounds_fail_as_seldom_as_they_say(monkeypatch):
    """Binomial test at significance .001: of 300 seeds each bound may miss 1 in 100 at most."""
    env = random_env()
    truth = variety_at(env, 2.0).share
    sampled(monkeypatch)
    found = [variety_at(env, 2.0, samples=2_000, seed=seed) for seed in range(300)]
    assert {one.probability for one in found} == {0.99}
    for misses in (sum(one.lower > truth for one in found), sum(one.upper < truth for one in found)):
        assert binom.sf(misses - 1, 300, 0.01) > 0.001


def test_bounds_by_hand():
    """50 of 200 samples are accepted, all with log p = -8 and the greatest return.

    The acceptance rate is bounded by binomial tests at risk .0025, the mean of g by Hoeffding's inequality at the same.
    """
    returns = np.r_[np.full(50, 3.0), np.full(150, -9.0)]
    draws = Draws(None, None, None, returns, np.full(200, -8.0), True)
    found = collapse._bound(collapse.Variety(1.0, 0.5), draws, 3.0, np.full(200, 1.0))
    least = brentq(lambda rate: binom.sf(49, 200, rate) - 0.0025, 0.01, 0.5)
    most = brentq(lambda rate: binom.cdf(50, 200, rate) - 0.0025, 0.01, 0.9)

    def g(z):  # a sequence's probability is exp(-8 + 3) / Z, Z = rate exp(3)
        q = math.exp(-8.0) / z
        return (1 - (1 - q) ** 1000) / (1000 * q)

    error = math.sqrt(math.log(400.0) / 100)
    assert found.lower == pytest.approx(g(least) - error, rel=1e-6)
    assert found.upper == pytest.approx(min(g(most) + error, 1.0), rel=1e-6)
    assert found.method.endswith("50 exact samples")


def test_without_a_bound_on_the_return_nothing_is_proved(monkeypatch):
    """Sequences of several lengths, paid at every step."""
    env = SequenceTutorEnv(ToyTask(8), toy_prior(8), c=2.0)
    truth = variety_at(env, 2.0).share
    sampled(monkeypatch)
    found = variety_at(env, 2.0, samples=20_000)
    assert (found.lower, found.upper, found.method) == (0.0, 1.0, "samples of the prior")
    assert found.share == pytest.approx(truth, abs=0.03)


def test_resampling_reaches_lower_temperatures(monkeypatch):
    env = random_env()
    truth = variety_at(env, COLD).share
    sampled(monkeypatch)
    monkeypatch.setattr(collapse, "PARTICLES", 4_096)
    found = variety_at(env, COLD, samples=300)
    assert found.method == "sequential Monte Carlo"
    assert found.share == pytest.approx(truth, abs=0.03)


def test_known_sequences_help_where_sampling_fails(monkeypatch):
    """At a low temperature no sample of the prior is typical of the optimum; resampling is switched off."""
    env = random_env()
    truth = variety_at(env, 0.05).share
    sampled(monkeypatch)
    monkeypatch.setattr(collapse, "RUNS", 1)
    monkeypatch.setattr(collapse, "PARTICLES", 50)
    solution = solve(env.task, env.prior, 0.05)
    best = np.argsort(-solution["log_probs"])[:500]
    best = np.concatenate([best, best[:10]])  # some twice
    known = solution["sequences"][best], solution["lengths"][best]
    assert math.isnan(variety_at(env, 0.05, samples=300).share)
    found = variety_at(env, 0.05, samples=300, sequences=known)
    assert found.share == pytest.approx(truth, abs=0.002)
    assert found.method.endswith("500 known sequences")


def test_the_temperature_lies_where_the_share_is_half():
    """Half of the prior's own share: 81 sequences give 1,000 samples no more than .081."""
    env = gym.make("SeqTutor-Exact-v0")
    found = collapse_temperature(env)
    at = variety_at(env, found.estimate)
    assert at.share == pytest.approx(found.prior_share / 2, rel=0.02)
    assert found.collapsed_below < found.estimate < found.varied_above
    assert found.varied_above / found.collapsed_below == pytest.approx(2**0.5)
    assert found.prior_share == pytest.approx(drawn_share(env.unwrapped.task, env.unwrapped.prior, 1e6)[0], abs=0.001)


def test_one_line_says_what_is_known(monkeypatch):
    env = gym.make("SeqTutor-Exact-v0")
    said = collapse_temperature(env).describe()
    assert said == "collapses at about c = 0.72; varied at c >= 1 (certain); collapsed at c <= 0.707 (certain)"
    assert collapse_temperature(env, temperatures=[8, 4]).describe().startswith("no collapse found from c = 8 to 4")
    sampled(monkeypatch)
    found = collapse_temperature(random_env(), temperatures=[1e6, 8.0], samples=1_000)
    assert found.describe().endswith("varied at c >= 8 (with probability 0.99 each)")


def test_what_was_not_looked_at_is_not_claimed():
    found = collapse_temperature(gym.make("SeqTutor-Exact-v0"), temperatures=[4.0, 2.0])
    assert math.isnan(found.estimate)
    assert (found.varied_above, found.collapsed_below) == (2.0, 0.0)


def test_same_seed_same_result(monkeypatch):
    sampled(monkeypatch)
    env = random_env()
    first, same, other = (collapse_temperature(env, samples=500, seed=seed, temperatures=[2.0]) for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("kwargs", [{"samples": 0}, {"seed": -1}, {"temperatures": [0.0]}])
def test_bad_numbers_are_one_line(kwargs):
    with pytest.raises(ValueError, match="^[^\n]* must be [^\n]*$"):
        collapse_temperature("SeqTutor-Exact-v0", **kwargs)


def test_a_planted_task_has_none():
    with pytest.raises(ValueError, match="^A planted task has no collapse temperature[^\n]*$"):
        collapse_temperature("SeqTutor-Planted-v0")
