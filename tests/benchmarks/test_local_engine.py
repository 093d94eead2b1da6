"""The engine of one machine: what it tells of processes that end, however they end."""

from __future__ import annotations

import os
import signal
import time

import pytest

from benchmarks.runner.local_engine import LOG_LINES, LocalEngine, count_jobs, read_tail
from benchmarks.runner.perform import perform
from benchmarks.runner.results import log_path
from seqtutor_envs.command import usable_cores
from toys.sweep_toys import appears, ended, toy, waiting_processes

LONG = 60.0  # seconds after which a test has failed; all of them take a few


def heard(engine, count):
    """Events until `count` experiments are over: progress, and the last of each by the experiment's label."""
    told, over, end = [], {}, time.monotonic() + LONG
    while len(over) < count and time.monotonic() < end:
        for event in engine.wait(0.2):
            if event.kind == "progress":
                told.append(event)
            else:
                assert event.experiment.name not in over
                over[event.experiment.name] = event
    return told, over


def start_waiting(engine, folder):
    """Start an experiment that waits for a file, which is returned, once it waits."""
    engine.start(toy("table", steps=240, until=str(folder / "go")))
    assert appears(folder / "go.waiting")
    return folder / "go"


@pytest.fixture
def made(tmp_path):
    """A function that makes an engine; what still runs afterwards is ended."""
    engines = []

    def make(jobs=2, time_limit=None):
        engines.append(LocalEngine(jobs, tmp_path, time_limit))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


def test_results_arrive_as_they_are_made_here_and_empty_logs_do_not_stay(made, tmp_path):
    engine = made()
    one, other = toy("table", steps=240), toy("raises")
    engine.start(one)
    engine.start(other)
    told, over = heard(engine, 2)
    assert engine.slots == 2 and engine.wait(0.0) == []
    result, here, progress = over["table"].facts, perform(one), []
    for name in ("metrics", "samples", "weights", "timesteps", "warnings", "seeds"):
        assert result[name] == here[name], name
    perform(one, progress.append)
    assert [event.facts for event in told if event.experiment == one] == progress
    assert over["table"].kind == "done" and not log_path(tmp_path, one).exists()
    failure = over["raises"]
    assert failure.kind == "failed" and failure.facts["reason"] == "RuntimeError: my agent is broken"
    assert failure.facts["log"].startswith("about to break\nTraceback") and 0 <= failure.facts["seconds"] < LONG
    assert log_path(tmp_path, other).read_text() == failure.facts["log"] + "\n"


def test_an_experiment_that_takes_too_long_has_failed_and_its_process_is_gone(made, tmp_path):
    engine = made(time_limit=1.5)
    waits = toy("table", steps=240, until=str(tmp_path / "never.go"))
    engine.start(waits)
    _, over = heard(engine, 1)
    failure = over["table"]
    assert failure.kind == "failed" and failure.facts["reason"] == "it took more than 1.5 seconds"
    assert 1.5 <= failure.facts["seconds"] < LONG
    if (tmp_path / "never.waiting").exists():  # it had begun to wait by then
        assert ended(waiting_processes(tmp_path / "never.go")[0], 1.0)


def test_stopping_ends_everything_without_a_trace(made, tmp_path):
    engine = made()
    every = [toy("table", steps=240, seed=seed, until=str(tmp_path / f"{seed}.go")) for seed in range(2)]
    for one in every:
        engine.start(one)
    assert all(appears(tmp_path / f"{seed}.waiting") for seed in range(2))
    processes = [waiting_processes(tmp_path / f"{seed}.go")[0] for seed in range(2)]
    assert all(os.kill(process, 0) is None for process in processes)
    engine.stop()
    assert all(ended(process, 1.0) for process in processes) and engine.wait(0.0) == []
    assert list((tmp_path / "logs").iterdir()) == []


def test_ctrl_c_is_the_runner_s_and_ends_no_experiment_by_itself(made, tmp_path):
    engine = made()
    go = start_waiting(engine, tmp_path)
    os.kill(waiting_processes(go)[0], signal.SIGINT)
    go.write_text("")
    _, over = heard(engine, 1)
    assert over["table"].kind == "done"


def test_a_process_that_dies_while_it_sends_has_failed(made, tmp_path):
    """Half of a message is in the pipe then."""
    engine = made()
    process, _ = waiting_processes(start_waiting(engine, tmp_path))
    assert all(event.kind == "progress" for event in engine.wait(0.0))
    (running,) = engine._running
    ours, theirs = engine._context.Pipe(duplex=False)
    os.write(theirs.fileno(), (100).to_bytes(4, "big") + b"half")
    theirs.close()
    running.pipe.close()
    running.pipe = ours
    os.kill(process, signal.SIGKILL)
    _, over = heard(engine, 1)
    assert over["table"].kind == "failed" and "SIGKILL" in over["table"].facts["reason"]


def test_the_end_of_a_log_is_kept(tmp_path):
    log = tmp_path / "some.log"
    assert read_tail(log) == ""
    log.write_bytes(b"".join(b"line %d \xff\n" % i for i in range(1000)))
    assert read_tail(log).splitlines() == [f"line {i} \ufffd" for i in range(1000 - LOG_LINES, 1000)]


def test_there_are_as_many_jobs_as_cores_unless_one_asks():
    assert (count_jobs(None), count_jobs(3)) == (usable_cores(), 3)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"--jobs must be at least 1, not {wrong}"):
            count_jobs(wrong)
