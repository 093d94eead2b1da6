"""Other spellings of a molecule: many SMILES name the same one."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from seqtutor_envs.smiles.chem.molecule import parse


def spellings(smiles: str, n: int, rng: np.random.Generator) -> list[str]:
    """Return n random SMILES of a molecule, which may repeat; none where the string is no molecule.

    The atoms are numbered at random and written in RDKit's order of branches: the restricted randomisation of
    Arus-Pous et al. 2019 (Randomized SMILES strings improve the quality of molecular generative models). RDKit's own
    random SMILES (`doRandom`) draw from a generator of the whole process, and order branches at random too: log p of
    osimertinib by the shipped prior is -113 in its canonical spelling, -197 on average in these, -241 in those.
    """
    mol = parse(smiles)
    if mol is None:
        return []
    orders = (rng.permutation(mol.GetNumAtoms()).tolist() for _ in range(n))
    return [Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False) for order in orders]
