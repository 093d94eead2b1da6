"""Numbers of one sanitised RDKit molecule, each a pure function of it; what RDKit can compute is RDKit's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from seqtutor_envs.smiles.chem.exact_qed import qed

PROPERTIES = ("logp", "sa", "qed", "ring_penalty")
_COUNT = re.compile(r"([A-Z][a-z]*)(\d*)")  # C9, Cl, N2: an element of a formula and its count, 1 if not written
UNPENALISED_RING = 6  # atoms; rings up to this size cost nothing (the authors' reward)


def logp(mol: Chem.Mol) -> float:
    """Return the octanol-water partition coefficient, log10, by atom contributions (Wildman & Crippen 1999)."""
    return rdMolDescriptors.CalcCrippenDescriptors(mol)[0]  # Crippen.MolLogP


def sa(mol: Chem.Mol) -> float:
    """Return the synthetic accessibility, 1 easy to 10 hard (Ertl & Schuffenhauer 2009; Contrib/SA_Score)."""
    return _sascorer().calculateScore(mol)


def ring_penalty(mol: Chem.Mol) -> float:
    """Count the atoms beyond six of the largest ring in RingInfo, at least 0; 0 without rings."""
    return float(max(max(map(len, mol.GetRingInfo().AtomRings()), default=0) - UNPENALISED_RING, 0))


def parse_formula(text: str) -> dict[str, int]:
    """Count the elements of a molecular formula: C9H10Cl -> {"C": 9, "H": 10, "Cl": 1}."""
    counts: Counter[str] = Counter()
    for element, count in _COUNT.findall(text):
        counts[element] += int(count or 1)
    return dict(counts)


DESCRIPTORS: dict[str, Callable[[Chem.Mol], float]] = {
    "mw": rdMolDescriptors._CalcMolWt,  # average, g/mol, hydrogens included (Descriptors.MolWt)
    "logp": logp,
    "tpsa": rdMolDescriptors.CalcTPSA,  # square Angstrom, of N and O (Ertl, Rohde & Selzer 2000)
    "hbd": rdMolDescriptors.CalcNumHBD,  # N, O with a hydrogen: Lipinski.NumHDonors
    "hba": rdMolDescriptors.CalcNumHBA,  # Lipinski.NumHAcceptors: neither Lipinski's N + O nor QED's
    "rotatable_bonds": rdMolDescriptors.CalcNumRotatableBonds,  # strict: amide bonds and the like excluded
    "rings": rdMolDescriptors.CalcNumRings,  # the smallest set, with its symmetric equivalents
    "charge": Chem.GetFormalCharge,  # of all fragments together
}

_SCORES: dict[str, Callable[[Chem.Mol], float]] = {"logp": logp, "sa": sa, "qed": qed, "ring_penalty": ring_penalty}


def values(mol: Chem.Mol, names: Sequence[str] = PROPERTIES) -> tuple[float, ...]:
    """Compute these of PROPERTIES, in their order.

    logP is computed once: RDKit keeps it in the molecule, and QED finds it.
    """
    return tuple(_SCORES[name](mol) for name in names)


@lru_cache(maxsize=1)
def _sascorer() -> Any:
    """Import RDKit's scorer, which reads a table of 700,000 fragments at its first score: 0.5 s and 90 MB."""
    try:
        from rdkit.Contrib.SA_Score import sascorer
    except ImportError:
        raise ImportError(
            "This RDKit comes without Contrib/SA_Score; PyPI's wheels have it: pip install --force-reinstall rdkit."
        ) from None
    return sascorer
