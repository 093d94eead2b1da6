"""SIGTERM ends a command as Ctrl-C does: what was learned is kept, one line says so, the status is 143."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from agents import PsiLearning
from seqtutor_envs import command
from toys.agent_toys import EXACT, toy_batch
from toys.signals import ROOT, alive, children, send_once, start

SMALL = '{"n_envs": 16, "batch_size": 16, "buffer_size": 64, "updates_per_round": 1}'


SIGNALS = [(signal.SIGTERM, 143, "Terminated"), (signal.SIGINT, 130, "Interrupted")]


def filled(path):
    return path.is_file() and path.stat().st_size > 0


def test_a_run_keeps_all_that_was_learned_and_its_workers_end(tmp_path):
    molecules = ["SeqTutor-SMILES-v0", "--workers", 2, "--env-kwargs", '{"max_length": 12}', "--settings", SMALL]
    process = start("agents", "train", *molecules, "--steps", 10**8, "--out", tmp_path / "out")
    workers = []

    def learns():
        workers[:] = children(process.pid) or workers
        return filled(tmp_path / "out" / "progress.csv")

    status, printed, said = send_once(process, learns, signal.SIGTERM)
    assert status == 143 and "Terminated; " in said and "Traceback" not in said
    assert "PsiLearning after" in printed and PsiLearning.load(tmp_path / "out" / "agent").num_timesteps > 0
    give_up = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert workers and not any(map(alive, workers))
    assert not (tmp_path / "out" / ".running").exists()


def test_the_training_of_a_prior_keeps_its_checkpoint(tmp_path):
    (tmp_path / "chains.smi").write_text("".join(f"{'C' * n}O\n" for n in range(1, 30)))
    given = ["--file", tmp_path / "chains.smi", "--out", tmp_path / "prior", "--hidden-size", 8, "--epochs", 10**6]
    process = start("seqtutor_envs.pretrain", "smiles", *given, "--precision", "float32")
    there = (tmp_path / "prior.safetensors").is_file
    status, _, said = send_once(process, there, signal.SIGTERM)
    assert status == 143 and "Terminated; " in said and "--resume goes on" in said and "Traceback" not in said
    assert (tmp_path / "prior.checkpoint").is_file()


def test_a_sweep_ends_without_a_process_left(tmp_path):
    inline = ["--env", EXACT, "--agents", "psi", "--steps", 10**9, "-n", 50, "--jobs", 1, "--out", tmp_path / "out"]
    process = start("benchmarks", "run", *inline)
    workers = []

    def learns():
        workers[:] = [one for child in children(process.pid) for one in (child, *children(child))] or workers
        return any((tmp_path / "out").glob("prior-*.json"))

    status, _, said = send_once(process, learns, signal.SIGTERM)
    assert status == 143 and "Terminated; 1 of 2 experiments" in said and "Traceback" not in said
    give_up = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert workers and not any(map(alive, workers))


@pytest.mark.parametrize("number, status, word", SIGNALS)
@pytest.mark.parametrize("ends", ["by the signal", "after its report"])
def test_the_status_tells_which_signal_came(number, status, word, ends, capsys):
    """The demonstration writes its report after the signal, and then ends with the status of Ctrl-C."""

    def action() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if ends == "by the signal":
                raise
            raise SystemExit(command.INTERRUPTED) from None

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        command.run({"do": action, "other": lambda: None}, "program", ["do"])
    assert end.value.code == status and signal.getsignal(signal.SIGTERM) == before
    assert (word in capsys.readouterr().err) == (ends == "by the signal")


def test_a_program_that_does_not_handle_sigterm_is_ended_by_it_within_a_rollout():
    """The library changes nothing for its user; only our commands handle SIGTERM."""
    handlers = []
    agent = PsiLearning(toy_batch())
    agent.learn(1, callback=lambda *_: handlers.append(signal.getsignal(signal.SIGTERM)) or True)
    assert set(handlers) == {signal.SIG_DFL}


def test_sigterm_waits_for_the_end_of_a_rollout(capsys):
    agent, calls = PsiLearning(toy_batch()), []

    def once(*_):
        if not calls:
            signal.raise_signal(signal.SIGTERM)
        return calls.append(1) or True

    with pytest.raises(SystemExit) as end, command.report_errors("program"):
        agent.learn(10**9, callback=once)
    assert end.value.code == 143 and agent.rounds == 1 and agent.num_timesteps == agent.learned_timesteps > 0


def test_ctrl_c_during_imports_is_one_line(tmp_path):
    """A module that stands in for a heavy import sends it."""
    (tmp_path / "tyro.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    for module in ("agents", "benchmarks"):
        first = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r})"
        code = f"{first}; runpy.run_module({module!r}, run_name='__main__')"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130 and "Interrupted; " in said and "Traceback" not in said, said
