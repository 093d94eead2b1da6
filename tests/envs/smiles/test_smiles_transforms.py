"""Desirabilities at points worked out by hand from the definitions of REINVENT 4 and GuacaMol."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest

from seqtutor_envs.smiles.objective.transforms import TRANSFORMS, Transform


def at(given: Any, *scores: float) -> list[float]:
    return Transform.of(given)(np.array(scores, dtype=np.float64)).tolist()


def test_sigmoid_at_its_ends_and_midway() -> None:
    # exponent 10 k (x - 5) / (8 - 2), base 10; k = .6 makes it x - 5
    expected = [1 / 1001, 1 / 2, 10 / 11, 1000 / 1001]
    assert at("sigmoid:low=2,high=8,k=0.6", 2, 5, 6, 8) == pytest.approx(expected, abs=1e-15)
    assert at("reverse_sigmoid:low=2,high=8,k=0.6", 2, 5, 6, 8) == pytest.approx(
        [1 - value for value in expected], abs=1e-15
    )


def test_default_sigmoid_is_nearly_done_at_its_ends() -> None:
    assert at("sigmoid:low=-1,high=1", -1, 1) == pytest.approx([1 / (1 + 10**2.5), 1 / (1 + 10**-2.5)])


def test_double_sigmoid_rises_at_low_and_falls_at_high() -> None:
    given = "double_sigmoid:low=2,high=8,coef_div=10,coef_si=10,coef_se=20"  # exponents x - 2 and 2 (8 - x)
    expected = [1 / 11, 1 / 2, 100 / 101, 10**6 / (10**6 + 1), 10_000 / 10_001, 1 / 2, 1 / 101]
    assert at(given, 1, 2, 4, 5, 6, 8, 9) == pytest.approx(expected, abs=1e-15)
    assert at("double_sigmoid:low=2,high=8", 2, 3, 8) == pytest.approx([0.5, 1 / (1 + 10**-1.5), 0.5])


def test_step_includes_both_ends_and_may_lack_one() -> None:
    assert at("step:low=2,high=8", 1.999, 2, 5, 8, 8.001) == [0, 1, 1, 1, 0]
    assert at("step:low=2", 1, 2, 1e300) == [0, 1, 1]
    assert at("step:high=2", -1e300, 2, 3) == [1, 1, 0]
    assert at("step:low=2,high=2", 1, 2, 3) == [0, 1, 0]


def test_gaussian_is_one_at_its_mean() -> None:
    assert at("gaussian:mu=3,sigma=2", 3, 5, 1, 7) == pytest.approx([1, math.exp(-0.5), math.exp(-0.5), math.exp(-2)])


@pytest.mark.parametrize(
    "given",
    ["sigmoid:low=0,high=1", "reverse_sigmoid:low=0,high=1", "double_sigmoid:low=0,high=1", "gaussian:mu=0,sigma=1"],
)
def test_huge_scores_neither_overflow_nor_leave_0_to_1(given: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = at(given, -1e200, -1e5, 0, 1e5, 1e200)
    assert all(0 <= value <= 1 for value in values) and values[0] in (0, 1) and values[-1] in (0, 1)


def test_text_dictionary_and_json_say_the_same() -> None:
    text = Transform.of("sigmoid: low=2, high=5")
    assert text == Transform.of({"name": "sigmoid", "low": 2, "high": 5.0, "k": 0.5})
    assert text.as_dict() == {"name": "sigmoid", "low": 2.0, "high": 5.0, "k": 0.5}
    assert Transform.of(json.loads(json.dumps(text.as_dict()))) == text
    step = Transform.of("step:low=2")
    assert Transform.of(json.loads(json.dumps(step.as_dict()))) == step


@pytest.mark.parametrize(
    "given, message",
    [
        ("logistic:low=1", "No transform is called 'logistic'; the transforms are: " + ", ".join(TRANSFORMS)),
        ("sigmoid:low=1", "The transform sigmoid takes low, high, k; missing a required argument: 'high'"),
        ("sigmoid:low=1,high=2,kk=3", "sigmoid takes low, high, k; got an unexpected keyword argument 'kk'"),
        ("sigmoid", "missing a required argument: 'low'"),
        ("sigmoid:low=1,high=x", "high of the transform sigmoid must be a number, not 'x'"),
        ("sigmoid:low=1,high", "high of the transform sigmoid must be a number, not ''"),
        ("sigmoid:low=5,high=2", "must be below high, not low=5 and high=2; reverse_sigmoid falls with the score"),
        ("sigmoid:low=1,high=inf", "high of the transform sigmoid must be a finite number, not inf"),
        ("sigmoid:low=1,high=2,k=0", "k of the transform sigmoid must be above 0, not 0"),
        ("gaussian:mu=1,sigma=-1", "sigma of the transform gaussian must be above 0, not -1"),
        ("step:low=2,high=1", "low of the transform step must be below high"),
        ({"low": 1}, "transform must be given as \"sigmoid:low=2,high=5\" or "),
        (7, "transform must be given as"),
    ],
)
def test_what_is_no_transform_is_named(given: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Transform.of(given)
    assert message in str(raised.value) and "\n" not in str(raised.value)
