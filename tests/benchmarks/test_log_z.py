"""log Z by samples of the prior: against the enumeration, against sums by hand, and as a command."""

from __future__ import annotations

import json
import math
from functools import cache

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import domains, prior_samples
from benchmarks.__main__ import main
from benchmarks.domains import MELODY, SMILES, build_env_kwargs, choose_clock
from benchmarks.log_z import estimate_log_z, estimate_optimum, estimate_share_closed
from benchmarks.prior_samples import PriorSamples, choose_best, draw_samples, hash_names
from seqtutor_envs.exact import objective
from toys.commands import refuse

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 4, "seed": 5}


@cache
def exact(c):
    return gym.make(EXACT, **KWARGS, c=c).unwrapped


@cache
def prior_table():
    """All returns and their probabilities."""
    solution = exact(1.0).solution()
    p = np.exp(solution["prior_log_probs"])
    return solution["task_returns"], p / p.sum()  # float32 rows


def returns_of(n, seed):
    """Returns of n samples of the exact task's prior, by the enumeration's own table."""
    returns, p = prior_table()
    return np.random.default_rng(seed).choice(returns, n, p=p)


def test_two_returns_by_hand():
    """exp(R / c) of 1 and 3: mean 2, standard deviation sqrt 2, so error sqrt 2 / (sqrt 2 * 2); weights 1/4, 3/4."""
    found = estimate_log_z(np.array([0.0, 0.5 * math.log(3)]), c=0.5)
    assert found.value == pytest.approx(math.log(2)) and found.error == pytest.approx(0.5)
    assert found.effective == pytest.approx(16 / 10)
    mean, kl = estimate_optimum(np.array([0.0, 0.5 * math.log(3)]), c=0.5)
    assert mean == pytest.approx(0.75 * 0.5 * math.log(3))
    assert kl == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_returns_of_thousands_of_nats_do_not_overflow():
    assert estimate_log_z(np.array([900.0, 901.0]), c=0.1).value == pytest.approx(9010 - math.log(2))


@pytest.mark.parametrize("c", [2.0, 1.0, 0.5])
def test_it_is_the_log_z_of_the_enumeration_within_its_error(c):
    """Four standard errors, and the mean over 200 repetitions within four of its own; the seeds are fixed."""
    log_z = exact(c).solution()["log_z"]
    found = estimate_log_z(returns_of(20_000, seed=1), c)
    assert abs(found.value - log_z) < 4 * found.error
    again = [estimate_log_z(returns_of(2_000, seed=10 + i), c) for i in range(200)]
    errors = np.array([each.value - log_z for each in again])
    assert errors.std() == pytest.approx(np.mean([each.error for each in again]), rel=0.25)
    assert abs(errors.mean()) < 4 * errors.std() / 200**0.5


def test_the_optimum_is_the_enumerations():
    solution = exact(0.5).solution()
    mean, kl = estimate_optimum(returns_of(100_000, seed=2), c=0.5)
    p = np.exp(solution["log_probs"])
    assert mean == pytest.approx(p @ solution["task_returns"], abs=0.05)
    assert kl == pytest.approx(p @ (solution["log_probs"] - solution["prior_log_probs"]), abs=0.05)


@pytest.mark.parametrize(("way", "noise"), [(0.1, 0.01), (0.5, 0.05)])
def test_share_closed_is_that_of_the_enumeration_and_its_error_is_its_spread(way, noise):
    """An agent on its way from prior to optimum; over 300 repetitions, which all draw its J anew."""
    solution = exact(0.5).solution()
    log_pi = way * solution["log_probs"] + (1 - way) * solution["prior_log_probs"]
    log_pi = log_pi - np.logaddexp.reduce(log_pi)
    j, of_prior = objective(solution, log_pi), objective(solution, solution["prior_log_probs"])
    true = (j - of_prior) / (solution["log_z"] - of_prior)
    assert 0.1 < true < 0.95
    rng = np.random.default_rng(0)
    found = [
        estimate_share_closed(j + rng.normal(0, noise), noise, returns_of(2_000, 1_000 + i), 0.5) for i in range(300)
    ]
    shares, errors = np.array(found).T
    assert shares.std() == pytest.approx(errors.mean(), rel=0.15)
    assert abs(shares.mean() - true) < 4 * shares.std() / 300**0.5 + 2e-3  # a quotient's bias


def test_the_optimum_closes_all_and_the_prior_nothing():
    solution = exact(0.5).solution()
    returns = returns_of(100_000, seed=3)
    log_z, mean = estimate_log_z(returns, 0.5).value, returns.mean() / 0.5
    assert estimate_share_closed(log_z, 0.0, returns, 0.5)[0] == pytest.approx(1)
    assert estimate_share_closed(mean, 0.0, returns, 0.5)[0] == pytest.approx(0)
    best = objective(solution, solution["log_probs"])
    assert estimate_share_closed(best, 0.0, returns, 0.5)[0] == pytest.approx(1, abs=0.02)
    assert np.isnan(estimate_share_closed(1.0, 0.0, np.ones(5), 0.5)).all()


@pytest.mark.parametrize(("returns", "c"), [([1.0], 1), ([1.0, np.nan], 1), ([1.0, 2.0], 0), ([[1.0], [2.0]], 1)])
def test_what_gives_no_estimate_is_an_error_of_one_line(returns, c):
    with pytest.raises(ValueError) as error:
        estimate_log_z(np.array(returns), c)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- samples of the prior


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(prior_samples, "PART", 64)


def test_samples_are_the_priors_and_their_returns_the_tasks(tmp_path, small_parts):
    """Every sequence is in the enumeration; its return is the one that stands there."""
    solution = exact(1.0).solution()
    known = {tuple(row): total for row, total in zip(solution["sequences"].tolist(), solution["task_returns"])}
    samples = draw_samples(EXACT, KWARGS, 150, 7, tmp_path / "s.safetensors")
    assert len(samples) == 150
    np.testing.assert_allclose(samples.returns, [known[tuple(row)] for row in samples.tokens.tolist()])
    distinct = len({tuple(row) for row in samples.tokens.tolist()})
    assert len(np.unique(samples.names)) == distinct < 150


def test_a_longer_file_begins_with_the_shorter_ones_samples(tmp_path, small_parts):
    path, other = tmp_path / "s.safetensors", tmp_path / "t.safetensors"
    few = draw_samples(EXACT, KWARGS, 70, 7, path)
    many, at_once = draw_samples(EXACT, KWARGS, 200, 7, path), draw_samples(EXACT, KWARGS, 200, 7, other)
    for name in ("tokens", "lengths", "returns", "names"):
        np.testing.assert_array_equal(getattr(many, name), getattr(at_once, name))
        np.testing.assert_array_equal(getattr(many, name)[:70], getattr(few, name))
    np.testing.assert_array_equal(draw_samples(EXACT, KWARGS, 30, 7, path).returns, many.returns[:30])
    assert (many.tokens[:64] != many.tokens[64:128]).any()  # parts have seeds of their own


def test_samples_of_something_else_are_not_taken(tmp_path, small_parts):
    path = tmp_path / "s.safetensors"
    draw_samples(EXACT, KWARGS, 10, 7, path)
    with pytest.raises(ValueError, match="env_kwargs"):
        draw_samples(EXACT, {**KWARGS, "seed": 6}, 10, 7, path)
    with pytest.raises(ValueError, match="seed=7"):
        draw_samples(EXACT, KWARGS, 10, 8, path)
    assert len(draw_samples(EXACT, {**KWARGS, "c": 0.1}, 10, 7, path)) == 10  # a return is not divided by c


def listed(returns, names):
    n = len(returns)
    return PriorSamples(np.arange(n)[:, None], np.ones(n, int), np.array(returns, float), hash_names(names), {})


def test_best_of_takes_the_best_of_the_first_distinct_molecules():
    """By hand: the calls are for a, b, c, d; the repeated b and the string that is no molecule cost none."""
    samples = listed([0.1, 0.9, 0.9, 0.0, 0.4, 0.5, 0.99], ["a", "b", "b", "", "c", "d", "e"])
    rows, used = choose_best(samples, calls=4, k=2)
    assert rows.tolist() == [1, 5] and used == 6
    assert choose_best(samples, 5, 1)[0].tolist() == [6] and choose_best(samples, 2, 2)[0].tolist() == [1, 0]


@pytest.mark.parametrize(("calls", "k", "says"), [(6, 1, "5 distinct"), (2, 3, "best 3 of 2"), (2, 0, "one at least")])
def test_best_of_more_than_there_are_is_an_error(calls, k, says):
    with pytest.raises(ValueError, match=says):
        choose_best(listed([1, 2, 3, 4, 5, 0], ["a", "b", "c", "d", "e", ""]), calls, k)


def test_keeping_the_best_share_has_the_stated_kl():
    """On the exact task: KL(p given R above a threshold || p) by enumeration is log(drawn / k) in the limit."""
    solution = exact(1.0).solution()
    p = np.exp(solution["prior_log_probs"])
    threshold = np.median(solution["task_returns"])
    kept = solution["task_returns"] > threshold
    returns = returns_of(50_000, seed=4)
    k = int((returns > threshold).sum())
    samples = listed(returns, [str(i) for i in range(len(returns))])
    rows, used = choose_best(samples, len(returns), k)
    assert samples.returns[rows].min() > threshold
    assert math.log(used / k) == pytest.approx(-math.log(p[kept].sum()), abs=0.02)


def test_the_command_prints_log_z_of_the_prior_itself(tmp_path, capsys):
    """At a large c nothing can be gained: log Z is J(prior)."""
    out = str(tmp_path / "s.safetensors")
    options = ["--env", EXACT, "--env-kwargs", json.dumps(KWARGS), "-n", "3000", "--out", out]
    main(["log-z", *options, "--c", "1000", "1"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    at_1000 = next(line for line in lines if line[0] == "1000")
    assert float(at_1000[1]) == pytest.approx(float(at_1000[3]), abs=1e-4) and float(at_1000[7]) > 2990
    at_1 = next(line for line in lines if line[0] == "1")
    assert float(at_1[1]) == pytest.approx(exact(1.0).solution()["log_z"], abs=4 * float(at_1[2]))


@pytest.mark.parametrize(("option", "value"), [("--c", "0"), ("-n", "1"), ("--env-kwargs", "[]"), ("--workers", "2")])
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, capsys, option, value):
    refuse(capsys, main, "log-z", "--env", EXACT, "--out", tmp_path / "s.safetensors", option, value)


def test_the_command_places_an_agent_s_j_between_the_prior_and_log_z(tmp_path, capsys):
    """As far as 4,000 samples tell."""
    kwargs = json.dumps({"vocab_size": 3, "length": 3, "seed": 2})
    options = ["log-z", "--env", EXACT, "--env-kwargs", kwargs, "-n", "4000", "--c", "0.5", "--j"]
    solution = gym.make(EXACT, vocab_size=3, length=3, seed=2, c=0.5).unwrapped.solution()
    of_prior = float(np.exp(solution["prior_log_probs"]) @ solution["task_returns"]) / 0.5
    half = (of_prior + solution["log_z"]) / 2
    main([*options, str(half), "0.01", "--out", str(tmp_path / "s.safetensors")])
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith("share closed at c = 0.5: ")
    share, error = (float(word.strip("%")) for word in line.partition(": ")[2].split(" ± "))
    assert share == pytest.approx(50, abs=4 * error) and 0 < error < 5


def test_molecules_are_scored_on_all_cores_unless_said_otherwise(monkeypatch):
    monkeypatch.setattr(domains, "scoring_processes", lambda: 6)
    assert (choose_clock(SMILES), choose_clock(MELODY)) == ("wall", "cpu")
    assert build_env_kwargs(SMILES, "{}") == {"workers": 6}
    assert build_env_kwargs(SMILES, '{"max_length": 60}', workers=0) == {"max_length": 60, "workers": 0}
    assert build_env_kwargs(SMILES, '{"workers": 1}') == {"workers": 1}
    given = build_env_kwargs(SMILES, "{}", '{"ring": 0}', "mine.safetensors", 2)
    assert given == {"term_weights": {"ring": 0}, "prior": "mine.safetensors", "workers": 2}
    assert build_env_kwargs(MELODY, "{}") == {}
    with pytest.raises(ValueError, match="no scoring processes"):
        build_env_kwargs(MELODY, "{}", workers=2)
