"""`python -m benchmarks speed`: turns are taken, figures are there; how fast it is, is no test's business."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from demo_toys import small_prior

from benchmarks.__main__ import main
from benchmarks.speed import melody
from benchmarks.speed.turns import FEWEST_TURNS, in_turns, typical
from seqtutor_envs import cells
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior


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


def test_typical_ignores_what_disturbs_more_than_half_of_the_turns():
    assert typical(np.array([1.0, 9.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0])) == 1.0


def test_each_form_of_the_cell_is_the_one_measured(tmp_path, monkeypatch):
    prior = RecurrentPrior.load(small_prior(tmp_path / "small", MELODY_VOCAB, 32))
    used = []
    compiled = cells._compiled("lstm")

    def spy(gates, *rest):
        used.append(len(gates))
        return compiled(gates, *rest)

    monkeypatch.setattr(cells, "_compiled", lambda cell: spy)
    usual = cells.FEW
    with melody.few_is(0):
        prior.step(np.zeros(1, np.int64), prior.initial_state(1))
    assert used == []
    with melody.few_is(64):
        prior.step(np.zeros(64, np.int64), prior.initial_state(64))
    assert used == [64] and cells.FEW == usual


def test_batches_are_those_that_are_asked_about():
    assert melody.BATCHES == (64, 256, 1024) and melody.CELL_BATCHES == (1, 2, 4, 8, 16, 64)


def test_all_figures_are_printed_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(melody, "BATCHES", (64,))
    monkeypatch.setattr(melody, "CELL_BATCHES", (1, 4))
    prior = small_prior(tmp_path / "small", MELODY_VOCAB, 32)
    main(["speed", "--out", str(tmp_path / "speed.json"), "--seconds", "0.01", "--prior", str(prior)])
    content = json.loads((tmp_path / "speed.json").read_text())
    results = content["results"]
    assert set(results["environment"]) == {"64"} and set(results["cells"]) == {"1", "4"}
    assert {"env_ksteps", "share_of_prior", "rules_share"} <= set(results["environment"]["64"])
    assert "env_ksteps" in results["single"]["1"] and "rollout_share" in results["agent"]["psi"]
    assert all(0 < value < np.inf for rows in results.values() for row in rows.values() for value in row.values())
    assert all(0 < row["rules_share"] < 1 for row in results["environment"].values())
    printed = capsys.readouterr().out
    assert "share_of_prior" in printed and str(tmp_path / "speed.json") in printed


@pytest.mark.parametrize(("option", "value"), [("--seconds", "0"), ("--seconds", "nan"), ("--prior", "no such prior")])
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, capsys, option, value):
    prior = small_prior(tmp_path / "small", MELODY_VOCAB, 32)
    options = {"--prior": str(prior), "--out": str(tmp_path / "speed.json"), option: value}
    with pytest.raises(SystemExit) as end:
        main(["speed", *(word for pair in options.items() for word in pair)])
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "speed.json").exists()


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    words = capsys.readouterr().out
    assert not end.value.code and "demo" in words and "speed" in words
