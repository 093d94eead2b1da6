"""A disk that is full while molecules are learned: one line, and the last checkpoint is whole."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from toys.molecule_runs import SMILES, options, resume, train, working_folder

from agents import PsiLearning
from agents.__main__ import main
from seqtutor_envs.smiles.runs import log as molecule_log

PAGES = 5  # of 4 KiB: molecules of the first rounds


@pytest.fixture
def home(tmp_path, monkeypatch):
    yield from working_folder(tmp_path, monkeypatch)


def last_line(capsys, args):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(args)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and "Traceback" not in error
    return error.splitlines()[-1]


def committed(out):
    with closing(sqlite3.connect(out / "molecules.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return molecule_log.read_facts(db)["num_timesteps"]


def test_a_full_table_is_one_line_and_the_run_goes_on_when_there_is_room(home, monkeypatch, capsys):
    """SQLite itself says "database or disk is full" at its limit of pages."""
    train(home / "out", steps=300)
    before = committed(home / "out")
    connect = molecule_log.connect

    def small(path):
        db = connect(path)
        db.execute(f"PRAGMA max_page_count = {PAGES}")
        return db

    with monkeypatch.context() as full:
        full.setattr(molecule_log, "connect", small)
        more = ["--resume", "--trust", "--steps", "20000", "--out", str(home / "out"), "--workers", "0"]
        says = last_line(capsys, ["train", SMILES, *more])
    assert "molecules.sqlite cannot be written (database or disk is full)" in says and "--resume goes on" in says
    kept = PsiLearning.load(home / "out" / "agent", trust=True)
    assert committed(home / "out") == kept.num_timesteps >= before
    resume(home / "out", kept.num_timesteps + 200)
    assert PsiLearning.load(home / "out" / "agent", trust=True).num_timesteps >= kept.num_timesteps + 200


@pytest.mark.parametrize("name", ["agent-next.safetensors", "run.json", "molecules.csv.gz", "top.sdf"])
def test_a_full_disk_names_the_file_and_keeps_the_last_checkpoint(name, home, monkeypatch, capsys):
    def full(self, *args, **kwargs):
        if self.name.startswith(f".{name}."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return was[kwargs.pop("which")](self, *args, **kwargs)

    was = {"write": Path.write_bytes, "open": Path.open}
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: full(self, content, which="write"))
    monkeypatch.setattr(Path, "open", lambda self, *args, **kwargs: full(self, *args, which="open", **kwargs))
    says = last_line(capsys, options(home / "out", steps=300))
    assert says.startswith("python -m agents: No space left on device: ") and says.endswith(f"{home / 'out' / name}")
    assert not list((home / "out").glob(".*"))
