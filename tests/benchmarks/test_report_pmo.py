"""The report of PMO: tables of figures that are known, beside the published ones."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.experiment import expand
from benchmarks.report import metrics, pmo
from benchmarks.report.data import Results
from benchmarks.report.drawing import assign_styles
from benchmarks.report.render import list_notices
from benchmarks.report.sections import make_sections
from seqtutor_envs.smiles.chem.drawing import draw_row
from seqtutor_envs.smiles.pmo import PMO_NAMES
from toys.result_toys import SMILES, result

LABELS = {"Ψ": "agents:PsiLearning", "REINVENT": "agents:Reinvent"}


def made(names=PMO_NAMES, seeds=(0, 1), **versions):
    """Results whose AUC is .5 + task / 100 + seed / 10 for Ψ, and .2 less for REINVENT; REINVENT stalls on one."""
    experiments = expand(
        {"env": [f"SeqTutor-PMO-{name}-v0" for name in names], "seed": seeds, "steps": 1_000_000, "n": 20},
        *({"agent": agent, "label": label} for label, agent in LABELS.items()),
    )
    results = []
    for one in experiments:
        k = names.index(one.env.removeprefix("SeqTutor-PMO-").removesuffix("-v0"))
        area = 0.5 + k / 100 + one.seed / 10 - 0.2 * (one.label == "REINVENT")
        found = {"auc_top_10": area, "auc_top_10_within_1000": area / 2, "calls": 10_000.0, "budget": 10_000.0}
        found["diversity_top_100"] = 0.9 - area
        found |= {"diverse_hits": 10.0 * one.seed, "j": 1.0, "kl": 2.0, "repeats": 0.25, "mean_qed": 0.5}
        if one.label == "REINVENT" and k == 3 and one.seed == 0:
            found["calls"] = 4_000.0
        results.append(result(one, found, c=0.002))
    for one, version in zip(results, versions.get("rdkit", ())):
        one["versions"]["rdkit"] = version
    return Results("pmo", "What is found?", tuple(experiments), results)


def test_published_sums_are_those_of_their_tasks():
    """The sums of 20 as the papers' tables have them."""
    sums = {label: one.sum_over(pmo.OTHERS) for label, one in pmo.PUBLISHED.items()}
    expected = {"REINVENT": 12.561, "Graph GA": 11.689, "Mol GA": 13.007, "Genetic GFN": 13.594}
    assert sums == pytest.approx(expected, abs=1e-9)
    assert {label: one.sum for label, one in pmo.PUBLISHED.items()} == {
        "REINVENT": 15.185, "Graph GA": 14.131, "Mol GA": 15.686, "Genetic GFN": 16.213,
    }  # fmt: skip
    assert np.isnan(pmo.PUBLISHED["REINVENT"].sum_over(("drd2",)))


def test_areas_are_means_over_seeds_and_sums_over_tasks():
    area, overview = pmo.make_tables(pmo.collect_arms(made().tasks))
    assert [row[0].text for row in area.rows[:23]] == list(PMO_NAMES)
    assert [head.text for head in area.heads[:3]] == ["Task", "Ψ", "REINVENT"]
    assert (area.rows[4][1].text, area.rows[4][1].under) == ("0.590", "± 0.071")
    assert area.rows[4][2].text == "0.390"
    # 23 * .55 + (0 + ... + 22) / 100, and without the places 4, 6 and 9
    assert area.rows[23][1].text == f"{23 * 0.55 + 2.53:.3f}"
    assert area.rows[24][1].text == f"{20 * 0.55 + 2.53 - 0.19:.3f}"
    # the sums of both seeds differ by 23 and 20 tenths
    assert [row[1].under for row in area.rows[23:]] == [f"± {n / 10 / 2**0.5:.3f}" for n in (23, 20)]
    genetic_gfn = [head.text for head in area.heads].index("published: Genetic GFN")
    assert [row[genetic_gfn].text for row in area.rows[23:]] == ["16.213", "13.594"]
    assert area.rows[4][genetic_gfn].text == "–"  # a classifier
    row = dict(zip([head.text for head in overview.heads], overview.rows[1]))
    assert (row["Agent"].text, row["Tasks"].text, row["Stalled"].text) == ("REINVENT", "23", "1 of 46")
    assert (row["Diverse hits"].text, row["Repeats"].text) == ("5.0", "25.0%")
    assert dict(zip([head.text for head in overview.heads], overview.rows[0]))["Stalled"].text == "0 of 46"


def test_a_sum_over_some_tasks_is_none_and_a_single_run_has_no_spread():
    some = made(PMO_NAMES[:2], seeds=(0,))
    area, _ = pmo.make_tables(pmo.collect_arms(some.tasks))
    assert (area.rows[0][1].text, area.rows[0][1].under) == ("0.500", "") and "(none: one run)" in area.caption
    assert [row[1].text for row in area.rows[2:]] == ["–", "–"]
    assert "no agent has run on all of them" in pmo.describe_sums(pmo.collect_arms(some.tasks))


def test_a_sum_has_a_spread_over_the_seeds_that_have_run_on_all_tasks():
    whole = made(seeds=(0, 1, 2))
    missing = ("SeqTutor-PMO-jnk3-v0", 1)
    kept = [one for k, one in zip(whole.experiments, whole.results) if (k.env, k.seed) != missing]
    arms = pmo.collect_arms(Results("pmo", "", whole.experiments, kept).tasks)
    assert list(pmo.sum_by_seed(arms["Ψ"], "auc_top_10").index) == [0, 2]
    # seeds 0 and 2 differ by 23 * .2; jnk3 is no part of the last row
    assert [row[1].under for row in pmo.make_tables(arms)[0].rows[23:]] == [f"± {4.6 / 2**0.5:.3f}", "± 2.000"]
    assert pmo.sum_by_seed(pmo.collect_arms(made(PMO_NAMES[:2]).tasks)["Ψ"], "auc_top_10").empty


def test_settings_of_one_task_have_columns_of_their_own_and_other_budgets_no_published_ones():
    """Two temperatures and 200 calls, and a run without a limit, which cannot stall."""
    experiments = expand(
        {"env": "SeqTutor-PMO-qed-v0", "agent": "agents:PsiLearning", "label": "Ψ", "steps": 1_000, "n": 20},
        {"env_kwargs": {"c": 0.002}}, {"env_kwargs": {"c": 0.05}},
    )  # fmt: skip
    areas = (0.6, 0.7)
    records = [
        result(one, {"auc_top_10": area, "calls": 200.0, "budget": 200.0, "j": 1.0}, c=one.env_kwargs["c"])
        for one, area in zip(experiments, areas)
    ]
    del records[1]["metrics"]["budget"]
    found = Results("mine", "", tuple(experiments), records)
    arms = pmo.collect_arms(found.tasks)
    area, overview = pmo.make_tables(arms)
    assert len(arms) == 2 and all(label.startswith("Ψ, ") and f"{c}" in label for label, c in zip(arms, (0.002, 0.05)))
    assert [cell.text for cell in area.rows[0]] == ["qed", "0.600", "0.700"]
    assert not any("published" in head.text for head in area.heads) and "Published" not in pmo.describe_sums(arms)
    assert [row[-1].text for row in overview.rows] == ["0 of 1", "0 of 0"]
    sections = make_sections(found, assign_styles(found.arms))
    (section,) = (section for section in sections if section.anchor == "pmo")
    assert "pmo_other_budgets" in section.remarks and "pmo_published" not in section.remarks


def test_the_report_has_a_section_of_pmo_where_there_is_something_to_compare():
    sections = {one.anchor: one for one in make_sections(made(), assign_styles(made().arms))}
    assert "Ψ 15.180, REINVENT 10.580. Published: REINVENT 15.185" in sections["pmo"].answer
    plain = expand({"env": SMILES, "seed": 0, "steps": 100, "n": 20}, {"agent": LABELS["Ψ"], "label": "Ψ"})
    others = Results("x", "?", tuple(plain), [result(one, {"j": 1.0, "mean_qed": 0.5}) for one in plain])
    assert "pmo" not in {one.anchor for one in make_sections(others, assign_styles(others.arms))}


def test_the_area_is_drawn_against_diversity_for_the_tasks_that_there_is_room_for():
    results = made()
    looks = assign_styles(results.arms)
    section = next(one for one in make_sections(results, looks) if one.anchor == "pmo")
    plots = [plot for block in section.blocks for plot in block.plots]
    assert len(plots) == 8
    assert "isomers_c9h10n2o2pf2cl-v0, SeqTutor-PMO-jnk3-v0" in section.remarks[-1]
    second = plots[1]
    assert second.title == "SeqTutor-PMO-amlodipine_mpo-v0: AUC 10 against diversity"
    assert second.labels == ("Ψ", "REINVENT")
    assert second.points["diversity-1-0"].startswith("Ψ, AUC of the best 10 0.560")
    assert "Diversity of the best 100 0.340" in second.points["diversity-1-0"]
    ax = Figure().subplots()
    second.draw(ax)
    marks = {line.get_gid(): line.get_xydata().tolist() for line in ax.lines if line.get_gid()}
    assert marks == {  # means over both seeds
        "diversity-1-0": [pytest.approx([0.34, 0.56])],
        "diversity-1-1": [pytest.approx([0.54, 0.36])],
    }


def test_two_versions_of_rdkit_are_marked():
    assert not any("RDKit" in line for line in list_notices(made()))
    mixed = made(PMO_NAMES[:2], seeds=(0,), rdkit=("2026.9.1", "2026.9.1", "2025.3.1"))
    (line,) = [line for line in list_notices(mixed) if "RDKit" in line]
    assert "2 versions of RDKit, 2026.9.1 (2), 2025.3.1 (1)" in line


def test_metrics_of_design_name_keys_of_results():
    keys = [one.key for one in metrics.DESIGN]
    assert len(set(keys)) == len(keys) and {"auc_top_10_within_1000", "diverse_hits", "sa_top_100"} <= set(keys)


def test_the_best_molecules_of_a_task_are_drawn_over_all_agents():
    results = made(PMO_NAMES[:2], seeds=(0,))
    assert pmo.draw_best(results) == {}
    best = (("CCO", 0.5), ("CCN", 0.9), ("c1ccccc1", 0.7), ("CC", 0.2), ("CCO", 0.5), ("C", 0.1))
    of_first = [one for one in results.results if PMO_NAMES[0] in one["experiment"]["env"]]
    for one, row in zip(of_first, (best[:3], best[3:]), strict=True):  # both agents
        one["best"] = [{"smiles": smiles, "score": score, "call": n} for n, (smiles, score) in enumerate(row, start=1)]
    # of another task nothing was found
    other = next(one for one in results.results if PMO_NAMES[1] in one["experiment"]["env"])
    other["best"] = [{"smiles": "CCO", "score": 0.0, "call": 1}]
    pictures = pmo.draw_best(results)
    assert list(pictures) == [f"pmo-{PMO_NAMES[0]}"]
    expected = draw_row(["CCN", "c1ccccc1", "CCO"], ["0.900, Psi", "0.700, Psi", "0.500, Psi"])
    assert pictures[f"pmo-{PMO_NAMES[0]}"] == expected and expected.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="'CC[(]' is no molecule"):
        draw_row(["CC("], [""])
