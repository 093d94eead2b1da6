"""Counts of substructures and descriptors, by which a model predicts a molecule's score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from scipy.sparse import csr_array

from seqtutor_envs.smiles.chem.descriptors import DESCRIPTORS, parse_formula
from seqtutor_envs.smiles.chem.molecule import parse
from seqtutor_envs.vocab import Floats

BINS = 2048  # of each fingerprint
RADIUS = 2  # bonds
# of atoms as such, and of their roles: donor, acceptor, aromatic, halogen, acid, base
_GENERATORS = tuple(
    rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BINS, atomInvariantsGenerator=invariants)
    for invariants in (None, rdFingerprintGenerator.GetMorganFeatureAtomInvGen())
)
ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "H")
_DESCRIPTORS = (
    DESCRIPTORS["rings"],
    rdMolDescriptors.CalcNumAromaticRings,
    DESCRIPTORS["tpsa"],
    DESCRIPTORS["logp"],
    rdMolDescriptors.CalcFractionCSP3,
)
WIDTH = len(ELEMENTS) + len(_DESCRIPTORS)


def count_features(smiles: Sequence[str]) -> csr_array:
    """Count substructures of n molecules, [n, 4096]: ECFP4 and FCFP4 (Rogers & Hahn 2010), each folded to 2,048 counts.

    A string that is no molecule has zeros only.
    """
    rows = [_describe(text) for text in smiles]
    ends = np.cumsum([0, *(len(row.columns) for row in rows)], dtype=np.int32)
    data = np.concatenate([np.zeros(0, np.float32), *(row.counts for row in rows)])
    columns = np.concatenate([np.zeros(0, np.int32), *(row.columns for row in rows)])
    return csr_array((data, columns, ends), shape=(len(rows), 2 * BINS))


def describe(smiles: Sequence[str]) -> Floats:
    """Describe n molecules by the numbers of their ELEMENTS, of rings and aromatic rings, TPSA, logP and share of sp3.

    [n, 15]; zeros of what is no molecule.
    """
    return np.array([_describe(text).descriptors for text in smiles]).reshape(len(smiles), WIDTH)


class _Description(NamedTuple):
    columns: NDArray[np.int32]
    counts: NDArray[np.float32]
    descriptors: Floats


@lru_cache(maxsize=4_096)  # those of a round, of which some are looked at again when they have been scored
def _describe(smiles: str) -> _Description:
    columns: list[int] = []
    counts: list[int] = []
    mol = parse(smiles)
    for kind, generator in enumerate(_GENERATORS if mol is not None else ()):
        found = generator.GetCountFingerprint(mol).GetNonzeroElements()
        columns += [kind * BINS + number for number in found]
        counts += found.values()
    descriptors = np.zeros(WIDTH)
    if mol is not None:
        formula = parse_formula(rdMolDescriptors.CalcMolFormula(mol))
        descriptors[: len(ELEMENTS)] = [formula.get(name, 0) for name in ELEMENTS]
        descriptors[len(ELEMENTS) :] = [function(mol) for function in _DESCRIPTORS]
    return _Description(np.array(columns, np.int32), np.array(counts, np.float32), descriptors)
