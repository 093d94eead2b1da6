"""`python -m benchmarks speed`: sections by name, one line for what cannot be, everything written, Ctrl-C included."""

from __future__ import annotations

import json
import os
import sys
from types import ModuleType

import pytest
from demo_toys import small_prior
from speed_toys import quick

from benchmarks.__main__ import main
from benchmarks.speed import machine, report, sampling, tables
from benchmarks.speed.rows import Aim, Row
from seqtutor_envs.command import set_threads
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.smiles.vocab import smiles_vocab

ROWS = (
    Row("reaches it", 1234.5, "steps/s", 2000.0, "the limit", 0.62, 0.6, 0.65, Aim(0.5), "a note"),
    Row("does not", 3.0, "s", aim=Aim(1.0, of="value", at_most=True)),
    Row("has no aim", 0.01, "MiB"),
)


@pytest.fixture
def sections(monkeypatch):
    """Two sections in the place of all; the list of those that were measured."""
    measured = []
    for name in ("first", "second"):
        module = ModuleType(f"benchmarks.speed.{name}")
        module.HEAD = f"What {name} compares"

        def rows(options, name=name):
            measured.append(name)
            yield from ROWS

        module.rows = rows
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(report, "SECTIONS", {"first": "first", "second": "second", "late": "late"})
    monkeypatch.setattr(report, "LONG", ("late",))
    return measured


def speed(*words):
    main(["speed", *map(str, words)])


def failure(capsys, *words):
    """The one line that the command ends with."""
    with pytest.raises(SystemExit) as end:
        speed(*words)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


def test_every_section_has_a_name_and_two_are_long():
    assert list(report.SECTIONS) == (
        "prior environment single vec-env rules sampling update molecules memory startup growth peers quality".split()
    )
    assert set(report.LONG) == {"memory", "quality"}
    assert report.chosen(()) == [name for name in report.SECTIONS if name not in report.LONG]
    assert report.chosen(("quality", "prior", "prior")) == ["prior", "quality"]


def test_all_is_printed_and_written(sections, tmp_path, capsys):
    out, markdown = tmp_path / "new" / "speed.json", tmp_path / "speed.md"
    speed("--out", out, "--markdown", markdown, "--seconds", "0.25")
    assert sections == ["first", "second"]
    content = json.loads(out.read_text())
    assert content["settings"]["seconds"] == 0.25 and content["settings"]["threads"] == 1
    assert content["sections"] == {name: [row.as_dict() for row in ROWS] for name in sections}
    assert content["sections"]["first"][0]["met"] is True and content["sections"]["first"][1]["met"] is False
    assert content["machine"]["cores_in_all"] == os.cpu_count() and content["machine"]["numpy"]
    printed = capsys.readouterr().out
    assert "What first compares" in printed and "second (2 of 2)" in printed and str(out) in printed
    assert "2 of 4 aims are met; not met: first: does not; second: does not." in printed
    told = markdown.read_text()
    assert told.count("| reaches it | 1,234 | steps/s | 2,000 | 0.62 [0.60-0.65] | >= 0.5 | yes |") == 2
    assert "## first" in told and "What second compares." in told


def test_lines_of_the_table_are_aligned():
    head, *lines = (tables.line(texts) for texts in (tables.TITLES, *map(tables.cells, ROWS)))
    assert all(line[:len("does not")].strip() for line in lines)
    unit = head.index("unit")
    assert [line[unit:].split()[0] for line in lines] == ["steps/s", "s", "MiB"]
    assert lines[1][head.index("aim"):].split() == ["<=", "1", "s", "no"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(431_234.4, "431,234"), (1000, "1,000"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits_or_more(value, text):
    assert tables.number(value) == text


def test_only_the_sections_asked_for(sections, tmp_path):
    speed("--out", tmp_path / "speed.json", "--only", "second")
    assert sections == ["second"] and list(json.loads((tmp_path / "speed.json").read_text())["sections"]) == ["second"]


def test_an_interruption_keeps_what_was_measured(sections, tmp_path, capsys, monkeypatch):
    def interrupted(options):
        yield ROWS[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["benchmarks.speed.second"], "rows", interrupted)
    out = tmp_path / "speed.json"
    with pytest.raises(SystemExit) as end:
        speed("--out", out)
    assert end.value.code == 130 and str(out) in capsys.readouterr().err
    found = json.loads(out.read_text())["sections"]
    assert {name: len(rows) for name, rows in found.items()} == {"first": 3, "second": 1}


def test_an_interruption_before_the_first_row_writes_nothing(sections, tmp_path, capsys, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["benchmarks.speed.first"], "rows", interrupted)
    with pytest.raises(SystemExit):
        speed("--out", tmp_path / "speed.json")
    assert "nothing was measured" in capsys.readouterr().err and not (tmp_path / "speed.json").exists()


def test_an_error_keeps_what_was_measured(sections, tmp_path, capsys, monkeypatch):
    def failing(options):
        raise ValueError("This machine lacks something.")

    monkeypatch.setattr(sys.modules["benchmarks.speed.second"], "rows", failing)
    assert "lacks something" in failure(capsys, "--out", tmp_path / "speed.json")
    assert list(json.loads((tmp_path / "speed.json").read_text())["sections"]) == ["first"]


@pytest.mark.parametrize(
    "words",
    [
        ("--seconds", "0"), ("--seconds", "nan"), ("--minutes", "-1"), ("--threads", "0"), ("--memory", "0"),
        ("--workers", "-1"), ("--prior", "no such prior"), ("--prior", "smiles"), ("--smiles-prior", "melody"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_status_2(sections, tmp_path, capsys, words):
    failure(capsys, "--out", tmp_path / "speed.json", *words)
    assert not sections and not (tmp_path / "speed.json").exists()


def test_an_unknown_section_lists_the_choices(tmp_path, capsys):
    said = failure(capsys, "--only", "priors", "--out", tmp_path / "speed.json")
    assert "'priors'" in said and all(name in said for name in report.SECTIONS)


def test_folders_and_a_missing_line_profiler_are_known_before_the_work(sections, tmp_path, capsys, monkeypatch):
    assert "is a folder" in failure(capsys, "--out", tmp_path)
    assert "is a folder" in failure(capsys, "--out", tmp_path / "speed.json", "--markdown", tmp_path)
    monkeypatch.setitem(sys.modules, "line_profiler", None)
    assert "pip install line_profiler" in failure(capsys, "--out", tmp_path / "speed.json", "--lines")
    assert not sections


def test_a_true_section_with_priors_of_ones_own_and_lines(tmp_path, capsys, monkeypatch):
    pytest.importorskip("line_profiler")
    quick(monkeypatch)
    monkeypatch.setattr(sampling, "BATCHES", (2,))
    melody = small_prior(tmp_path / "melody", MELODY_VOCAB, 32)
    smiles = small_prior(tmp_path / "smiles", smiles_vocab(["C", "O"]), 20)
    out = tmp_path / "speed.json"
    speed("--only", "sampling", "--seconds", "0.001", "--prior", melody, "--smiles-prior", smiles, "--lines",
          "--out", out)  # fmt: skip
    content = json.loads(out.read_text())
    assert len(content["sections"]["sampling"]) == 2 and content["settings"]["melody_prior"] == str(melody)
    assert {line["function"] for line in content["lines"]} >= {"env.step"}
    printed = capsys.readouterr().out
    assert "melodies, batch of 2" in printed and "env.step" in printed and "No row has an aim." in printed


def test_the_machine_is_described():
    facts = machine.described()
    assert facts["cpu"] and 1 <= facts["cores"] <= facts["cores_in_all"]
    said = "\n".join(machine.lines(facts))
    assert facts["cpu"] in said and f"numpy {facts['numpy']}" in said and "blas" in said.lower()
    nothing = facts | {"memory_gib": None, "load_before": None, "rdkit": None}
    assert "rdkit not installed" in "\n".join(machine.lines(nothing))


def test_threads_are_set():
    try:
        set_threads(2)
        assert set(machine.threads().values()) == {2}
    finally:
        set_threads(1)
    assert set(machine.threads().values()) == {1}
