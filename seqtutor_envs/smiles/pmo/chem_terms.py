"""What PMO's definitions are made of: functions of n sanitised RDKit molecules to n numbers, unmodified.

Similarities are Tanimoto's of sparse counts (of bits for `phco`), without chirality, as GuacaMol has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import GraphDescriptors, rdFingerprintGenerator, rdMolDescriptors

from seqtutor_envs.smiles.chem import canonical_of, parse
from seqtutor_envs.smiles.chem.descriptors import DESCRIPTORS, parse_formula
from seqtutor_envs.smiles.chem.exact_qed import qed as exact_qed
from seqtutor_envs.smiles.pmo import classifiers
from seqtutor_envs.smiles.pmo.chem_pharmacophores import pharmacophores
from seqtutor_envs.smiles.pmo.modifiers import Floats, Term, gauss, geometric_mean

Fingerprint = Callable[[Chem.Mol], Any]

MAX_DISTANCE = 10  # bonds, of an atom pair (GuacaMol)
ELEMENT_SIGMA, TOTAL_SIGMA = 1.0, 2.0  # atoms: of each element's count and of all atoms' (GuacaMol)


# ---------------------------------------------------------------- descriptors


def each(function: Callable[[Chem.Mol], float]) -> Term:
    """Return the term that calls a function for each molecule."""
    return lambda mols: np.array([function(mol) for mol in mols], np.float64)


logp = each(DESCRIPTORS["logp"])
tpsa = each(DESCRIPTORS["tpsa"])  # square Angstrom, without S and P
rings = each(DESCRIPTORS["rings"])
aromatic_rings = each(rdMolDescriptors.CalcNumAromaticRings)
bertz = each(GraphDescriptors.BertzCT)  # complexity (Bertz 1981), bits
fluorine = each(lambda mol: sum(atom.GetAtomicNum() == 9 for atom in mol.GetAtoms()))
qed = each(exact_qed)


def has(smarts: str) -> Term:
    """Return 1 for a molecule with this substructure, else 0."""
    pattern = Chem.MolFromSmarts(smarts)
    return each(lambda mol: mol.HasSubstructMatch(pattern))


def no(smarts: str) -> Term:
    """Return 0 for a molecule with this substructure, else 1."""
    pattern = Chem.MolFromSmarts(smarts)
    return each(lambda mol: not mol.HasSubstructMatch(pattern))


# ---------------------------------------------------------------- similarities

_FEATURES = rdFingerprintGenerator.GetMorganFeatureAtomInvGen()  # donor, acceptor, aromatic and so on, not elements
_ECFP4_BITS = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=classifiers.SIZE)
_FCFP6_COUNTS = rdFingerprintGenerator.GetMorganGenerator(
    radius=3, fpSize=classifiers.SIZE, atomInvariantsGenerator=_FEATURES
)

ecfp4: Fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=2).GetSparseCountFingerprint
ecfp6: Fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=3).GetSparseCountFingerprint
fcfp4: Fingerprint = rdFingerprintGenerator.GetMorganGenerator(
    radius=2, atomInvariantsGenerator=_FEATURES
).GetSparseCountFingerprint
atom_pairs: Fingerprint = rdFingerprintGenerator.GetAtomPairGenerator(
    maxDistance=MAX_DISTANCE
).GetSparseCountFingerprint
phco: Fingerprint = pharmacophores


def similarity(fingerprint: Fingerprint, target: str) -> Term:
    """Return the Tanimoto similarity to the molecule `target`, a SMILES.

    Its first use raises ValueError if `target` is no molecule.
    """

    @lru_cache(maxsize=1)  # at the first use: the table of all tasks is made for the one that is used
    def fingerprint_target() -> Any:
        mol = parse(target)
        if mol is None:
            raise ValueError(f"The target {target!r} is no molecule.")
        return fingerprint(mol)

    def compare(mols: Sequence[Chem.Mol]) -> Floats:
        found = DataStructs.BulkTanimotoSimilarity(fingerprint_target(), [fingerprint(mol) for mol in mols])
        return np.array(found, np.float64)

    return compare


# ---------------------------------------------------------------- formulas


def formula_terms(formula: str, legacy: bool = False) -> dict[str, Term]:
    """Return the terms of a wish for a formula: one for each element, and one for the number of all atoms.

    Hydrogens are counted. An element that is not in the formula counts in the total alone. With `legacy` the total is
    that of PyTDC 0.3.6: upper-case letters of the canonical SMILES, with digits of rings read as numbers of atoms.
    """

    def count(element: str) -> Term:
        return each(lambda mol: parse_formula(rdMolDescriptors.CalcMolFormula(mol)).get(element, 0))

    wanted = parse_formula(formula)
    terms = {element: gauss(count(element), number, ELEMENT_SIGMA) for element, number in wanted.items()}
    total = each(_count_upper_case if legacy else lambda mol: mol.GetNumAtoms(onlyExplicit=False))
    return {**terms, "atoms": gauss(total, sum(wanted.values()), TOTAL_SIGMA)}


def _count_upper_case(mol: Chem.Mol) -> int:
    """Count atoms as PyTDC 0.3.6 did: read the canonical SMILES as if it were a formula."""
    return sum(parse_formula(canonical_of(mol)).values())


def formula(text: str, legacy: bool = False) -> Term:
    """Return the geometric mean of `formula_terms`."""
    terms = formula_terms(text, legacy).values()
    return lambda mols: geometric_mean(np.stack([term(mols) for term in terms]))


# ---------------------------------------------------------------- classifiers


def drd2(mols: Sequence[Chem.Mol]) -> Floats:
    """Return the probability of activity at the dopamine receptor D2; FCFP6 counts, folded (Olivecrona et al. 2017)."""
    return classifiers.load_svm("drd2")(_rows(_FCFP6_COUNTS.GetCountFingerprintAsNumPy, mols))


def gsk3b(mols: Sequence[Chem.Mol]) -> Floats:
    """Return the probability of inhibiting the kinase GSK-3 beta; ECFP4 bits (Li et al. 2018, Jin et al. 2020)."""
    return classifiers.load_forest("gsk3b")(_rows(_ECFP4_BITS.GetFingerprintAsNumPy, mols))


def jnk3(mols: Sequence[Chem.Mol]) -> Floats:
    """Return the probability of inhibiting the kinase JNK3; ECFP4 bits (Li et al. 2018, Jin et al. 2020)."""
    return classifiers.load_forest("jnk3")(_rows(_ECFP4_BITS.GetFingerprintAsNumPy, mols))


def _rows(fingerprint: Callable[[Chem.Mol], Any], mols: Sequence[Chem.Mol]) -> Any:
    return np.stack([fingerprint(mol) for mol in mols])
