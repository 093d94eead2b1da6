"""SMARTS and descriptors of constraints, by RDKit."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rdkit import Chem, rdBase

from seqtutor_envs.smiles import chem_scores


def is_smarts(text: str) -> bool:
    """Whether RDKit reads it as a pattern of at least one atom."""
    with rdBase.BlockLogs():
        pattern = _pattern(text)
    return pattern is not None and pattern.GetNumAtoms() > 0


def matches(mol: Any, smarts: str) -> bool:
    """Whether `mol` holds the pattern; its chirality counts where the pattern says it."""
    return bool(mol.HasSubstructMatch(_pattern(smarts), useChirality=True))


def descriptor(mol: Any, name: str) -> float:
    """One of `chem_scores.DESCRIPTORS`."""
    return float(chem_scores.DESCRIPTORS[name](mol))


@lru_cache(maxsize=1024)  # a pattern is read once a process, since a Constraints must stay plain data
def _pattern(smarts: str) -> Any:
    return Chem.MolFromSmarts(smarts)
