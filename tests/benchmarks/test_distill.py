"""Policies fitted to samples of the optimum: they approach the enumerated one, and wider networks begin as the old."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from agents import PsiLearning
from benchmarks.distill import Measure, fit_values, main, sample_exactly, sample_optimum, start_agent, widen
from benchmarks.prior_samples import make_batch
from seqtutor_envs.bounds.smc import resample
from seqtutor_envs.exact import kl_optimum_policy, kl_policy_optimum, objective
from seqtutor_envs.prior import RecurrentPrior, token_log_probs
from toys.commands import refuse
from toys.recurrent_toys import random_prior

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 4, "seed": 5, "c": 1.0}
TINY = ("--hidden-size", "32", "--batch-size", "64", "--learning-rate", "0.02", "--env", EXACT, "--c", "1")
TINY += ("--env-kwargs", '{"vocab_size": 3, "length": 4, "seed": 5}', "-n", "2000")


@pytest.fixture
def solution():
    return gym.make(EXACT, **KWARGS).unwrapped.solution()


def log_probs_of(path, solution):
    """log pi [M] of every sequence."""
    policy = RecurrentPrior.load(path)
    return token_log_probs(policy.log_probs(solution["sequences"]), solution["sequences"]).sum(axis=1)


def test_systematic_draws_take_each_index_as_often_as_expected_or_once_more():
    """By hand: 8 draws by weights 1, 0, 2.5, .5 of 4 expect 2, 0, 5 and 1."""
    for seed in range(5):
        drawn = resample(np.array([[0.0, -np.inf, np.log(2.5), np.log(0.5)]]), np.random.default_rng(seed), 8)[0]
        assert np.bincount(drawn, minlength=4).tolist() == [2, 0, 5, 1]


def test_samples_are_those_of_the_enumerated_optimum(solution):
    """Shares of all 81 sequences to .01 (16,384 systematic samples err by less), their values and log Z to .02."""
    batch = make_batch(EXACT, KWARGS)
    found = sample_optimum(batch, runs=2, seed=0)
    places = found.tokens.astype(int) @ [27, 9, 3, 1]
    shares = np.bincount(places, minlength=81) / len(places)
    np.testing.assert_allclose(shares, np.exp(solution["log_probs"]), atol=0.01)
    np.testing.assert_allclose(found.log_weights, (solution["log_probs"] + solution["log_z"])[places], atol=1e-4)
    assert found.log_z == pytest.approx(solution["log_z"], abs=0.02)


def test_exact_samples_are_those_of_the_enumerated_optimum(solution):
    """Shares to five standard errors, log Z to five of its own, values to 1e-4; every call gives one sample at most."""
    batch = make_batch(EXACT, KWARGS)
    found = sample_exactly(batch, calls=20_000, seed=0)
    accepted = len(found.tokens)
    expected = np.exp(solution["log_probs"])
    shares = np.bincount(found.tokens @ [27, 9, 3, 1], minlength=81) / accepted
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected / accepted) + 1e-9).all()
    rate = np.exp(solution["log_z"] - batch.task.max_return() / batch.c)
    assert accepted == pytest.approx(20_000 * rate, abs=5 * np.sqrt(20_000 * rate))
    assert found.log_z == pytest.approx(solution["log_z"], abs=5 * found.log_z_se)
    places = found.tokens @ [27, 9, 3, 1]
    np.testing.assert_allclose(found.log_weights, (solution["log_probs"] + solution["log_z"])[places], atol=1e-4)


def test_exact_samples_need_calls_enough(tmp_path, capsys):
    with pytest.raises(ValueError, match="Rejection accepts 0 of 1 draws: give more --calls"):
        sample_exactly(make_batch(EXACT, KWARGS), calls=1, seed=0)
    assert "--calls must be" in refuse(capsys, main, "fit", "--calls", "0", "--out", tmp_path / "a")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_widened_network_computes_the_same(cell):
    prior = random_prior(cell, hidden_size=7)
    wide = widen(prior, 12, np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(0, len(prior.vocab), (20, 6))
    np.testing.assert_allclose(wide.log_probs(tokens), prior.log_probs(tokens), atol=1e-5)
    assert wide.hidden_size == 12
    # the added cells are not all alike, so that they can learn different things
    assert len(np.unique(wide.weights["rnn.weight_ih_l0"].round(6), axis=0)) == len(wide.weights["rnn.bias_ih_l0"])


def test_a_network_cannot_be_widened_to_fewer_cells_or_with_several_layers():
    for cells, layers in ((6, 1), (12, 2)):
        with pytest.raises(ValueError, match=f"{layers} layers of 7 cells cannot be widened to {cells} cells"):
            widen(random_prior(num_layers=layers), cells, np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A policy fitted to the exact task's optimum from random weights, and what was written beside it."""
    out = tmp_path_factory.mktemp("fitted") / "a.safetensors"
    main(["fit", *TINY, "--epochs", "8", "--epoch-size", "8192", "--runs", "2", "--out", str(out)])
    return out, json.loads(out.with_suffix(".results.json").read_text())


def test_a_fitted_policy_is_near_the_enumerated_optimum(fitted, solution):
    """Its results say the same as the enumeration: J to 5 standard errors, the other KL to .02, log Z's error."""
    out, written = fitted
    log_pi = log_probs_of(out, solution)
    to, back = kl_policy_optimum(solution, log_pi), kl_optimum_policy(solution, log_pi)
    assert to < 0.015 and back < 0.015
    result = written["result"]
    assert written["log_z"] == pytest.approx(solution["log_z"], abs=0.02) and len(written["curve"]) == 8
    assert result["kl_to_optimum"] == pytest.approx(to, abs=5 * result["j_se"] + 0.02)
    assert result["kl_from_optimum"] == pytest.approx(back, abs=0.02)
    assert result["j"] == pytest.approx(objective(solution, log_pi), abs=5 * result["j_se"])


def test_a_policy_can_be_fitted_to_exact_samples(tmp_path, solution):
    out = tmp_path / "a.safetensors"
    main(["fit", *TINY, "--epochs", "8", "--epoch-size", "0", "--calls", "20000", "--out", str(out)])
    written = json.loads(out.with_suffix(".results.json").read_text())
    assert written["settings"]["calls"] == 20_000 and "runs" not in written["settings"]
    assert kl_policy_optimum(solution, log_probs_of(out, solution)) < 0.05


def test_both_distances_of_the_prior_are_the_enumerated_ones(solution):
    """Within 5 standard errors; the prior is far from the optimum in both directions."""
    batch = make_batch(EXACT, KWARGS)
    found = Measure(batch, 3, solution["log_z"], sample_optimum(batch, 8, 3, 2_048))(batch.prior, 5_000)
    to, back = (kl(solution, solution["prior_log_probs"]) for kl in (kl_policy_optimum, kl_optimum_policy))
    assert min(to, back) > 0.5
    assert found["kl_to_optimum"] == pytest.approx(to, abs=5 * found["j_se"])
    assert found["kl_from_optimum"] == pytest.approx(back, abs=5 * found["kl_from_optimum_se"])


def test_psi_goes_on_from_a_fitted_policy(fitted, tmp_path, solution):
    """It begins at the fitted policy, not at the prior, keeps its cells, learns, and stays near the optimum."""
    out = tmp_path / "b.safetensors"
    main(["psi", str(fitted[0]), "--tokens", "4096", "--value-tokens", "2048", "-n", "2000", "--out", str(out)])
    written = json.loads(out.with_suffix(".results.json").read_text())
    assert written["before"]["kl_from_optimum"] == pytest.approx(fitted[1]["result"]["kl_from_optimum"], abs=1e-9)
    start, learned = (RecurrentPrior.load(path).weights["rnn.weight_hh_l0"] for path in (fitted[0], out))
    assert start.shape == learned.shape == (128, 32) and 0 < np.abs(start - learned).max() < 0.1
    assert kl_policy_optimum(solution, log_probs_of(out, solution)) < 0.03


def test_an_agent_starts_as_the_fitted_policy_and_pays_by_the_environments_prior(fitted, solution):
    agent = start_agent(RecurrentPrior.load(fitted[0]), EXACT, KWARGS, seed=0)
    sequences = solution["sequences"]
    np.testing.assert_allclose(agent.log_prob(sequences), log_probs_of(fitted[0], solution), atol=1e-5)
    of_prior = token_log_probs(agent.prior.log_probs(sequences), sequences).sum(axis=1)
    np.testing.assert_allclose(of_prior, solution["prior_log_probs"], atol=1e-5)


def test_the_policy_rests_while_v_is_fitted(solution):
    agent = PsiLearning(EXACT, env_kwargs=KWARGS, seed=0, anneal=True)
    before = agent.learner.network.core.weights()
    value = agent.learner.network.state_value[-1].weight.detach().clone()
    fit_values(agent, 2_000)
    after = agent.learner.network.core.weights()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not np.array_equal(value, agent.learner.network.state_value[-1].weight.detach())
    agent.learn(500)
    assert not np.array_equal(before["head.weight"], agent.learner.network.core.weights()["head.weight"])


def test_what_is_missing_is_told_before_the_samples_are_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.distill.sample_optimum", None)
    assert "Nothing to resume" in refuse(capsys, main, "fit", "--resume", "--out", tmp_path / "a")
    assert "--runs must be" in refuse(capsys, main, "fit", "--runs", "0", "--out", tmp_path / "a")


def test_psi_refuses_a_policy_of_another_making(tmp_path, capsys):
    path = random_prior().save(tmp_path / "other")
    assert "was not written by `fit`" in refuse(capsys, main, "psi", path)
