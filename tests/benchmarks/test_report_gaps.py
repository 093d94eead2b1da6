"""Reports say how many nats are left of log Z: by hand; without bounds, with infinite ones, and where J is a bound."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.experiment import Experiment
from benchmarks.report import answers, load
from benchmarks.report.command import export
from benchmarks.report.data import Arm, Results
from benchmarks.report.demo_page import render_demo, summary_table
from benchmarks.report.drawing import assign_styles
from benchmarks.report.gaps import describe_share, gaps_over_tasks
from benchmarks.report.metrics import J
from benchmarks.report.render import render_markdown, render_page
from benchmarks.report.sections import make_sections
from benchmarks.report.statistics import Interval
from benchmarks.report.tables import best_of, format_text, improvement_table, log_z_table, main_tables
from benchmarks.runner import results as files
from benchmarks.suite import Suite
from seqtutor_envs.bounds import Bounds
from seqtutor_envs.bounds.known import describe_task, write_entries
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from toys.demo_toys import small_prior
from toys.result_toys import LABELS, MELODY, demo_results, exact, result

INF = math.inf
BRACKET = Bounds(1.27, "sequential Monte Carlo", 0.995, 1.36, "importance sampling", 0.995, 1.30, "SMC", (1.28, 1.32))
CERTIFIED = Bounds(89.45, "certified sum", 1.0, INF, "", 1.0, 89.45, "certified sum", (89.45, INF))
# J of each agent's runs; the prior does not learn
RUNS = {"prior": [-4.22], "G": [0.79, 0.83], "Ψ": [0.60, 0.70]}
SAMPLER = {"j": 1.2, "kl": 2.9, "task_return": 82.0, "distinct": 1.0}


def suite(bounds, runs=RUNS, c=20.0, sampler=False):
    """Results of melodies with these J by label and run, and perhaps of a sampler whose J is a lower bound."""
    made, experiments = [], []
    for label, values in runs.items():
        budget = {} if label == "prior" else {"steps": 100}
        for seed, j in enumerate(values):
            one = Experiment(MELODY, LABELS[label], env_kwargs={"c": c}, label=label, seed=seed, **budget)
            found = {"j": j, "kl": 0.0 if label == "prior" else 1.0, "task_return": 20.0, "distinct": 1.0}
            made.append(result(one, found, c=c))
            experiments.append(one)
    if sampler:
        experiments.append(Experiment(MELODY, "agents.samplers:SMCSampler", env_kwargs={"c": c}, label="SMC"))
        made.append(result(experiments[-1], SAMPLER, c=c, j_kind="lower bound"))
    known = {} if bounds is None else {one.id: bounds for one in experiments}
    return Results("melody", "Who?", tuple(experiments), made, bounds=known)


def cells(table, label):
    """The texts of a label's row, and what stands beneath them, by the column's title."""
    row = next(row for row in table.rows if row[0].text == label)
    return {head.text: (cell.text, cell.under) for head, cell in zip(table.heads, row)}


def test_the_gap_stands_beside_j_with_its_bounds():
    (table,) = main_tables(suite(BRACKET).tasks)
    assert [head.text for head in table.heads][1:5] == ["Seeds", "J", "Gap", "KL"]
    # G: 1.30 - .81, 1.27 - .81 and 1.36 - .81
    assert cells(table, "G")["Gap"] == ("≈ 0.49", "≥ 0.46, ≤ 0.55")
    assert cells(table, "Ψ")["Gap"] == ("≈ 0.65", "≥ 0.62, ≤ 0.71")
    assert cells(table, "prior")["Gap"] == ("≈ 5.52", "≥ 5.49, ≤ 5.58")
    assert [row[3].order for row in table.rows] == pytest.approx([0.49, 0.65, 5.52])


def test_where_only_a_lower_bound_is_known_that_much_is_left_at_least():
    found = suite(CERTIFIED, {"prior": [-42.2], "Ψ": [61.7, 61.7]}, 2.0)
    (table,) = main_tables(found.tasks)
    assert cells(table, "Ψ")["Gap"] == ("≥ 27.8", "≤ ∞")
    row = cells(log_z_table(found.tasks), found.tasks[0].name)
    # (61.7 + 42.2) / (89.45 + 42.2) = 78.9%
    assert row["Of the way"] == ("at most 78.9%", "") and row["Nats left"] == ("≥ 27.8", "≤ ∞")
    assert row["log Z"] == row["At most"] == ("not known", "") and row["At least"] == ("89.5", "certified sum")
    assert answers.what_is_left(found.tasks) == "Nats that the agent with the highest J leaves: Ψ ≥ 27.8."


def test_the_table_of_log_z_names_methods_probabilities_and_the_nearest_agent():
    found = suite(BRACKET)
    row = cells(log_z_table(found.tasks), found.tasks[0].name)
    assert row["log Z"] == ("1.30", "[1.28, 1.32]") and row["Nearest agent"] == ("G", "J 0.81")
    assert row["At least"] == ("1.27", "sequential Monte Carlo, p = 0.995")
    assert row["At most"] == ("1.36", "importance sampling, p = 0.995")
    # (.81 + 4.22) / (1.30 + 4.22) = 91.1%
    assert row["Nats left"] == ("≈ 0.49", "≥ 0.46, ≤ 0.55") and row["Of the way"] == ("≈ 91.1%", "")
    worse = suite(BRACKET, {"prior": [-4.22], "G": [-5.0]})
    assert {arm.label: describe_share(arm, worse.tasks[0].prior) for arm in worse.arms} == {"prior": "", "G": "none"}
    bound = replace(worse, results=[worse.results[0], worse.results[1] | {"j_kind": "lower bound"}])
    assert describe_share(bound.arms[1], bound.tasks[0].prior) == ""
    alone = suite(BRACKET, {"G": [0.81]})
    assert cells(log_z_table(alone.tasks), alone.tasks[0].name)["Of the way"] == ("–", "")  # from which J is not known


def test_without_bounds_nothing_changes():
    found = suite(None)
    (table,) = main_tables(found.tasks)
    assert "Gap" not in [head.text for head in table.heads]
    assert "gap" not in [one.anchor for one in make_sections(found, assign_styles(found.arms))]


def test_exact_tasks_keep_their_exact_gaps():
    found = exact()
    known = replace(found, bounds={one.id: BRACKET for one in found.experiments})
    assert main_tables(known.tasks) == main_tables(found.tasks)
    assert known.runs["gap"].tolist() == [one["metrics"]["gap"] for one in found.results]
    assert known.runs["log_z_lower"].tolist() == [one["metrics"]["log_z"] for one in found.results]


def test_a_lower_bound_of_j_is_written_as_one():
    found = suite(BRACKET, sampler=True)
    (table,) = main_tables(found.tasks)
    row = cells(table, "SMC")
    # at most 1.36 - 1.2 is left; J may be higher, so nothing is left for certain
    assert row["J"][0] == "≥ 1.20" and row["KL"][0] == "≤ 2.90" and row["Gap"] == ("≲ 0.10", "≤ 0.16")
    assert cells(table, "G")["J"][0] == "0.81" and row["Return R"][0] == "82.0"
    nearest = cells(log_z_table(found.tasks), found.tasks[0].name)
    # (1.2 + 4.22) / (1.3 + 4.22) = 98.2%, and more if J is higher
    assert nearest["Nearest agent"] == ("SMC", "J ≥ 1.20") and nearest["Of the way"][0] == "≳ 98.2%"
    assert "SMC has the highest J, ≥ 1.20" in answers.who_wins(found.tasks)
    for text in (render_markdown(found), render_page(found)):
        assert "this J is a lower bound" in text and "≲ 0.10" in text and "≥ 0.46, ≤ 0.55" in text


def test_a_sampler_of_the_optimum_leaves_nothing():
    found = suite(BRACKET, sampler=True)
    exactly = replace(found, results=[*found.results[:-1], found.results[-1] | {"j_kind": "exact"}])
    (table,) = main_tables(exactly.tasks)
    assert cells(table, "SMC")["Gap"] == ("0", "samples the optimum") and cells(table, "SMC")["J"][0] == "1.20"
    assert cells(log_z_table(exactly.tasks), exactly.tasks[0].name)["Nearest agent"][0] == "G"
    assert "its J is log Z, as its own draws estimate it" in render_markdown(exactly)
    assert "lower bound of the agent" not in render_markdown(exactly)
    said = "SMC samples the optimum: no J is higher than its own, 1.20 (one run); next G 0.81 [0.79, 0.83]."
    assert answers.who_wins(exactly.tasks) == said


def test_kinds_of_j_are_not_mixed():
    """A lower bound can be the best, but nothing is marked above it, and pairs are compared without it."""
    (table,) = main_tables(suite(BRACKET, sampler=True).tasks)
    assert not any(row[2].best for row in table.rows)  # the sampler ran once, and G is not above it
    low = suite(BRACKET, RUNS | {"Ψ": [-1.0, -1.1]})
    assert [row[0].text for row in main_tables(low.tasks)[0].rows if row[2].best] == ["G"]
    with_bound = replace(low, results=[one | {"j_kind": "lower bound"} if is_psi(one) else one for one in low.results])
    assert not any(row[2].best for row in main_tables(with_bound.tasks)[0].rows)
    assert answers.who_wins(with_bound.tasks).startswith("No clear winner: G has the highest J, 0.81 [0.79, 0.83], but")
    high = [one | {"j_kind": "lower bound"} if one["experiment"]["label"] == "G" else one for one in low.results]
    found = replace(low, results=high)
    assert [row[0].text for row in main_tables(found.tasks)[0].rows if row[2].best] == ["G"]
    pairs = improvement_table(found.tasks[0])
    assert [head.text for head in pairs.heads] == ["Agent", "prior", "Ψ"]


def test_a_single_run_above_all_others_is_named_without_a_rival():
    found = suite(BRACKET, sampler=True)
    said = "SMC has the highest J, ≥ 1.20 (one run), and next G 0.81 [0.79, 0.83]."
    assert answers.who_wins(found.tasks) == said


def is_psi(one):
    return one["experiment"]["label"] == "Ψ"


def test_a_gap_that_is_an_upper_bound_is_beaten_by_none():
    found = exact(tasks=1)
    bound = [one | {"j_kind": "lower bound"} if one["experiment"]["label"] == "PG" else one for one in found.results]
    arms = {arm.label: arm for arm in replace(found, results=bound).arms}
    assert gaps_over_tasks(replace(found, results=bound).tasks)[1] == ["PG"]
    assert arms["PG"].sign("gap") == "≤ " and arms["PG"].compared_interval("gap").low == -INF
    assert isinstance(arms["Ψ"], Arm) and arms["Ψ"].compared_interval("gap") == arms["Ψ"].interval("gap")


def test_results_of_older_versions_have_estimates():
    old = suite(BRACKET)
    assert all("j_kind" not in one for one in old.results)
    assert set(old.runs["j_kind"]) == {"estimate"} and not any(arm.j_is_bound for arm in old.arms)


def test_tables_for_analysis_have_log_z_and_the_gap(tmp_path):
    export(suite(BRACKET, sampler=True), tmp_path / "results.csv")
    export(suite(CERTIFIED, c=2.0), tmp_path / "certified.csv")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "certified.csv").open(newline="", encoding="utf-8") as file:
        certified = next(csv.DictReader(file))
    first = next(row for row in rows if row["label"] == "G")
    assert [first[key] for key in ("log_z_lower", "log_z_upper", "log_z_estimate")] == ["1.27", "1.36", "1.3"]
    assert float(first["gap"]) == pytest.approx(1.30 - 0.79) and first["j_kind"] == "estimate"
    assert rows[-1]["j_kind"] == "lower bound" and "bounds" not in first
    assert (certified["log_z_lower"], certified["log_z_upper"], certified["gap"]) == ("89.45", "inf", "")


@pytest.fixture
def folder(tmp_path, tmp_path_factory):
    """Results of melodies at two temperatures, and of a prior that they name."""
    mine = str(small_prior(tmp_path_factory.mktemp("prior") / "mine", MELODY_VOCAB, 32))
    kwargs = [{"c": 20.0}, {"c": 5.0}, {"c": 20.0, "prior": mine}]
    made = [Experiment(MELODY, "agents:PsiLearning", env_kwargs=one, steps=9) for one in kwargs]
    for one in made:
        files.write(files.result_path(tmp_path, one), one, {"metrics": {"j": 0.81, "kl": 1.0, "task_return": 20.0}})
    return tmp_path


def entry(kwargs, bounds):
    return {**describe_task(MELODY, kwargs), "bounds": bounds.to_json(), "made": {"seconds": 1.0}}


def gaps_of(found):
    return {arm.runs["env_kwargs"].iloc[0]: arm.gap and arm.gap.low for arm in found.arms}


def test_bounds_in_the_folder_win_over_the_shipped_ones(folder, monkeypatch, tmp_path_factory):
    shipped = tmp_path_factory.mktemp("shipped") / "bounds.json"
    five = replace(BRACKET, lower=16.0, upper=INF, estimate=17.0)
    write_entries(shipped, [entry({"c": 20.0}, replace(BRACKET, lower=1.2)), entry({"c": 5.0}, five)])
    monkeypatch.setattr("seqtutor_envs.bounds.known.SHIPPED", shipped)
    low = {key: value for key, value in gaps_of(load.load_folder(folder)).items() if value is not None}
    assert low == {'{"c": 20.0}': pytest.approx(1.2 - 0.81), '{"c": 5.0}': pytest.approx(16.0 - 0.81)}
    write_entries(folder / "bounds.json", [entry({"c": 20.0}, BRACKET)])
    found = load.load_folder(folder)
    assert not found.notes and len(found.results) == 3
    assert gaps_of(found)['{"c": 20.0}'] == pytest.approx(1.27 - 0.81)
    assert gaps_of(found)['{"c": 5.0}'] == pytest.approx(16.0 - 0.81)


def test_a_prior_that_results_name_is_opened_only_if_their_suite_is_named(folder):
    (kwargs,) = [key for key in gaps_of(load.load_folder(folder)) if "prior" in key]
    write_entries(folder / "bounds.json", [entry(json.loads(kwargs), BRACKET)])
    stranger = load.load_folder(folder)
    assert gaps_of(stranger)[kwargs] is None
    named = load.load_results(Suite("mine", "", stranger.experiments), folder, "mine.py")
    assert gaps_of(named)[kwargs] == pytest.approx(1.27 - 0.81)


def test_a_damaged_file_of_bounds_is_named_once_and_left_out(folder, capsys):
    (folder / "bounds.json").write_text('{"bounds": [{"env": 3}]}')
    main(["report", "--out", str(folder), "--markdown"])
    (told,) = capsys.readouterr().err.splitlines()
    assert "bounds.json" in told and told.endswith("left out.")


def test_the_demonstration_says_what_each_tutor_leaves():
    part = demo_results()["melodies"]
    assert "Nats left" not in format_text(summary_table("melodies", part))
    known = {20.0: (1.27, None, 1.30), 10.0: (4.9, None, None), 2.0: (89.45, None, None)}
    for one in part["tutors"].values():
        low, high, estimate = known[one["c"]]
        log_z = {"log_z_lower": low, "log_z_upper": high, "log_z_estimate": estimate}
        one["metrics"] = {**one["metrics"], "j": 0.81, **log_z}
    text = next(line for line in format_text(summary_table("melodies", part)).splitlines() if "Nats left" in line)
    assert " ".join(text.split()) == "Nats left lower ≈ 0.49 ≥ 4.09 ≥ 88.6"
    assert "≥ 88.6" in render_demo({**demo_results(), "melodies": part})


def test_the_best_of_bounds():
    """Above a lower bound there is no winner; a lower bound above all others is one."""
    bound, low, high = Interval(5, 4, INF, 2), Interval(2, 1, 3, 2), Interval(9, 8, 10, 2)
    assert best_of(J, [bound, low]) == 0 and best_of(J, [bound, high]) is None
