"""Inline suites of `python -m benchmarks run`: which experiments the options mean, their files, what replaces what."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.__main__ import REMOVED, main
from benchmarks.experiment import Experiment
from benchmarks.inline import Inline
from benchmarks.runner import results
from benchmarks.suite_files import find_suite, load_suite
from benchmarks.suite import Suite
from benchmarks.suites import SUITES
from toys.commands import refuse
from toys.sweep_toys import EXACT, KWARGS

PRIOR = Experiment(EXACT, "benchmarks.contestants:prior")


@pytest.fixture(autouse=True)
def path_of_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


def ids(experiments):
    return [one.id for one in experiments]


def test_each_agent_learns_from_each_seed_at_each_temperature_beside_the_prior():
    found = Inline(EXACT, ("psi", "mine:make"), steps=(600,), seeds=(0, 1), c=(0.5, 2.0), n=60).suite()
    expected = []
    for c in (0.5, 2.0):
        expected.append(Experiment(EXACT, "benchmarks.contestants:prior", {"c": c}, n=60))
        for agent in ("agents:PsiLearning", "mine:make"):
            expected += [Experiment(EXACT, agent, {"c": c}, steps=600, n=60, seed=seed) for seed in (0, 1)]
    assert ids(found.experiments) == ids(expected)
    assert list(dict.fromkeys(one.name for one in found.experiments)) == ["prior", "Ψ", "mine:make"]


def test_the_defaults_are_three_agents_for_a_minute():
    found = Inline(EXACT).suite()
    agents = ("agents:PsiLearning", "agents:GLearning", "agents.baselines:PolicyGradient")
    assert ids(found.experiments) == ids([PRIOR, *(Experiment(EXACT, agent, seconds=60.0) for agent in agents)])


def test_budgets_are_told_apart_by_their_labels():
    found = Inline(EXACT, ("g",), seconds=(15.0, 30.0), seeds=(0, 1)).suite()
    assert [one.name for one in found.experiments] == ["prior", "G, 15 s", "G, 15 s", "G, 30 s", "G, 30 s"]


def test_settings_are_all_agents_or_one_s_and_never_the_prior_s():
    settings = '{"n_envs": 8, "q": {"epsilon_steps": 50}, "mine:make": {"n_envs": 4}}'
    found = Inline(EXACT, ("q", "pg", "mine:make", "uniform"), steps=(24,), settings=settings).suite()
    assert {one.agent.partition(":")[2]: one.agent_kwargs for one in found.experiments} == {
        "prior": {},
        "uniform": {},
        "QLearning": {"n_envs": 8, "epsilon_steps": 50},
        "PolicyGradient": {"n_envs": 8},
        "make": {"n_envs": 4},
    }


def test_samplers_have_short_names_and_run_once():
    found = Inline(EXACT, ("smc", "rejection", "best_of_n"), seeds=(0, 1), settings='{"best_of_n": {"n": 8}}').suite()
    made = (Experiment(EXACT, f"agents.samplers:{name}") for name in ("SMCSampler", "RejectionSampler"))
    best = Experiment(EXACT, "agents.samplers:BestOfN", agent_kwargs={"n": 8})
    assert ids(found.experiments) == ids([PRIOR, *made, best])


def test_a_prior_s_file_is_an_agent_that_does_not_learn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").touch()
    found = Inline("SeqTutor-Melody-v0", ("mine.safetensors", "pg"), steps=(24,), settings='{"n_envs": 8}').suite()
    experiments = {one.name: (one.agent, one.agent_kwargs, one.steps) for one in found.experiments if one.steps is None}
    fixed = "benchmarks.contestants:prior"
    assert experiments == {"prior": (fixed, {}, None), "mine": (fixed, {"file": "mine.safetensors"}, None)}
    with pytest.raises(FileNotFoundError, match="No prior 'nowhere.safetensors'"):
        Inline("SeqTutor-Melody-v0", ("nowhere.safetensors",)).suite()


def test_weights_and_keywords_are_the_environment_s():
    (prior,) = Inline(EXACT, ("prior",), weights='{"a": 0}', env_kwargs='{"length": 3, "seed": 5}').suite().experiments
    assert prior.env_kwargs == {"length": 3, "seed": 5, "term_weights": {"a": 0}}


def test_an_inline_suite_shares_experiments_with_the_shipped_ones():
    """By their ids: the README's objective, first three agents."""
    inline = Inline("SeqTutor-Melody-v0", ("psi", "g", "pg"), seconds=(60.0,), seeds=(0, 1, 2, 3, 4)).suite()
    assert set(ids(inline.experiments)) <= set(ids(SUITES["objective"].experiments))


def test_more_seeds_join_the_same_folder_and_other_settings_have_their_own():
    more = ({}, {"seeds": (0, 1, 2)}, {"n": 50}, {"settings": '{"lam": 0}'})
    one, *names = (Inline(EXACT, ("psi",), steps=(600,), **options).suite().name for options in more)
    assert one == names[0] and len({*names}) == 3 and one.startswith("inline-exact-")


def test_settings_for_an_agent_that_is_not_there_are_an_error():
    with pytest.raises(ValueError, match="^--settings has some for g, which is not among --agents.$"):
        Inline(EXACT, ("psi",), steps=(600,), settings='{"g": {"lam": 0}}').suite()


def test_the_code_of_a_user_s_agents_is_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Inline(EXACT).suite().source is None
    assert Inline(EXACT, ("mine:make",)).suite().source == tmp_path
    assert Inline("mine:Other-v0").suite().source == tmp_path


def test_it_runs_once_is_saved_and_can_be_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["run", "--env", EXACT, "--env-kwargs", json.dumps(KWARGS), "-n", "40"]
    options += ["--agents", "toys.sweep_toys:table"]
    main([*options, "--steps", "24", "--jobs", "1", "--dry-run"])
    assert not (tmp_path / "results").exists()
    main([*options, "--steps", "24", "--jobs", "1"])
    (folder,) = (tmp_path / "results").iterdir()
    name = f"results/{folder.name}/suite.json"
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"results/{folder.name}: 2 experiments have results.",
        f"python -m benchmarks report {name}",
    ]
    expected = (Experiment(EXACT, "benchmarks.contestants:prior", KWARGS, n=40),)
    expected += (Experiment(EXACT, "toys.sweep_toys:table", KWARGS, steps=24, n=40),)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-seed0-*.json")}
    assert set(before) == {results.result_path(folder, one).name for one in expected}
    assert ids(find_suite(name).experiments) == ids(expected)
    assert results.find_other_files(folder, expected) == []
    main([*options, "--steps", "24", "--jobs", "1", "--seeds", "0", "1"])
    assert "names the program 'toys.sweep_toys:table'" in refuse(capsys, main, "run", name)
    main(["run", name, "--jobs", "1", "--trust"])
    assert "3 experiments have results." in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-seed0-*.json")}
    assert after == before and len(list(folder.glob("table-seed1-*.json"))) == 1
    # further seeds alone join those of before
    main([*options, "--steps", "24", "--jobs", "1", "--seeds", "2"])
    assert sorted(one.seed for one in load_suite(folder / "suite.json").experiments) == [0, 0, 1, 2]
    main(["report", name, "--markdown"])
    assert "toys.sweep\\_toys:table" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --env ID and --agents"),
        (["smoke", "--env", EXACT], "smoke has its own experiments"),
        (["--env", "SeqTutor-Exakt-v0"], "Did you mean: `SeqTutor-Exact`"),
        (["--env", "nowhere_at_all:X-v0"], "importing nowhere_at_all failed"),
        (["--env", EXACT, "--agents", "sarsa"], "No agent is called 'sarsa': prior, uniform"),
        (["--env", EXACT, "--seconds", "1", "--steps", "5"], "--seconds or --steps, not both"),
        (["--env", EXACT, "--seconds", "0"], "seconds must be a finite number above 0 or None, not 0.0"),
        (["--env", EXACT, "--env-kwargs", "{"], "--env-kwargs must be a JSON object"),
        (["--env", EXACT, "--settings", "[]"], "--settings must be a JSON object"),
        (["--env", EXACT, "--agents", "smc", "--settings", '{"particles": 8}'], 'agent: {"smc": {"particles": ...}}.'),
        (["--env", EXACT, "--weights", "3"], "--weights must be a JSON object"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(tmp_path, capsys, options, said):
    assert said in refuse(capsys, main, "run", *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a"}', '{"name": "a", "question": "b", "experiments": [{}]}'])
def test_a_file_that_is_no_saved_suite_is_one_line(tmp_path, text):
    (tmp_path / "suite.json").write_text(text)
    with pytest.raises(ValueError, match="is not a suite that `run` saved") as error:
        load_suite(tmp_path / "suite.json")
    assert "\n" not in str(error.value)


def test_a_saved_suite_has_its_results_beside_it(tmp_path):
    assert Suite("a", "b", (PRIOR,), tmp_path / "suite.json").folder() == tmp_path
    assert Suite("a", "b", (PRIOR,), tmp_path / "suite.json").folder(tmp_path / "c") == tmp_path / "c"
    assert Suite("a", "b", (PRIOR,)).folder().as_posix() == "results/a"


@pytest.mark.parametrize("name", REMOVED)
@pytest.mark.parametrize("more", [[], ["--help"], ["--out", "x", "--unknown"]])
def test_a_removed_command_says_what_replaces_it(capsys, name, more):
    assert f"{name} was removed; use `" in refuse(capsys, main, name, *more)


def test_help_lists_no_removed_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = capsys.readouterr().out.partition("{")[2].partition("}")[0].split(",")
    assert {"run", "report", "bounds"} <= set(commands) and not set(REMOVED) & set(commands)
