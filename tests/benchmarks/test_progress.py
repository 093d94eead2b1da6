"""What a sweep shows: lines in a log, and in a terminal a bar besides."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from benchmarks.runner import progress as module
from benchmarks.experiment import Experiment
from benchmarks.runner.progress import SweepProgress, format_duration

TASK = "SeqTutor-Exact-v0 (length=3)"
COST = (10.0, 20.0, 30.0, 40.0, 50.0)  # core-seconds, of each seed
RESULT = {"metrics": {"j": 2.0781, "kl": 0.86656, "task_return": 2.9446, "gap": 0.36271, "distinct": 0.19}}
EVERY = tuple(
    Experiment("SeqTutor-Exact-v0", "agents:PsiLearning", {"length": 3}, steps=600, seed=seed, label="Ψ")
    for seed in range(len(COST))
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Its `now` is the time; what an experiment costs is known."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(module, "estimate_cost", lambda experiment: COST[experiment.seed])
    return made


def shown(stream):
    return stream.getvalue().splitlines()


def test_a_log_has_a_line_for_each_experiment_and_the_time_left(clock):
    stream = io.StringIO()
    progress = SweepProgress(EVERY[:4], 2, 2, stream)
    assert progress.time_left() == "about 50 s left"  # 100 core-seconds on two cores
    progress.on_start(EVERY[0])
    progress.on_start(EVERY[1])
    progress.on_progress(EVERY[0], {"share": 0.5, "j": 1.0, "task_return": 2.0})
    assert shown(stream) == []
    clock.now += 30.0  # thrice what was expected
    progress.on_result(EVERY[0], RESULT)
    first = f"3/6  done    Ψ, seed 0, {TASK}: J 2.078 R 2.945 KL 0.8666 gap 0.3627  (30 s; about 2 min left)"
    assert shown(stream) == [first]  # 3 * 90 / 2 s
    progress.on_failure(EVERY[1], "ValueError: no")  # 60 s for what was to be 30
    assert shown(stream)[1:] == [f"4/6  FAILED  Ψ, seed 1, {TASK}: ValueError: no  (30 s; about 70 s left)"]
    progress.on_start(EVERY[2])
    progress.on_lost(EVERY[2], "its node is gone")
    assert shown(stream)[2:] == [f"lost    Ψ, seed 2, {TASK}: its node is gone; it is run again"]
    assert progress.time_left() == "about 70 s left"
    progress.on_start(EVERY[2])
    progress.on_start(EVERY[3])
    clock.now += 70.0
    progress.on_result(EVERY[2], {"metrics": {"task_return": -85.0, "j": None}})
    progress.on_result(EVERY[3], RESULT)
    third, fourth = shown(stream)[3:]
    # 130 s were taken for what was to be 60; 40 are left, in one experiment, whom a second core does not help
    assert third == f"5/6  done    Ψ, seed 2, {TASK}: R -85  (70 s; about 87 s left)"
    assert fourth.startswith("6/6  done    Ψ, seed 3") and fourth.endswith("(70 s; nothing left)")
    assert (progress.done, progress.failed, progress.total) == (5, 1, 6)
    progress.close()
    assert "\r" not in stream.getvalue() and "%|" not in stream.getvalue()


def test_a_terminal_has_a_bar_with_what_is_in_progress(clock):
    stream = Terminal()
    progress = SweepProgress(EVERY, 5, 2, stream)
    progress.on_start(EVERY[0])
    progress.on_progress(EVERY[0], {"share": 0.25, "j": -12.345, "task_return": 2.0})
    newest = stream.getvalue().rpartition("\r")[2]
    assert newest.startswith(" 50%|") and "5/10 done, about 75 s left | Ψ 0 25% J -12.3" in newest
    progress.on_progress(EVERY[0], {"share": 0.5, "j": None, "task_return": 2.0})
    progress.on_start(EVERY[1])
    assert "| Ψ 0 50% R 2.0; Ψ 1" in stream.getvalue().rpartition("\r")[2]
    for one in EVERY[2:]:
        progress.on_start(one)
    assert "| Ψ 0 50% R 2.0; Ψ 1; Ψ 2; 2 more" in stream.getvalue().rpartition("\r")[2]
    before = len(stream.getvalue())
    progress.on_failure(EVERY[0], "ValueError: no")
    after = stream.getvalue()[before:]
    assert f" 6/10  FAILED  Ψ, seed 0, {TASK}: ValueError: no  (0 s; about 0 s left)\n" in after
    newest = after.rpartition("\r")[2]
    assert newest.startswith(" 60%|") and "5/10 done, 1 failed, about 0 s left | Ψ 1; Ψ 2; Ψ 3; 1 more" in newest
    progress.close()
    assert stream.getvalue().rstrip("\r").rpartition("\r")[2].strip() == "", "the bar is taken away"


def test_news_of_what_is_over_is_no_news(clock):
    stream = Terminal()
    progress = SweepProgress(EVERY[:2], 0, 1, stream)
    progress.on_start(EVERY[0])
    progress.on_result(EVERY[0], RESULT)
    progress.on_progress(EVERY[0], {"share": 1.0, "j": 5.0, "task_return": 2.0})
    assert "Ψ 0" not in stream.getvalue().rpartition("\r")[2]
    progress.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (89.4, "89 s"), (91, "2 min"), (4500, "75 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_a_duration_is_in_the_unit_that_one_reads(seconds, words):
    assert format_duration(seconds) == words
