"""Result files: what is written is read again, whole or not at all, and what is damaged is said to be."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.experiment import Experiment
from benchmarks.runner import results
from seqtutor_envs.files import FileError

ONE = Experiment("SeqTutor-Melody-v0", "agents:PsiLearning", {"c": 0.5}, {"gamma": 0.5}, steps=1000, seed=3, label="Ψ")
OTHER = replace(ONE, seed=4)
FACTS = {"metrics": {"j": 61.4, "kl": 33.25, "count": 3}, "curve": [{"timesteps": 0, "j": -42.4}]}
FACTS |= {"weights": None, "warnings": ["θ ist groß"]}


@pytest.fixture
def path(tmp_path):
    """A result's file, written."""
    results.write(results.result_path(tmp_path, ONE), ONE, FACTS)
    return results.result_path(tmp_path, ONE)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_again(path):
    assert results.read(path, ONE) == {"id": ONE.id, "experiment": asdict(ONE), **FACTS} == results.read(path)
    assert Experiment.of(results.read(path)["experiment"]) == ONE
    assert files(path.parent) == [f"{ONE.id}.json"]


def test_calls_stand_in_a_file_beside_the_result(tmp_path):
    path, calls = results.result_path(tmp_path, ONE), '"CC": [0.5, 1]\n'
    results.write(path, ONE, {**FACTS, "calls": calls})
    assert results.read(path, ONE) == {"id": ONE.id, "experiment": asdict(ONE), **FACTS}
    assert files(tmp_path) == [f"{ONE.id}.calls.yaml.gz", f"{ONE.id}.json"]
    packed = results.calls_path(tmp_path, ONE).read_bytes()
    assert gzip.decompress(packed).decode() == calls
    results.write(path, ONE, {**FACTS, "calls": calls})
    assert results.calls_path(tmp_path, ONE).read_bytes() == packed
    assert results.find_other_files(tmp_path, [ONE]) == []


def test_a_failure_is_a_file_of_another_name(tmp_path):
    path = results.failure_path(tmp_path, ONE)
    results.write(path, ONE, {"reason": "it broke", "log": "one\ntwo"})
    assert path.name == f"{ONE.id}.failed.json" != results.result_path(tmp_path, ONE).name
    assert results.read(path, ONE)["reason"] == "it broke"
    assert results.log_path(tmp_path, ONE) == tmp_path / "logs" / f"{ONE.id}.log"


def test_a_file_is_json_that_a_line_based_tool_can_read(path):
    lines = path.read_text().splitlines()
    assert json.loads(path.read_bytes())["metrics"] == FACTS["metrics"]
    assert lines[0] == "{" and lines[-1] == "}" and len(lines) == 2 + 2 + len(FACTS)
    assert ' "metrics": {"j": 61.4, "kl": 33.25, "count": 3},' in lines


def test_numbers_that_json_has_not_are_null(tmp_path):
    path = tmp_path / "out.json"
    facts = {"metrics": {"j": float("nan"), "kl": float("inf"), "r": 1.5}, "curve": [{"j": -float("inf")}, (1, 2.0)]}
    results.write(path, ONE, facts)

    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found["metrics"] == {"j": None, "kl": None, "r": 1.5} and found["curve"] == [{"j": None}, [1, 2.0]]


# ---------------------------------------------------------------- whole or not at all


def test_what_json_cannot_hold_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        results.write(path, ONE, {"metrics": {"j": object()}})
    assert path.read_bytes() == before and files(path.parent) == [path.name]


# ---------------------------------------------------------------- what is damaged


def edited(content, **change):
    found = json.loads(content)
    return json.dumps({**found, **change}).encode()


CONTENTS = (b"", b"\x80\xff\x00\x01" * 100, b"Killed\n", b"[1, 2]", b"3", b"null")
CHANGES = ({"steps": 2000}, {"nope": 1}, {"n": 0}, {"agent": 3})  # edited, another version's, impossible, a wrong type
DAMAGES = {
    **{str(whole[:9]): lambda content, whole=whole: whole for whole in CONTENTS},
    **{str(one): lambda content, one=one: edited(content, experiment={**asdict(ONE), **one}) for one in CHANGES},
    "truncated": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-3],
    "another id": lambda content: edited(content, id=OTHER.id),
    "no id": lambda content: json.dumps({"experiment": asdict(ONE), **FACTS}).encode(),
    "no experiment": lambda content: edited(content, experiment=None),
    "neither metrics nor reason": lambda content: json.dumps({"id": ONE.id, "experiment": asdict(ONE)}).encode(),
    "another experiment's": lambda content: edited(content, id=OTHER.id, experiment=asdict(OTHER)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line_and_is_kept(path, damage):
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(FileError) as error:
        results.read(path, ONE)
    assert str(error.value).startswith(f"{path} is damaged (") and "\n" not in str(error.value)
    kept = results.set_aside(path)
    assert not path.exists() and kept.read_bytes() == content and kept.parent == path.parent
    assert not kept.match("*.json")  # so that nothing takes it for a result


SAMPLE = {"tokens": [1, 2], "sequence": "CC", "task_return": 0.5, "log_p": -3.0, "terms": {"qed": 0.5}}
WRONG = [
    ({"metrics": [1, 2]}, "metrics must be a JSON object"),
    ({"metrics": {"j": "61.4"}}, "metrics.j must be a number or null"),
    ({"metrics": {"j": True}}, "metrics.j must be a number or null"),
    ({"metrics": {"j": [61.4]}}, "metrics.j must be a number or null"),
    ({"metrics": {"j": float("nan")}}, "j must be a finite number"),
    ({"metrics": {"j": 1e300}}, "j must be a finite number up to 1e+100"),
    ({"metrics": {"j": 10**400}}, "j must be a finite number up to 1e+100"),
    ({"curve": {"j": 1}}, "curve must be a list"),
    ({"curve": [3]}, "curve must be a JSON object"),
    ({"curve": [{"timesteps": "0"}]}, "curve.timesteps must be a number or null"),
    ({"samples": "CC"}, "samples must be a list"),
    ({"samples": [{"sequence": "CC"}]}, "samples has no 'tokens'"),
    ({"samples": [{**SAMPLE, "tokens": []}]}, "tokens must be a list of 1 or more"),
    ({"samples": [{**SAMPLE, "tokens": [1.5]}]}, "tokens must be a whole number"),
    ({"samples": [{**SAMPLE, "sequence": 3}]}, "sequence must be a list"),
    ({"samples": [{**SAMPLE, "terms": {"qed": "x"}}]}, "terms.qed must be a number or null"),
    ({"warnings": "once"}, "warnings must be a list"),
    ({"warnings": [1]}, "warnings must be a text"),
    ({"machine": {"memory_gib": "8 GiB"}}, "machine.memory_gib must be a number"),
    ({"machine": 3}, "machine must be a JSON object"),
    ({"git": {"dirty": False}}, "git has no 'commit'"),
    ({"git": {"commit": 7}}, "commit must be a text"),
    ({"versions": {"torch": 2}}, "versions.torch must be a text or null"),
    ({"time": {"total_wall": "fast"}}, "time.total_wall must be a number or null"),
    ({"finished": 2026}, "finished must be a text"),
    ({"c": "2"}, "c must be a number"),
    ({"c": json.loads("[" * 30 + "]" * 30)}, "more than 20 levels"),
    ({"warnings": ["\ud800"]}, "0 is no text of Unicode"),
]


@pytest.mark.parametrize("change, says", WRONG, ids=[says for _, says in WRONG])
def test_an_entry_of_the_wrong_shape_is_named(path, change, says):
    path.write_bytes(edited(path.read_bytes(), **change))
    with pytest.raises(FileError, match=re.escape(says)) as error:
        results.read(path, ONE)
    assert str(error.value).startswith(f"{path} is damaged (ValueError: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["env_kwargs", "agent_kwargs", "label", "group", "env"])
def test_an_experiment_of_the_wrong_types_is_damage(path, name):
    path.write_bytes(edited(path.read_bytes(), experiment={**asdict(ONE), name: 3}))
    with pytest.raises(FileError, match=f"{name} must be a (text|mapping), not 3"):
        results.read(path)


def test_nesting_that_no_parser_follows_is_damage(path):
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(FileError, match="more than 20 levels"):
        results.read(path)


def test_a_failure_needs_a_reason_and_a_result_its_metrics(tmp_path):
    for path_of, facts in ((results.result_path, {"reason": "x"}), (results.failure_path, FACTS)):
        path = path_of(tmp_path, ONE)
        results.write(path, ONE, facts)
        with pytest.raises(FileError, match="it has no '(metrics|reason)'"):
            results.read(path)


def test_results_of_our_suites_are_whole():
    files = sorted((Path(__file__).parents[2] / "docs/results").rglob("*-seed0-*.json"))[::10]
    assert len(files) > 5 and all("metrics" in results.read(file) for file in files)


def test_a_file_that_is_not_there_is_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        results.read(tmp_path / "nothing.json")


def test_a_label_may_be_edited(path):
    path.write_bytes(edited(path.read_bytes(), experiment={**asdict(ONE), "label": "Psi", "group": "g"}))
    assert results.read(path, ONE)["metrics"] == FACTS["metrics"]


# ---------------------------------------------------------------- others in the folder


def test_files_of_other_experiments_are_named(path):
    folder = path.parent
    results.write(results.failure_path(folder, ONE), ONE, {"reason": "once"})
    results.write(results.result_path(folder, OTHER), OTHER, FACTS)
    (folder / "notes.txt").write_text("mine")
    assert results.find_other_files(folder, (ONE, OTHER)) == []
    assert results.find_other_files(folder, (OTHER,)) == [results.failure_path(folder, ONE), path]
