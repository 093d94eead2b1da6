"""`python -m benchmarks speed`: turns, ratios worked out by hand, the files it writes, a user's mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.speed import command
from benchmarks.speed.measure import FEWEST_TURNS, TURN, Aim, Comparison, Options, Result, Sides
from benchmarks.speed.measure import measure, summarise, take_turns
from toys.commands import refuse, show_help


class FakeClock:
    """A clock that stands still but for `work`."""

    now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        self.now += seconds


def comparison(unit="steps/s", aim=None, setup=None, name="row", section="first"):
    return Comparison(section, name, unit, setup, aim)


def turns(**times):
    return {name.replace("_", " "): np.array(taken) for name, taken in times.items()}


# ---------------------------------------------------------------- turns and ratios


def test_sides_take_turns_and_are_measured_equally_often():
    clock, order = FakeClock(), []
    sides = {name: lambda name=name: (order.append(name), clock.work(2 * TURN)) for name in ("ours", "limit")}
    times = take_turns(sides, 0.0, clock)
    assert len(times["ours"]) == len(times["limit"]) == FEWEST_TURNS
    assert order[-2 * FEWEST_TURNS :] == ["ours", "limit"] * FEWEST_TURNS


def test_turns_go_on_for_the_seconds_asked_for_and_times_are_those_of_one_call():
    clock = FakeClock()
    sides = {"ours": lambda: clock.work(TURN / 8), "limit": lambda: clock.work(TURN / 4)}
    times = take_turns(sides, 19.5 * TURN, clock)
    assert len(times["ours"]) == 10, "a turn of each takes TURN"
    np.testing.assert_allclose(times["ours"], TURN / 8)
    np.testing.assert_allclose(times["limit"], TURN / 4)


def test_a_rate_is_work_by_time_and_the_ratio_is_that_of_neighbouring_turns():
    times = turns(ours=[0.5, 5.0, 0.5], limit=[1.0, 10.0, 2.0])  # the machine was slow once
    row = summarise(comparison(aim=Aim(2.0)), times, 10)
    assert (row.value, row.limit, row.ratio, row.low, row.high) == (20.0, 5.0, 2.0, 2.0, 3.0)
    assert (row.aim, row.met) == (">= 2", True)


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1e3), ("us", 1e6)])
def test_a_time_is_that_of_a_piece_of_work(unit, scale):
    row = summarise(comparison(unit, Aim(2.0, at_most=True)), turns(ours=[3.0] * 3, limit=[1.0] * 3), 10)
    assert row.value == pytest.approx(0.3 * scale) and row.limit == pytest.approx(0.1 * scale)
    assert (row.ratio, row.aim, row.met) == (3.0, "<= 2", False)


def test_the_fastest_rival_is_the_limit():
    row = summarise(comparison(), turns(ours=[1.0], the_slow=[4.0], the_fast=[2.0]), 1)
    assert (row.limit_name, row.ratio) == ("the fast", 2.0)


def test_an_aim_may_be_about_the_value():
    row = summarise(comparison("s", Aim(1.5, of="value", at_most=True)), turns(ours=[1.4], limit=[0.1]), 1)
    assert (row.aim, row.met) == ("<= 1.5 s", True)
    assert Aim(40_000, of="value").met_by(value=39_999, ratio=1e9) is False


@pytest.mark.parametrize("error", [ImportError, ValueError, RuntimeError])
def test_what_cannot_be_measured_is_a_note_and_the_sides_are_closed(error):
    closed = []

    def fail():
        raise error("no such library\nmore")

    sides = Sides(fail, {"limit": fail}, close=lambda: closed.append(True))
    row = measure(comparison(setup=lambda options: sides), Options())
    assert row == Result("row", "steps/s", note="not measured: no such library") and closed == [True]
    assert row.as_dict() == {"name": "row", "unit": "steps/s", "note": "not measured: no such library"}


# ---------------------------------------------------------------- the command

ROWS = {
    "reaches it": Result("reaches it", "steps/s", 1234.5, 2000.0, "the limit", 0.62, 0.6, 0.65, ">= 0.5", True),
    "does not": Result("does not", "s", 3.0, 2.0, "the limit", 1.5, 1.4, 1.6, "<= 1 s", False),
    "cannot": Result("cannot", "steps/s", note="not measured: no GPU"),
}


@pytest.fixture
def rows(monkeypatch):
    """Three comparisons in two sections in the place of all; the names of those that were measured."""
    measured = []

    def measure_toy(toy, options):
        measured.append(toy.name)
        if isinstance(ROWS[toy.name], BaseException):
            raise ROWS[toy.name]
        return ROWS[toy.name]

    toys = [comparison(name=name, section="first" if name != "cannot" else "second") for name in ROWS]
    monkeypatch.setattr(command, "load_comparisons", lambda: toys)
    monkeypatch.setattr(command, "measure", measure_toy)
    return measured


def speed(*words):
    main(["speed", *map(str, words)])


def test_all_is_printed_and_written(rows, tmp_path, capsys):
    out, markdown = tmp_path / "new" / "speed.json", tmp_path / "speed.md"
    speed("--out", out, "--markdown", markdown, "--seconds", "0.25", "--workers", "3")
    content = json.loads(out.read_text())
    assert content["settings"] == {
        "seconds": 0.25, "threads": 1, "melody_prior": "melody", "smiles_prior": "smiles", "workers": 3, "only": []
    }  # fmt: skip
    reached, missed, left_out = (row.as_dict() for row in ROWS.values())
    assert content["sections"] == {"first": [reached, missed], "second": [left_out]}
    assert content["machine"]["cpu"] and content["versions"]["numpy"] and set(content["threads"].values()) == {1}
    printed = capsys.readouterr().out
    assert "1 of 2 aims are met; not met: first: does not; not measured: second: cannot." in printed
    assert content["machine"]["cpu"] in printed and f"numpy {np.__version__}" in printed and str(out) in printed
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.read_text().splitlines()]
    assert ["reaches it", "1,234", "steps/s", "2,000", "0.620 [0.600-0.650]", ">= 0.5", "yes", "the limit"] in lines
    assert ["cannot", "", "steps/s", "", "", "", "", "not measured: no GPU"] in lines
    assert "## first" in markdown.read_text() and "second" in printed


def test_only_the_sections_asked_for(rows, tmp_path):
    speed("--out", tmp_path / "speed.json", "--only", "second")
    assert rows == ["cannot"] and list(json.loads((tmp_path / "speed.json").read_text())["sections"]) == ["second"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full")])
def test_what_was_measured_is_kept_when_the_run_ends_early(rows, tmp_path, capsys, monkeypatch, error):
    monkeypatch.setitem(ROWS, "does not", error)
    with pytest.raises(SystemExit) as end:
        speed("--out", tmp_path / "speed.json")
    said = capsys.readouterr().err
    interrupted = isinstance(error, KeyboardInterrupt)
    assert end.value.code == (130 if interrupted else 2) and ("speed.json" if interrupted else "disk full") in said
    assert json.loads((tmp_path / "speed.json").read_text())["sections"] == {"first": [ROWS["reaches it"].as_dict()]}


def test_an_interruption_before_the_first_row_writes_nothing(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(ROWS, "reaches it", KeyboardInterrupt())
    with pytest.raises(SystemExit):
        speed("--out", tmp_path / "speed.json")
    assert "nothing was measured" in capsys.readouterr().err and not (tmp_path / "speed.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--seconds", "0"), ("--seconds", "nan"), ("--threads", "0"), ("--workers", "-1"),
        ("--prior", "no such prior"), ("--prior", "smiles"), ("--smiles-prior", "melody"), ("--only", "priors"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_status_2(rows, tmp_path, capsys, words):
    said = refuse(capsys, main, "speed", "--out", tmp_path / "speed.json", *words)
    assert not rows and not (tmp_path / "speed.json").exists()
    assert words[0] != "--only" or "'priors'; the sections are: first, second." in said


def test_a_folder_in_the_place_of_a_file_is_known_before_the_work(rows, tmp_path, capsys):
    assert "is a folder" in refuse(capsys, main, "speed", "--out", tmp_path)
    assert "is a folder" in refuse(capsys, main, "speed", "--out", tmp_path / "speed.json", "--markdown", tmp_path)
    assert not rows


def test_help_lists_every_section():
    sections = list(dict.fromkeys(known.section for known in command.load_comparisons()))
    words = " ".join(show_help("benchmarks", "speed").replace("│", " ").split())
    assert f"sections: {', '.join(sections)}." in words
