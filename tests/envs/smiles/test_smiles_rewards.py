"""The authors' dense reward: each constant by itself, and whole molecules by hand."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit.Chem import MolFromSmiles

from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.rewards import PREFIX_TERMS, prefix_terms
from toys.smiles_toys import VOCAB, by_rdkit, encoded

NAMES = ("prefix", "logp", "sa", "ring", "qed", "valid", "length", "short", "carbon_run")


def one(smiles, properties=None, finished=False, wrote=True):
    """The terms of one string, by name; an invalid one without properties."""
    numbers = dict.fromkeys(("logp", "sa", "ring_penalty", "qed"), np.nan) | (properties or {})
    columns = {name: np.array([value]) for name, value in numbers.items()}
    valid, finished, wrote = (np.array([flag]) for flag in (properties is not None, finished, wrote))
    return dict(zip(PREFIX_TERMS, prefix_terms([smiles], valid, columns, finished, wrote)[0].tolist()))


def nonzero(terms):
    return {name: value for name, value in terms.items() if value}


SOME = {"logp": 2.0, "sa": 3.0, "ring_penalty": 4.0, "qed": 0.5}
QUALITY = {"logp": 6.0, "sa": -6.0, "ring": -20.0, "qed": 25.0}


def test_a_prefix_earns_5_and_its_quality_or_loses_5():
    assert nonzero(one("CCO", SOME)) == {"prefix": 5.0, **QUALITY}
    assert nonzero(one("CC(")) == {"prefix": -5.0}


@pytest.mark.parametrize(("characters", "short"), [(1, -200), (18, -200), (19, -25), (26, -25), (27, 0), (90, 0)])
def test_a_finished_string_by_its_characters(characters, short):
    """The quality of a valid one counts ten times."""
    string = "N" * characters
    tenfold = {name: 10 * value for name, value in QUALITY.items()}
    expected = {"valid": 600.0, "length": characters, "short": short} | tenfold
    assert one(string, SOME, finished=True) == dict.fromkeys(NAMES, 0.0) | expected
    assert one(string, None, finished=True) == dict.fromkeys(NAMES, 0.0) | {"length": characters, "short": short}


@pytest.mark.parametrize(
    ("string", "wrote", "penalty"),
    [
        ("C" * 12, True, 0),  # the twelfth comes after eleven
        ("C" * 13, True, -150),
        ("C" * 14, True, -150),
        ("C" * 13, False, 0),  # the end token writes no C
        ("C" * 12 + "O", True, 0),
        ("C" * 12 + "Cl", True, 0),
        ("C" * 12 + "c", True, 0),
        ("OC(" + "C" * 13, True, -150),
        ("C" * 12 + "(C", True, 0),
    ],
)
def test_a_c_after_more_than_eleven_in_a_row(string, wrote, penalty):
    assert one(string, None, wrote=wrote)["carbon_run"] == penalty
    assert one(string, SOME, finished=True, wrote=wrote)["carbon_run"] == penalty


def test_a_molecule_of_three_tokens_by_hand():
    """C, CO, and CO finished by the end token, -200 for two characters."""
    task = SmilesTask(vocab=VOCAB, shaping="prefix")
    tokens, lengths = encoded(["CO"])
    quality = []
    for string in ("C", "CO"):
        logp, sa, qed, ring = by_rdkit(string)
        quality.append(3 * logp - 2 * sa - 5 * ring + 50 * qed)
    expected = [5 + quality[0], 5 + quality[1], 600 + 10 * quality[1] + 2 - 200]
    assert task.reward(tokens, lengths)[0] == pytest.approx(expected, abs=1e-9)
    assert tuple(task.weights) == NAMES and set(task.weights.values()) == {1.0}


def test_prefixes_of_benzene_and_its_end():
    """RDKit reads c1ccccc1 and, of its prefixes, none: aromatic atoms need their ring."""
    prefixes = ["c", "c1", "c1c", "c1cc", "c1ccc", "c1cccc", "c1ccccc", "c1ccccc1"]
    assert [MolFromSmiles(prefix) is not None for prefix in prefixes] == [False] * 7 + [True]
    tokens, lengths = encoded(["c1ccccc1"])
    terms = SmilesTask(vocab=VOCAB, shaping="prefix").terms(tokens, lengths)
    assert terms["prefix"][0].tolist() == [-5.0] * 7 + [5.0, 0.0]
    assert terms["valid"][0].tolist() == [0.0] * 8 + [600.0]
    assert terms["length"][0].tolist() == [0.0] * 8 + [8.0]
    assert terms["qed"][0, -1] == pytest.approx(10 * 50 * by_rdkit("c1ccccc1")[2])


def test_at_the_horizon_the_finished_reward_takes_the_place_of_the_prefixs():
    tokens, _ = encoded(["CO"], end=False)
    terms = SmilesTask(2, vocab=VOCAB, shaping="prefix").terms(tokens)
    assert terms["prefix"][0].tolist() == [5.0, 0.0] and terms["valid"][0].tolist() == [0.0, 600.0]


def test_weights_are_plain_factors():
    tokens, lengths = encoded(["CO", "CC("])
    task, plain = (SmilesTask(vocab=VOCAB, shaping="prefix", weights=w) for w in ({"short": 0.0, "prefix": -2.0}, None))
    terms = plain.terms(tokens, lengths)
    expected = plain.reward(tokens, lengths) - terms["short"] - 3 * terms["prefix"]
    np.testing.assert_allclose(task.reward(tokens, lengths), expected)


def test_valid_is_what_rdkit_reads_unless_checks_are_asked_for():
    tokens, lengths = encoded(["[CH3]"])
    assert SmilesTask(vocab=VOCAB, shaping="prefix").terms(tokens, lengths)["valid"].sum() == 600
    assert SmilesTask(vocab=VOCAB, shaping="prefix", checks=["radical"]).terms(tokens, lengths)["valid"].sum() == 0
