"""What a sweep shows: lines in a log, and in a terminal a bar besides."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from benchmarks.experiment import Experiment
from benchmarks.runner import progress as module
from benchmarks.runner.progress import SweepProgress

TASK = "SeqTutor-Exact-v0 (length=3)"
METRICS = {"j": 2.0781, "kl": 0.86656, "task_return": 2.9446, "gap": 0.36271, "distinct": 0.19}
EVERY = tuple(
    Experiment("SeqTutor-Exact-v0", "agents:PsiLearning", {"length": 3}, steps=600, seed=seed, label="Ψ")
    for seed in range(5)
)


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def newest(self):
        """The bar as it is shown now."""
        return self.getvalue().rpartition("\r")[2]


@pytest.fixture
def clock(monkeypatch):
    """Its `now` is the time."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_a_log_has_a_line_for_each_experiment(clock):
    stream = io.StringIO()
    progress = SweepProgress(4, 2, stream)
    progress.on_start(EVERY[0])
    progress.on_start(EVERY[1])
    progress.on_progress(EVERY[0], {"share": 0.5, "j": 1.0, "task_return": 2.0})
    assert stream.getvalue() == ""
    clock.now += 30.0
    progress.on_result(EVERY[0], METRICS)
    progress.on_failure(EVERY[1], "ValueError:\n\tno")
    progress.on_start(EVERY[2])
    progress.on_loss(EVERY[2], "its node is gone")
    progress.on_start(EVERY[2])
    progress.on_start(EVERY[3])
    clock.now += 70.0
    progress.on_result(EVERY[2], {"task_return": -85.0, "j": None})
    progress.on_result(EVERY[3], METRICS)
    assert stream.getvalue().splitlines() == [
        f"3/6  done    Ψ, seed 0, {TASK}: J 2.078 R 2.945 KL 0.8666 gap 0.3627  (30 s)",
        f"4/6  FAILED  Ψ, seed 1, {TASK}: ValueError: no  (30 s)",
        f"lost    Ψ, seed 2, {TASK}: its node is gone; it will run again",
        f"5/6  done    Ψ, seed 2, {TASK}: R -85  (70 s)",
        f"6/6  done    Ψ, seed 3, {TASK}: J 2.078 R 2.945 KL 0.8666 gap 0.3627  (70 s)",
    ]
    assert (progress.done, progress.failed, progress.total) == (5, 1, 6)
    progress.close()
    assert "\r" not in stream.getvalue() and "%|" not in stream.getvalue()


def test_a_terminal_has_a_bar_with_what_is_in_progress(clock):
    stream = Terminal()
    progress = SweepProgress(5, 5, stream)
    progress.on_start(EVERY[0])
    progress.on_progress(EVERY[0], {"share": 0.25, "j": -12.345, "task_return": 2.0})
    newest = stream.newest()
    assert newest.startswith(" 50%|") and newest.rstrip().endswith("| 5/10 done, ? left, Ψ 0 25% J -12.3")
    progress.on_progress(EVERY[0], {"share": 0.5, "j": None, "task_return": 2.0})
    progress.on_start(EVERY[1])
    assert stream.newest().rstrip().endswith("left, Ψ 0 50% R 2.0; Ψ 1")
    for one in EVERY[2:]:
        progress.on_start(one)
    assert stream.newest().rstrip().endswith("left, Ψ 0 50% R 2.0; Ψ 1; Ψ 2; 2 more")
    before = len(stream.getvalue())
    progress.on_failure(EVERY[0], "ValueError: no")
    assert f" 6/10  FAILED  Ψ, seed 0, {TASK}: ValueError: no  (0 s)\n" in stream.getvalue()[before:]
    newest = stream.newest()
    assert newest.startswith(" 60%|") and "5/10 done, 1 failed, 00:00 left, Ψ 1; Ψ 2; Ψ 3; 1 more" in newest
    progress.on_progress(EVERY[0], {"share": 1.0, "j": 5.0, "task_return": 2.0})
    assert "Ψ 0" not in stream.newest(), "news of what is over is no news"
    progress.close()
    assert stream.getvalue().rstrip("\r").rpartition("\r")[2].strip() == "", "the bar is taken away"
