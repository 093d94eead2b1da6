"""What all commands share: exit statuses, one line for a mistake, one thread."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from pathlib import Path

import pytest

import seqtutor_envs
from seqtutor_envs import command

ROOT = Path(__file__).parents[2]


def status_of(action, *args):
    """Exit status of a command whose only subcommand is `action`; None where it returns."""
    with pytest.raises(SystemExit) as exit_:
        command.run({"do": action, "other": lambda: None}, "program", ["do", *args])
    return exit_.value.code


def raising(error):
    def action() -> None:
        raise error

    return action


def test_the_subcommand_is_called_with_its_arguments():
    called = []

    def add(left: int, right: int = 2) -> None:
        called.append(left + right)

    command.run({"add": add, "other": lambda: None}, "program", ["add", "--left", "3"])
    assert called == [5]


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("that is wrong"), "program: that is wrong\n"),
        (ImportError("install this"), "program: install this\n"),
        (FileNotFoundError("No prior 'x': give another."), "program: No prior 'x': give another.\n"),
        (BrokenPipeError(32, "Broken pipe"), "program: [Errno 32] Broken pipe\n"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(capsys, error, line):
    assert status_of(raising(error)) == 2
    assert capsys.readouterr().err == line


def test_a_file_that_cannot_be_opened_is_named(capsys, tmp_path):
    def read() -> None:
        open(tmp_path / "nowhere")

    assert status_of(read) == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in err and err.startswith("program: No such file") and err.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run({"do": raising(ZeroDivisionError()), "other": lambda: None}, "program", ["do"])


def test_a_mistake_of_ours_says_that_it_is_ours():
    with pytest.raises(KeyError) as caught:
        command.run({"do": raising(KeyError("x")), "other": lambda: None}, "program", ["do"])
    assert "not your mistake but this library's" in caught.value.__notes__[0]


def test_too_little_memory_is_one_line(capsys):
    assert status_of(raising(MemoryError())) == 2
    assert capsys.readouterr().err == "program: there is not enough memory for that\n"


def test_a_variable_shows_the_traceback_of_a_mistake(monkeypatch):
    monkeypatch.setenv("SEQTUTOR_TRACEBACK", "1")
    with pytest.raises(ValueError, match="wrong"):
        command.run({"do": raising(ValueError("wrong")), "other": lambda: None}, "program", ["do"])


def test_what_a_file_says_moves_no_cursor(capsys):
    assert status_of(raising(ValueError("a\x1b[2Jb\nc"))) == 2
    assert capsys.readouterr().err == "program: a\\x1b[2Jb c\n"


def test_values_of_a_wrong_type_are_blamed_on_their_option():
    for error in (TypeError("x"), AttributeError("x"), KeyError("x"), OverflowError("x"), RecursionError("x")):
        said = f"^--settings: {type(error).__name__}: '?x'?.$"
        with pytest.raises(ValueError, match=said), command.blame("--settings"):
            raise error
    with pytest.raises(FileNotFoundError), command.blame("--settings"):
        raise FileNotFoundError
    with pytest.raises(RuntimeError), command.blame("--settings"):
        raise RuntimeError("a bug")


def test_json_nested_too_deep_is_one_line():
    with pytest.raises(ValueError, match="--settings must be a JSON object"):
        command.json_object("[" * 100_000, "--settings")


@pytest.mark.parametrize(
    "interrupt, said",
    [
        (KeyboardInterrupt(), "Interrupted; what was written so far is complete."),
        (KeyboardInterrupt("OUT is whole; --resume goes on."), "Interrupted; OUT is whole; --resume goes on."),
    ],
)
def test_ctrl_c_is_status_130_and_says_what_was_kept(capsys, interrupt, said):
    assert status_of(raising(interrupt)) == 130
    assert capsys.readouterr().err.strip() == said


def test_unknown_options_are_status_2(capsys):
    assert status_of(raising(ValueError("not called")), "--nonsense", "3") == 2
    assert "nonsense" in capsys.readouterr().err


def test_commands_run_on_one_thread():
    """numpy's, scipy's and torch's products, whatever the environment says."""
    code = (
        "import numpy, scipy.linalg, torch; from seqtutor_envs.command import set_threads; set_threads(1)\n"
        "from threadpoolctl import threadpool_info\n"
        "print(torch.get_num_threads(), *{pool['num_threads'] for pool in threadpool_info()})"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_freed_memory_is_kept_where_glibc_is_and_nothing_fails_elsewhere(monkeypatch):
    asked = []

    class Library:
        def __init__(self, mallopt):
            if mallopt:
                self.mallopt = lambda option, value: asked.append((option, value))

    for mallopt in (True, False):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, mallopt=mallopt: Library(mallopt))
        command.keep_freed_memory()
    assert asked == [(-4, 0), (-1, 2**31 - 1)]


def test_memory_is_kept_in_processes_of_our_own_alone(monkeypatch):
    kept = []
    monkeypatch.setattr(command, "keep_freed_memory", lambda: kept.append(1))
    commands = {"do": lambda: None, "other": lambda: None}
    command.run(commands, "program", ["do"])
    assert kept == []
    monkeypatch.setattr(sys, "argv", ["program", "do"])
    command.run(commands, "program")
    assert kept == [1]


def test_versions_are_the_installed_ones_and_this_librarys_own(monkeypatch):
    monkeypatch.setattr(command, "PACKAGES", ("numpy", "no-such-package"))
    assert command.versions() == {
        "python": platform.python_version(),
        "seqtutor": seqtutor_envs.__version__,
        "numpy": version("numpy"),
        "no-such-package": None,
    }


def run_python(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_file_of_the_users_that_has_the_name_of_a_package_is_named(tmp_path):
    (tmp_path / "agents.py").touch()
    line = f"`agents` is {tmp_path / 'agents.py'}, not SeqTutor's: rename it"
    shown = run_python(tmp_path, "-m", "seqtutor_envs")
    assert shown.returncode == 1 and shown.stderr.startswith(f"python -m seqtutor_envs: {line}")
    failed = run_python(tmp_path, "-m", "benchmarks", "demo", "--out", "demo")
    assert failed.returncode == 2 and failed.stderr.startswith(f"python -m benchmarks: {line}")
    assert failed.stderr.count("\n") == 1


def test_a_folder_of_the_users_that_hides_an_editable_install_is_named(tmp_path, monkeypatch):
    # what a finder of an editable install cannot prevent: the path has a folder `agents`, the package is not on it
    (tmp_path / "agents").mkdir()
    monkeypatch.setattr(command, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    assert command.find_conflict() == (
        f"`agents` is {tmp_path / 'agents'}, not SeqTutor's: rename it, start Python in another folder, or install "
        "SeqTutor in an environment of its own"
    )


def test_another_distribution_in_the_folder_of_a_package_is_named(monkeypatch):
    assert command.find_conflict() is None
    monkeypatch.setattr(command, "packages_distributions", lambda: {"agents": ["seqtutor", "openai-agents"]})
    assert command.find_conflict() == (
        "openai-agents has a package called `agents`, too: install SeqTutor in an environment of its own"
    )


def test_the_package_itself_shows_what_is_installed(tmp_path):
    shown = run_python(tmp_path, "-m", "seqtutor_envs")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert f"{'folder':18} {ROOT}" in lines and f"{'numpy':18} {version('numpy')}" in lines
    assert "SeqTutor-Melody-v0" in lines
