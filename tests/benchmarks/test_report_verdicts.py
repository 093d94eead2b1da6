"""Better, worse or the same: what the demonstration's tables say of a tutor beside the prior, in words and colour."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.report.demo_page import part_tables, render_demo
from benchmarks.report.metrics import Metric
from benchmarks.report.tables import column_table, format_text
from toys.result_toys import demo_results

NAN = float("nan")
HIGHER, LOWER, NEAR = (Metric("x", "X", "", better) for better in ("higher", "lower", "near 0"))


def test_a_column_is_better_worse_or_the_same_as_another_in_words():
    share = replace(HIGHER, key="share", percent=True)
    for metric, before, after, verdict in [
        (HIGHER, 0.2, 0.3, "better"),
        (HIGHER, 0.3, 0.2, "worse"),
        (LOWER, 0.2, 0.3, "worse"),
        (LOWER, 0.3, 0.2, "better"),
        (HIGHER, 0.301, 0.3049, "same"),  # 0.30 both, as written
        (NEAR, -0.44, 0.04, "better"),
        (NEAR, 0.04, -0.44, "worse"),
        (NEAR, 0.02, -0.1, "same"),  # near enough, both
        (replace(HIGHER, better=""), 0.2, 0.3, ""),
        (HIGHER, 0.2, None, ""),
        (HIGHER, NAN, 0.2, ""),
        # shares of 100: 2 sqrt(.5 * .5 / 100 * 2) = .14
        (share, 0.5, 0.6, "same"),
        (share, 0.5, 0.65, "better"),
        (share, 0.65, 0.5, "worse"),
    ]:
        found = metric.compare({metric.key: after}, {metric.key: before}, 100)
        assert found == verdict, (metric, before, after)


def test_chance_is_two_standard_errors():
    before = {HIGHER.key: 1.0, f"{HIGHER.key}_se": 0.3}
    # sqrt(.3^2 + .4^2) = .5
    assert HIGHER.compare({HIGHER.key: 1.9, f"{HIGHER.key}_se": 0.4}, before, 10) == "same"
    assert HIGHER.compare({HIGHER.key: 2.1, f"{HIGHER.key}_se": 0.4}, before, 10) == "better"


def test_only_the_columns_asked_for_are_compared_and_words_reach_text_and_page():
    columns = {"prior": {HIGHER.key: 0.5}, "tutor": {HIGHER.key: 0.2}, "paper": {HIGHER.key: 0.9}}
    table = column_table("Title", [HIGHER], columns, "prior", ["tutor"], 100)
    assert [cell.verdict for cell in table.rows[0]] == ["", "", "worse", ""] and table.compares
    assert format_text(table).splitlines()[-1].split()[-3:] == ["0.20", "worse", "0.90"]
    assert not column_table("Title", [HIGHER], columns).compares


@pytest.fixture(scope="module")
def worse():
    """A demonstration whose tutor has fewer unique extremes and less for the tonic than the prior, more in motifs."""
    results = demo_results()
    prior, tutor = (results["melodies"]["metrics"][who] for who in ("prior", "tutor"))
    keys = ("unique_maximum", "unique_minimum", "term_tonic", "in_motif", "not_in_key")
    prior |= dict(zip(keys, (0.64, 0.59, 6.8, 0.54, 0.0038)))
    tutor |= dict(zip(keys, (0.47, 0.44, 4.7, 0.78, 0.0035)))
    return results


def test_a_tutor_that_got_worse_is_marked_so(worse):
    tables = part_tables("melodies", worse["melodies"])
    cells = {row[0].text: row[1:] for name in ("table_1", "terms") for row in tables[name].rows}
    said = {title: cells[title][1].verdict for title in ("Unique maximum", "Unique minimum", "Tonic", "In a motif")}
    assert said == {"Unique maximum": "worse", "Unique minimum": "worse", "Tonic": "worse", "In a motif": "better"}
    assert cells["Not in key"][1].verdict == "same"  # of 500 melodies
    # nothing is said of the prior, nor of the paper, whose prior learned from other music
    assert not any(cell.verdict for row in tables["table_1"].rows for cell in (row[1], row[3]))


def test_the_page_says_it_in_words_and_colour(worse):
    source = render_demo(worse)
    row = re.search("<tr><th[^>]*><b>Unique maximum</b>.*?</tr>", source, re.S).group()
    assert re.findall('<td(.*?)>', row) == ["", ' class="is-worse"', ""]
    assert "▼ worse" in row and "better</small>" not in row
    row = re.search("<tr><th[^>]*><b>In a motif</b>.*?</tr>", source, re.S).group()
    assert re.findall('<td(.*?)>', row) == ["", ' class="is-better"', ""] and "▲ better" in row
    row = re.search("<tr><th[^>]*><b>Not in key</b>.*?</tr>", source, re.S).group()
    assert re.findall('<td(.*?)>', row) == ["", ' class="is-same"', ""] and "= same" in row
    for word, colour in (("worse", "--bad-soft"), ("better", "--after-soft")):
        assert f".is-{word} {{ background: var({colour})" in source


def test_a_tile_says_whether_its_number_is_better(worse):
    tiles = re.findall('<div class="tile change([^"]*)"><dt>([^<]*)</dt>', render_demo(worse))
    assert (" is-better", "In a motif") in tiles and ("", "Sixteenths") in tiles
