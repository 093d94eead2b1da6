"""The report as a page, as Markdown and as flat files: whole, escaped, self-contained, read back."""

from __future__ import annotations

import csv
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.experiment import Experiment
from benchmarks.report.command import export
from benchmarks.report.data import Results
from benchmarks.report.demo_page import render_demo
from benchmarks.report.drawing import assign_styles, render_svg
from benchmarks.report.plots import learning_plots
from benchmarks.report.render import escape_markdown, render_markdown, render_page, render_pictures
from benchmarks.report.sections import make_sections
from toys.demo_toys import Page, assert_fetches_nothing, ids
from toys.result_toys import STRINGS, demo_results, exact, failure, frontier, melodies, molecules

SUITES = {"melodies": melodies, "exact": exact, "frontier": frontier, "molecules": molecules}
EVIL = "<script>alert('&')</script> $x_1$ | \"q\""


@pytest.fixture(scope="module")
def sources():
    return {name: render_page(make()) for name, make in SUITES.items()} | {"demo": render_demo(demo_results())}


def plots_of(results):
    """All plots of a report."""
    made = make_sections(results, assign_styles(results.arms))
    return [plot for section in made for block in section.blocks for plot in block.plots]


@pytest.mark.parametrize("name", [*SUITES, "demo"])
def test_the_page_is_whole_and_fetches_nothing(sources, name):
    parsed = assert_fetches_nothing(sources[name])
    assert "None" not in "".join(parsed.text) and "nan" not in "".join(parsed.text).split()


@pytest.mark.parametrize("name", [*SUITES, "demo"])
def test_the_page_can_be_read_without_eyes(sources, name):
    parsed = Page(sources[name])
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    count = [tag for tag, _ in parsed.tags].count
    assert count("table") == count("caption") > 0
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in parsed.tags if tag == "th")
    pictures_of = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert all(one.get("aria-hidden") or one.get("aria-label") or one.get("aria-labelledby") for one in pictures_of)
    named = {name for one in pictures_of for name in one.get("aria-labelledby", "").split()}
    assert named <= set(ids(parsed)) and (named or name == "none")
    assert all(attributes.get("alt") for tag, attributes in parsed.tags if tag == "img")
    assert parsed.tags[[tag for tag, _ in parsed.tags].index("a")][1] == {"class": "skip", "href": "#main"}


def test_the_page_says_the_tables_figures(sources):
    words = " ".join(Page(sources["melodies"]).text)
    found = [one["metrics"]["j"] for one in melodies().results if one["experiment"]["label"] == "Ψ"]
    assert f"Ψ has the highest J, {sum(found) / 3:.1f} [" in words
    assert "Who wins?" in words and "paper: Ψ" in words and "28.7%" in words
    assert "python -m benchmarks run melody --only psilearning-seed0-" in words
    assert all(one["id"] in words for one in melodies().results)


def test_the_suite_of_a_file_is_run_again_by_its_path():
    words = " ".join(Page(render_page(replace(melodies(), source="my suites/mine.py"))).text)
    assert "python -m benchmarks run 'my suites/mine.py' --only psilearning-seed0-" in words


def test_marks_are_where_the_best_is_apart_and_nowhere_else(sources):
    assert any(one.get("class") == "best" for tag, one in Page(sources["melodies"]).tags if tag == "td")
    alone = render_page(melodies(seeds=1))
    assert not any(one.get("class") == "best" for _, one in Page(alone).tags) and "one run" in alone


def test_an_unfinished_or_empty_suite_has_a_page():
    findings = melodies()
    empty = Results("melody", "Which?", findings.experiments, [], [], findings.experiments)
    source = render_page(empty)
    assert "No experiment has finished yet." in source and "10 of 10 experiments have not run" in source
    assert "No experiment has finished yet." in render_markdown(empty)
    bare = [{**one, "curve": [], "samples": [], "metrics": {"task_return": 1.0}} for one in findings.results]
    assert "Return R" in render_page(replace(findings, results=bare))


def test_what_users_write_is_escaped(tmp_path):
    one = Experiment("SeqTutor-Melody-v0", "agents:PsiLearning", label=EVIL, steps=10, group=EVIL)
    made = {**melodies(seeds=1).results[1], "id": one.id, "warnings": [EVIL]}
    findings = Results(EVIL, EVIL, (one,), [made], [failure(one, EVIL, EVIL)], (), [EVIL], EVIL)
    source = render_page(findings)
    parsed = Page(source)
    assert "<script>alert" not in source and source.count("<script>") == 1
    assert EVIL in "".join(parsed.text)
    assert any(EVIL in attributes.get("aria-label", "") for _, attributes in parsed.tags)
    lines = render_markdown(findings).splitlines()
    assert not any("<script>" in line for line in lines)
    well_formed(lines)
    demo = render_demo(demo_results(warning=EVIL))
    assert demo.count("<script>") == 1 and EVIL in Page(demo).text


def test_molecules_and_terms_of_strangers_are_escaped(tmp_path):
    findings = molecules()
    for one in findings.results:
        one["samples"] = [{**one["samples"][0], "sequence": EVIL}]
        one["versions"], one["finished"] = {EVIL: EVIL}, EVIL
        one["machine"] = {**one["machine"], "cpu": EVIL, "os": EVIL}
        one["git"] = {"commit": "<b>" + EVIL, "dirty": True}
    source = render_page(replace(findings, notes=[EVIL], question=EVIL))
    assert "<script>alert" not in source and "<b>" + EVIL[:4] not in source and source.count("<script>") == 1
    assert EVIL in "".join(Page(source).text) and "Not a molecule" in source
    lines = render_markdown(replace(findings, name="# x\n> y", notes=[EVIL], question="- z")).splitlines()
    assert lines[0] == r"# \# x > y" and r"\- z" in lines and not any("<script>" in line for line in lines)
    well_formed(lines)


def test_a_spreadsheet_runs_nothing_of_a_report(tmp_path):
    one = Experiment("SeqTutor-Melody-v0", "agents:PsiLearning", label="=HYPERLINK(1)", steps=10, group="@SUM(A1)")
    made = {**melodies(seeds=1).results[1], "id": one.id, "warnings": ["+1+1"], "curve": [{"=1": -2.5, "j": -1.0}]}
    made["metrics"] = {"j": -42.25, "kl": 1.0}
    export(Results("x", "?", (one,), [made]), tmp_path / "out.csv")
    (row,), (point,) = read(tmp_path / "out.csv"), read(tmp_path / "out-curves.csv")
    assert (row["label"], row["task"], row["warnings"]) == ("'=HYPERLINK(1)", "'@SUM(A1)", "'+1+1")
    assert (row["metrics.j"], point["'=1"], point["j"]) == ("-42.25", "-2.5", "-1.0")


def test_a_demonstration_of_one_temperature_plots_j_too():
    results = demo_results()
    results["settings"]["paper"] = True
    several = Page(render_demo(results))
    results["melodies"]["tutors"] = {"c = 2": results["melodies"]["tutors"]["c = 2"]}
    one = Page(render_demo(results))
    counts = [sum(attributes.get("class") == "plot" for _, attributes in page.tags) for page in (several, one)]
    assert counts[1] == counts[0] + 1
    words = [" ".join(page.text) for page in (several, one)]
    assert "discount γ = 1" in words[1] and "discount γ" not in words[0] and "begins with what the one" in words[0]
    played = [sum(attributes.get("class") == "play" for _, attributes in page.tags) for page in (several, one)]
    assert played == [4 * 8, 2 * 8]


def test_a_label_is_no_formula_in_plots():
    findings = melodies(seeds=1)
    named = replace(findings, experiments=tuple(replace(one, label="$a_1$ & <b>") for one in findings.experiments[1:2]))
    found = replace(named, results=findings.results[1:2])
    texts = [render_svg(plot) for plot in plots_of(found) if plot.name.startswith("terms-")]
    assert len(texts) == 9 and all(">$a_1$ &amp; &lt;b&gt;</text>" in text for text in texts)


def test_two_hundred_experiments_stay_small():
    suites = [melodies(seeds=11, c=c) for c in (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)]
    results = [one for suite in suites for one in suite.results]
    experiments = [one for suite in suites for one in suite.experiments]
    assert len(results) > 200
    assert len(render_page(Results("large", "?", tuple(experiments), results)).encode()) < 2_000_000


def test_plots_follow_the_pages_colours_and_say_what_they_show():
    for plot in plots_of(exact()):
        text = render_svg(plot)
        root = ElementTree.fromstring(text)  # well-formed
        assert root.find("title").text and root.find("desc").text
        assert "var(--arm-0)" in text and "var(--ink)" in text
        assert re.findall("#[0-9a-f]{6}", text) in ([], ["#000000"] * text.count("#000000"))
    j, *_ = learning_plots("x", exact().tasks[0], assign_styles(exact().arms))
    mean = np.mean([one["metrics"]["j"] for one in exact().results if one["experiment"]["label"] == "Ψ"][:3])
    assert f"Ψ {mean:.2f} [" in render_svg(j)


def test_a_frontier_says_each_points_figures(sources):
    parsed = Page(sources["frontier"])
    points = [attributes for _, attributes in parsed.tags if attributes.get("class") == "point"]
    assert len(points) == 8 and all(one["tabindex"] == "0" for one in points)
    kl = [one["metrics"]["kl"] for one in frontier().results if one["experiment"]["label"] == "Ψ" and one["c"] == 4.0]
    (said,) = [one["aria-label"] for one in points if one["aria-label"].startswith("Ψ, c = 4:")]
    assert f"KL {sum(kl) / 3:.2f} [" in said and "n = 3" in said


def test_pictures_for_a_readme_are_png():
    made = render_pictures(exact())
    assert list(made) == ["gap", "learning"]
    assert all(content.startswith(b"\x89PNG") for content in made.values())


def test_a_roll_draws_each_note():
    # C4 for two steps, off, C#5 for one: pitches 60 and 73, from the top B5 = 83, four units a semitone
    suite = melodies(seeds=1, labels=("prior",))
    suite.results[0]["samples"][0]["tokens"] = [14, 1, 0, 27]
    _, _, roll = render_page(suite).partition('<svg class="roll"')
    roll, _, _ = roll.partition("</svg>")
    boxes = re.findall(r'<rect class="(\w+)" x="(\d+)" y="(\d+)" width="(\d+)"', roll)
    assert boxes == [("in", "0", str(4 * 23), "19"), ("out", "30", str(4 * 10), "9")]
    assert "C4:1/8 rest:1/16 C#5:1/16" in roll


def test_melodies_and_molecules_are_beside_the_priors(sources):
    parsed = Page(sources["melodies"])
    buttons = [attributes for _, attributes in parsed.tags if attributes.get("class") == "play"]
    assert [one["aria-label"] for one in buttons[:4]] == [f"Play {who}, melody 1" for who in ("prior", "Ψ", "G", "PG")]
    assert len(buttons) == 16
    tokens = melodies().results[1]["samples"][0]["tokens"]
    assert buttons[1]["data-tokens"] == " ".join(map(str, tokens))
    words = "".join(Page(sources["molecules"]).text)
    assert words.count("Not a molecule") == 2 and words.count(STRINGS[0]) == 2


def test_samples_that_are_left_out_are_named():
    parsed = Page(render_page(frontier(cs=(0.5, 1.0, 2.0, 4.0, 8.0), seeds=1)))
    assert "Left out here for room: c=8." in "".join(parsed.text)
    buttons = [attributes for _, attributes in parsed.tags if attributes.get("class") == "play"]
    assert len(buttons) == 4 * 4 * 3  # tasks, melodies, labels


def test_failures_are_listed_with_their_last_words(sources):
    words = "".join(Page(sources["molecules"]).text)
    assert "killed by signal 9 (out of memory?)" in words and "step 1\nstep 2" in words
    assert "1 of 5 experiments failed" in words


def well_formed(lines):
    """Every table has as many cells in each row as in its rule."""
    width = None
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1 if line.startswith("|") else None
        assert width is None or cells is None or cells == width, line
        width = cells


@pytest.mark.parametrize("name", SUITES)
def test_markdown_has_the_pages_tables(sources, name):
    lines = render_markdown(SUITES[name]()).splitlines()
    well_formed(lines)
    rules = [line for line in lines if re.fullmatch(r"(\| -+:? )+\|", line)]
    assert len(rules) == [tag for tag, _ in Page(sources[name]).tags].count("table") > 0
    assert "## Who wins?" in lines and "## Definitions" in lines


def test_markdown_says_n_and_intervals():
    lines = render_markdown(melodies()).splitlines()
    found = [one["metrics"]["j"] for one in melodies().results if one["experiment"]["label"] == "Ψ"]
    (row,) = [line for line in lines if line.startswith("| Ψ | 3 |")]
    assert f"| Ψ | 3 | **{sum(found) / 3:.1f}** \\[" in row
    (row,) = [line for line in lines if line.startswith("| prior | 1 |")]
    assert "−42.4 (one run)" in row
    assert escape_markdown("a|b *c* <d>") == r"a\|b \*c\* &lt;d>"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_experiment_and_each_point(tmp_path):
    findings = melodies()
    export(findings, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert [row["id"] for row in rows] == [one["id"] for one in findings.results]
    for row, one in zip(rows, findings.results):
        assert row["label"] == one["experiment"]["label"] and row["task"] == "SeqTutor-Melody-v0"
        assert float(row["metrics.j"]) == one["metrics"]["j"]
        assert json.loads(row["env_kwargs"]) == one["experiment"]["env_kwargs"]
    assert rows[0]["steps"] == "" and rows[1]["steps"] == "400000"
    points = read(tmp_path / "out-curves.csv")
    assert [float(point["j"]) for point in points] == [p["j"] for one in findings.results for p in one["curve"]]
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", "out-curves.csv"}


def test_parquet_is_read_back(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    findings = molecules()
    export(findings, tmp_path / "out.parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["metrics.j"] for row in rows] == [one["metrics"]["j"] for one in findings.results]
    assert [row["seed"] for row in rows] == [one["experiment"]["seed"] for one in findings.results]
    points = parquet.read_table(tmp_path / "out-curves.parquet").to_pylist()
    assert len(points) == sum(len(one["curve"]) for one in findings.results)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"^Parquet needs pyarrow: pip install pyarrow, or write --csv\.$"):
        export(molecules(), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())
