"""The section "quality" of the speed report: when it judges, what passes, and that judging costs no learning time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_toys import small_prior

from benchmarks.speed import quality
from benchmarks.speed.options import Options
from seqtutor_envs.melody.vocab import MELODY_VOCAB

PSI = {
    "excessively_repeated": 0.0002,
    "not_in_key": 0.006,
    "starts_with_tonic": 0.287,
    "leaps_resolved": 0.90,
    "in_motif": 0.738,
    "in_repeated_motif": 0.0009,
}  # the paper's Table 1


def judgement(seconds, j=0.0, **changes):
    return seconds, {**PSI, "j": j, "kl": 1.0, "distinct": 1.0, **changes}


def test_marks_stand_close_at_first():
    marks = [0.0]
    while marks[-1] < 120:
        marks.append(quality.next_mark(marks[-1]))
    assert marks == [*range(0, 20, 2), *range(20, 60, 5), 60, 90, 120]


def test_each_of_the_six_rows_is_asked_about():
    assert quality.missed(PSI) == []
    for name, value in PSI.items():
        worse = value * (1.01 if name in ("excessively_repeated", "not_in_key") else 0.99)
        assert quality.missed({**PSI, name: worse}) == [name]
        assert quality.missed({**PSI, name: np.nan}) == [name], "what is undefined passes nothing"


def test_rows_are_passed_in_one_and_the_same_judgement():
    parts = [judgement(2.0, in_motif=0.1), judgement(4.0, not_in_key=0.1), judgement(6.0), judgement(8.0, in_motif=0.1)]
    row = quality.six_rows("toy", parts)
    assert row.value == 6.0 and row.met() is True and "not reached" not in row.note
    assert quality.six_rows("toy", [judgement(61.0)]).met() is False


@pytest.mark.parametrize(("seconds", "met"), [(5.0, None), (120.0, False)])
def test_not_reached_is_said_and_too_short_a_try_misses_no_aim(seconds, met):
    row = quality.six_rows("toy", [judgement(1.0, in_motif=0.1), judgement(seconds, leaps_resolved=0.5)])
    assert row.value == seconds and row.met() is met
    assert "not reached: leaps_resolved 0.5000 (0.9)" in row.note and "in_motif" not in row.note
    json.dumps(row.as_dict(), allow_nan=False)


def test_j_is_near_its_end_as_soon_as_it_is_within_five_percent():
    values = {2.0: -40.0, 11.0: 50.0, 20.0: 57.5, 30.0: 56.0, 600.0: 60.0}
    near, *shown = quality.curve([judgement(seconds, j) for seconds, j in values.items()])
    assert near.value == 20.0 and near.limit == 600.0 and "60.00 nats" in near.note
    assert [(row.name, row.value) for row in shown] == [
        ("J after 2.0 s", -40.0),
        ("J after 11.0 s", 50.0),
        ("J after 20.0 s", 57.5),
        ("J after 600.0 s", 60.0),
    ]


def test_judging_costs_no_learning_time(monkeypatch):
    """A clock that learning moves on by .75 s a time, judging by 100."""
    clock, judged_at = SimpleNamespace(now=0.0), []

    class Agent:
        n_envs, horizon = 64, 32

        def __init__(self, *_, **__):
            pass

        def learn(self, timesteps, reset_num_timesteps):
            assert not reset_num_timesteps
            clock.now += 0.75

    def evaluate(agent, *_):
        judged_at.append(clock.now)
        clock.now += 100.0
        return {}

    monkeypatch.setattr(quality, "PsiLearning", Agent)
    monkeypatch.setattr(quality, "evaluate", evaluate)
    monkeypatch.setattr(quality.time, "process_time", lambda: clock.now)
    seconds = [spent for spent, _ in quality.judged(quality.DEFAULTS, "melody", 7.0)]
    assert seconds == [2.25, 4.5, 6.0, 7.5], "at 2, 4, 6 and the end, in whole rounds"
    assert judged_at == [2.25, 104.5, 206.0, 307.5]


def test_a_few_moments_give_all_rows(tmp_path, monkeypatch):
    prior = str(small_prior(tmp_path / "small", MELODY_VOCAB, 32))
    monkeypatch.setattr(quality, "SAMPLES", 50)
    rows = list(quality.rows(Options(melody_prior=prior, minutes=0.004)))
    assert [row.name.startswith("six rows") for row in rows] == [True, False, True, True]
    assert all(0 < row.value < 60 and row.aim is None for row in rows)
    assert rows[1].name == f"J within 5% of its value after {rows[1].limit:.0f} s"
    json.dumps([row.as_dict() for row in rows], allow_nan=False)


def test_the_weights_are_readmes():
    words = (Path(quality.__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    weights = [json.loads(found) for found in re.findall(r"--weights '({[^}]*})'", words)]
    assert quality.SET_UPS[1].env_kwargs["term_weights"] in weights
