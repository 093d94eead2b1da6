"""`python -m benchmarks compatibility`: what is tried, how it is told, and that the document shows the same table."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import compatibility
from benchmarks.__main__ import main
from benchmarks.compatibility import COLUMNS, LIBRARIES, NOT_INSTALLED, attempt, markdown
from benchmarks.trials import TRIALS, Trial, changed

DOCUMENT = Path(__file__).parents[1] / "docs" / "compatibility.md"
EXACT = tuple(column for column in COLUMNS if column[0] == "SeqTutor-Exact-v0")
NEEDS_BOX = r"AssertionError: The algorithm only supports \(<class 'gymnasium.spaces.box.Box'>,\)"


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(text):
    """Head and rows of a Markdown text's only table."""
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    return lines[0], lines[2:]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Every trial in the Exact environment: the JSON rows by algorithm, and the Markdown."""
    out = tmp_path_factory.mktemp("compatibility") / "table.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compatibility, "COLUMNS", EXACT)
        main(["compatibility", "--out", str(out)])
    return {row["algorithm"]: row for row in json.loads(out.with_suffix(".json").read_text())["rows"]}, out.read_text()


def test_what_should_train_trains(rows):
    """All but what needs continuous actions, and what reads one obs_mode only; each with the library's own reason."""
    for trial in TRIALS:
        row = rows[0][trial.algorithm]
        results = [row[f"{env_id} {obs_mode}"] for env_id, obs_mode in EXACT]
        if row["library"] in ("sb3-contrib", "torchrl") and find_spec(trial.module) is None:
            assert results == [NOT_INSTALLED] * 3
        elif trial.algorithm in ("SAC", "TD3"):
            assert all(re.match(NEEDS_BOX, result) for result in results)
        elif trial.library == "cleanrl":
            assert all("obs_mode 'dict'" in result for result in results[:2]) and results[2] == "trains"
        elif trial.algorithm in ("ARS", "vector.NormalizeObservation"):
            works = ["trains" if trial.algorithm == "ARS" else "steps"] * 2
            assert results[:2] == works and ": " in results[2], "it reads no dict"
        else:
            assert results == ["steps" if trial.library == "gymnasium" else "trains"] * 3, trial.algorithm


def test_the_files_say_the_same(rows):
    head, lines = table(rows[1])
    assert head == ["library", "algorithm", "Exact token", "Exact prefix", "Exact dict"]
    reasons = dict(re.findall(r"^(\d+)\. `(.*)`$", rows[1], re.MULTILINE))
    for line in lines:
        told = [reasons[cell.strip("()")] if cell.startswith("(") else cell for cell in line[2:]]
        assert [line[0], line[1], *told] == list(rows[0][line[1]].values())
    last = rows[1].splitlines()[-1]
    assert f"torch {torch.__version__}" in last and "python -m benchmarks compatibility --out" in last


def test_the_document_has_the_same_rows_and_columns():
    head, lines = table(DOCUMENT.read_text("utf-8"))
    assert head == ["library", "algorithm", *(f"{env_id.split('-')[1]} {obs_mode}" for env_id, obs_mode in COLUMNS)]
    assert [line[:2] for line in lines] == [[trial.library, trial.algorithm] for trial in TRIALS]
    assert {trial.library for trial in TRIALS} == set(LIBRARIES) and len(COLUMNS) == 9
    assert all(len(line) == 11 and all(line) for line in lines)
    assert f"{NOT_INSTALLED} |" not in DOCUMENT.read_text("utf-8"), "made where all is installed"


def test_the_first_line_of_what_was_raised_is_the_result(capsys):
    def fails(env_id, obs_mode):
        print("chatter")
        raise KeyError(f"{env_id} {obs_mode}\nmore")

    def is_silent(env_id, obs_mode):
        raise AssertionError

    assert attempt(Trial("torchrl", "", fails), "a", "b") == "KeyError: 'a b\\nmore'"
    assert attempt(Trial("torchrl", "", is_silent), "a", "b") == "AssertionError"
    assert attempt(Trial("torchrl", "", lambda *where: None, success="flies"), "a", "b") == "flies"
    assert capsys.readouterr() == ("", "")


def test_nothing_learned_is_no_success():
    zeros = {"w": torch.zeros(2), "b": torch.zeros(1)}
    changed(zeros, {"w": torch.zeros(2), "b": torch.ones(1)})
    with pytest.raises(RuntimeError, match="no parameter has changed"):
        changed(zeros, {"w": torch.zeros(2), "b": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="not finite"):
        changed(zeros, {"w": torch.ones(2), "b": torch.tensor([torch.nan])})


def test_a_library_that_is_not_there_is_said_to_be(monkeypatch, capsys):
    """Nothing of it is run, here or in a process of its own."""
    gone = [Trial("torchrl", name, lambda *where: None, name, apart=True) for name in ("not_there", "not.there")]
    monkeypatch.setattr(compatibility, "TRIALS", gone)
    main(["compatibility", "--libraries", "torchrl"])
    _, lines = table(capsys.readouterr().out)
    assert lines == [["torchrl", trial.algorithm, *[NOT_INSTALLED] * 9] for trial in gone]


def test_ctrl_c_writes_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(env_id, obs_mode):
        raise KeyboardInterrupt

    trials = [Trial("gymnasium", "works", lambda *where: None), Trial("gymnasium", "does not", interrupted)]
    monkeypatch.setattr(compatibility, "TRIALS", trials)
    with pytest.raises(SystemExit) as end:
        main(["compatibility", "--out", str(tmp_path / "table.md")])
    assert end.value.code == 130 and list(tmp_path.iterdir()) == []


def test_the_same_reason_has_one_number(monkeypatch):
    monkeypatch.setattr(compatibility, "COLUMNS", EXACT)
    names = [f"{env_id} {obs_mode}" for env_id, obs_mode in EXACT]
    made = [
        {"library": "l", "algorithm": "a", **dict(zip(names, ("trains", "E: x", "E: y")))},
        {"library": "l", "algorithm": "b", **dict(zip(names, ("E: y", "steps", "E: x")))},
    ]
    text = markdown(made, {"torch": "9", "torchrl": None}, "python -m it")
    assert table(text)[1] == [["l", "a", "trains", "(1)", "(2)"], ["l", "b", "(2)", "steps", "(1)"]]
    assert text.endswith("1. `E: x`\n2. `E: y`\n\ntorch 9; `python -m it`\n")
