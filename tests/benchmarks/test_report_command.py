"""`report`: what a folder holds, in every form; what is missing or damaged is told of, not swallowed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from toys.commands import GROWING, refuse
from toys.sweep_toys import write_suite

from benchmarks.__main__ import main
from benchmarks.experiment import Experiment, expand
from benchmarks.report.load import load_results
from benchmarks.runner import results
from benchmarks.suite import Suite
from benchmarks.suites import SUITES

EXPERIMENTS = expand({"env": "SeqTutor-Exact-v0", "agent": "agents:PsiLearning", "steps": 100, "seed": range(4)})
SUITE = Suite("toys", "What is there?", EXPERIMENTS)


def result(j):
    return {"metrics": {"j": j}, "curve": [], "samples": [], "timesteps": 100, "time": {"learning_cpu": 1.0}}


@pytest.fixture
def folder(tmp_path):
    """A result, a failure, a damaged file, nothing; and the result of a stranger."""
    first, second, third, _ = EXPERIMENTS
    results.write(results.result_path(tmp_path, first), first, result(1.5))
    results.write(results.failure_path(tmp_path, second), second, {"reason": "it broke", "log": "", "seconds": 1.0})
    results.result_path(tmp_path, third).write_text('{"id": ')
    stranger = Experiment("SeqTutor-Exact-v0", "agents:GLearning", steps=7)
    results.write(results.result_path(tmp_path, stranger), stranger, result(0.0))
    return tmp_path


def test_what_a_folder_holds_is_sorted_by_what_became_of_it(folder):
    found = load_results(SUITE, folder)
    assert [one["metrics"]["j"] for one in found.results] == [1.5]
    assert [one["reason"] for one in found.failures] == ["it broke"]
    assert found.missing == EXPERIMENTS[2:]
    assert len(found.notes) == 2
    assert EXPERIMENTS[2].id in found.notes[0] and "is damaged (JSONDecodeError" in found.notes[0]
    assert found.notes[1].startswith("1 result files in")


def test_damaged_files_of_a_folder_are_named_once(folder, capsys):
    """A file that is no JSON, metrics that are a list, and a melody with a token that no melody has."""
    made = expand({"env": "SeqTutor-Melody-v0", "agent": "agents:GLearning", "steps": 9, "seed": range(3)})
    metrics = {"excessively_repeated": 0.0, "j": 1.0}
    for one, tokens, found in zip(made, ([14, 1], [14, 99], [14]), (metrics, metrics, [1.0])):
        sample = {"tokens": tokens, "sequence": [], "task_return": 1.0, "log_p": -1.0, "terms": {}}
        results.write(results.result_path(folder, one), one, {"metrics": found, "samples": [sample]})
    copied = folder / "copy.json"
    copied.write_bytes(results.result_path(folder, EXPERIMENTS[0]).read_bytes())
    main(["report", "--out", str(folder), "--markdown", "--html"])
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4 and sum("copy.json is damaged (its name is not that of its id" in line for line in told) == 1
    whys = (EXPERIMENTS[2], "JSONDecodeError"), (made[1], "0..37, not 14..99"), (made[2], "metrics must be")
    for one, says in whys:
        (line,) = [line for line in told if results.result_path(folder, one).name in line]
        assert says in line
        for name in ("report.html", "report.md"):
            assert (folder / name).read_text(encoding="utf-8").count(results.result_path(folder, one).name) == 1
    assert "3 done, 1 failed" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_suite_file_of_the_wrong_shape_is_one_line(tmp_path, capsys):
    plain = {"name": "x", "question": "", "experiments": []}
    for content in ({**plain, "name": 3}, [1], {**plain, "experiments": [1]}, {**plain, "experiments": [{"env": 2}]}):
        (tmp_path / "suite.json").write_text(json.dumps(content))
        assert "is not a suite that `run` saved" in refuse(capsys, main, "report", str(tmp_path / "suite.json"))


def suite_file(folder):
    return write_suite(folder / "mine.py", EXPERIMENTS)


def test_every_form_is_written(folder, tmp_path_factory, capsys):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[sweep]'")
    target = tmp_path_factory.mktemp("written")
    forms = ["--html", "--markdown", "--csv", "--parquet", "--pictures"]
    main(["report", str(suite_file(folder)), "--out", str(folder), "--to", str(target), *forms])
    printed = capsys.readouterr()
    names = {path.name for path in target.iterdir()}
    assert {"report.html", "report.md", "results.csv", "results.parquet"} <= names
    assert str(target / "report.html") in printed.out.splitlines()
    assert "is damaged" in printed.err
    with (target / "results.csv").open(newline="") as file:
        assert [row["metrics.j"] for row in csv.DictReader(file)] == ["1.5"]


def test_the_page_is_what_one_gets_without_an_option(folder, capsys):
    main(["report", str(suite_file(folder)), "--out", str(folder)])
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert not (folder / "report.md").exists()


def test_a_folder_is_reported_without_its_suite(folder, capsys):
    main(["report", "--out", str(folder), "--markdown"])
    assert capsys.readouterr().out == f"{folder / 'report.md'}\n"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "Experiments: 2 done, 1 failed, 0 missing." in text and "it broke" in text and "| GLearning | 1 |" in text
    assert "Name a suite, or a folder of results by --out." in refuse(capsys, main, "report")


def test_without_results_a_line_says_how_to_get_them(tmp_path, capsys):
    line = f"No results of smoke in {tmp_path / 'none'}: `python -m benchmarks run smoke --out {tmp_path / 'none'}`."
    assert refuse(capsys, main, "report", "smoke", "--out", tmp_path / "none") == f"python -m benchmarks: {line}\n"


def test_the_committed_results_are_those_of_the_shipped_suites():
    folder = Path(__file__).parents[2] / "docs" / "results"
    suites = [path.name for path in folder.iterdir() if path.is_dir()]
    assert {"exact", "paper-melody", "paper-smiles", "frontier-melody", "frontier-smiles", "third-party"} <= set(suites)
    for name in suites:
        found = load_results(SUITES[name], folder / name)
        assert found.results and not found.notes and not found.failures, name
        assert name in GROWING or not found.missing, name
