"""`python -m agents train` of molecules that is interrupted: what is on disk, and that it goes on to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rdkit import Chem
from agents import PsiLearning
from agents.__main__ import main
from agents.store.replay import Sequences
from agents.train.checkpoints import SHARE, Checkpoints
from seqtutor_envs.smiles.runs.log import MoleculeLog
from seqtutor_envs.smiles.task import SmilesTask
from toys.molecule_runs import (
    OBJECTIVE,
    SMILES,
    assert_same_runs,
    molecules,
    options,
    record,
    refused,
    resume,
    train,
    valid_by_rdkit,
    working_folder,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    yield from working_folder(tmp_path, monkeypatch)


# -- going on ---------------------------------------------------------------------------------------------------------


def test_a_killed_run_leaves_its_last_checkpoint_and_goes_on_to_the_same_end(home):
    out = home / "killed"
    command = [sys.executable, "-m", "agents", *options(out, "--checkpoint-seconds", "0.05", steps=10**8)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while not (out / "molecules.csv.gz").is_file() or record(out)["rounds"] < 20:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()

    reached = PsiLearning.load(out / "agent", trust=True).num_timesteps
    rows = molecules(out)
    assert rows and max(int(row["last_step"]) for row in rows) <= reached
    assert len(list(Chem.SDMolSupplier(str(out / "top.sdf")))) == min(100, len(rows))
    assert record(out)["sessions"][0]["ended"] is None
    (out / ".top.sdf.123").write_text("half")
    resume(out, reached + 300)
    train(home / "whole", steps=reached + 300)
    assert_same_runs(out, home / "whole")
    assert not list(out.glob(".*"))


def test_calls_and_children_are_logged_and_a_resumed_run_has_the_same(home, monkeypatch):
    """Chains of other lengths stand for a genetic algorithm's children: each is a call, and a molecule of the run."""
    made = []

    def derive(self, kind, tokens, lengths, returns, n, rng):
        texts = ["C" * int(rng.integers(1, 6)) + "N" + "C" * int(rng.integers(0, 2)) for _ in range(n)]
        made.extend(texts)
        return texts

    monkeypatch.setattr(SmilesTask, "derive", derive)
    given = {"store": {"children": 3, "parents": 8}, "scores": "expensive", "n_envs": 8, "on_repeats": "off"}
    asked = ["--objective", "chemist:carbons", "--oracle-budget", "90", "--settings", json.dumps(given)]
    train(home / "whole", *asked, steps=10**6)
    calls = yaml.safe_load((home / "whole" / "calls.yaml").read_text())
    assert [n for _, n in calls.values()] == list(range(1, 91)) and record(home / "whole")["oracle"]["calls"] == 90
    assert all(score == name.count("C") / 8 for name, (score, _) in calls.items())
    children = {valid_by_rdkit(text) for text in made} & set(calls)
    logged = {row["smiles"] for row in molecules(home / "whole")}
    # but for those of the last round, in which the budget ended
    assert len(children & logged) >= len(children) - 3 > 0 and logged <= set(calls)

    train(home / "parts", *asked, steps=100)
    resume(home / "parts", 250)
    assert 10 < record(home / "parts")["oracle"]["calls"] < 90
    resume(home / "parts", 10**6)
    assert_same_runs(home / "whole", home / "parts")


@pytest.mark.parametrize("moment", ["before the molecules are committed", "before the agent is in its place"])
def test_a_run_killed_within_a_checkpoint_goes_on_to_the_same_end(moment, home, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    train(home / "whole")
    train(home / "parts", steps=300)
    with monkeypatch.context() as patched:
        if moment == "before the molecules are committed":
            patched.setattr(MoleculeLog, "commit", kill)
        else:
            real = os.replace
            patched.setattr(os, "replace", lambda a, b: kill() if a.name.startswith("agent") else real(a, b))
        with pytest.raises(Killed):
            resume(home / "parts", 900)
    assert (home / "parts" / "agent-next.safetensors").is_file()
    resume(home / "parts", 1500)
    assert_same_runs(home / "parts", home / "whole")
    assert not (home / "parts" / "agent-next.safetensors").exists()


def test_an_error_within_a_round_leaves_the_last_checkpoint(home, monkeypatch):
    """In the third round: two whole ones are lost, as by a kill, and written again."""
    out = home / "out"
    train(out, steps=300)
    before = (out / "agent.safetensors").read_bytes(), molecules(out)
    improve, rounds = PsiLearning.improve, []

    def fails(agent, sequences):
        rounds.append(1)
        return improve(agent, sequences) if len(rounds) < 3 else 1 / 0

    with monkeypatch.context() as patched:
        patched.setattr(PsiLearning, "improve", fails)
        with pytest.raises(ZeroDivisionError):
            resume(out, 900)
    assert ((out / "agent.safetensors").read_bytes(), molecules(out)) == before
    resume(out, 900)
    train(home / "whole", steps=900)
    assert_same_runs(out, home / "whole")


def test_a_run_without_a_checkpoint_is_begun_anew(home):
    train(home / "out", steps=300)
    (home / "out" / "agent.safetensors").unlink()  # the molecules and the record are another run's
    train(home / "out", "--seed", "5", steps=300)
    train(home / "alone", "--seed", "5", steps=300)
    assert_same_runs(home / "out", home / "alone")
    assert len(record(home / "out")["sessions"]) == 1


def test_molecules_of_another_run_are_a_mistake(home, capsys):
    train(home / "a", steps=200)
    train(home / "b", steps=600)
    (home / "b" / "molecules.sqlite").rename(home / "a" / "molecules.sqlite")
    again = ["train", SMILES, "--resume", "--trust", "--steps", 900, "--out"]
    assert "not of one run" in refused(capsys, *again, home / "a")
    assert "No molecules.sqlite" in refused(capsys, *again, home / "b")


def test_checkpoints_are_rarer_where_writing_is_slow(tmp_path):
    """Of a clock that jumps 5 s when an agent is saved and 100 s when molecules are exported, and 1 s a round."""
    now, saved, exported = [0.0], [], []

    class Slow:
        num_timesteps, rounds, logger = 0, 0, None
        newest = Sequences(*(np.zeros(0),) * 4)
        rollouts = SimpleNamespace(terms=None)
        offered = ()

        def save(self, path):
            now[0] += 5.0
            saved.append(now[0])
            Path(path).write_bytes(b"")

        def get_env(self):
            return None

    class Log:
        def add(self, newest):
            now[0] += 1.0

        def export(self):
            now[0] += 100.0
            exported.append(now[0])

        def commit(self, num_timesteps):
            pass

        def close(self):
            pass

    class NoRecord:
        def write(self, *args, **kwargs):
            pass

    callback = Checkpoints(tmp_path, NoRecord(), Log(), seconds=10.0, clock=lambda: now[0])
    callback.init_callback(Slow())
    callback.on_training_start({}, {})
    for _ in range(5000):
        callback.on_rollout_start()
        callback.on_rollout_end()
    # the first save is due after 10 s, later ones SHARE times 5 s after the end of the one before
    assert saved[0] == 15.0 and exported[0] == 115.0
    assert min(np.diff(saved)) >= SHARE * 5.0 and len(saved) > 30
    assert min(np.diff(exported)) >= SHARE * 100.0 and len(exported) == 3


# -- a budget of oracle calls -----------------------------------------------------------------------------------------


def test_a_spent_budget_ends_learning_and_is_counted_over_sessions(home, capsys):
    asked = ("--objective", "chemist:carbons", "--oracle-budget", "30")
    train(home / "whole", *asked, steps=10**6)
    assert "Oracle: 30 molecules scored, the whole budget; top-1 " in capsys.readouterr().out
    whole = record(home / "whole")
    assert whole["oracle"]["calls"] == whole["oracle"]["budget"] == 30 == len(molecules(home / "whole"))
    best = sorted((float(row["objective"]) for row in molecules(home / "whole")), reverse=True)
    assert whole["oracle"]["top_10"] == pytest.approx(np.mean(best[:10]))
    assert whole["num_timesteps"] < 10**6

    train(home / "parts", *asked, steps=whole["num_timesteps"] // 3)
    assert 0 < record(home / "parts")["oracle"]["calls"] < 30
    resume(home / "parts", 10**6)
    assert_same_runs(home / "parts", home / "whole")
    first, second = record(home / "parts")["sessions"]
    assert first["to_timestep"] == second["from_timestep"] < second["to_timestep"]
    assert "nothing left to learn" in refused(capsys, "train", SMILES, "--resume", "--trust", "--out", home / "parts")
    # which may ask the objective for more than the budget
    main(["evaluate", str(home / "parts"), "-n", "200", "--trust"])
    figures = json.loads((home / "parts" / "evaluation.json").read_text())
    assert figures["term_objective"] > 0


def test_a_changed_objective_is_said(home, capsys):
    train(home / "out", "--objective", "chemist:carbons", steps=200)
    (home / "chemist.py").write_text(OBJECTIVE + "\n# changed\n")
    resume(home / "out", 400)
    assert "chemist:carbons: its source is not what it was" in capsys.readouterr().err
