"""What designed molecules are worth beside their scores: against plain loops, and molecules known for their alerts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, DataStructs

from seqtutor_envs.smiles.chem.designs import compute_diversity, count_diverse, measure_designs
from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, GLUCOSE, LAURIC_ACID, OSIMERTINIB, by_rdkit

SMILES = [ASPIRIN, CAFFEINE, BENZENE, LAURIC_ACID, GLUCOSE, OSIMERTINIB, "CC(=O)Oc1ccccc1C(=O)OC", "Cc1ccccc1"]
RHODANINE = "O=C1CSC(=S)N1Cc1ccccc1"  # of PAINS' rhodanines
ALDEHYDE = "O=CCCc1ccccc1"  # of Brenk's alerts


def similarity(one: str, other: str) -> float:
    """RDKit's older function, as PMO calls it."""
    prints = [AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(text), 2, nBits=2048) for text in (one, other)]
    return DataStructs.TanimotoSimilarity(*prints)


def mols(smiles: list[str]) -> list[Chem.Mol]:
    return [Chem.MolFromSmiles(text) for text in smiles]


def test_diversity_is_one_minus_the_mean_over_pairs() -> None:
    pairs = [similarity(*pair) for pair in itertools.combinations(SMILES, 2)]
    assert compute_diversity(mols(SMILES)) == pytest.approx(1 - sum(pairs) / len(pairs), abs=1e-12)
    assert compute_diversity(mols([ASPIRIN] * 3)) == 0.0
    assert math.isnan(compute_diversity(mols([ASPIRIN]))) and math.isnan(compute_diversity([]))


def test_diverse_molecules_are_taken_greedily_in_their_order() -> None:
    chains = ["C" * n + "O" for n in range(1, 12)] + SMILES
    for smiles in (chains, chains[::-1]):
        taken: list[str] = []
        for text in smiles:
            if all(similarity(text, other) < 0.4 for other in taken):
                taken.append(text)
        assert count_diverse(mols(smiles)) == len(taken) < len(smiles)
    assert count_diverse([]) == 0


def test_the_best_hundred_are_measured_and_hits_among_all() -> None:
    # 60 chains of different length, and the molecules that are better
    smiles = ["C" * n for n in range(1, 121)] + SMILES
    scores = np.array([0.3] * 120 + [0.9, 0.85, 0.8, 0.79, 0.5, 0.5, 0.5, 0.5])
    measured = measure_designs(smiles, scores)
    best = [*SMILES, *smiles[:92]]
    assert measured["sa_top_100"] == pytest.approx(np.mean([by_rdkit(text)[1] for text in best]))
    assert measured["diversity_top_100"] == pytest.approx(compute_diversity(mols(best)))
    assert measured["diverse_hits"] == 3.0  # aspirin, caffeine and benzene, of .8 and more


def test_alerts_are_found() -> None:
    scores = np.array([1.0, 0.9])
    assert measure_designs([RHODANINE, "CCO"], scores)["pains_top_100"] == 0.5
    assert measure_designs([ALDEHYDE, "CCO"], scores)["brenk_top_100"] == 0.5
    assert measure_designs([ALDEHYDE, "CCO"], scores)["pains_top_100"] == 1.0
    assert measure_designs([], np.zeros(0)) == {"diverse_hits": 0.0}
