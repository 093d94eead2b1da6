"""`python -m benchmarks compare`: files, what is repeated and what not, the table; on tasks that take no time."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import time

import gymnasium as gym
import numpy as np
import pytest

from agents import PsiLearning
from agents.budget import SecondsBudget
from benchmarks import domains
from benchmarks.__main__ import main
from benchmarks.compare import BOTH, compare, summary
from benchmarks.domains import DOMAINS, MELODY, SMILES, keywords
from benchmarks.log_z import estimate
from benchmarks.prior_samples import Scored

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 3, "seed": 2}
OPTIONS = ["--env", EXACT, "--env-kwargs", json.dumps(KWARGS), "--n", "60", "--settings", '{"n_envs": 16}']


def compared(out, *more):
    main(["compare", *OPTIONS, "--out", str(out), *more])


def read(out, name):
    return json.loads((out / f"{name}.json").read_text())


def exact(c):
    return gym.make(EXACT, **KWARGS, c=c).unwrapped


def line_of(table, figure):
    """The cells "mean ± deviation" of one line of a table."""
    words = next(line for line in table.splitlines() if line.startswith(f"{figure} ")).split()[1:]
    return [(float(mean), float(deviation)) for mean, deviation in zip(words[::3], words[2::3])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two agents, two seeds, two temperatures, with the prior's samples."""
    out = tmp_path_factory.mktemp("comparison")
    samples = str(out / "samples" / "s.safetensors")
    main(["log-z", *OPTIONS[:4], "-n", "4000", "--out", samples])
    runs = ["--agents", "psi", "pg", "--steps", "600", "--seeds", "0", "1", "--c", "0.5", "2"]
    compared(out / "runs", *runs, "--samples", samples, "--best-of", "20", "--n", "10")
    return out / "runs"


def test_every_run_has_a_file_and_the_prior_one(folder):
    runs = {f"{a}-c{c}-seed{seed}-600steps" for a in ("psi", "pg") for c in ("0.5", "2") for seed in (0, 1)}
    others = {f"{name}-c{c}" for name in ("prior", "best-of-20") for c in ("0.5", "2")}
    assert {path.stem for path in folder.glob("*.json")} == runs | others
    run = read(folder, "psi-c0.5-seed1-600steps")
    assert (run["agent"], run["seed"], run["c"], run["n"]) == ("psi", 1, 0.5, 10)
    assert run["env"] == {**KWARGS, "c": 0.5} and run["settings"] == {"gamma": 1.0, "n_envs": 16}
    assert run["timesteps"] == 3 * run["sequences"] == 3 * math.ceil(600 / 48) * 16 and 0 < run["scored"] <= 27
    assert {"j", "kl", "distinct", "log_p", "task_return"} <= run["figures"].keys()


def test_the_priors_figures_are_those_of_a_policy_that_is_the_prior(folder):
    """KL 0 and J = E[R / c], within four standard errors of the enumeration's."""
    figures = read(folder, "prior-c0.5")["figures"]
    solution = exact(0.5).solution()
    p = np.exp(solution["prior_log_probs"])
    assert figures["kl"] == pytest.approx(0, abs=1e-9)
    assert abs(figures["j"] - p @ solution["task_returns"] / 0.5) < 4 * figures["j_se"]
    assert read(folder, "prior-c2")["figures"]["task_return"] == pytest.approx(figures["task_return"])


def test_best_of_is_judged_like_the_agents(folder):
    """The ten best of the first twenty distinct of 27 sequences: their mean return by sorting the enumeration."""
    run = read(folder, "best-of-20-c0.5")
    returns = np.sort(exact(0.5).solution()["task_returns"])[::-1]
    assert returns[7:17].mean() <= run["figures"]["task_return"] <= returns[:10].mean() + 1e-6
    assert run["scored"] == 20 <= run["drawn"] and run["figures"]["distinct_sequences"] == 10
    assert run["figures"]["kl"] == pytest.approx(math.log(run["drawn"] / 10))
    assert run["figures"]["j"] == pytest.approx(run["figures"]["task_return"] / 0.5 - run["figures"]["kl"])


def test_what_is_done_is_not_repeated_and_the_table_is_shown_again(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    samples = str(folder.parent / "samples" / "s.safetensors")
    options = ["--agents", "psi", "pg", "--steps", "600", "--seeds", "0", "1", "--c", "0.5", "2", "--n", "10"]
    compared(folder, *options, "--samples", samples, "--best-of", "20")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == before
    table = capsys.readouterr().out
    heads = table.splitlines()[0]
    for head in ("prior-c0.5 (1)", "best-of-20-c2 (1)", "psi-c0.5 600steps (2)", "pg-c2 600steps (2)"):
        assert head in heads
    j = [read(folder, f"psi-c0.5-seed{seed}-600steps")["figures"]["j"] for seed in (0, 1)]
    assert line_of(table, "j")[2] == (pytest.approx(np.mean(j), abs=1e-4), pytest.approx(np.std(j), abs=1e-4))


def test_the_share_closed_is_that_of_the_enumeration(folder, capsys):
    """(J - J(prior)) / (log Z - J(prior)) with log Z and J(prior) enumerated, as far as 4,000 samples tell."""
    samples = str(folder.parent / "samples" / "s.safetensors")
    options = ["--agents", "psi", "--steps", "600", "--seeds", "0", "1", "--c", "0.5", "--n", "10"]
    compared(folder, *options, "--samples", samples)
    table = capsys.readouterr().out
    solution = exact(0.5).solution()
    of_prior = float(np.exp(solution["prior_log_probs"]) @ solution["task_returns"]) / 0.5
    (log_z, spread), (shown, _) = line_of(table, "log_z")[1], line_of(table, "share_closed")[1]
    assert log_z == pytest.approx(solution["log_z"], abs=0.1) and spread == 0
    j = np.mean([read(folder, f"psi-c0.5-seed{seed}-600steps")["figures"]["j"] for seed in (0, 1)])
    assert shown == pytest.approx((j - of_prior) / (solution["log_z"] - of_prior), abs=0.1)
    assert all(error > 0 for error, _ in line_of(table, "share_closed_se"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--n", "11"], "n=10, not 11"),
        (["--n", "10", "--settings", '{"n_envs": 8}'], "another --out or --label"),
        (["--best-of", "20"], "--samples"),
        (["--samples", "nowhere"], "log-z"),
        (["--seconds", "0"], "more than 0"),
        (["--workers", "2"], "no scoring processes"),
        (["--env-kwargs", "{"], "JSON"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(folder, capsys, options, says):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    with pytest.raises(SystemExit) as end:
        steps = [] if "--seconds" in options else ["--steps", "600"]
        compared(folder, "--c", "0.5", "--agents", "psi", *steps, *options)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and says in error
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == before


def test_samples_of_another_task_are_refused(folder, capsys):
    samples = str(folder.parent / "samples" / "s.safetensors")
    other = json.dumps({**KWARGS, "seed": 3})
    with pytest.raises(SystemExit):
        compared(folder.parent / "other", "--env-kwargs", other, "--samples", samples)
    assert "env_kwargs" in capsys.readouterr().err


def test_marks_in_seconds_go_on_from_the_last_one(tmp_path, monkeypatch):
    """By a clock that ticks a second a step of the batch: three rounds of 16 x 3 tokens, then three more."""
    monkeypatch.setitem(domains.CLOCKS, "wall", itertools.count().__next__)
    compared(tmp_path, "--agents", "g", "--seconds", "18", "9", "--clock", "wall")
    first, second = (read(tmp_path, f"g-seed0-{mark}s") for mark in (9, 18))
    assert (first["seconds"], second["seconds"]) == (9, 18)
    assert (first["timesteps"], second["timesteps"]) == (3 * 48, 6 * 48)
    assert first["clock"] == second["clock"] == "wall"


def test_seconds_of_both_clocks_are_told_whichever_one_stops_it(tmp_path, monkeypatch):
    """By clocks that tick twice, by 1 and by 10, for each mark; judging is no part of it."""
    monkeypatch.setitem(BOTH, "cpu_seconds", itertools.count().__next__)
    monkeypatch.setitem(BOTH, "wall_seconds", itertools.count(0, 10).__next__)
    compared(tmp_path, "--agents", "g", "--seconds", "0.02", "0.04", "--clock", "wall")
    runs = [read(tmp_path, f"g-seed0-{mark}s") for mark in (0.02, 0.04)]
    assert [(run["cpu_seconds"], run["wall_seconds"]) for run in runs] == [(1, 10), (2, 20)]
    assert 0.02 <= runs[0]["seconds"] < runs[1]["seconds"]


def test_an_agent_may_have_settings_of_its_own(tmp_path):
    settings = '{"n_envs": 8, "q": {"epsilon_steps": 50}, "psi": {"n_envs": 4}}'
    compared(tmp_path, "--agents", "q", "pg", "psi", "--steps", "24", "--settings", settings)
    made = [read(tmp_path, f"{agent}-seed0-24steps")["settings"] for agent in ("q", "pg", "psi")]
    of_all = {"gamma": 1, "n_envs": 8}
    assert made == [{**of_all, "epsilon_steps": 50}, of_all, {**of_all, "n_envs": 4}]


def test_a_mark_may_be_a_part_of_a_second(tmp_path):
    compared(tmp_path, "--agents", "g", "--seconds", "0.05")
    run = read(tmp_path, "g-seed0-0.05s")
    assert run["clock"] == "cpu" and 0.05 <= run["seconds"] <= run["cpu_seconds"] and run["wall_seconds"] > 0


def test_the_wall_clock_counts_what_the_process_sleeps_through():
    """.4 s of sleep a round: CPU time hardly sees it."""

    def learned(clock):
        agent = PsiLearning(EXACT, n_envs=4, env_kwargs=KWARGS)
        collect = agent.collect
        agent.collect = lambda: (time.sleep(0.4), collect())[1]
        return agent.learn(36, callback=SecondsBudget(0.3, domains.CLOCKS[clock])).rounds

    assert learned("wall") == 1 and learned("cpu") == 3


def test_scored_counts_every_sequence_once():
    agent, scored, seen = PsiLearning(EXACT, n_envs=4, env_kwargs=KWARGS), Scored(), set()
    for _ in range(10):
        agent.learn(1, callback=scored, reset_num_timesteps=False)
        seen.update(map(tuple, agent.newest.tokens.tolist()))
    assert len(scored.names) == len(seen) > 5


def test_melodies_are_compared_as_before():
    """The defaults that the README's figures were made with."""
    defaults = {name: each.default for name, each in inspect.signature(compare).parameters.items()}
    assert (defaults["env"], defaults["agents"], defaults["seconds"]) == (MELODY, ("psi", "g", "pg"), (60.0, 300.0))
    assert (defaults["gamma"], defaults["n"], defaults["seeds"], defaults["steps"]) == (1.0, 10_000, (0,), None)
    assert DOMAINS[MELODY].clock == "cpu" and gym.make(MELODY).unwrapped.c == 2.0
    assert keywords(MELODY, "{}") == {}


def test_molecules_are_scored_on_all_cores_unless_said_otherwise(monkeypatch):
    monkeypatch.setattr(domains, "scoring_processes", lambda: 6)
    assert keywords(SMILES, "{}") == {"workers": 6} and DOMAINS[SMILES].clock == "wall"
    assert keywords(SMILES, '{"max_length": 60}', workers=0) == {"max_length": 60, "workers": 0}
    assert keywords(SMILES, '{"workers": 1}') == {"workers": 1}
    given = keywords(SMILES, "{}", '{"ring": 0}', "mine.safetensors", 2)
    assert given == {"term_weights": {"ring": 0}, "prior": "mine.safetensors", "workers": 2}
    monkeypatch.setattr(domains, "scoring_processes", lambda: 0)
    assert keywords(SMILES, "{}") == {"workers": 0}


def test_a_table_shows_what_there_is(tmp_path):
    for name, figures in (("a", {"j": 1.0, "valid": 0.5}), ("b-seed0-1s", {"j": 2.0}), ("b-seed1-1s", {"j": 4.0})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"c": 0.5, "figures": figures}))
    heads = [("a", "a.json"), ("b", "b-seed*-1s.json"), ("c", "c.json")]
    table = summary(tmp_path, heads, ("j", "valid", "novelty"))
    assert line_of(table, "j") == [(1.0, 0.0), (3.0, 1.0)] and line_of(table, "valid") == [(0.5, 0.0)]
    assert "novelty" not in table and table.splitlines()[0].split() == ["a", "(1)", "b", "(2)"]
    returns = np.array([0.0, 1.0, 2.0])
    with_log_z = line_of(summary(tmp_path, heads, ("j",), returns), "log_z")
    assert with_log_z[0][0] == pytest.approx(estimate(returns, 0.5).value, abs=1e-4)


def test_molecules_are_compared_with_two_scoring_processes(tmp_path, capsys):
    """QED alone, the shipped prior, one round: figures of molecules are in the table, and no process is left."""
    options = ["--weights", '{"valid": 0, "logp": 0, "sa": 0, "ring": 0}', "--settings", '{"n_envs": 8}', "--n", "20"]
    out, common = str(tmp_path / "runs"), ["--env", SMILES, "--workers", "2", *options]
    main(["compare", *common, "--agents", "g", "--steps", "1", "--out", out])
    run = read(tmp_path / "runs", "g-seed0-1steps")
    assert run["c"] == 0.05 and run["clock"] == "wall" and sum(run["counts"].values()) == 8
    assert 0 < run["scored"] <= run["counts"]["valid"]
    table = capsys.readouterr().out
    for figure in ("term_qed", "valid", "internal_diversity_1", "filters", "distinct_mean_qed"):
        assert len(line_of(table, figure)) == 2
    assert "term_sa" not in table
