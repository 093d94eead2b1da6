"""Turns are taken, and rows are what the turns say; how fast it is, is no test's business."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.speed.rows import Aim, Row, rate_row, time_row
from benchmarks.speed.turns import FEWEST_TURNS, in_turns, typical


def busy(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_sides_take_turns_and_are_measured_equally_often():
    order = []
    times = in_turns({"a": lambda: (order.append("a"), busy(0.04)), "b": lambda: (order.append("b"), busy(0.04))}, 0.0)
    assert len(times["a"]) == len(times["b"]) == FEWEST_TURNS
    assert order[-2 * FEWEST_TURNS:] == ["a", "b"] * FEWEST_TURNS


def test_times_are_those_of_one_call():
    times = in_turns({"short": lambda: busy(0.002), "long": lambda: busy(0.006)}, 0.3)
    assert typical(times["long"]) / typical(times["short"]) == pytest.approx(3.0, rel=0.2)
    assert typical(times["short"]) == pytest.approx(0.002, rel=0.3)


def test_typical_ignores_what_disturbs_a_minority_of_the_turns():
    assert typical(np.array([1.0, 9.0, 1.0, 9.0, 1.0])) == 1.0


def test_a_rate_is_work_by_time_and_the_ratio_is_that_of_neighbouring_turns():
    times = {"ours": np.array([0.5, 5.0, 0.5]), "limit": np.array([1.0, 10.0, 2.0])}  # the machine was slow once
    row = rate_row("row", times, "ours", "limit", 10, "steps/s", "the limit", Aim(2.0))
    assert (row.value, row.limit, row.ratio, row.low, row.high) == (20.0, 5.0, 2.0, 2.0, 3.0) and row.met()
    assert row.as_dict()["aim"] == ">= 2" and row.as_dict()["met"] is True


def test_a_time_is_that_of_a_piece_of_work():
    times = {"ours": np.array([3.0, 3.0, 3.0]), "limit": np.array([1.0, 1.0, 1.0])}
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        row = time_row("row", times, "ours", "limit", 10, unit, "the limit", Aim(2.0, at_most=True))
        assert row.value == pytest.approx(0.3 * scale) and row.ratio == 3.0 and row.met() is False


def test_aims_of_values_and_rows_without_aims():
    assert Row("row", 40_000, "steps/s", aim=Aim(40_000, of="value")).met() is True
    assert Row("row", 1.2, "s", aim=Aim(1.0, of="value", at_most=True)).met() is False
    assert Row("row", 1.2, "s").met() is None
    assert Row("row", 1.2, "s").as_dict() == {"name": "row", "value": 1.2, "unit": "s"}


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    words = capsys.readouterr().out
    assert not end.value.code and "demo" in words and "speed" in words
