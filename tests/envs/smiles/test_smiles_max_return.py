"""The bounds on the return of molecule tasks: against dense grids, enumerations, and molecules scored by RDKit."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, RDConfig
from rdkit.Chem import QED

from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.chem.max_qed import COUNTS, max_desirability, max_qed
from seqtutor_envs.smiles.max_return import LOGP_OF_ATOM, LOGP_OF_HYDROGEN
from seqtutor_envs.smiles.rewards import PREFIX_TERMS
from seqtutor_envs.smiles.vocab import smiles_vocab, tokenize
from toys.smiles_toys import INVALID, VALID, by_rdkit, carbons, encoded, smiles_task, worth

# found by changing tokens of the prior's samples at random: QED .948415 and a mean of .989647
BEST_QED = "O=C(Nn1ccc(C2CCOCC2)n1)c1ccccc1Cl"
BEST_MEAN = "O=C(Cc1ccc2c(c1)OCCO2)Nc1c(F)cccc1F"
ONLY_QED = {"valid": 0, "logp": 0, "sa": 0, "ring": 0}


def greatest_on_a_grid(name):
    """The greatest desirability of a property, RDKit's own function on many values."""
    parameters = QED.adsParameters[name]
    # steps that are a thousandth of the width at which each bends: the maximum is missed by 1e-7 at most
    reals = np.arange(-10, 20, 0.001) if name == "ALOGP" else np.arange(-100, 1_000, 0.01)
    return max(QED.ads(x, parameters) for x in (range(1_000) if name in COUNTS else reals.tolist()))


@pytest.mark.parametrize("name", QED.adsParameters)
def test_the_greatest_desirability_is_that_of_a_dense_grid(name):
    greatest = greatest_on_a_grid(name)
    assert greatest <= max_desirability(name) <= greatest + (1e-15 if name in COUNTS else 1e-6)


def test_a_desirability_has_one_maximum():
    """What the bound rests on: the logistic functions rise and fall, and nothing is subtracted."""
    assert set(QED.WEIGHT_MEAN._fields) == set(QED.adsParameters)
    for p in QED.adsParameters.values():
        assert p.B > 0 and p.E > 0 and p.F > 0 and p.A > 0 and p.DMAX > 0
    assert all(weight > 0 for weight in QED.WEIGHT_MEAN)


def test_the_greatest_qed_by_hand():
    """The weighted geometric mean of .984803 (three acceptors), .986596 (a donor), .992690 (three rotatable bonds),
    .937733 (two aromatic rings), .842468 (no alert) and three times 1; the weights' sum is 3.92."""
    logs = 0.05 * math.log(0.984803) + 0.61 * math.log(0.986596) + 0.65 * math.log(0.992690)
    logs += 0.48 * math.log(0.937733) + 0.95 * math.log(0.842468)
    assert max_qed() == pytest.approx(math.exp(logs / 3.92), abs=1e-6)


def test_no_molecule_of_the_prior_has_a_greater_qed():
    """The best twenty by RDKit as well."""
    task = SmilesTask(weights=ONLY_QED)
    tokens, lengths = load_prior("smiles").sample(2_000, 1)
    returns = task.reward(tokens, lengths).sum(axis=1)
    best = np.argsort(-returns)[:20]
    by_rdkit = [QED.qed(Chem.MolFromSmiles(smiles)) for smiles in task.smiles(tokens[best], lengths[best])]
    assert 0.94 < max(returns) <= task.max_return() == max_qed() and max(by_rdkit) <= max_qed()


def test_the_default_return_by_hand():
    """The mean of QED's bound and of four terms that reach 1; shares of .6 and .4 of QED and validity."""
    assert SmilesTask().max_return() == pytest.approx((4 + 0.9484491) / 5, abs=1e-6)
    assert SmilesTask(weights=ONLY_QED).max_return() == max_qed()
    assert SmilesTask(weights={**ONLY_QED, "qed": 3, "valid": 2}).max_return() == pytest.approx(0.96906947, abs=1e-6)
    assert SmilesTask(weights={"qed": 0}).max_return() == 1.0


def test_known_molecules_come_close():
    """By RDKit and the terms as they are written down; both can be spelled in the shipped prior's tokens."""
    assert max_qed() - 5e-5 < by_rdkit(BEST_QED)[2] <= max_qed()
    assert SmilesTask().max_return() - 5e-5 < sum(worth(BEST_MEAN)) / 5 <= SmilesTask().max_return()
    assert len(load_prior("smiles").vocab.encode(tokenize(BEST_QED) + tokenize(BEST_MEAN))) > 40


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, math.inf),
        ({"clip": (None, 3)}, 3),
        ({"clip": (0, None)}, math.inf),
        ({"clip": (2, 3), "minimize": True}, 0),  # an invalid molecule has more than any valid one: -2 at most
        ({"clip": (2, 3), "minimize": True, "invalid_score": -9}, -2),
        ({"clip": (None, 3), "minimize": True}, math.inf),
        ({"transform": "sigmoid:low=2,high=5"}, 1),
        ({"transform": "sigmoid:low=2,high=5", "clip": (0, 8), "invalid_score": 4}, 4),
        ({"transform": "sigmoid:low=2,high=5", "weights": {"ring": 3}}, 1),
        ({"clip": (0, 5), "weights": {"ring": 1}}, 3),  # (5 + 1) / 2
        ({"clip": (0, 1), "weights": {"ring": 1}, "invalid_score": 6}, 3),  # 6 / 2: an invalid one has no ring term
        ({"weights": {"ring": 1, "objective": 0}}, 1),
    ],
)
def test_an_objective_is_bounded_by_its_clip_or_transform(keywords, expected):
    assert SmilesTask(objective=carbons, **keywords).max_return() == expected


def test_constraints_leave_the_bound_or_count_as_a_term():
    assert SmilesTask(require="c1ccccc1").max_return() == SmilesTask().max_return()
    soft = SmilesTask(require="c1ccccc1", constraints="soft")
    assert soft.max_return() == pytest.approx((5 + 0.9484491) / 6, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The objective's scores go down")
def test_no_return_of_an_objective_exceeds_the_bound():
    """Molecules, and strings that are none, for an objective from 0 to 1 on both sides of its clip."""
    tokens, lengths = encoded([*VALID, *INVALID])
    for keywords in product(((None, 0.6), (0.7, 1.0)), (False, True), (-0.8, 0.0, 0.9), (0.0, 1.0)):
        clip, minimize, invalid, qed = keywords
        weights = {"qed": qed, "objective": 1.0}
        options = {"clip": clip, "minimize": minimize, "invalid_score": invalid, "weights": weights}
        task = smiles_task(objective=carbons, **options)
        assert task.reward(tokens, lengths).sum(axis=1).max() <= task.max_return(), keywords


# ---------------------------------------------------------------- the authors' dense reward


def dense(horizon=10, tokens=("C", "O", "1"), **weights):
    """The bound with these weights, all others 0."""
    zero = dict.fromkeys(PREFIX_TERMS, 0.0)
    return SmilesTask(horizon, vocab=smiles_vocab(tokens), shaping="prefix", weights=zero | weights).max_return()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"prefix": 1.0}, 9 * 5),  # nine prefixes and a finished string
        ({"prefix": -1.0}, 9 * 5),
        ({"valid": 1.0}, 600),
        ({"valid": -1.0}, 0),
        ({"length": 1.0}, 10),
        ({"short": -1.0}, 200),
        ({"carbon_run": -1.0}, 10 * 150),
        ({"sa": 1.0}, 0),  # invalid strings
        ({"sa": -1.0}, 2 * 10 * (9 + 10)),  # ten times for the finished one
        ({"prefix": 1.0, "sa": 1.0}, 9 * (5 - 2)),  # a valid prefix has an SA of 1 at least
        ({"prefix": 1.0, "sa": 10.0}, 0),  # any prefix loses 5 at least: best is to end at once
        ({"ring": 1.0}, 0),
        ({"ring": -1.0}, 5 * (1 + 2 + 3 + 10 * 4)),  # rings of seven to ten atoms
        ({"qed": 1.0}, 50 * 0.9484491 * (9 + 10)),
    ],
)
def test_terms_of_the_dense_reward_by_hand(weights, expected):
    assert dense(**weights) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("tokens", "log_p"),
    [
        (("C",), 0.8857 + 4 * 0.298),
        (("[nH]", "="), 0.8857 + 0.298),  # brackets say how many hydrogens there are
        (("[NH3+]", "#"), 0.8857 + 3 * 0.298),
        (("Cl", "[Cl]"), 0.8857 + 4 * 0.298),
        (("[Cl]", "-"), 0.8857),
        (("CO",), 2 * (0.8857 + 4 * 0.298)),
    ],
)
def test_atoms_and_hydrogens_are_counted_for_log_p(tokens, log_p):
    """Three times logP for the prefix of one token; thirty times for the finished string of two."""
    assert dense(2, tokens, logp=1.0) == pytest.approx(3 * log_p + 30 * 2 * log_p)


def test_a_token_that_is_part_of_an_atom_has_no_bound():
    assert dense(2, ("[", "n", "H", "]"), logp=1.0) == math.inf


def test_contributions_to_log_p_are_those_of_rdkits_table():
    lines = Path(RDConfig.RDDataDir, "Crippen.txt").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line.strip() and line[0] != "#"]
    kinds = {"heavy": [], "hydrogen": []}
    for row in rows:
        kinds["hydrogen" if row[1].startswith("[#1]") else "heavy"].append(float(row[2]))
    assert len(kinds["heavy"]) > 100 and (min(kinds["heavy"]), max(kinds["heavy"])) == LOGP_OF_ATOM
    assert len(kinds["hydrogen"]) > 5 and (min(kinds["hydrogen"]), max(kinds["hydrogen"])) == LOGP_OF_HYDROGEN


def test_no_dense_return_exceeds_the_bound():
    """All sequences of at most four tokens, for weights of both signs."""
    vocab = smiles_vocab(["C", "O", "Cl", "1"])
    tokens = np.array(list(product(range(len(vocab)), repeat=4)))
    terms = SmilesTask(4, vocab=vocab, shaping="prefix").terms(tokens)
    totals = np.stack([terms[name].sum(axis=1) for name in PREFIX_TERMS], axis=1)
    rng = np.random.default_rng(0)
    for _ in range(200):
        # a third of the weights is 0, so that each term is met alone or nearly so
        weights = rng.standard_normal(len(PREFIX_TERMS)) * (rng.random(len(PREFIX_TERMS)) < 2 / 3)
        named = dict(zip(PREFIX_TERMS, weights.tolist()))
        bound = SmilesTask(4, vocab=vocab, shaping="prefix", weights=named).max_return()
        assert (totals @ weights).max() <= bound + 1e-9, named


def test_no_molecule_of_the_prior_has_a_greater_dense_return():
    task = SmilesTask(shaping="prefix")
    tokens, lengths = load_prior("smiles").sample(30, 2)
    assert 0 < task.reward(tokens, lengths).sum(axis=1).max() <= task.max_return() < math.inf
