"""`python -m benchmarks run`: each experiment once, whatever goes wrong, is stopped, or is killed in between."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.runner import results
from benchmarks.runner.perform import perform
from toys.sweep_toys import appears, ended, toy, waiting_processes, write_suite

ROOT = Path(__file__).parents[2]
GOOD = (toy("still"), toy("table", steps=240), toy("table", steps=240, seed=1))
BAD = (  # each with what is said of it, and what the end of its log has
    (toy("raises"), "RuntimeError: my agent is broken", "about to break\nTraceback"),
    (toy("breaks", steps=480), "FloatingPointError: the third round is broken", "in improve"),
    (toy("exits"), "its process ended with status 3 and no result", ""),
    (toy("crashes"), "its process was killed by SIGSEGV", "Fatal Python error: Segmentation fault"),
    (toy("killed"), "its process was killed by SIGKILL; the system does so when memory runs out", ""),
    (replace(toy("still"), agent="gone_of_user:still"), "ImportError: gone_of_user:still: there is no module", ""),
    (replace(toy("still"), env="SeqTutor-Nope-v0"), "ValueError: ", "SeqTutor-Nope"),
    (toy("still", nope=1), "ValueError: toys.sweep_toys:still cannot be made with these keywords", "nope"),
)
SUITE = (GOOD[0], *(one for one, _, _ in BAD), *GOOD[1:])


@pytest.fixture(autouse=True)
def path_of_imports(monkeypatch):
    """A user's file adds its folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def status(suite, out, *options):
    """Of the command, in this process."""
    try:
        main(["run", str(suite), "--out", str(out), "--jobs", "2", *options])
    except SystemExit as exit:
        return exit.code
    return 0


def contents(folder):
    """Every file with its bytes and when it was written."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def told(result):
    """What does not depend on when and how fast."""
    curve = [{**point, "seconds": None} for point in result["curve"]]
    return [result[name] for name in ("metrics", "samples", "weights", "timesteps", "warnings", "c")] + [curve]


def assert_as_without_interruption(folder, experiments):
    for one in experiments:
        assert told(results.read(results.result_path(folder, one), one)) == told(perform(one)), one.id


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep in which much goes wrong: suite, folder, exit status, standard output and error."""
    home, out, err = tmp_path_factory.mktemp("sweep"), io.StringIO(), io.StringIO()
    suite = write_suite(home / "much_of_user.py", SUITE)
    with redirect_stdout(out), redirect_stderr(err):
        code = status(suite, home / "out")
    return suite, home / "out", code, out.getvalue(), err.getvalue()


# ---------------------------------------------------------------- what goes wrong


def test_what_goes_wrong_is_recorded_and_the_others_go_on(swept):
    _, folder, code, out, err = swept
    assert code == 1
    assert_as_without_interruption(folder, GOOD)
    for one, reason, log in BAD:
        failure = results.read(results.failure_path(folder, one), one)
        assert failure["reason"].startswith(reason) and log in failure["log"], failure
        assert failure["seconds"] >= 0 and "versions" in failure and "machine" in failure
        assert failure["log"] in results.log_path(folder, one).read_text()
        assert not results.result_path(folder, one).exists()
    expected = {results.result_path(folder, one) for one in GOOD}
    assert {*folder.glob("*.json")} == expected | {results.failure_path(folder, one) for one, _, _ in BAD}
    lines = err.splitlines()
    assert len(lines) == len(SUITE) and lines[-1].split()[0] == f"{len(SUITE)}/{len(SUITE)}"
    assert sum("FAILED" in line for line in lines) == len(BAD)
    assert any("FAILED  raises, seed 0" in line and "RuntimeError: my agent is broken  (" in line for line in lines)
    said = "3 experiments have results, 8 failed (--retry-failed runs them again; each says why in"
    assert said in out and out.splitlines()[-1].endswith(f"much_of_user.py --out {folder}")


def test_what_is_there_is_not_run_again_and_what_failed_is_left_alone(swept, capsys):
    suite, folder, *_ = swept
    before = contents(folder)
    assert status(suite, folder) == 1
    assert contents(folder) == before
    assert capsys.readouterr().err == ""
    assert status(suite, folder, "--only", "still-seed0-*", "table") == 1, "still-seed0 are four, two of which failed"
    assert status(suite, folder, "--only", "table") == 0
    assert "2 experiments have results." in capsys.readouterr().out
    assert contents(folder) == before


def test_a_dry_run_says_what_would_be_run_and_writes_nothing(swept, tmp_path, capsys):
    suite, folder, *_ = swept
    assert status(suite, tmp_path / "new", "--dry-run") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:-1]] == [one.id for one in SUITE] and not (tmp_path / "new").exists()
    assert shown[-1].startswith("11 to run into") and "0 have results, 0 have failed before" in shown[-1]
    before = contents(folder)
    assert status(suite, folder, "--dry-run", "--retry-failed", "--only", "crashes", "killed", "table") == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:-1]] == [one.id for one, _, _ in BAD[3:5]]
    assert shown[-1].startswith("2 to run") and "2 have results, 0 have failed before" in shown[-1]
    assert contents(folder) == before


def test_only_a_changed_experiment_is_run(tmp_path, capsys):
    out = tmp_path / "out"
    assert status(write_suite(tmp_path / "one_of_user.py", GOOD), out) == 0
    before = contents(out)
    changed = (replace(GOOD[0], n=50), replace(GOOD[1], label="other name"), GOOD[2])
    capsys.readouterr()
    assert status(write_suite(tmp_path / "one_of_user.py", changed), out) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("3/3  done    still")
    after = contents(out)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 1
    assert results.find_other_files(out, changed) == [results.result_path(out, GOOD[0])]


def test_what_failed_is_run_again_when_asked(tmp_path, capsys):
    one, out = toy("needs_file", path=str(tmp_path / "needed")), tmp_path / "out"
    failure, result = results.failure_path(out, one), results.result_path(out, one)
    suite = write_suite(tmp_path / "retry_of_user.py", (one, GOOD[0]))
    assert status(suite, out) == 1
    first = failure.stat().st_mtime_ns
    assert status(suite, out, "--retry-failed") == 1
    assert failure.stat().st_mtime_ns > first and not result.exists(), "and has failed again"
    (tmp_path / "needed").write_text("")
    second = contents(out)
    assert status(suite, out) == 1 and contents(out) == second
    assert status(suite, out, "--retry-failed") == 0
    assert not failure.exists() and results.read(result, one)["metrics"]
    assert list((out / "logs").iterdir()) == []
    assert status(suite, out, "--retry-failed") == 0


def test_a_damaged_file_is_kept_and_its_experiment_run_again(tmp_path, capsys):
    out, suite = tmp_path / "out", write_suite(tmp_path / "damaged_of_user.py", GOOD)
    assert status(suite, out) == 0
    whole, path = contents(out), results.result_path(out, GOOD[1])
    path.write_bytes(path.read_bytes()[:300])
    half = contents(out)
    capsys.readouterr()
    assert status(suite, out, "--dry-run") == 0
    assert "1 to run" in (shown := capsys.readouterr().out) and f"{path} is damaged" in shown and contents(out) == half
    assert status(suite, out) == 0
    note, line = capsys.readouterr().err.splitlines()
    assert note.startswith(f"{path} is damaged (") and note.endswith(f"kept as {path.name}.damaged, and run again.")
    assert line.startswith("3/3  done    table")
    after = contents(out)
    assert after.pop(f"{path.name}.damaged")[0] == half[path.name][0]
    assert told(json.loads(after.pop(path.name)[0])) == told(json.loads(whole.pop(path.name)[0]))
    assert after == whole


def test_a_result_that_json_cannot_hold_is_the_failure_of_its_experiment_alone(tmp_path, capsys):
    out, suite = tmp_path / "out", (toy("counts_in_sets", steps=24), GOOD[0])
    assert status(write_suite(tmp_path / "json_of_user.py", suite), out, "--jobs", "1") == 1
    failure = results.read(results.failure_path(out, suite[0]), suite[0])
    assert "type set" in failure["reason"] and results.result_path(out, GOOD[0]).exists()


# ---------------------------------------------------------------- mistakes, and a folder that cannot be written


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "nobody", "--dry-run"], "No experiment of wrong_of_user matches nobody; labels are still, table."),
        (["--jobs", "0"], "--jobs must be at least 1, not 0."),
        (["--address", "auto"], "--address needs --engine ray."),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(tmp_path, capsys, options, said):
    suite = write_suite(tmp_path / "wrong_of_user.py", GOOD)
    assert status(suite, tmp_path / "out", *options) == 2
    assert capsys.readouterr().err == f"python -m benchmarks: {said}\n" and not (tmp_path / "out").exists()


def test_a_file_in_the_folder_s_place_is_one_line(tmp_path, capsys):
    suite = write_suite(tmp_path / "place_of_user.py", GOOD)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        assert status(suite, out) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("python -m benchmarks: ") and str(out) in shown and shown.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_device_is_one_line_and_earlier_results_stay(tmp_path, capsys, monkeypatch):
    out, suite = tmp_path / "out", write_suite(tmp_path / "full_of_user.py", GOOD)
    write, written = results.write_atomically, []

    def full_at_the_second(path, content):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, content)

    monkeypatch.setattr(results, "write_atomically", full_at_the_second)
    assert status(suite, out) == 2
    done, error = capsys.readouterr().err.splitlines()
    said = f"cannot be written into {out} (No space left on device): what was written before is whole"
    assert done.startswith("1/3  done") and said in error and error.startswith("python -m benchmarks: ")
    assert error.endswith("the same command goes on.")
    (path,) = out.glob("*.json")
    assert path == written[0] and results.read(path)["metrics"] and list((out / "logs").iterdir()) == []
    monkeypatch.undo()
    assert status(suite, out) == 0
    assert_as_without_interruption(out, GOOD)


# ---------------------------------------------------------------- two runners, Ctrl-C, kill -9


@pytest.fixture
def runner(tmp_path):
    """A runner of three experiments in a session of its own, of which the last two wait for files, once both wait."""
    waiting = [tmp_path / f"{which}.go" for which in (1, 2)]
    every = (GOOD[1], *(toy("table", steps=240, seed=seed, until=str(go)) for seed, go in enumerate(waiting)))
    suite, out = write_suite(tmp_path / "waiting_of_user.py", every), tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks", "run", str(suite), "--out", str(out), "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, start_new_session=True, **pipes)
    try:
        assert all(appears(go.with_suffix(".waiting")) for go in waiting)
        assert results.result_path(out, every[0]).exists()
        yield process, suite, every, waiting
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def all_gone(waiting):
    """Whether its workers have ended, and what they were forked from."""
    return all(ended(process) for go in waiting for process in waiting_processes(go))


def only_whole_files(folder, experiments):
    """Whether nothing but these results is there."""
    return set(contents(folder)) == {results.result_path(folder, one).name for one in experiments}


def test_a_second_runner_is_sent_away_and_ctrl_c_stops_the_first(runner, tmp_path, capsys):
    process, suite, every, waiting = runner
    out = tmp_path / "out"
    assert status(suite, out) == 2
    said = f"Another run is writing into {out}: wait for it, stop it, or give another --out."
    assert capsys.readouterr().err == f"python -m benchmarks: {said}\n"
    waiting[0].write_text("")
    assert appears(results.result_path(out, every[1])) and process.poll() is None, "the first goes on"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130 and all_gone(waiting)
    _, shown = process.communicate()
    *lines, empty, last = shown.splitlines()
    said = f"2 of 3 experiments have their results in {out}; the same command runs the other 1."
    assert last == f"Interrupted; {said}" and empty == "" and len(lines) == 2, shown
    assert only_whole_files(out, every[:2])
    before = contents(out)
    waiting[1].write_text("")
    assert status(suite, out) == 0
    assert {name: entry for name, entry in contents(out).items() if name in before} == before
    assert only_whole_files(out, every)
    assert_as_without_interruption(out, every)


def test_what_a_killed_runner_leaves_is_whole_and_the_next_call_completes_it(runner, tmp_path):
    process, suite, every, waiting = runner
    out = tmp_path / "out"
    process.kill()
    process.wait()  # its pipes may stay open as long as its workers are there
    assert process.returncode == -signal.SIGKILL
    assert all_gone(waiting), "workers end by themselves"
    before = {name: entry for name, entry in contents(out).items() if not name.startswith("logs")}
    assert before.pop(".running") and set(before) == {f"{every[0].id}.json"}
    for go in waiting:
        go.write_text("")
    assert status(suite, out) == 0
    assert {name: entry for name, entry in contents(out).items() if name in before} == before
    assert only_whole_files(out, every)
    assert_as_without_interruption(out, every)
