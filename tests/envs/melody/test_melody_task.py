"""MelodyTask: names, weights, shapes, the user's own rules."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from seqtutor_envs.melody import MelodyTask
from seqtutor_envs.melody.rules import melody_rules
from seqtutor_envs.melody.vocab import MELODY_VOCAB

NAMES = [
    "key", "tonic", "repetition", "autocorrelation", "motif", "repeated_motif", "interval", "leap", "unique_extremes"
]


def high(tokens: np.ndarray, step: int) -> float:
    """A rule of a user's own: pays for the octave from C5."""
    return 2.0 if tokens[step] >= 26 else 0.0


def climbs(tokens: np.ndarray, step: int) -> bool:
    return len(tokens) == step + 1 and step > 0 and tokens[-1] > tokens[-2]


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).choice([0, 1, 1, 1, 12, 14, 15, 18, 21, 26, 28], size=(50, 32))


def test_terms_are_named_float64_n_by_t(tokens: np.ndarray) -> None:
    terms = MelodyTask().terms(tokens)
    assert list(terms) == NAMES
    assert all(term.shape == (50, 32) and term.dtype == np.float64 for term in terms.values())


def test_a_melody_worked_out_by_hand() -> None:
    # C4 hold D4 off in a melody of four steps:
    # tonic: C at step 0, a hold at N-3, neither at step 2, an off at the end
    # interval: hold after C 1.5; D a second from C .4; off after D .25
    # unique extremes at the end: D, the maximum, and C, the lowest pitch, occur once
    # autocorrelation: 14, 1: -1/2. 14, 1, 16: mean 31/3, d = 11/3, -28/3, 17/3, sum d^2 = 1194/9, lag 1 -784/1194,
    # lag 2 187/1194. 14, 1, 16, 0: mean 7.75, d = 6.25, -6.75, 8.25, -7.75, sum d^2 = 212.75, lag 1 -161.8125 / 212.75,
    # lag 2 103.875 / 212.75, lag 3 -48.4375 / 212.75
    r = [0, 0.5, (784 + 187) / 1194, (161.8125 + 103.875 + 48.4375) / 212.75]
    length: Any = np.int64(4)
    terms = MelodyTask(length).terms(np.array([[14, 1, 16, 0]]))
    expected = dict.fromkeys(NAMES, [0.0] * 4) | {
        "tonic": [3, 3, 0, 3], "interval": [0, 1.5, 0.4, 0.25], "unique_extremes": [0, 0, 0, 6],
        "autocorrelation": [-3 * value for value in r],
    }
    for name in NAMES:
        assert terms[name][0] == pytest.approx(expected[name]), name
    expected_return = 9 + 2.15 + 6 - 3 * sum(r)
    assert MelodyTask(length=4).reward(np.array([[14, 1, 16, 0]])).sum() == pytest.approx(expected_return)


def test_reward_is_the_weighted_sum(tokens: np.ndarray) -> None:
    weights = {"motif": 0.5, "key": -2.0, "repeated_motif": 0}
    task = MelodyTask(weights=weights)
    by_hand = sum(weights.get(name, 1.0) * melody_rules(tokens, 32)[:, :, k] for k, name in enumerate(NAMES))
    np.testing.assert_allclose(task.reward(tokens), by_hand)
    np.testing.assert_array_equal(task.terms(tokens)["motif"], MelodyTask().terms(tokens)["motif"])  # terms stay raw


def test_weights_change_by_name_and_the_rest_is_1() -> None:
    assert MelodyTask(weights={"repeated_motif": 0}).weights == dict.fromkeys(NAMES, 1.0) | {"repeated_motif": 0.0}


def test_step_terms_are_the_terms_of_the_given_steps(tokens: np.ndarray) -> None:
    task = MelodyTask(rules={"high": high})
    steps = np.random.default_rng(1).integers(0, 32, size=len(tokens))
    terms = np.stack(list(task.terms(tokens).values()), axis=-1)
    expected = terms[np.arange(len(tokens)), steps]
    beyond = np.where(np.arange(32) > steps[:, None], 38, tokens)  # filler must not matter
    np.testing.assert_array_equal(task.step_terms(beyond, steps), expected)
    np.testing.assert_array_equal(task.step_terms(np.asfortranarray(tokens, dtype=np.int32), steps), expected)
    assert expected.shape == (50, 10) and expected[:, 9].any()


def test_own_rules_have_a_name_a_weight_and_a_term() -> None:
    task = MelodyTask(length=5, weights={"high": 10, "key": 0}, rules={"high": high, "climbs": climbs})
    melody = np.array([[14, 26, 27, 1, 30]])
    terms = task.terms(melody)
    assert list(terms) == [*NAMES, "high", "climbs"] and list(task.weights) == list(terms)
    assert terms["high"].tolist() == [[0, 2, 2, 0, 2]]
    assert terms["climbs"].tolist() == [[0, 1, 1, 0, 1]]
    difference = task.reward(melody) - MelodyTask(length=5, weights={"key": 0}).reward(melody)
    assert difference[0] == pytest.approx([0, 21, 21, 0, 21])
    assert list(task.step_terms(melody, np.array([4]))[0, 9:]) == [2, 1]


def test_own_rules_see_the_prefix_alone_and_cannot_change_it() -> None:
    seen: list[tuple[list[int], int]] = []

    def listens(tokens: np.ndarray, step: int) -> float:
        seen.append((tokens.tolist(), step))
        return 0.0

    def meddles(tokens: np.ndarray, step: int) -> float:
        tokens[0] = 1
        return 0.0

    MelodyTask(length=3, rules={"listens": listens}).terms(np.array([[14, 16, 18], [2, 4, 6]]))
    assert sorted(seen) == [([2], 0), ([2, 4], 1), ([2, 4, 6], 2), ([14], 0), ([14, 16], 1), ([14, 16, 18], 2)]
    with pytest.raises(ValueError, match="read-only"):
        MelodyTask(length=3, rules={"meddles": meddles}).terms(np.array([[14, 16, 18]]))


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"weights": {"harmony": 1}}, ["harmony", *NAMES]),
        ({"weights": {"harmony": 1}, "rules": {"high": high}}, ["harmony", "high", *NAMES]),
        ({"weights": {"key": float("inf")}}, ["key", "finite"]),
        ({"rules": {"key": high}}, ["key", *NAMES]),
        ({"rules": {"high": 3}}, ["high", "function"]),
        ({"length": 0}, ["length", "at least 1", "0"]),
        ({"length": -4}, ["length", "-4"]),
        ({"length": 8.0}, ["length", "8.0"]),
        ({"length": True}, ["length", "True"]),
        ({"length": "32"}, ["length", "'32'"]),
    ],
)
def test_what_cannot_be_is_one_line_that_says_why(kwargs: dict[str, Any], words: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        MelodyTask(**kwargs)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "much", [1, 2]])
def test_an_own_rule_that_returns_no_finite_number_is_named(value: Any) -> None:
    task = MelodyTask(length=2, rules={"mine": lambda tokens, step: value if step else 0})
    with pytest.raises((ValueError, TypeError), match=r"'mine'.*step 1") as error:
        task.terms(np.array([[14, 16]]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "tokens, match",
    [([[14] * 33], "33 tokens.*32"), ([[38]], r"0\.\.37"), ([[-1]], r"0\.\.37"), ([14, 16], r"\[N, T\]")],
)
def test_tokens_that_are_no_melodies_are_an_error(tokens: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MelodyTask().terms(tokens)


def test_terms_are_zero_after_a_melodys_length(tokens: np.ndarray) -> None:
    lengths = np.arange(len(tokens)) % 33
    whole, cut = MelodyTask().terms(tokens), MelodyTask().terms(tokens, lengths)
    live = np.arange(32) < lengths[:, None]
    assert all((cut[name] == np.where(live, whole[name], 0)).all() for name in NAMES)


def test_pickled_tasks_pay_the_same(tokens: np.ndarray) -> None:
    task = MelodyTask(weights={"leap": 2}, rules={"high": high})
    copy = pickle.loads(pickle.dumps(task))
    np.testing.assert_array_equal(copy.reward(tokens), task.reward(tokens))
    assert copy.length == task.length and copy.vocab == MELODY_VOCAB and copy.weights == task.weights


def test_a_melody_in_words_is_the_list_of_note_names() -> None:
    assert MelodyTask().sequence(np.array([14, 1, 0, 27])) == ["C4", "hold", "off", "C#5"]
