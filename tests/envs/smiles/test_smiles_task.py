"""SmilesTask: terms against RDKit called directly, weights, when they are paid, errors, copies, words."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from seqtutor_envs.smiles.rewards import logp_term, ring_term, sa_term
from seqtutor_envs.smiles.vocab import tokenize
from seqtutor_envs.vocab import TokenVocab
from toys.smiles_toys import (
    ASPIRIN,
    BENZENE,
    CAFFEINE,
    GLUCOSE,
    INVALID,
    LAURIC_ACID,
    MACROCYCLE,
    VALID,
    VOCAB,
    by_rdkit,
    carbons,
    encoded,
    smiles_task,
    worth,
)

NAMES = ["valid", "qed", "logp", "sa", "ring"]


# ---------------------------------------------------------------- terms


def test_the_logp_term_by_hand():
    logp = np.array([-3, -1, 0, 1, 2.5, 4, 5, 6, 9])
    assert logp_term(logp).tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]


def test_the_sa_and_ring_terms_by_hand():
    assert sa_term(np.array([1.0, 2, 3, 4, 6, 10])).tolist() == [1, 1, 0.75, 0.5, 0, 0]
    assert ring_term(np.array([0.0, 1, 3])).tolist() == [1, 0.5, 0.25]


def test_terms_are_those_of_rdkit():
    terms = smiles_task().scores(VALID)
    np.testing.assert_allclose(terms, [worth(smiles) for smiles in VALID], rtol=0, atol=1e-12)
    assert ((terms >= 0) & (terms <= 1)).all()
    logps = [by_rdkit(smiles)[0] for smiles in VALID]
    assert max(logps) > 4 and min(logps) < -1  # each side of the plateau is met
    assert terms[VALID.index(MACROCYCLE), 4] == 1 / 5


@pytest.mark.parametrize(("smiles", "reason"), INVALID.items())
def test_an_invalid_molecule_gets_nothing_and_is_counted(smiles, reason):
    counting = smiles_task()
    tokens, lengths = encoded([smiles])
    assert not any(term.any() for term in counting.terms(tokens, lengths).values())
    assert counting.counts == {reason: 1}


# ---------------------------------------------------------------- weights


def test_weights_are_divided_by_their_sum():
    assert smiles_task().weights == dict.fromkeys(NAMES, 0.2)
    weighted = smiles_task(weights={"qed": 5, "sa": 2})
    assert weighted.weights == {"valid": 0.1, "qed": 0.5, "logp": 0.1, "sa": 0.2, "ring": 0.1}
    tokens, lengths = encoded([ASPIRIN])
    by_hand = np.dot(worth(ASPIRIN), [1, 5, 1, 2, 1]) / 10
    assert weighted.reward(tokens, lengths).sum() == pytest.approx(by_hand)


def test_a_term_of_weight_0_is_not_computed():
    alone = smiles_task(weights=dict.fromkeys(NAMES, 0) | {"sa": 3})
    assert alone.weights == {"sa": 1.0} and alone.properties == ("sa",)
    tokens, lengths = encoded([ASPIRIN])
    assert list(alone.terms(tokens, lengths)) == ["sa"]
    assert alone.reward(tokens, lengths).sum() == pytest.approx(worth(ASPIRIN)[3])


# ---------------------------------------------------------------- when


@pytest.mark.parametrize("shaping", [None, "prefix"])
def test_the_way_by_steps_and_the_way_by_whole_sequences_agree(shaping):
    """Ended ones, one cut at the horizon, one still going, one with an end token inside."""
    tokens, lengths = encoded([ASPIRIN, "", "CC(", BENZENE, "C", "CCO"], length=23)
    tokens[4], lengths[4] = VOCAB.encode("C" * 23), 23
    lengths[5] = 3  # not over
    tokens[3, 9:12], lengths[3] = VOCAB.encode(["C", "O", VOCAB.tokens[VOCAB.end]]), 12
    whole, stepped = (smiles_task(max_length=23, shaping=shaping) for _ in range(2))
    terms = whole.terms(tokens, lengths)
    table = np.zeros((len(tokens), 23, len(stepped.weights)))
    for step in range(23):
        going = np.flatnonzero(step < lengths)
        table[going, step] = stepped.step_terms(tokens[going], np.full(len(going), step))
    for k, name in enumerate(stepped.weights):
        np.testing.assert_array_equal(terms[name], table[:, :, k], err_msg=name)
    assert whole.counts == stepped.counts and whole.counts.total() == 5
    assert terms["valid"][4, 22] and not terms["valid"][5].any() and terms["valid"][3, 8] and not table[3, 9:].any()
    assert stepped.step_terms(tokens[:0], lengths[:0]).shape == (0, len(terms))


def test_without_lengths_a_prefix_is_paid_nothing():
    tokens, _ = encoded([BENZENE], end=False)
    assert not smiles_task().reward(tokens).any()
    assert smiles_task(max_length=8).reward(tokens)[0].tolist() == [0] * 7 + [pytest.approx(np.mean(worth(BENZENE)))]


def test_what_is_cut_at_the_horizon_is_scored_as_it_stands():
    tokens, _ = encoded([ASPIRIN])
    cut = "".join(tokenize(ASPIRIN)[:6])
    assert cut == "CC(=O)"
    assert smiles_task(max_length=6).reward(tokens[:, :6])[0, 5] == pytest.approx(np.mean(worth(cut)))
    assert not smiles_task(max_length=5).reward(tokens[:, :5]).any()  # CC(=O is none


def test_what_lies_after_lengths_or_the_step_is_ignored():
    tokens, lengths = encoded([CAFFEINE, BENZENE])
    noisy = np.where(np.arange(tokens.shape[1]) < lengths[:, None], tokens, -7)
    np.testing.assert_array_equal(smiles_task().reward(noisy, lengths), smiles_task().reward(tokens, lengths))
    junk = np.where(np.arange(tokens.shape[1]) < lengths[:, None], tokens, VOCAB.end)
    assert smiles_task().step_terms(junk, lengths - 1)[:, 0].tolist() == [1, 1]
    assert smiles_task().smiles(noisy, lengths) == [CAFFEINE, BENZENE]


def test_one_call_of_the_scorer_scores_all(monkeypatch):
    one = smiles_task()
    calls = []
    scorer = one.scorer
    monkeypatch.setattr(one, "scorer", lambda smiles: calls.append(list(smiles)) or scorer(smiles))
    tokens, lengths = encoded([ASPIRIN, BENZENE, CAFFEINE])
    one.terms(tokens, lengths)
    one.step_terms(np.repeat(tokens, 2, axis=0), np.repeat(lengths - 1, 2) - [0, 1, 0, 1, 0, 1])
    assert calls == [[ASPIRIN, BENZENE, CAFFEINE]] * 2


# ---------------------------------------------------------------- errors, copies, words


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"max_length": 0}, ["max_length", "at least 1"]),
        ({"max_length": 10.0}, ["max_length", "10.0"]),
        ({"weights": {"logP": 1}}, ["'logP'", *NAMES]),
        ({"weights": {"objective": 1}}, ["'objective'", *NAMES]),
        ({"weights": {"qed": -1}}, ["'qed'", "at least 0"]),
        ({"weights": {"qed": float("nan")}}, ["'qed'", "finite"]),
        ({"weights": dict.fromkeys(NAMES, 0)}, ["above 0", *NAMES]),
        ({"shaping": "dense"}, ["shaping", "'prefix'"]),
        ({"shaping": "prefix", "weights": {"objective": 1}}, ["'objective'", "carbon_run"]),
        ({"shaping": "prefix", "objective": carbons}, ["shaping", "objective"]),
        ({"shaping": "prefix", "forbid": "N"}, ["shaping", "constraints"]),
        ({"workers": -1}, ["workers", "-1"]),
        ({"score_timeout": 1.0}, ["score_timeout", "workers"]),
        ({"require": "c1ccc"}, ["require", "'c1ccc'", "SMARTS"]),
        ({"constraints": "medium"}, ["constraints", "'hard'", "'soft'"]),
        ({"checks": ["salts"]}, ["'salts'", "fragments"]),
        ({"objective": 3}, ["objective", "function"]),
        ({"objective": "nowhere.at_all:f"}, ["nowhere"]),
        ({"minimize": True}, ["minimize", "objective="]),
        ({"oracle_budget": 5}, ["oracle_budget", "objective="]),
        ({"objective": carbons, "transform": "sigmoids:low=1,high=2"}, ["'sigmoids'", "reverse_sigmoid"]),
        ({"vocab": TokenVocab(("C", "O"))}, ["end token"]),
        ({"vocab": None, "known": 3, "max_length": "x"}, ["max_length"]),
    ],
)
def test_what_cannot_be_is_one_line_that_says_why(kwargs, words):
    with pytest.raises((ValueError, TypeError, ImportError, AttributeError)) as error:
        smiles_task(**kwargs)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tokens", "lengths", "match"),
    [
        ([[0] * 101], None, "101 tokens.*100"),
        ([[len(VOCAB)]], None, r"0\.\."),
        ([[-1]], [1], r"0\.\."),
        ([0, 1], None, r"\[N, T\]"),
        ([0, 1], [2], r"\[N, T\]"),
        ([[0, 1]], [1, 2], r"lengths.*\[1\]"),
        ([[0, 1]], [3], r"lengths.*0\.\.2"),
    ],
)
def test_tokens_that_are_no_sequences_are_an_error(tokens, lengths, match):
    with pytest.raises(ValueError, match=match):
        smiles_task().terms(np.array(tokens), None if lengths is None else np.array(lengths))


@pytest.mark.parametrize(
    "kwargs", [{}, {"shaping": "prefix"}, {"objective": carbons, "require": "C"}, {"workers": 2}]
)
def test_copies_pay_the_same(kwargs):
    own = smiles_task(max_length=70, **kwargs)
    tokens, lengths = encoded([ASPIRIN, BENZENE, "*C"])
    reward = own.reward(tokens, lengths)
    for same in (pickle.loads(pickle.dumps(own)), copy.deepcopy(own)):
        np.testing.assert_array_equal(same.reward(tokens, lengths), reward)
        assert (same.length, same.vocab, same.weights) == (70, VOCAB, own.weights)
        same.close()
    own.close()


def test_a_molecule_in_words_is_its_smiles():
    tokens, lengths = encoded([ASPIRIN])
    ends = [0, lengths[0] - 1, lengths[0]]
    assert [smiles_task().sequence(tokens[0, :end]) for end in ends] == ["", ASPIRIN, ASPIRIN]


@pytest.mark.parametrize(
    ("smiles", "end", "text"),
    [
        ("", False, "  (invalid so far: syntax)"),
        ("c1ccc", False, "c1ccc  (invalid so far: syntax)"),
        (BENZENE, False, "c1ccccc1  (valid so far)"),
        (BENZENE, True, "c1ccccc1  (valid)"),
        ("*C", True, "*C  (invalid: wildcard)"),
        (LAURIC_ACID, False, f"{LAURIC_ACID}  (valid)"),  # at the horizon
    ],
)
def test_the_text_says_whether_it_is_a_molecule(smiles, end, text):
    tokens, lengths = encoded([smiles], end=end)
    own = smiles_task(max_length=len(tokenize(LAURIC_ACID)))
    assert own.render_ansi(tokens[0, : lengths[0]]) == text and not own.counts


def test_pictures_have_one_size_and_show_the_molecule():
    own = smiles_task()
    pictures = []
    for smiles in ("", "c1ccc", BENZENE, GLUCOSE):
        tokens, lengths = encoded([smiles], end=False)
        pictures.append(own.render_rgb(tokens[0, : lengths[0]], -1.5))
    assert {picture.shape for picture in pictures} == {pictures[0].shape} and pictures[0].dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures}) == 4
    tokens, lengths = encoded([BENZENE])
    assert (own.render_rgb(tokens[0, : lengths[0]], -1.5) != pictures[2]).any()  # now finished
