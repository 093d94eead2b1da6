"""All of RDKit: validity, properties, constraints, comparison, standardisation and drawing of molecules."""

from __future__ import annotations

try:
    import rdkit  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("Molecules need RDKit: pip install rdkit", name=error.name) from None

from seqtutor_envs.smiles.chem.descriptors import PROPERTIES
from seqtutor_envs.smiles.chem.molecule import (
    RDKIT_VERSION,
    canonical,
    canonical_of,
    check_strings,
    parse,
    properties,
    respelled,
    too_large,
)

__all__ = [
    "PROPERTIES", "RDKIT_VERSION", "canonical", "canonical_of", "check_strings", "parse", "properties", "respelled",
    "too_large",
]
