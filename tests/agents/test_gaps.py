"""How many nats are left of log Z, by hand; what `evaluate` says where only bounds of log Z are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from agents.__main__ import main
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate, gaps
from agents.evaluate.gaps import Known, compute_gap, describe_gap, read_bounds, read_log_z
from seqtutor_envs.bounds import Bounds
from seqtutor_envs.prior import load_prior
from toys.agent_toys import EXACT

MELODY = "SeqTutor-Melody-v0"
NAN, INF = math.nan, math.inf
BOUNDS = Bounds(15.87, "certified sum", 1.0, INF, "", 1.0, 16.4, "sequential Monte Carlo", (16.1, 16.7))


def write(value):
    return f"{value:.2f}"


@pytest.mark.parametrize(
    ("log_z", "j", "is_bound", "text", "bounds"),
    [
        ((1.27, 1.36, 1.30), 0.81, False, "≈ 0.49", "≥ 0.46, ≤ 0.55"),
        ((15.87, INF, 16.4), 11.43, False, "≈ 4.97", "≥ 4.44, ≤ ∞"),
        ((89.45, INF, 89.45), 61.7, False, "≥ 27.75", "≤ ∞"),  # an estimate that is the bound says no more
        ((1.27, 1.279, 1.273), 0.81, False, "≈ 0.46", "≥ 0.46, ≤ 0.47"),
        ((15.87, INF, 14.4), 11.43, False, "≥ 4.44", "≤ ∞"),  # heavy tails: less than is certain
        ((1.27, 1.36, 1.50), 0.81, False, "≥ 0.46", "≤ 0.55"),
        ((-INF, INF, 1.30), 0.81, False, "≈ 0.49", "≤ ∞"),
        ((-INF, INF, -INF), 0.81, False, "not known", ""),
        ((2.0, 2.0, 2.0), 1.5, False, "≈ 0.50", "≥ 0.50, ≤ 0.50"),
        # J's own error: the estimate shows it, a divergence is not below 0
        ((1.27, 1.36, 1.30), 1.4, False, "≈ -0.10", "≥ 0.00, ≤ 0.00"),
        # the agent's own J may be higher
        ((1.27, 1.36, 1.30), 0.81, True, "≲ 0.49", "≤ 0.55"),
        ((89.45, INF, 89.45), 61.7, True, "not known", ""),
        ((89.45, 144.4, 89.45), 61.7, True, "≤ 82.70", ""),
        ((89.45, 144.4, 89.45), 61.7, False, "≥ 27.75", "≤ 82.70"),
    ],
)
def test_what_is_left_of_log_z(log_z, j, is_bound, text, bounds):
    low, high, estimate = log_z
    bounds_of = replace(BOUNDS, lower=low, upper=high, estimate=estimate, interval=(estimate - 1, estimate + 1))
    gap = compute_gap(j, read_bounds(bounds_of), is_bound)
    assert (gap.describe(write), gap.describe_bounds(write)) == (text, bounds)


def test_an_estimate_without_an_upper_end_is_none():
    doubtful = replace(BOUNDS, interval=(16.1, INF))
    assert read_bounds(BOUNDS).estimate == 16.4 and math.isnan(read_bounds(doubtful).estimate)
    assert read_bounds(None) is None


def test_null_of_a_file_is_infinite():
    kept = {"j": 11.43, "log_z_lower": 15.87, "log_z_upper": None, "log_z_estimate": None}
    assert read_log_z(kept) == pytest.approx(Known(15.87, INF, NAN), nan_ok=True)
    assert describe_gap(kept) == {"log Z": "≥ 15.8700, ≤ ∞", "nats left": "≥ 4.4400, ≤ ∞"}
    assert read_log_z({"j": 1.0, "log_z": 2.0}) is None and describe_gap({"j": 1.0}) == {}
    assert list(describe_gap({**kept, "j": None})) == ["log Z"]


@pytest.fixture
def asked(monkeypatch):
    """What bounds were asked for; those of melodies are known."""
    calls = []

    def find_bounds(env_id, env_kwargs):
        calls.append((env_id, dict(env_kwargs)))
        return BOUNDS if env_id == MELODY else None

    monkeypatch.setattr(gaps, "find_bounds", find_bounds)
    return calls


def test_evaluate_tells_the_bounds_of_log_z(asked):
    prior = load_prior("melody")
    plain = evaluate(FixedPolicy(prior, 32), MELODY, 20, c=5.0)
    assert {key: plain[key] for key in gaps.LOG_Z} == {
        "log_z_lower": 15.87, "log_z_upper": INF, "log_z_estimate": 16.4,
    }
    assert asked == [(MELODY, {"c": 5.0})] and "log_z" not in plain and "gap" not in plain
    evaluate(prior, MELODY, 20)
    assert asked[1] == (MELODY, {"prior": prior})  # as the environment has it, although no keyword says so


def test_evaluate_asks_for_no_bounds_where_the_optimum_is_known(asked):
    metrics = evaluate(FixedPolicy(load_prior("melody"), 32), MELODY, 20)
    assert len(asked) == 1
    exact = evaluate(lambda seen: [[0.25] * 4] * len(seen), EXACT, 20, vocab_size=4, length=2)
    assert len(asked) == 1 and exact["gap"] == pytest.approx(exact["log_z"] - exact["j"])
    assert set(metrics) >= set(gaps.LOG_Z) and not set(exact) & set(gaps.LOG_Z)


def test_the_command_prints_what_is_left_and_keeps_the_bounds(asked, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["evaluate", "melody", "-n", "50", "--env-kwargs", '{"c": 5.0}'])
    lines = {line[:28].strip(): line[28:].strip() for line in capsys.readouterr().out.splitlines()}
    kept = json.loads((tmp_path / "melody.evaluation.json").read_text())
    assert lines["log Z"] == "≈ 16.4000, ≥ 15.8700, ≤ ∞"
    assert lines["nats left"] == f"≈ {16.4 - kept['j']:.4f}, ≥ {15.87 - kept['j']:.4f}, ≤ ∞"
    assert (kept["log_z_lower"], kept["log_z_upper"], kept["log_z_estimate"]) == (15.87, None, 16.4)
    assert "log_z_lower" not in lines and asked[0][1]["c"] == 5.0
