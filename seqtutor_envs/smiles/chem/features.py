"""Counts of substructures, by which a model predicts a molecule's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rdkit.Chem import rdFingerprintGenerator
from scipy.sparse import csr_array

from seqtutor_envs.smiles.chem.molecule import parse

BINS = 2048  # of each fingerprint
RADIUS = 2  # bonds
# of atoms as such, and of their roles: donor, acceptor, aromatic, halogen, acid, base
_GENERATORS = tuple(
    rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BINS, atomInvariantsGenerator=invariants)
    for invariants in (None, rdFingerprintGenerator.GetMorganFeatureAtomInvGen())
)


def count_features(smiles: Sequence[str]) -> csr_array:
    """Count substructures of n molecules, [n, 4096]: ECFP4 and FCFP4 (Rogers & Hahn 2010), each folded to 2,048 counts.

    A string that is no molecule has zeros only.
    """
    columns, counts, ends = [], [], [0]
    for text in smiles:
        mol = parse(text)
        for kind, generator in enumerate(_GENERATORS if mol is not None else ()):
            found = generator.GetCountFingerprint(mol).GetNonzeroElements()
            columns += [kind * BINS + number for number in found]
            counts += found.values()
        ends.append(len(columns))
    data = np.array(counts, np.float32), np.array(columns, np.int32), np.array(ends, np.int32)
    return csr_array(data, shape=(len(smiles), 2 * BINS))
