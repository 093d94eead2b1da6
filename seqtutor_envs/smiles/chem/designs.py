"""What the molecules of a design run are worth beside their scores: how different they are, and what a chemist minds.

Measures of the PMO benchmark (Gao et al. 2022, wenhao-gao/mol_opt), and diverse hits (Renz et al. 2024). Fingerprints
are Morgan's of radius 2 in 2,048 bits, without chirality; similarities are Tanimoto's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from seqtutor_envs.smiles.chem.comparison import has_pains
from seqtutor_envs.smiles.chem.descriptors import sa
from seqtutor_envs.smiles.chem.molecule import parse

TOP = 100  # molecules
HIT = 0.8  # the lowest score of a hit
APART = 0.4  # similarity below which two hits count as two


def measure_designs(smiles: Sequence[str], scores: NDArray[np.float64]) -> dict[str, float]:
    """Measure the best of n distinct molecules, by their scores [n]; of equal ones the first counts as the better.

    Returns:
        `diversity_top_100`: one minus the mean similarity over pairs of the best hundred; NaN for a single one.
        `sa_top_100`: their mean SA, 1 easy to 10 hard. `pains_top_100`: the share of them without one of the PAINS
        patterns (Baell & Holloway 2010); `brenk_top_100`: without an alert of Brenk et al. 2008, in RDKit's catalogue.
        `diverse_hits`: how many molecules of score HIT or more are there of which no two have a similarity of APART or
        more, chosen greedily from the best. Without a molecule this is all there is.
    """
    order = np.argsort(-np.asarray(scores), kind="stable").tolist()
    best = [mol for n in order[:TOP] if (mol := parse(smiles[n])) is not None]
    hits = [mol for n in order if scores[n] >= HIT and (mol := parse(smiles[n])) is not None]
    if not best:
        return {"diverse_hits": 0.0}
    return {
        f"diversity_top_{TOP}": compute_diversity(best),
        f"sa_top_{TOP}": float(np.mean([sa(mol) for mol in best])),
        f"pains_top_{TOP}": float(np.mean([not has_pains(mol) for mol in best])),
        f"brenk_top_{TOP}": float(np.mean([not _brenk().HasMatch(mol) for mol in best])),
        "diverse_hits": float(count_diverse(hits)),
    }


def compute_diversity(mols: Sequence[Chem.Mol]) -> float:
    """Return one minus the mean similarity over the pairs of n molecules; NaN where there is no pair."""
    prints = _fingerprints(mols)
    pairs = [DataStructs.BulkTanimotoSimilarity(one, prints[:n]) for n, one in enumerate(prints)]
    similarities = [value for values in pairs for value in values]
    return 1 - float(np.mean(similarities)) if similarities else float("nan")


def count_diverse(mols: Sequence[Chem.Mol]) -> int:
    """Count the molecules that are chosen if each is taken whose similarity to all taken before is below APART."""
    taken: list[DataStructs.ExplicitBitVect] = []
    for one in _fingerprints(mols):
        if max(DataStructs.BulkTanimotoSimilarity(one, taken), default=0.0) < APART:
            taken.append(one)
    return len(taken)


def _fingerprints(mols: Sequence[Chem.Mol]) -> list[DataStructs.ExplicitBitVect]:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return [generator.GetFingerprint(mol) for mol in mols]


@lru_cache(maxsize=None)
def _brenk() -> FilterCatalog:
    return FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.BRENK))
