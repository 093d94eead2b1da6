"""Samplers against the enumeration of small tasks: what they sample, and the J that they report.

Every seed is fixed. Chi-square tests reject at 1e-3, means are compared within four standard errors.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chisquare

from agents import BestOfN, PsiLearning, RejectionSampler, SMCSampler
from agents.evaluate import evaluate
from benchmarks.experiment import Experiment
from benchmarks.runner.perform import perform
from seqtutor_envs.exact import solve
from toys.agent_toys import EXACT, synced_toys, toy_batch
from toys.env_toys import ToyTask

KWARGS = {"vocab_size": 2, "length": 3, "seed": 8, "c": 0.5}
LEVEL = 1e-3


def solution():
    return gym.make(EXACT, **KWARGS).unwrapped.solution()


def count(solved, tokens, lengths):
    """How often each of the enumerated sequences is among the samples."""
    rows = {tuple(row[:end]): i for i, (row, end) in enumerate(zip(solved["sequences"].tolist(), solved["lengths"]))}
    which = [rows[tuple(row[:end])] for row, end in zip(tokens.tolist(), lengths)]
    return np.bincount(which, minlength=len(rows))


def p_value(counts, log_probs):
    """Of a chi-square test; what is expected less than five times is one class."""
    expected = np.exp(log_probs) * counts.sum()
    some = expected >= 5
    classes = [np.append(values[some], values[~some].sum()) for values in (counts, expected)]
    observed, expected = (values[classes[1] > 0] for values in classes)
    return chisquare(observed, expected / expected.sum() * observed.sum()).pvalue


def distance(counts, log_probs):
    """Total variation between the samples and a distribution."""
    return 0.5 * np.abs(counts / counts.sum() - np.exp(log_probs)).sum()


# ---------------------------------------------------------------- rejection


@pytest.mark.parametrize("make", [toy_batch, lambda: toy_batch(masked=True), lambda: gym.make(EXACT, **KWARGS)])
def test_rejection_samples_the_enumerated_optimum(make):
    """Of sequences of one length, of several, and where tokens are forbidden."""
    env = make().unwrapped
    solved = solve(env.task, env.prior, env.c)
    sampler = RejectionSampler(make(), max_return=solved["task_returns"].max())
    tokens, lengths = sampler.sample(6_000, seed=1)
    assert p_value(count(solved, tokens, lengths), solved["log_probs"]) > LEVEL
    assert p_value(count(solved, tokens, lengths), solved["prior_log_probs"]) < 1e-9, "the test can fail"


def test_j_of_rejection_is_log_z_with_an_honest_error():
    """Of 200 estimates 95% lie within 1.96 errors of the enumerated log Z: 190, give or take four times 3.1."""
    solved = solution()
    sampler = RejectionSampler(EXACT, env_kwargs=KWARGS, max_return=solved["task_returns"].max() + 0.5)
    worth = solved["prior_log_probs"] + solved["task_returns"] / solved["c"]
    inside, n = 0, 40
    for seed in range(200):
        tokens, _, log_pi = sampler.sample_with_log_prob(n, seed)
        of_each = worth[tokens @ [4, 2, 1]] - log_pi  # two tokens: the sequences are the binary numbers
        inside += abs(of_each.mean() - solved["log_z"]) < 1.96 * of_each.std(ddof=1) / np.sqrt(n)
    assert 178 <= inside <= 200
    metrics = evaluate(sampler, EXACT, 5_000, 0, env_kwargs=KWARGS)
    assert abs(metrics["j"] - solved["log_z"]) < 4 * metrics["j_se"] < 0.1
    assert metrics["kl"] == pytest.approx(metrics["task_return"] / KWARGS["c"] - metrics["j"])


def test_rejection_takes_the_bound_that_the_task_has_proved():
    sampler = RejectionSampler(EXACT, env_kwargs=KWARGS)
    assert sampler.max_return >= solution()["task_returns"].max() and np.isfinite(sampler.max_return)


# ---------------------------------------------------------------- sequential Monte Carlo


def test_one_particle_is_a_sample_of_the_prior():
    solved = solution()
    counts = count(solved, *SMCSampler(EXACT, particles=1, env_kwargs=KWARGS).sample(4_000, seed=0))
    assert p_value(counts, solved["prior_log_probs"]) > LEVEL


def test_more_particles_are_nearer_to_the_optimum():
    solved, n = solution(), 6_000
    by_size = {
        size: count(solved, *SMCSampler(EXACT, particles=size, env_kwargs=KWARGS).sample(n, seed=0))
        for size in (1, 4, 16, 256)
    }
    far = {size: distance(counts, solved["log_probs"]) for size, counts in by_size.items()}
    assert far[1] > far[4] + 0.1 and far[4] > 1.5 * far[16] and far[16] > 1.5 * far[256]
    assert p_value(by_size[256], solved["log_probs"]) > LEVEL


@pytest.mark.parametrize("size", [2, 8])
def test_j_of_smc_is_the_mean_of_log_z_hat_and_a_lower_bound(size):
    """Of log Z, and of the J that the samples' own frequencies have."""
    sampler, solved, n = SMCSampler(EXACT, particles=size, env_kwargs=KWARGS), solution(), 20_000
    metrics = evaluate(sampler, EXACT, n, 3, env_kwargs=KWARGS)
    share = count(solved, *sampler.sample(n, 3)) / n
    worth = solved["task_returns"] / solved["c"] + solved["prior_log_probs"]
    own_j = float(share[share > 0] @ (worth - np.log(np.maximum(share, 1e-300)))[share > 0])
    assert metrics["j"] + 4 * metrics["j_se"] < own_j < solved["log_z"]
    assert sampler.j_kind == "lower bound" and metrics["gap"] > 0


def test_the_fast_mode_takes_many_samples_of_each_run():
    solved = solution()
    slow, fast = (SMCSampler(EXACT, particles=256, env_kwargs=KWARGS) for _ in range(2))
    tokens, lengths = fast.sample(8_000, seed=0, per_run=40)
    assert len(tokens) == 8_000 and fast.scored == 200 * 256
    assert distance(count(solved, tokens, lengths), solved["log_probs"]) < 0.03
    assert np.array_equal(slow.sample(50, seed=0, per_run=1)[0], slow.sample(50, seed=0)[0])
    assert slow.scored == 100 * 256
    assert len(fast.sample(45, seed=0, per_run=40)[1]) == 45


# ---------------------------------------------------------------- best of n


@pytest.mark.parametrize("n", [1, 5])
def test_best_of_n_by_the_enumeration(n):
    """P(x is the best) = P(R <= R(x))^n - P(R < R(x))^n: no two sequences have the same return."""
    solved, sampler = solution(), BestOfN(EXACT, n=n, env_kwargs=KWARGS)
    order = np.argsort(solved["task_returns"])
    below = np.concatenate([[0.0], np.cumsum(np.exp(solved["prior_log_probs"][order]))])
    best = np.empty(len(order))
    best[order] = np.diff(below**n)
    assert p_value(count(solved, *sampler.sample(6_000, seed=2)), np.log(best)) > LEVEL
    metrics = evaluate(sampler, EXACT, 6_000, 2, env_kwargs=KWARGS)
    expected = best @ solved["task_returns"] / solved["c"] - (np.log(n) - (n - 1) / n)
    assert abs(metrics["j"] - expected) < 4 * metrics["j_se"]
    own_kl = best @ (np.log(best) - solved["prior_log_probs"])
    assert own_kl <= metrics["kl"] + 1e-4 and (n > 1 or abs(metrics["kl"]) < 1e-4)
    assert sampler.scored == 12_000 * n and sampler.num_timesteps == 36_000 * n


# ---------------------------------------------------------------- as agents


@pytest.mark.parametrize(
    ("kind", "settings"), [(SMCSampler, {"particles": 8}), (RejectionSampler, {"max_return": 4.0}), (BestOfN, {"n": 4})]
)
def test_a_seed_gives_the_same_sequences_of_any_form_of_the_environment(kind, settings):
    forms = (
        kind(EXACT, env_kwargs=KWARGS, **settings),
        kind(gym.make(EXACT, **KWARGS), **settings),
        kind(gym.make_vec(EXACT, num_envs=5, **KWARGS), **settings),
    )
    first, *others = [form.sample(20, seed=4) for form in forms]
    for other in others:
        np.testing.assert_array_equal(first[0], other[0])
    assert not np.array_equal(first[0], forms[0].sample(20, seed=5)[0])
    one, two = (kind(EXACT, env_kwargs=KWARGS, seed=7, **settings) for _ in range(2))
    np.testing.assert_array_equal(one.sample(20)[0], two.sample(20)[0])
    assert not np.array_equal(one.sample(20)[0], kind(EXACT, env_kwargs=KWARGS, seed=7, **settings).sample(20)[0])


@pytest.mark.parametrize(
    ("agent", "kind"),
    [("agents:RejectionSampler", "exact"), ("agents:SMCSampler", "lower bound"), ("agents:PsiLearning", "estimate")],
)
def test_a_result_says_what_its_j_is_and_what_was_scored(agent, kind):
    learns = {} if "Sampler" in agent else {"steps": 100}
    result = perform(Experiment(EXACT, agent, env_kwargs=KWARGS, n=50, **learns))
    assert result["j_kind"] == kind and "j_se" in result["metrics"]
    if agent == "agents:SMCSampler":
        assert result["scored"] == 50 * 256 and result["curve"] == []


def test_forbidden_tokens_are_not_drawn():
    env = toy_batch(masked=True)
    for sampler in (SMCSampler(env, particles=16), BestOfN(env, n=3)):
        tokens, lengths = sampler.sample(500, seed=0)
        assert (tokens[:, 0] != 3).all()
        assert all((row[1:end] != row[: end - 1]).all() for row, end in zip(tokens, lengths))


# ---------------------------------------------------------------- what is refused


class Boundless(ToyTask):
    def max_return(self):
        return float("inf")


def boundless():
    return toy_batch().__class__(Boundless(), toy_batch().prior, num_envs=1, c=1.0)


REFUSED = {
    "particles must be an integer": lambda: SMCSampler(EXACT, particles=0),
    "n must be an integer": lambda: BestOfN(EXACT, n=0),
    "There is no bound for rejection: Boundless": lambda: RejectionSampler(boundless()),
    "max_return must be": lambda: RejectionSampler(EXACT, max_return=float("inf")),
    "A sequence returns .* above max_return=0.1: give a bound":
        lambda: RejectionSampler(EXACT, max_return=0.1).sample(5, 0),
    "Rejection accepts .* of the prior's samples at c=1, too few":
        lambda: RejectionSampler(EXACT, max_return=50).sample(5),
    "knows no log pi": lambda: SMCSampler(EXACT).log_prob(np.zeros((1, 4), int)),
    "chooses whole sequences": lambda: BestOfN(EXACT, n=2).predict(0),
    "SyncVectorEnv may change": lambda: SMCSampler(synced_toys()),
    "another vocabulary": lambda: SMCSampler(EXACT, twist=PsiLearning(toy_batch()).twist()),
    "per_run must be": lambda: SMCSampler(EXACT).sample(2, 0, per_run=0),
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_refused_is_one_line(said):
    with pytest.raises(ValueError, match=said) as error:
        REFUSED[said]()
    assert "\n" not in str(error.value)


def test_a_spent_budget_of_scores_is_one_line():
    for settings in ({"n": 4}, {"particles": 4}):
        sampler = (BestOfN if "n" in settings else SMCSampler)(toy_batch(), **settings)
        sampler.task.spent = True
        with pytest.raises(ValueError, match="budget of calls is spent: give a greater one"):
            sampler.sample(3, 0)
