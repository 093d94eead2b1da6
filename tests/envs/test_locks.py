"""One run at a time writes into a folder or a file; what is left when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.__main__ import main as agents
from benchmarks.__main__ import main as benchmarks
from seqtutor_envs.files.locks import LOCK, lock_file, lock_folder
from seqtutor_envs.pretrain import main as pretrain
from toys.commands import refuse

ROOT = Path(__file__).parents[2]
EXACT, SMILES = "SeqTutor-Exact-v0", "SeqTutor-SMILES-v0"


@pytest.mark.parametrize("lock", [lock_folder, lock_file])
def test_the_second_is_refused_and_nothing_is_left(lock, tmp_path):
    out = tmp_path / "deep" / "out"
    with lock(out):
        said = f"Another run is writing .*{out}: wait for it, stop it, or give another --out"
        with pytest.raises(ValueError, match=said):
            with lock(out):
                raise AssertionError("both hold it")
    with lock(out):  # free again
        pass
    assert not out.exists() and list((tmp_path / "deep").iterdir()) == []


def test_a_folder_that_was_there_or_has_files_stays(tmp_path):
    with lock_folder(tmp_path / "out"):
        (tmp_path / "out" / "file").touch()
    with lock_folder(tmp_path):
        pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_a_name_with_and_without_its_suffix_is_one_file(tmp_path):
    second = lock_file(tmp_path / "prior.safetensors")
    with lock_file(tmp_path / "prior"), pytest.raises(ValueError, match="Another run"), second:
        raise AssertionError("both hold it")


def test_a_lock_file_that_a_killed_run_left_locks_nothing(tmp_path):
    imports = "from pathlib import Path; from seqtutor_envs.files.locks import lock_folder"
    hold = f"{imports}\nwith lock_folder(Path({str(tmp_path)!r})):\n"
    code = hold + "    print('held', flush=True); import time; time.sleep(600)"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="Another run"), lock_folder(tmp_path):
        raise AssertionError("both hold it")
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).exists()
    with lock_folder(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_commands_beside_a_run_are_refused(tmp_path, capsys):
    out, corpus = tmp_path / "out", tmp_path / "molecules.smi"
    corpus.write_text("CCO\nCCC\n")
    with lock_folder(out):
        for again in ([], ["--resume"]):
            assert "Another run is writing into" in refuse(capsys, agents, "train", EXACT, "--out", out, *again)
        assert "Another run is writing into" in refuse(capsys, benchmarks, "demo", "--out", out, "--seconds", 1)
        inline = ["--env", EXACT, "--agents", "prior", "--out", out]
        assert "Another run is writing into" in refuse(capsys, benchmarks, "run", *inline)
    with lock_file(out):
        said = refuse(capsys, pretrain, "smiles", "--file", corpus, "--out", f"{out}.safetensors")
        assert f"Another run is writing {out}.safetensors" in said
        assert "Another run is writing" in refuse(capsys, pretrain, "melody", "--tokens", corpus, "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == ["molecules.smi"]
