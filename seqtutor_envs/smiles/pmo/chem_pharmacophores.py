"""Two-dimensional pharmacophores: Gobbi & Poppinger 1998, Biotechnology and Bioengineering 61, 47-54.

Features, distances and the numbers of the bits are RDKit's. Its own function goes through all pairs and triples of
features in Python, which takes 6 ms for a drug and 9 s for a chain of 99 carbons; that loop is compiled here.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs

from seqtutor_envs.files.compiled import njit


class _Definition(NamedTuple):
    """Hold RDKit's definition: F families of features such as donors, D ranges of distances in bonds."""

    factory: Any
    edges: NDArray[np.float64]  # [D + 1]; a distance outside of them makes no bit
    pairs: NDArray[np.int32]  # [F, F, D], the bit of two families and their distance
    triples: NDArray[np.int32]  # [F, F, F, D, D, D], of three and the distances 0-1, 0-2, 1-2


@lru_cache(maxsize=1)
def _define() -> _Definition:
    # imported here: making the definition takes as long as importing RDKit, and two tasks need it
    from rdkit.Chem.Pharm2D import Gobbi_Pharm2D

    factory = Gobbi_Pharm2D.factory
    edges = [*(low for low, _ in factory.GetBins()), factory.GetBins()[-1][1]]
    return _Definition(factory, np.array(edges, np.float64), _number(factory, 2), _number(factory, 3))


def _number(factory: Any, points: int) -> NDArray[np.int32]:
    """Return the numbers of the bits of so many features: [F, F, D] of two, [F, F, F, D, D, D] of three."""
    families, lows = range(len(factory.GetFeatFamilies())), [low for low, _ in factory.GetBins()]
    between = points * (points - 1) // 2
    table = np.zeros((len(families),) * points + (len(lows),) * between, np.int32)
    for chosen in combinations_with_replacement(families, points):
        for ranges in product(range(len(lows)), repeat=between):
            # the least distance stands for its range: RDKit puts three into order first, but any of a range ends in it
            with suppress(IndexError):  # raised for distances that no triangle has
                table[chosen + ranges] = factory.GetBitIdx(chosen, [lows[i] for i in ranges], sortIndices=False)
    return table


def pharmacophores(mol: Chem.Mol) -> DataStructs.SparseBitVect:
    """Compute the fingerprint, 39,972 bits: those that RDKit's Pharm2D.Generate.Gen2DFingerprint sets."""
    factory, edges, pairs, triples = _define()
    # each feature of the definition is a single atom
    features = [(family, atom) for family, found in enumerate(factory.GetMolFeats(mol)) for atom, in sorted(found)]
    families, atoms = np.array(features, np.int64).reshape(-1, 2).T
    ranges = np.digitize(Chem.GetDistanceMatrix(mol), edges) % len(edges) - 1  # -1: too near or too far
    found = np.zeros(factory.GetSigSize(), np.bool_)
    _mark(families, atoms, ranges, pairs, triples, found)
    bits = DataStructs.SparseBitVect(len(found))
    bits.SetBitsFromList(np.flatnonzero(found).tolist())
    return bits


@njit(cache=True)
def _mark(families, atoms, ranges, pairs, triples, found):  # type: ignore[no-untyped-def]
    """Mark in found [bits] those of all pairs and triples of features: families and atoms [n], sorted by both."""
    n = len(atoms)
    for i in range(n):
        for j in range(i + 1, n):
            first = ranges[atoms[i], atoms[j]]
            if first < 0:
                continue
            found[pairs[families[i], families[j], first]] = True
            for k in range(j + 1, n):
                second, third = ranges[atoms[i], atoms[k]], ranges[atoms[j], atoms[k]]
                if second >= 0 and third >= 0:
                    found[triples[families[i], families[j], families[k], first, second, third]] = True
