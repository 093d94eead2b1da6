"""The numbers of a suite's report, against arithmetic of their own, and where the best is marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.experiment import Experiment
from benchmarks.report import answers, metrics, render
from benchmarks.report.data import Arm, Results, TaskResults, fronts, pair_by_seed, run_row
from benchmarks.report.drawing import assign_styles
from benchmarks.report.gaps import gaps_over_tasks
from benchmarks.report.metrics import Metric
from benchmarks.report.names import shared_environments, short_task_names
from benchmarks.report.plots import mean_curve
from benchmarks.report.sections import make_sections
from benchmarks.report.statistics import Interval
from benchmarks.report.tables import aggregate_table, best_of, column_table, format_text, improvement_table, main_tables
from toys.result_toys import EXACT, MELODY, exact, frontier, melodies, molecules, result

NAN = float("nan")
HIGHER, LOWER, NEAR = (Metric("x", "X", "", better) for better in ("higher", "lower", "near 0"))


def arm(label="Ψ", task="a task", learns=True, seeds=None, curves=(), budget=None, **figures):
    """A configuration whose runs have these metrics, lists by run with None where a run has none; and their curves."""
    count = len(next(iter(figures.values())))
    budget = budget or ({"steps": 100} if learns else {})
    rows = []
    for k, seed in enumerate(seeds or range(count)):
        one = Experiment(MELODY, "agents:PsiLearning", seed=seed, label=label, group=task, **budget)
        rows.append(run_row(one, result(one, {name: values[k] for name, values in figures.items()})))
    runs = pd.DataFrame(rows, dtype=object).sort_values("seed")
    return Arm(task, label, runs, [pd.DataFrame(curve, dtype=object) for curve in curves])


def task(*arms):
    """The task of these arms."""
    return TaskResults(arms[0].task, list(arms))


def cells(table, label):
    """The row of a label, by the column's title."""
    row = next(row for row in table.rows if label in [cell.text for cell in row[: table.names]])
    return dict(zip([one.text for one in table.heads], row))


def test_a_mean_and_its_interval_are_those_of_a_plain_bootstrap():
    values = [61.0, 62.5, 60.2, 63.1, 61.7]
    found = arm(j=values).interval("j")
    rng = np.random.default_rng(12345)  # not the report's draws
    means = sorted(sum(rng.choice(values, 5)) / 5 for _ in range(20_000))
    assert found.value == pytest.approx(sum(values) / 5) and found.n == 5
    # an end of 2,000 draws strays from the exact one by about 1.5% of the width (standard deviation); four of these
    room = 0.06 * (means[19_500] - means[500])
    assert found.low == pytest.approx(means[500], abs=room) and found.high == pytest.approx(means[19_500], abs=room)


def test_the_main_table_holds_every_arms_means():
    findings = melodies()
    (table,) = main_tables(findings.tasks)
    for label in ("prior", "Ψ", "G", "PG"):
        of_label = [one for one in findings.results if one["experiment"]["label"] == label]
        row = cells(table, label)
        assert row["Seeds"].text == str(len(of_label))
        for title, key in (("J", "j"), ("KL", "kl"), ("Return R", "task_return"), ("In a motif", "in_motif")):
            assert row[title].order == pytest.approx(sum(one["metrics"][key] for one in of_label) / len(of_label))
    order = [row[2].order for row in table.rows]
    assert order == sorted(order, reverse=True)
    assert table.heads[table.sorted_by].text == "J"


def test_where_calls_are_limited_the_area_under_the_best_ten_comes_first():
    """The arm with the lower J and the higher area is first in the table, and wins."""
    found = dict(top_10=[0.9] * 3, top_1=[1.0] * 3, calls=[9_950.0, 10_000.0, 10_000.0])
    ours = arm("Ψ", auc_top_10=[0.7, 0.71, 0.72], j=[1.0, 1.1, 1.2], **found)
    theirs = arm("R", auc_top_10=[0.5, 0.51, 0.52], j=[2.0, 2.1, 2.2], **found)
    (table,) = main_tables([task(theirs, ours)])
    assert [head.text for head in table.heads][2:7] == ["AUC 10", "Best 10", "Best", "Calls", "J"]
    assert [row[0].text for row in table.rows] == ["Ψ", "R"]
    row = cells(table, "Ψ")
    assert (row["AUC 10"].text, row["Calls"].text) == ("0.710", "9,983")
    assert answers.who_wins([task(theirs, ours)]).startswith("Ψ has the highest AUC of the best 10, 0.710")


def marked(*arms):
    """Labels whose J is marked as the best."""
    (table,) = main_tables([task(*arms)])
    return [row[0].text for row in table.rows if row[2].best]


def test_the_best_is_marked_only_where_it_is_apart_from_every_other():
    assert marked(*melodies().arms) == ["Ψ"]
    assert marked(*(one for one in melodies().arms if one.label != "Ψ")) == []  # G's and PG's intervals meet


@pytest.mark.parametrize(
    ("metric", "intervals", "best"),
    [
        (HIGHER, [(5, 4, 6), (2, 1, 3)], 0),
        (LOWER, [(5, 4, 6), (2, 1, 3)], 1),
        (HIGHER, [(5, 4, 6), (4.5, 3, 4.1)], None),  # they meet
        (HIGHER, [(5, 4, 6), (2, 1, 3), (4.5, 3, 5)], None),  # apart from one, not from both
        *((HIGHER, found, None) for found in ([(5, 4, 6), (2, NAN, NAN)], [(5, NAN, NAN), (2, 1, 3)])),  # one run
        *((HIGHER, found, None) for found in ([(5, 4, 6)], [(5, 4, 6), (NAN, NAN, NAN)])),  # nobody to be better than
        (HIGHER, [(5, 4, 6), (NAN, NAN, NAN), (2, 1, 3)], 0),  # an agent without the metric is no rival
        (HIGHER, [(5, 5, 5, 1), (2, 1, 3)], None),  # a point is not marked
        (HIGHER, [(5, 4, 6), (2, 2, 2, 1)], 0),  # but can be a rival
        (HIGHER, [(5, 4, 6), (4.5, 4.5, 4.5, 1)], None),
        (NEAR, [(-0.5, -0.6, -0.4), (0.1, 0.05, 0.15)], 1),
        (NEAR, [(-0.12, -0.14, -0.1), (0.1, 0.05, 0.15)], None),  # as far from 0 on the other side
        (NEAR, [(0.0, -0.2, 0.2), (0.3, 0.25, 0.4)], 0),
        (replace(HIGHER, better=""), [(5, 4, 6), (2, 1, 3)], None),
    ],
)
def test_who_is_best(metric, intervals, best):
    assert best_of(metric, [Interval(*(*one, 3)[:4]) for one in intervals]) == best


def test_one_run_shows_no_interval_and_says_so_and_nothing_is_marked():
    found = (arm("Ψ", j=[60.0]), arm("G", j=[10.0, 11.0]))
    (table,) = main_tables([task(*found)])
    assert cells(table, "Ψ")["J"].under == "one run" and marked(*found) == []
    said = answers.who_wins([task(*found)])
    assert said == "No clear winner: Ψ has the highest J, 60.0 (one run), but not clearly above G 10.5 [10.0, 11.0]."


def test_the_answer_names_whom_the_first_is_not_apart_from():
    """The second is apart from it; the third, whose runs differ more, is not."""
    found = [arm("A", j=[9.9, 10.0, 10.1]), arm("B", j=[9.0, 9.0, 9.1]), arm("C", j=[1.0, 8.0, 15.0])]
    said = answers.who_wins([task(*found)])
    assert said.startswith("No clear winner: A has the highest J, 10.0") and "not clearly above C 8.00 [" in said


def test_what_does_not_learn_counts_as_a_point():
    psi = arm("Ψ", j=[60.0, 61.0])
    low, high = (arm("prior", learns=False, j=[j], kl=[0.0]) for j in (10.0, 60.5))
    assert marked(psi, low) == ["Ψ"] and marked(psi, high) == []
    (table,) = main_tables([task(psi, high)])
    assert cells(table, "prior")["J"].under == "one run"


def test_agents_without_log_pi_have_no_j():
    found = [arm("SB3", task_return=[5.0, 6.0]), arm("Ψ", task_return=[1.0, 2.0], j=[3.0, None])]
    (table,) = main_tables([task(*found)])
    assert cells(table, "SB3")["J"].text == "–" and cells(table, "SB3")["J"].order is None
    assert cells(table, "Ψ")["J"].under == "one run"  # of two runs one has a J
    assert cells(table, "SB3")["Return R"].best
    assert improvement_table(task(*found)) is None
    assert answers.who_wins([task(*found)]).endswith("Only one agent has a J: Ψ 3.00 (one run). Unknown for SB3.")
    only = [arm("SB3", task_return=[5.0, 6.0]), arm("PPO", task_return=[1.0, 2.0])]
    said = answers.who_wins([task(*only)])
    told = "SB3 has the highest Return R, 5.50 [5.00, 6.00] over 2 runs, and its interval overlaps no other"
    assert said.startswith(told)


def test_a_metric_that_some_runs_lack_says_of_how_many_it_is():
    (table,) = main_tables([task(arm("Ψ", j=[1.0, 2.0, 3.0], distinct=[0.5, None, 0.7]))])
    found = cells(table, "Ψ")["Distinct"]
    assert found.under.endswith("n = 2") and found.order == pytest.approx(0.6)


def test_runs_of_one_label_with_other_settings_are_not_pooled():
    same = {"env": MELODY, "agent": "agents:PsiLearning", "label": "Ψ"}
    made = [Experiment(**same, steps=steps, seed=seed) for steps in (100, 200) for seed in (0, 1)]
    findings = Results("x", "?", tuple(made), [result(one, {"j": float(one.steps)}) for one in made])
    assert [(one.label, len(one.runs)) for one in findings.arms] == [("Ψ (steps=100)", 2), ("Ψ (steps=200)", 2)]


def test_the_suites_label_is_used_and_its_order():
    findings = melodies(seeds=1)
    shuffled = replace(findings, results=findings.results[::-1])
    assert [one.label for one in shuffled.arms] == ["prior", "Ψ", "G", "PG"]
    renamed = tuple(replace(one, label=f"new {one.label}") for one in findings.experiments)
    assert [one.label for one in replace(findings, experiments=renamed).arms][1] == "new Ψ"


def test_probability_of_improvement_pairs_seeds():
    x, y = arm("X", j=[1.0, 5.0, 8.0, 3.0], seeds=(0, 1, 5, 2)), arm("Y", j=[4.0, 0.0, 3.0, 9.0], seeds=(1, 0, 2, 7))
    left, right = pair_by_seed(x, y, "j")  # seed 0: 1 > 0, seed 1: 5 > 4, seed 2: a tie; seeds 5 and 7 have no partner
    assert left.tolist() == [1.0, 5.0, 3.0] and right.tolist() == [0.0, 4.0, 3.0]
    table = improvement_table(task(x, y))
    assert cells(table, "X")["Y"].text == "83%" and cells(table, "X")["Y"].under.endswith("2.5 of 3")
    assert cells(table, "Y")["X"].text == "17%"
    assert not cells(table, "X")["Y"].best  # three pairs are too few


def test_six_wins_of_six_are_marked_and_five_of_five_are_not():
    for n, marked in ((5, False), (6, True)):
        table = improvement_table(task(arm("X", j=[2.0] * n), arm("Y", j=[1.0] * n)))
        assert cells(table, "X")["Y"].best is marked and cells(table, "X")["Y"].under == f"{n} of {n}"


def test_a_single_run_of_the_prior_stands_beside_every_seed():
    table = improvement_table(task(arm("Ψ", j=[2.0, 3.0, -1.0]), arm("prior", learns=False, j=[0.0])))
    assert cells(table, "Ψ")["prior"].order == pytest.approx(2 / 3)
    assert cells(table, "prior")["Ψ"].under.endswith("1 of 3")


def test_gaps_over_tasks():
    findings = exact()
    table = aggregate_table(findings.tasks)
    runs = {}
    for one in findings.results:
        task = one["experiment"]["env_kwargs"]["seed"]
        runs.setdefault(one["experiment"]["label"], {}).setdefault(task, []).append(one["metrics"]["gap"])
    for label in ("Ψ", "G", "PG"):
        (first, second), row = runs[label].values(), cells(table, label)
        assert row["Gap, mean"].order == pytest.approx((sum(first) / 3 + sum(second) / 3) / 2)
        middle = sorted([*first, *second])[1:-1]  # of six runs the lowest and the highest quarter are one each
        assert row["Gap, IQM"].order == pytest.approx(sum(middle) / 4)
        shares = [1 - gap / runs["prior"][task][0] for task, gaps in runs[label].items() for gap in gaps]
        assert row["Closed, mean"].order == pytest.approx(sum(shares) / 6)
        assert row["Runs"].text == "6"
    assert cells(table, "Ψ")["Gap, mean"].best and not cells(table, "G")["Gap, mean"].best
    said = answers.how_far(findings.tasks)
    assert said.startswith("Ψ is nearest") and "its interval overlaps no other" in said


def test_a_label_that_lacks_a_task_is_not_compared_over_tasks():
    findings = exact()
    facts = [(one, one["experiment"]) for one in findings.results]
    kept = [one for one, made in facts if made["label"] != "G" or not made["env_kwargs"]["seed"]]
    partial = replace(findings, results=kept)
    found, left_out = gaps_over_tasks(partial.tasks)
    assert [one.label for one in found] == ["prior", "Ψ", "PG"] and left_out == ["G"]
    section = next(one for one in make_sections(partial, assign_styles(partial.arms)) if one.anchor == "gap")
    assert any("not compared: G." in remark for remark in section.remarks)


def test_a_curve_is_the_mean_over_runs_where_all_of_them_are():
    points = ([(0, 0.0), (100, 10.0), (200, 20.0)], [(50, 1.0), (150, 3.0), (250, 5.0)])
    curves = [[{"timesteps": step, "j": value, "kl": None} for step, value in known] for known in points]
    one = arm(j=[1.0, 2.0], curves=curves)
    curve = mean_curve(one, "j")
    # from 50, where the second begins, to 200, where the first ends; straight lines between
    assert curve.places.tolist() == [50, 100, 150, 200]
    assert curve.values.tolist() == pytest.approx([(5 + 1) / 2, (10 + 2) / 2, (15 + 3) / 2, (20 + 4) / 2])
    assert mean_curve(one, "kl") is None and mean_curve(one, "no such metric") is None


def test_how_fast_counts_the_runs_that_come_near():
    def curves(*runs):
        return [[{"timesteps": 1000 * k, "j": value} for k, value in enumerate(known)] for known in runs]

    found = [
        arm("Ψ", j=[10.0, 10.0], curves=curves([0, 9, 10], [0, 5, 9.5])),
        arm("G", j=[2.0], curves=curves([0, 1, 2])),
        arm("PG", j=[9.5, 3.0], curves=curves([0, 9, 9.5], [0, 2, 3])),
        arm("prior", learns=False, j=[0.0], kl=[0.0]),
    ]
    said = answers.how_fast([task(*found)])
    assert said.endswith("(to J 9.0): Ψ after 1,500 tokens on average; PG in 1 of 2 runs; no run of G.")


def test_agents_that_end_below_the_prior_are_not_fast():
    points = [{"timesteps": 1000 * k, "j": value} for k, value in enumerate([18.0, 17.0, 16.9])]
    found = [arm("Q", j=[16.9], curves=[points]), arm("prior", learns=False, j=[17.8], kl=[0.0])]
    assert answers.how_fast([task(*found)]) == "No agent that learns ends above the prior’s J."


def test_budgets_of_seconds_are_compared_over_seconds():
    curve = [{"timesteps": 10 * k, "seconds": 20.0 * k, "j": float(k)} for k in range(4)]
    found = arm(j=[3.0], curves=[curve], budget={"seconds": 60.0})
    assert task(found).clock == "seconds" and task(found, arm(j=[1.0])).clock == "timesteps"
    assert mean_curve(found, "j", "seconds").places.tolist() == [0, 20, 40, 60]
    assert answers.how_fast([task(found)]).endswith("(to J 2.7): Ψ after 60 s.")


def test_tasks_are_called_by_what_differs():
    made = [Experiment(MELODY, "agents:PsiLearning", env_kwargs={"c": c, "length": 32}) for c in (0.5, 2.0)]
    assert list(short_task_names(made).values()) == ["c=0.5", "c=2"]
    assert shared_environments(made) == [f"{MELODY} (length=32)"]
    made.append(replace(made[0], env_kwargs={"length": 32}))
    assert list(short_task_names(made).values()) == ["c=0.5", "c=2", "c=default"]
    seeds = [Experiment(EXACT, "agents:PsiLearning", env_kwargs={"seed": seed}) for seed in (0, 1)]
    assert list(short_task_names(seeds).values()) == ["task seed=0", "task seed=1"]  # not a seed of learning
    for others in ([made[0]], [made[0], seeds[0]], [replace(one, group=f"g{k}") for k, one in enumerate(made)]):
        assert all(name == short for name, short in short_task_names(others).items())


def test_the_frontier_has_a_line_for_each_label_by_rising_c():
    ((where, lines),) = fronts(frontier().tasks).items()
    assert where == MELODY and list(lines) == ["Ψ", "G"]  # the prior's KL is 0 at every c
    assert [one.c for one in lines["Ψ"]] == [0.5, 1.0, 2.0, 4.0]
    assert fronts(melodies().tasks) == {}
    assert fronts(frontier(cs=(2.0,)).tasks) == {}


def test_sections_appear_where_their_data_are():
    def anchors(findings):
        return [section.anchor for section in make_sections(findings, assign_styles(findings.arms))]

    assert anchors(melodies()) == ["wins", "learning", "terms", "table-1", "samples"]
    assert anchors(exact()) == ["wins", "gap", "learning"]
    assert anchors(frontier()) == ["wins", "learning", "frontier", "terms", "table-1", "samples"]
    assert anchors(molecules()) == ["wins", "learning", "terms", "molecules", "samples", "failures"]
    assert anchors(Results("x", "?", (), [])) == ["wins"]


def test_many_tasks_share_a_table():
    (table,) = main_tables(frontier().tasks)
    assert table.names == 2 and len(table.rows) == 12
    assert len(main_tables(frontier(cs=(1.0, 2.0)).tasks)) == 2


def test_what_is_doubtful_is_said_first():
    findings = molecules()
    texts = ("Only 43% are distinct after 1,740,800 timesteps.", "Only 50% are distinct after 9 timesteps.", "Slow.")
    warned = [one | {"warnings": [text]} for one, text in zip(findings.results, texts)]
    said = render.list_warnings(replace(findings, results=warned))
    assert said[0].startswith("2 runs warned, each with its own numbers: Only 43%") and said[1] == "1 run warned: Slow."
    said = " ".join(render.list_notices(findings))
    assert "1 of 5 experiments failed" in said and "1 of 5 experiments have not run" in said
    assert "commit" not in said and "warned" not in said
    first, second, *rest = melodies().results
    first = first | {"git": {"commit": "f" * 40, "dirty": True}, "warnings": ["Few are distinct."]}
    second = second | {"machine": {"cpu": "Another", "cores": 8}}
    mixed = replace(melodies(), results=[first, second, *rest], notes=["a.json is damaged"])
    said = " ".join(render.list_notices(mixed))
    assert "a.json is damaged" in said and "2 commits" in said and "2 kinds of machine" in said
    assert "1 result came from code that was changed" in said and "1 run warned: Few are distinct." in said


def test_the_papers_rows_are_counted_by_the_mean():
    good = {"excessively_repeated": 0.0, "not_in_key": 0.0, "starts_with_tonic": 1.0, "leaps_resolved": 1.0}
    bad = {"unique_maximum": 0.0, "unique_minimum": 0.0, "in_motif": 0.0, "in_repeated_motif": 0.0}
    near = {f"autocorrelation_{lag}": 0.05 for lag in (1, 2, 3)}
    one = arm(**{name: [value] for name, value in (good | bad | near).items()})
    assert answers.beside_the_paper(task(one)).endswith("Ψ 7.")


def test_labels_look_different():
    looks = assign_styles([arm(f"agent {k}", j=[1.0]) for k in range(21)])
    assert len({(look.colour, look.dash) for look in looks.values()}) == 21


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        (metrics.GAP, {0.00213: "0.0021", 12.34: "12", -0.0051: "−0.0051", -0.0000081: "−0.00001", 0.0: "0"}),
        (metrics.TOKENS, {870_400.0: "870,400"}),
        (metrics.CPU, {14.13: "14.1 s", 1234.0: "1,234 s"}),
        (metrics.J, {-42.44: "−42.4", -0.001: "0.00", -0.5: "−0.50", 9.996: "10.0", 9.99: "9.99", NAN: "–", None: "–"}),
        (Metric("s", "S", percent=True), {0.0002: "0.02%", 0.287: "28.7%", 1.0: "100.0%"}),
    ],
)
def test_numbers_as_they_are_written(metric, texts):
    assert {value: metric.format(value) for value in texts} == texts


def test_standard_errors_as_they_are_written():
    assert HIGHER.format_error({"x": 1.0, "x_se": 0.126}) == "± 0.13"
    assert HIGHER.format_error({"x_se": NAN}) == HIGHER.format_error({"x_se": 1e-6}) == ""


def test_as_good_follows_the_direction():
    assert HIGHER.is_as_good(0.3, 0.3) and HIGHER.is_as_good(0.4, 0.3) and not HIGHER.is_as_good(0.2, 0.3)
    assert LOWER.is_as_good(0.3, 0.3) and LOWER.is_as_good(0.2, 0.3) and not LOWER.is_as_good(0.4, 0.3)
    assert NEAR.is_as_good(-0.12, 0.0) and not NEAR.is_as_good(0.13, 0.5)
    assert not any(metric.is_as_good(NAN, 0.5) for metric in (HIGHER, LOWER, NEAR))


def test_a_text_table_by_hand():
    rows = (Metric("a", "First", "", "higher", percent=True), Metric("b", "Second one", "", ""), Metric("c", "Absent"))
    columns = {"prior": {"a": 0.5, "b": -1.0, "b_se": 0.25}, "paper": {"a": 0.051}}
    assert format_text(column_table("Title", rows, columns)).splitlines() == [
        "Title",
        "-" * len("            better         prior  paper"),
        "            better         prior  paper",
        "First       higher         50.0%  5.10%",
        "Second one          −1.00 ± 0.25      –",
    ]
