"""Objectives that ask for a known drug: the similarity of a molecule to it, 0 to 1.

`objective="seqtutor_envs.smiles.chem.rediscovery:celecoxib"`, or `SimilarityTo("your SMILES")` for another molecule.
"""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from seqtutor_envs.smiles.chem import parse


class SimilarityTo:
    """Score molecules by their Tanimoto similarity to a target, by counted Morgan fingerprints of radius 2 (ECFP4).

    It is the score of GuacaMol's rediscovery tasks (Brown et al. 2019): 1 for the target itself, and what two
    drug-like molecules have in common by chance is .1 or so.

    Args:
        target: SMILES. ValueError if it is no molecule.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.fingerprint = _fingerprint(target)

    def __call__(self, smiles: Sequence[str]) -> list[float]:
        """Return the similarity of each of these valid SMILES."""
        found: list[float] = DataStructs.BulkTanimotoSimilarity(self.fingerprint, [_fingerprint(one) for one in smiles])
        return found


def _fingerprint(smiles: str) -> DataStructs.UIntSparseIntVect:
    mol = parse(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is no molecule.")
    return _MORGAN.GetSparseCountFingerprint(mol)


_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2)

# an inhibitor of cyclooxygenase-2, against pain and inflammation; the rediscovery task of GuacaMol and PMO
celecoxib = SimilarityTo("Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1")
