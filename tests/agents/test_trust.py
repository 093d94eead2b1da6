"""Loading an agent's file imports, calls and opens nothing that the file names, whichever way it is loaded."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents import PsiLearning
from agents.__main__ import main
from agents.evaluate import evaluate
from agents.evaluate.load import load
from seqtutor_envs.files import import_by_name
from seqtutor_envs.registry import Untrusted
from toys.agent_files import PLANTED, read_agent_file, rewrite
from toys.agent_toys import EXACT, made
from toys.molecule_runs import MELODY, SMILES, refused
from toys.watching import watch

ROOT = Path(__file__).parents[2]
MOLECULES = {"max_length": 8, "workers": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of agents on shipped priors alone, which need nobody's word."""
    folder = tmp_path_factory.mktemp("saved")
    trained = {"molecules": (SMILES, MOLECULES), "melodies": (MELODY, {"length": 4}), "exact": (EXACT, {})}
    for name, (env, kwargs) in trained.items():
        made(PsiLearning, env, n_envs=4, env_kwargs=kwargs).save(folder / name / "agent")
    return folder


@pytest.fixture
def home(saved, tmp_path, monkeypatch):
    """The saved agents in the current folder, beside a module `planted` that leaves a file once it is imported."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as `python -m` has it
    yield tmp_path
    sys.modules.pop("planted", None)


def names(home, agent, **kwargs):
    """Change keywords of an agent's environment; "id" changes its id."""

    def change(arrays, facts):
        facts["env"]["id"] = kwargs.pop("id", facts["env"]["id"])
        facts["env"]["kwargs"] |= kwargs

    rewrite(home / agent / "agent.safetensors", change)
    return home / agent


STRANGERS = {  # what a file may name -> what the refusal says
    "an objective": ("molecules", {"objective": "planted:score"}, "objective='planted:score'"),
    "a program": ("molecules", {"objective": "os:system"}, "objective='os:system'"),
    "a prior": ("melodies", {"prior": "planted.safetensors"}, "prior='planted.safetensors'"),
    "a filter": ("molecules", {"known": "planted.bloom"}, "known='planted.bloom'"),
    "a module": ("exact", {"id": "planted:SeqTutor-Exact-v0"}, "env='planted:SeqTutor-Exact-v0'"),
    "a module of a new id": ("exact", {"id": "planted:Planted-v0"}, "env='planted:Planted-v0'"),
    "an id of Gymnasium's": ("exact", {"id": "GymV26Environment-v0", "env_id": "planted:X-v0"}, "GymV26Environment-v0"),
    "a long sequence": ("melodies", {"length": 10**9}, "length=1000000000"),
    "an endless tree": ("exact", {"vocab_size": 1, "length": 10**12}, "length=1000000000000"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_nothing_that_a_file_names_is_used(stranger, home, capsys):
    agent, kwargs, says = STRANGERS[stranger]
    folder = names(home, agent, **kwargs)
    with watch("planted") as seen:
        for action in (PsiLearning.load, load, lambda path: evaluate(path, EXACT, 2)):
            with pytest.raises(Untrusted, match="pass trust=True") as caught:
                action(folder / "agent")
            assert says in str(caught.value) and "\n" not in str(caught.value)
        for command in (["evaluate", folder, "-n", 2], ["train", EXACT, "--resume", "--out", folder]):
            assert says in refused(capsys, *command)
    assert seen == [] and not (home / "ran").exists()


@pytest.mark.parametrize("command", ["sample exact", f"train {EXACT} --out exact", "sample exact --help"])
def test_no_command_imports_a_module_to_find_the_options_of_a_file(command, home, capsys):
    names(home, "exact", id="planted:SeqTutor-Exact-v0")
    with watch("planted") as seen, pytest.raises(SystemExit):
        main(command.split())
    assert seen == [] and "planted:SeqTutor-Exact-v0" in capsys.readouterr().err


def test_the_users_word_counts(home):
    """`trust`, or the same thing given by the user."""
    folder = names(home, "molecules", objective="planted:score", known=None)
    for word in ({"trust": True}, {"env_kwargs": {"objective": "planted:score"}}):
        agent = PsiLearning.load(folder / "agent", **word)
        assert agent.task.objective.path == "planted:score" and agent.task.objective(["C"])[0].value == 1.0
    assert PsiLearning.load(folder / "agent", env_kwargs={"objective": None}).task.objective is None
    prior = ROOT / "tests/fixtures/priors/melody.safetensors"
    file = ROOT / "tests/fixtures/agents/psi_melody.safetensors"
    copy = Path(shutil.copy(file, home / "m.safetensors"))
    rewrite(copy, lambda _, facts: facts["env"]["kwargs"].update(prior=str(prior)))
    for word in ({"trust": True}, {"prior": prior}, {"env_kwargs": {"prior": prior}}):
        assert PsiLearning.load(home / "m", **word).num_timesteps == 2048


def test_an_imported_module_and_a_registered_id_need_no_word(home):
    folder = names(home, "exact", id="seqtutor_envs:SeqTutor-Exact-v0")
    assert PsiLearning.load(folder / "agent").recipe["id"] == "seqtutor_envs:SeqTutor-Exact-v0"


def test_a_keyword_that_no_file_may_give_is_named(home):
    with pytest.raises(ValueError, match="has no keyword 'task' that a file may give"):
        PsiLearning.load(names(home, "exact", task="planted") / "agent")
    with pytest.raises(ValueError, match="has no keyword 'num_envs'"):
        PsiLearning.load(names(home, "melodies", num_envs=10**9) / "agent")


@pytest.mark.parametrize("setting", ["n_envs", "buffer_size", "batch_size", "updates_per_round"])
def test_sizes_are_capped_before_memory_is_spent(setting, home):
    def change(arrays, facts):
        (facts if setting == "n_envs" else facts["settings"])[setting] = 10**12

    rewrite(home / "exact" / "agent.safetensors", change)
    with pytest.raises(Untrusted, match=f"names {setting}=1000000000000"):
        PsiLearning.load(home / "exact" / "agent")


def test_a_file_starts_no_thousands_of_processes(home):
    """Commands take the machine's own number instead."""
    with pytest.raises(Untrusted, match="workers=100000"):
        PsiLearning.load(names(home, "molecules", workers=100_000) / "agent")


def test_sampling_needs_no_objective_and_no_word(home, capsys):
    plain = names(home, "molecules", objective="planted:score", minimize=False, term_weights={"objective": 2.0})
    with watch("planted") as seen:
        main(["sample", str(plain), "-n", "3"])
        expected = capsys.readouterr().out
        main(["sample", str(plain), "-n", "3", "--format", "csv"])
    out, err = capsys.readouterr()
    assert seen == [] and "objective" not in out.splitlines()[0] and "add --trust" in err
    main(["sample", str(plain), "-n", "3", "--format", "csv", "--trust"])
    assert "objective" in capsys.readouterr().out.splitlines()[0] and (home / "ran").exists()
    main(["sample", str(plain), "-n", "3", "--trust"])
    assert len(expected.splitlines()) == 3


def said_command(line):
    """The arguments of the command that a refusal says to type."""
    return shlex.split(line.partition("If you know what it is: python -m agents ")[2])


def test_a_refusal_says_the_command_that_works(home, capsys):
    folder = names(home, "molecules", objective="planted:score")
    again = said_command(refused(capsys, "evaluate", folder, "-n", 2))
    assert again == ["evaluate", str(folder), "-n", "2", "--objective", "planted:score"]
    main(again)
    assert json.loads((folder / "evaluation.json").read_text())["env_kwargs"]["objective"] == "planted:score"
    names(home, "molecules", known="nowhere.bloom")
    assert said_command(refused(capsys, "evaluate", folder, "-n", 2))[-1] == "--trust"


def test_a_run_goes_on_by_the_command_that_is_said(home, capsys):
    run = ["train", SMILES, "--out", "run", "--workers", "0", "--settings", '{"n_envs": 4, "buffer_size": 4}']
    main([*run, "--objective", "planted:score", "--steps", "50", "--env-kwargs", '{"max_length": 8}'])
    again = said_command(refused(capsys, "train", SMILES, "--resume", "--out", "run", "--workers", "0", "--steps", 99))
    assert again[-2:] == ["--objective", "planted:score"]
    assert "is the saved one" in refused(capsys, *again[:-1], "planted:other")
    main(again)
    assert read_agent_file(home / "run" / "agent.safetensors")[1]["num_timesteps"] >= 99


def test_text_of_a_file_is_not_offered_as_words_of_a_command(home, capsys):
    """A name that is none of Python's gets --trust: what a file says is not typed for it."""
    folder = names(home, "molecules", objective="os:system; rm -r \x1b[2J")
    line = refused(capsys, "evaluate", folder)
    assert said_command(line)[-1] == "--trust" and "\x1b" not in line


def test_a_module_of_the_current_folder_is_found_for_one_import_alone(home, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = list(sys.path)
    assert import_by_name("planted:score", "a:b", search_here=True)(["C"]) == [1.0]
    assert sys.path == before
    with pytest.raises(ImportError):
        import_by_name("nowhere_at_all:x", "a:b", search_here=True)
    assert sys.path == before


def test_a_file_that_names_a_program_runs_none_in_a_process_of_its_own(home):
    names(home, "molecules", objective="planted:score")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "agents", "evaluate", "molecules", "-n", "2"]
    done = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (home / "ran").exists()
