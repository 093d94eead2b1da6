"""The user's own objective: order of what is done to a score, failures, warnings, loading by name."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqtutor_envs.smiles.objective import ObjectiveScore, UserObjective
from seqtutor_envs.smiles.objective import objective as objectives


def length(smiles: list[str]) -> list[float]:
    return [float(len(text)) for text in smiles]


def values(objective: UserObjective, *smiles: str) -> list[float]:
    return [score.value for score in objective(smiles)]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module into the current directory, which is a folder of the test's own; both are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if not hasattr(sys.modules[name], "__file__") or str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


# what the function returns


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        np.array,
        lambda x: np.array(x, np.float32),
        lambda x: np.array(x, np.int64),
        lambda x: np.array(x)[:, None],
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.tensor(x, dtype=torch.float64)[:, None],
        lambda x: torch.tensor(x, dtype=torch.bfloat16),
        lambda x: torch.tensor(x)[:, None].squeeze(),  # of one molecule: no axis is left
        lambda x: np.array(x).squeeze(),
        lambda x: [np.float64(v) for v in x],
    ],
)
def test_scores_may_be_a_list_an_array_or_a_tensor(convert: Callable[[list[float]], Any]) -> None:
    objective = UserObjective(lambda smiles: convert(length(smiles)))
    assert objective(["CCC", "C"]) == [ObjectiveScore(3.0, ""), ObjectiveScore(1.0, "")]
    assert type(objective(["C"])[0].value) is float


@pytest.mark.parametrize(
    "result, message",
    [
        ([1.0, 2.0, 3.0], "must return 2 floats, one for each SMILES of its list, not list of shape [3]."),
        ([], "not list of shape [0]."),
        (5.0, "not float: 5.0."),
        (np.array(5.0), "not ndarray: array(5.)."),
        (np.ones((2, 2)), "not ndarray of shape [2, 2]."),
        (None, "not NoneType: None."),
        ("ab", "not str: 'ab'."),
        (["1", "2"], "not list: ['1', '2']."),
        ({"C": 1.0, "CC": 2.0}, "not dict: {'C': 1.0, 'CC': 2.0}."),
        ([1j, 2.0], "not list: [1j, 2.0]."),
        ([[1.0], [1.0, 2.0]], "not list: [[1.0], [1.0, 2.0]]."),
        (iter([1.0, 2.0]), "not list_iterator: <list_iterator"),
    ],
)
def test_something_else_than_a_float_for_each_molecule_ends_the_run_at_the_first_call(
    result: Any, message: str
) -> None:
    with pytest.raises(TypeError) as raised:
        UserObjective(lambda smiles: result)(["C", "CC"])
    text = str(raised.value)
    assert message in text and text.startswith("The objective test_smiles_objective:") and "\n" not in text


def test_it_is_a_failure_once_the_function_has_returned_what_it_must() -> None:
    objective = UserObjective(lambda smiles: [1.0 for text in smiles if text != "CC"])  # leaves out what fails
    assert values(objective, "C") == [1.0]
    with pytest.warns(UserWarning, match=r"must return 1 float, .* for CC, which scores as invalid \(0\)"):
        assert objective(["CCC", "CC"]) == [ObjectiveScore(1.0, ""), ObjectiveScore(0.0, "objective failed")]


def test_a_function_of_one_smiles_is_told_to_take_a_list() -> None:
    def weight(smiles: str) -> float:
        return float(len(smiles.upper()))

    with warnings.catch_warnings(), pytest.raises(TypeError, match=r"takes one SMILES, .* pass lambda batch: \["):
        warnings.simplefilter("ignore")
        UserObjective(weight)(["C", "CC"])  # type: ignore[arg-type]


# when it is called


def test_it_is_called_once_a_batch_for_distinct_molecules_that_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "CACHE_SIZE", 3)
    asked: list[list[str]] = []
    objective = UserObjective(lambda smiles: asked.append(smiles) or length(smiles))
    assert values(objective, "C", "CC", "C") == [1, 2, 1]
    assert values(objective, "CC", "CCC", "C") == [2, 3, 1]
    assert values(objective, "C") == [1] and values(objective) == []
    assert asked == [["C", "CC"], ["CCC"]]
    values(objective, "CCCC")  # leaves no room for CC, which was used longest ago
    assert values(objective, "CCC", "C", "CC") == [3, 1, 2]
    assert asked[2:] == [["CCCC"], ["CC"]]
    assert (objective.scored, objective.failed, objective.oracle.calls) == (5, 0, 4)


def test_a_batch_larger_than_the_cache_is_scored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "CACHE_SIZE", 2)
    assert values(UserObjective(length), *("C" * n for n in range(1, 8))) == [1, 2, 3, 4, 5, 6, 7]


# what is done to a score


def test_clip_comes_first_then_the_sign_or_the_transform() -> None:
    smiles = ("C", "CCC", "CCCCCC")  # raw scores 1, 3, 6
    assert values(UserObjective(length, clip=(2, 5)), *smiles) == [2, 3, 5]
    assert values(UserObjective(length, clip=(None, 5)), *smiles) == [1, 3, 5]
    assert values(UserObjective(length, minimize=True, invalid_score=-9), *smiles) == [-1, -3, -6]
    assert values(UserObjective(length, minimize=True, clip=(2, 5), invalid_score=-9), *smiles) == [-2, -3, -5]
    assert values(UserObjective(length, transform="step:low=2,high=4"), *smiles) == [0, 1, 0]
    both = UserObjective(length, clip=(2, 4), transform={"name": "step", "low": 2, "high": 4})
    assert values(both, *smiles) == [1, 1, 1]


def test_to_minimise_with_a_transform_is_an_error_that_names_the_reverse_one() -> None:
    with pytest.raises(ValueError, match="use reverse_sigmoid instead"):
        UserObjective(length, minimize=True, transform="sigmoid:low=2,high=5")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"clip": 5}, "clip must be (lowest, highest), None for no bound; not 5."),
        ({"clip": (2, 1)}, "clip must be (lowest, highest) with lowest below highest, not (2, 1)."),
        ({"clip": ("a", 1)}, "clip must be"),
        ({"invalid_score": math.nan}, "invalid_score must be a finite number from -1e+09 to 1e+09, not nan."),
        ({"invalid_score": None}, "invalid_score must be a finite number from -1e+09 to 1e+09, not None."),
        ({"transform": "cosine"}, "No transform is called 'cosine'; the transforms are: sigmoid, "),
        ({"oracle_budget": 0}, "oracle_budget must be an integer from 1 to 10,000,000 or None, not 0."),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        UserObjective(length, **arguments)
    assert message in str(raised.value)


# what goes wrong


def test_exceptions_and_what_is_not_finite_name_the_molecule_and_score_as_invalid() -> None:
    calls: list[list[str]] = []

    def fragile(smiles: list[str]) -> list[float | None]:
        calls.append(smiles)
        if "CO" in smiles:
            raise ArithmeticError("two\nlines")
        return [{"CN": math.nan, "CF": math.inf, "CS": None}.get(text, 1.0) for text in smiles]

    objective = UserObjective(fragile, invalid_score=-5, minimize=True, clip=(0, 10))
    batch = ["C", "CO", "CN", "CC", "CF", "CS"]
    with pytest.warns(UserWarning) as caught:
        scores = objective(batch)
    assert [score.value for score in scores] == [-1, -5, -5, -1, -5, -5]  # invalid_score is final: not clipped, negated
    assert [bool(score.reason) for score in scores] == [False, True, True, False, True, True]
    assert {score.reason for score in scores} == {"", "objective failed"}
    assert calls == [batch, *([text] for text in batch)]
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 3  # the fourth failure is only counted
    assert "failed (ArithmeticError: two lines) for CO, which scores as invalid (-5)." in texts[0]
    assert "returned nan for CN" in texts[1]
    assert "returned inf for CF" in texts[2] and texts[2].endswith("; further failures are counted, not named.")
    assert (objective.scored, objective.failed, objective.oracle.calls) == (6, 4, 6)
    calls.clear()
    assert objective(batch) == scores and calls == []  # failures are remembered


def test_a_single_molecule_that_fails_is_asked_for_once() -> None:
    calls: list[list[str]] = []
    objective = UserObjective(lambda smiles: calls.append(smiles) or 1 / 0)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        assert objective(["C"])[0].reason == "objective failed"
    assert calls[0] == ["C"] and len([call for call in calls if call == ["C"]]) == 1


def test_ctrl_c_in_the_function_ends_the_run() -> None:
    def interrupted(smiles: list[str]) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        UserObjective(interrupted)(["C"])


@pytest.mark.parametrize("failing, warned", [(59, False), (60, True), (200, True)])
def test_many_failures_are_said_once_after_200_molecules(failing: int, warned: bool) -> None:
    objective = UserObjective(lambda smiles: [math.nan if int(text) < failing else float(text) for text in smiles])
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for start in range(0, 400, 50):
            objective([str(n) for n in range(start, start + 50)])
            said.append(sum("of the first 200 molecules" in str(warning.message) for warning in caught))
    assert said == [0, 0, 0, *[int(warned)] * 5]
    assert not warned or any(f"failed for {failing} of the first 200" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("settings", [{}, {"clip": (5000, 6000)}])
def test_equal_scores_are_said_once_after_200_molecules(settings: dict[str, Any]) -> None:
    same = UserObjective((lambda smiles: [0.5] * len(smiles)) if not settings else length, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(["C" * n for n in range(1, 200)])
        assert caught == []
        same(["N"])
        same(["C" * n for n in range(200, 600)])
    assert len(caught) == 1 and "All 200 scores of the objective" in str(caught[0].message)
    assert ("are 0.5" in str(caught[0].message)) == (not settings)


def test_scores_below_invalid_score_are_said_once() -> None:
    objective = UserObjective(length, minimize=True)
    with pytest.warns(UserWarning, match=r"go down to -3, below invalid_score=0: an invalid molecule") as caught:
        values(objective, "C", "CCC")
        values(objective, "CC", "CCCCC")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values(UserObjective(length, minimize=True, invalid_score=-5), "CCCCC")


# the budget


def test_beyond_the_budget_there_is_a_reason_and_nothing_is_asked() -> None:
    asked: list[str] = []
    objective = UserObjective(lambda smiles: asked.extend(smiles) or length(smiles), oracle_budget=2, invalid_score=0.5)
    assert objective(["CCC", "C"]) == [ObjectiveScore(3), ObjectiveScore(1)] and objective.oracle.spent
    assert objective(["CO", "C"]) == [ObjectiveScore(0.5, "oracle budget"), ObjectiveScore(1)]
    assert asked == ["CCC", "C"] and objective.oracle.calls == 2


# by name


def test_a_function_is_found_in_the_current_directory_with_the_hash_of_its_file(
    module: Callable[[str, str], None],
) -> None:
    text = "import helper_of_mine\n\ndef score(smiles):\n    return [helper_of_mine.SCALE * len(s) for s in smiles]\n"
    module("helper_of_mine", "SCALE = 2.0\n")
    module("my_objective", text)
    objective = UserObjective("my_objective:score", clip=(0, 3), transform="step:low=2")
    assert values(objective, "C", "CC") == [1, 1]
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert (objective.path, objective.source_hash) == ("my_objective:score", expected)
    record = json.loads(json.dumps(objective.record()))
    assert (record["path"], record["source_hash"]) == ("my_objective:score", expected)
    assert record["clip"] == [0, 3] and record["transform"]["name"] == "step" and record["invalid_score"] == 0
    other = pickle.loads(pickle.dumps(objective))
    assert values(other, "C", "CC") == [1, 1] and other.path == objective.path
    assert b"my_objective:score" in pickle.dumps(objective)


@pytest.mark.parametrize(
    "path, error, message",
    [
        ("my_objective", ValueError, "form package.module:name, such as my_objective:score"),
        ("my_objective.py:score", ValueError, "not 'my_objective.py:score'"),
        ("my_objective:", ValueError, "not 'my_objective:'"),
        ("no_such_module:score", ImportError, "no_such_module:score: there is no module no_such_module in "),
        ("my_objective.sub:score", ImportError, "there is no module my_objective.sub in "),
        ("my_objective:scores", AttributeError, "my_objective has no scores; its functions are: score, other."),
        ("my_objective:LIMIT", TypeError, "for the function score of my_objective.py; my_objective:LIMIT is int."),
        ("my_objective:Model", TypeError, "Model is a class, pass an instance of it"),
        ("imports_nothing:score", ImportError, "failed: ModuleNotFoundError: No module named 'no_such_package'."),
        ("wrong_syntax:score", ImportError, "importing wrong_syntax failed: SyntaxError: "),
        ("raises:score", ImportError, "importing raises failed: RuntimeError: no licence."),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error_of_one_line(
    path: str, error: type[Exception], message: str, module: Callable[[str, str], None]
) -> None:
    functions = "def score(smiles):\n    return []\n\ndef other(smiles):\n    return []\n"
    module("my_objective", f"{functions}\nLIMIT = 3\n\nclass Model:\n    pass\n")
    module("imports_nothing", "import no_such_package\n")
    module("wrong_syntax", "def score(smiles:\n")
    module("raises", "raise RuntimeError('no\\nlicence')\n")
    with pytest.raises(error) as raised:
        UserObjective(path)
    assert isinstance(raised.value, (ValueError, ImportError))  # which commands report without a traceback
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_function_of_this_file_is_named_and_hashed_and_one_written_in_c_is_not() -> None:
    text = Path(__file__).read_bytes()
    for function in (length, lambda smiles: length(smiles)):
        assert UserObjective(function).source_hash == hashlib.sha256(text).hexdigest()
    assert UserObjective(length).path == "test_smiles_objective:length"
    assert (UserObjective(len).path, UserObjective(len).source_hash) == ("builtins:len", None)  # type: ignore[arg-type]


def test_a_module_may_declare_another_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# -*- coding: latin-1 -*-\n# für Moleküle\ndef score(smiles):\n    return [1.0] * len(smiles)\n"
    (tmp_path / "in_latin.py").write_bytes(text.encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)
    objective = UserObjective("in_latin:score")
    assert values(objective, "C") == [1.0] and objective.source_hash == hashlib.sha256(text.encode()).hexdigest()
    del sys.modules["in_latin"]


def test_a_function_pickles_by_reference_and_a_lambda_does_not() -> None:
    objective = UserObjective(length)
    values(objective, "CC")
    for other in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert values(other, "CCC", "CC") == [3, 2] and other.oracle.calls == 2
    assert objective.oracle.calls == 1
    unnamed = UserObjective(lambda smiles: length(smiles))
    assert values(copy.deepcopy(unnamed), "CCC") == [3]
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(unnamed)
