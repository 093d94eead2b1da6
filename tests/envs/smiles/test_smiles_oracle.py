"""Counting oracle calls: by hand, and the area under the curve against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import yaml

from seqtutor_envs.smiles.objective.oracle import OracleCounter


def counted(scores: list[float], budget: int | None = None) -> OracleCounter:
    counter = OracleCounter(budget)
    counter.record([f"C{n}" for n in range(len(scores))], scores)
    return counter


def area(scores: list[float], k: int, every: int, end: int) -> float:
    """Trapezoids of the mean of the best k over calls, flat after the last call, divided by `end`, in a plain loop."""
    points = [(0, 0.0)]
    for calls in range(1, len(scores) + 1):
        if calls % every == 0 or calls == len(scores):
            best = sorted(scores[:calls])[-k:]
            points.append((calls, sum(best) / len(best)))
    points.append((end, points[-1][1]))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:])) / end


def test_only_distinct_molecules_count_and_no_more_than_the_budget_are_admitted() -> None:
    counter = OracleCounter(budget=3)
    assert counter.admit(["C", "CC", "CCC", "CCCC"]) == [True, True, True, False]
    counter.record(["C", "CC", "C"], [1, 2, 1])
    assert counter.calls == 2 and not counter.spent
    assert counter.admit(["CC", "CO", "CN", "C"]) == [True, True, False, True]  # a known one may be asked for again
    counter.record(["CO", "CC"], [3, 2])
    assert counter.calls == 3 and counter.spent and counter.admit(["CN", "CO"]) == [False, True]
    assert OracleCounter().admit(["C"] * 3) == [True] * 3


def test_top_is_the_mean_of_the_best() -> None:
    counter = counted([3, 1, 4, 1, 5, 9, 2, 6])
    assert (counter.top(1), counter.top(3), counter.top(8), counter.top(100)) == (9, 20 / 3, 31 / 8, 31 / 8)
    assert math.isnan(OracleCounter().top(10)) and math.isnan(OracleCounter().auc())


def test_auc_by_hand() -> None:
    # best of one, a point every 2 calls: 0 at 0, 2 at 2, 3 at 4, 7 at 5 -> 2 + 5 + 5 = 12
    scores = [1.0, 2.0, 3.0, 0.0, 7.0]
    assert counted(scores).auc(k=1, every=2) == pytest.approx(12 / 5)
    assert counted(scores, budget=10).auc(k=1, every=2) == pytest.approx((12 + 5 * 7) / 10)
    assert counted(scores, budget=5).auc(k=1, every=2) == pytest.approx(12 / 5)


@pytest.mark.parametrize("calls", [1, 7, 99, 100, 101, 250, 1000])
def test_auc_equals_a_plain_loop(calls: int) -> None:
    scores = np.random.default_rng(calls).normal(size=calls).tolist()
    assert counted(scores).auc() == pytest.approx(area(scores, 10, 100, calls), abs=1e-12)
    assert counted(scores, budget=1000).auc() == pytest.approx(area(scores, 10, 100, 1000), abs=1e-12)
    assert counted(scores).auc(k=3, every=10) == pytest.approx(area(scores, 3, 10, calls), abs=1e-12)


def test_a_constant_objective_has_the_area_of_itself_but_for_the_first_rise() -> None:
    # PMO's curve begins at 0, so that the first 100 of 10,000 calls count half
    assert counted([0.8] * 10_000, budget=10_000).auc() == pytest.approx(0.8 * (1 - 0.005))


def test_published_curves() -> None:
    rising = [n / 10_000 for n in range(1, 10_001)]
    assert counted(rising, budget=10_000).auc() == pytest.approx(0.499552, abs=1e-6)
    assert counted([1.0] * 10_000, budget=10_000).auc() == pytest.approx(0.995)
    # a run that stalls after 500 calls is filled flat
    assert counted([1.0] * 500, budget=10_000).auc() == pytest.approx(0.995)


def test_the_area_within_the_first_calls_is_that_of_a_run_that_ends_there() -> None:
    scores = np.random.default_rng(0).random(2_500).tolist()
    counter = counted(scores, budget=10_000)
    for within in (50, 1_000, 1_050):
        assert counter.auc(within=within) == counted(scores[:within], budget=within).auc()
    assert counter.summarize()["auc_top_10_within_1000"] == counter.auc(within=1_000)
    # one that has ended before is filled flat up to there
    assert counted([0.5] * 200, budget=10_000).auc(within=1_000) == pytest.approx(0.5 * 0.95)
    assert "auc_top_10_within_1000" not in counted(scores).summarize()
    assert "auc_top_10_within_1000" not in counted(scores[:500], budget=500).summarize()


def test_calls_are_written_as_results_of_mol_opt() -> None:
    counter = OracleCounter(budget=5)
    counter.record(["C", "F/C=C\\F", "C"], [1e-21, 0.25, 1e-21])
    counter.record(["CC", "C[N+](C)(C)C", "CCC"], [1, 2.5e22, 0.1 + 0.2])
    found = yaml.safe_load(counter.format_calls())
    assert found == {
        "C": [1e-21, 1], "F/C=C\\F": [0.25, 2], "CC": [1.0, 3], "C[N+](C)(C)C": [2.5e22, 4], "CCC": [0.1 + 0.2, 5],
    }  # fmt: skip
    assert list(found) == counter.molecules and all(type(score) is float for score, _ in found.values())
    assert counted([1.0, 2.0]).format_calls() == "" == OracleCounter(3).format_calls()


@pytest.mark.parametrize("budget", [0, -1, 2.5, True, 10**9])
def test_a_budget_is_a_positive_integer(budget: Any) -> None:
    with pytest.raises(ValueError, match=f"oracle_budget must be an integer from 1 to .* or None, not {budget}"):
        OracleCounter(budget)
