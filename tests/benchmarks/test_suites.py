"""Suites: the shipped ones hold what can be run, and a user's file is one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from itertools import groupby

import gymnasium
import pytest

import seqtutor_envs  # noqa: F401  (registers the ids)
from benchmarks.__main__ import main
from benchmarks.contestants import import_factory
from benchmarks.domains import MELODY, SMILES
from benchmarks.experiment import Experiment
from benchmarks.suite_files import find_suite
from benchmarks.suite import Suite, total_budget
from benchmarks.suites import SUITES
from toys.commands import ROOT, refuse
from toys.sweep_toys import toy, write_suite

EVERY = [pytest.param(suite, id=name) for name, suite in SUITES.items()]
IMPORT = "from benchmarks.experiment import Experiment\nfrom benchmarks.suites import Suite\n"
ONE = "Experiment('SeqTutor-Exact-v0', 'toys.sweep_toys:still', seed=%d)"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a user's file; what its import leaves behind is taken away."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text, name="mine_of_user.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    yield write
    for name in [name for name in sys.modules if name.endswith("_of_user")]:
        del sys.modules[name]


# ---------------------------------------------------------------- shipped


@pytest.mark.parametrize("suite", EVERY)
def test_every_experiment_of_a_suite_is_once_in_it(suite):
    ids = [one.id for one in suite.experiments]
    assert len(set(ids)) == len(ids) > 10
    assert suite.question.endswith("?") and suite is find_suite(suite.name) and suite.path is None


@pytest.mark.parametrize("suite", EVERY)
def test_every_environment_is_registered_and_every_factory_is_there(suite):
    for env in {one.env for one in suite.experiments}:
        module, _, name = env.rpartition(":")
        import_module(module or "seqtutor_envs")
        assert name in gymnasium.registry
    for agent in {one.agent for one in suite.experiments}:
        assert callable(import_factory(agent))


@pytest.mark.parametrize("suite", EVERY)
def test_a_label_is_one_configuration(suite):
    """What shares task and label differs in its seed alone, so that a table may take its mean."""

    def arm(one):
        return one.task, one.name

    for _, runs in groupby(sorted(suite.experiments, key=arm), arm):
        same = list(runs)
        assert all(one.label for one in same)
        assert len({replace(one, seed=0).id for one in same}) == 1
        seeds = [0, 1, 2, 3, 5] if suite.name == "pmo" else list(range(len(same)))
        assert sorted(one.seed for one in same) == seeds


def test_each_agent_of_a_task_learns_as_long_as_the_others():
    for suite in SUITES.values():
        for task in {one.task for one in suite.experiments}:
            budgets = {one.budget for one in suite.experiments if one.task == task} - {"does not learn"}
            assert len(budgets) == 1, (suite.name, task, budgets)


# ---------------------------------------------------------------- what is chosen


def test_patterns_choose_experiments_in_their_order():
    suite = SUITES["ablations"]
    assert suite.chosen([]) == suite.experiments
    found = suite.chosen(["one-step*", "Ψ, γ .5"])
    assert [one.name for one in found] == ["Ψ, γ .5"] * 3
    found = suite.chosen(["one-step", "Ψ, γ .5"])
    names = ("Ψ, γ .5", "Ψ, one-step targets", "Ψ, one-step, target rate .01", "Ψ, one-step, no lag")
    assert [one.name for one in found] == [name for name in names for _ in range(3)]
    with pytest.raises(ValueError, match=r"matches nope or \*gone\*; labels are prior, Ψ, Ψ, γ .9") as error:
        suite.chosen(["nope", "*gone*"])
    assert "\n" not in str(error.value)


def test_a_list_says_what_there_is_and_what_has_results(tmp_path, capsys):
    (tmp_path / "smoke").mkdir()
    for one in SUITES["smoke"].experiments[:3]:
        (tmp_path / "smoke" / f"{one.id}.json").write_text("{}")
    main(["list", "--out", str(tmp_path)])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == "suite experiments with results budget what it asks".split()
    assert [row.split()[0] for row in rows] == list(SUITES)
    for row, suite in zip(rows, SUITES.values()):
        done = "3" if suite.name == "smoke" else "0"
        count, found, rest = row.split(maxsplit=3)[1:]
        assert (count, found) == (str(len(suite.experiments)), done) and rest.endswith(f"  {suite.question}")
    budgets = {row.split()[0]: " ".join(row.split()[3:6]) for row in rows}
    assert budgets["paper-melody"] == "20 M tokens", "4 agents, 5 seeds, a million tokens; the prior does not learn"
    assert budgets["third-party"] == "35 CPU minutes", "7 agents, 5 seeds, a minute"


@pytest.mark.parametrize(
    ("experiments", "text"),
    [
        ((), "nothing"),
        ((Experiment(MELODY, "a:b"),), "nothing"),
        ((Experiment(MELODY, "a:b", steps=1_500_000), Experiment(SMILES, "a:b", steps=500_000)), "2 M tokens"),
        ((Experiment(MELODY, "a:b", seconds=90), Experiment(MELODY, "a:b", seconds=60)), "2.5 CPU minutes"),
        # scoring processes share the work on molecules, so their clock is the wall's
        ((Experiment(SMILES, "a:b", seconds=6), Experiment(MELODY, "a:b", steps=1_000)),
         "0.001 M tokens, 0.1 wall-clock minutes"),
    ],
)
def test_the_budget_is_the_sum_of_what_is_learned_for(experiments, text):
    assert total_budget(experiments) == text


# ---------------------------------------------------------------- a user's file


def test_a_file_of_experiments_is_a_suite_of_its_name(file, monkeypatch):
    path = file(f'"""Which is best?\n\nMore."""\n{IMPORT}SUITE = [{ONE % 0}, {ONE % 1}]\n')
    suite = find_suite(str(path))
    assert suite == Suite("mine_of_user", "Which is best?", suite.experiments, path)
    assert [one.seed for one in suite.experiments] == [0, 1]
    monkeypatch.chdir(path.parent)
    assert find_suite("mine_of_user.py").experiments == suite.experiments
    assert sys.path.count(str(path.parent)) == 1


def test_a_file_may_define_a_suite_with_a_name_and_a_question_of_its_own(file):
    path = file(f"{IMPORT}SUITE = Suite('other', 'Why?', ({ONE % 0},))\n")
    found = find_suite(str(path))
    assert (found.name, found.question, len(found.experiments), found.path) == ("other", "Why?", 1, path)


def test_a_file_imports_what_lies_beside_it(file):
    file("SEEDS = range(3)\n", "beside_it_of_user.py")
    text = f"from beside_it_of_user import SEEDS\n{IMPORT}SUITE = tuple({ONE.replace('%d', 'seed')} for seed in SEEDS)"
    assert len(find_suite(str(file(text))).experiments) == 3


GRID = "({'env': 'SeqTutor-Exact-v0'},)"
NO_SUITES = (ONE % 0, "()", "'smoke'", GRID, f"Suite('a', 'b', {GRID})", "Suite('a', 'b', ())")
TWICE = f"({ONE % 0}, {ONE % 0})"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (:\n", "SyntaxError"),
        ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("x = 3\n", "must define SUITE, a tuple of Experiments"),
        *((f"{IMPORT}SUITE = {wrong}\n", "must define SUITE") for wrong in NO_SUITES),
        *((f"{IMPORT}SUITE = {twice}\n", "the same") for twice in (TWICE, f"Suite('a', 'b', {TWICE})")),
        (f"{IMPORT}SUITE = (Experiment('SeqTutor-Exact-v0', 'no colon'),)\n", "package.module:factory"),
        ("raise RuntimeError('first\\nsecond')\n", "RuntimeError"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_file_is_one_line(file, capsys, tmp_path, text, said):
    assert said in refuse(capsys, main, "run", file(text), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_suite_that_is_not_there_is_one_line(capsys, tmp_path):
    for name, said in (("gone_of_user.py", "No such file: gone_of_user.py"), ("smok", "smoke, exact, paper-melody")):
        assert said in refuse(capsys, main, "run", name, "--out", tmp_path / "out")


def test_an_agent_beside_the_file_is_run_from_any_folder(tmp_path):
    """Which shows as well where results go, and that neither the file nor its agent is imported from elsewhere."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    agent = "import numpy as np\n\n\nclass Mine:\n    def sample(self, n, seed):\n"
    agent += "        return np.full((n, 4), 2), np.full(n, 4)\n\n\n"
    agent += "def mine(env, *, seed, env_kwargs):\n    return Mine()\n"
    (home / "agent_of_user.py").write_text(agent)
    experiment = replace(toy("still"), agent="agent_of_user:mine", env_kwargs={}, label="")
    suite = write_suite(home / "suite_of_user.py", [experiment])
    command = [sys.executable, "-m", "benchmarks", "run", str(suite), "--jobs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    folder = elsewhere / "results" / "suite_of_user"
    found = json.loads((folder / f"{experiment.id}.json").read_text())
    assert [sample["tokens"] for sample in found["samples"]] == [[2, 2, 2, 2]] * 8
    assert "results/suite_of_user: 1 experiments have results." in ran.stdout
    assert ran.stdout.splitlines()[-1] == f"python -m benchmarks report {suite}"
