"""Parse SMILES, write them canonically and compute properties, by RDKit.

RDKit logs every string that it cannot read; here those lines are held back, and the user's own logging stays as it is.
Threads gain nothing from these functions: RDKit holds the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from seqtutor_envs.smiles.chem.descriptors import PROPERTIES, values

RDKIT_VERSION: str = rdBase.rdkitVersion
# What RDKit is given at most: it takes 10 s for the scaffold of a chain of 1,000 atoms, 70 s at 2,000, and it follows
# atoms and branches by recursion until the stack is full and the process dies (4,000 atoms in 1 MB).
MAX_CHARACTERS = 1_000  # ten times the longest of ZINC's 250,000 molecules; a peptide of 60 residues
MAX_DEPTH = 250  # of brackets within brackets


def parse(smiles: str) -> Chem.Mol | None:
    """Read a string as a sanitised molecule; None if it is not one.

    Stricter than RDKit, which reads "CCO junk", "CCO\\n" and "\\0CCO" as ethanol and "" as a molecule without atoms: a
    SMILES is printable ASCII without white space, and has at least one atom. Whatever is a molecule to RDKit besides
    (fragments, radicals, wildcards, any element) is one here; chem/checks.py is stricter. What is `too_large` is none.
    """
    if not smiles or too_large(smiles) or not smiles.isascii() or not smiles.isprintable() or " " in smiles:
        return None
    with rdBase.BlockLogs():  # 1 us
        molecule = Chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def too_large(text: str) -> bool:
    """Return whether a SMILES or SMARTS is too long, or too deeply nested, for RDKit to read it safely."""
    if len(text) > MAX_CHARACTERS:
        return True
    depth = deepest = 0
    if text.count("(") > MAX_DEPTH:  # rare: few molecules have so many branches at all
        for character in text:
            depth += (character == "(") - (character == ")")
            deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def canonical(smiles: str) -> str | None:
    """Return RDKit's canonical SMILES, the same for all spellings of a molecule; None if it is none."""
    molecule = parse(smiles)
    return None if molecule is None else canonical_of(molecule)


def canonical_of(mol: Chem.Mol) -> str:
    """Return the canonical SMILES of a molecule that `parse` gave."""
    return Chem.MolToSmiles(mol)


def respelled(smiles: str, rng: np.random.Generator) -> str:
    """Return a SMILES of the same molecule that begins at a random atom."""
    mol = parse(smiles)
    return smiles if mol is None else Chem.MolToSmiles(mol, rootedAtAtom=int(rng.integers(mol.GetNumAtoms())))


def properties(smiles: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Compute validity and properties of N strings, each [N]; an invalid one has NaN, and None as its canonical SMILES.

    Returns:
        `valid` bool (as `parse` has it); `logp`, `sa` (1 easy to 10 hard), `qed` (0..1) and `ring_penalty` (atoms of
        the largest ring beyond six) float64, as chem/descriptors.py has them; `canonical` str. They are those of the
        string as written: the last bits of logP and QED differ between two spellings of a molecule.

    Raises:
        TypeError: one string instead of several, or something else than strings.
    """
    strings = check_strings(smiles)
    table: dict[str, NDArray[Any]] = {"valid": np.zeros(len(strings), np.bool_)}
    table |= {name: np.full(len(strings), np.nan) for name in PROPERTIES}
    table["canonical"] = np.full(len(strings), None, np.object_)
    # one by one: RDKit holds the interpreter's lock, so threads would only wait
    for n, string in enumerate(strings):
        molecule = parse(string)
        if molecule is not None:
            table["valid"][n], table["canonical"][n] = True, canonical_of(molecule)
            for name, value in zip(PROPERTIES, values(molecule)):
                table[name][n] = value
    return table


def check_strings(smiles: Iterable[str]) -> list[str]:
    """Raise TypeError, naming the first that is none, unless `smiles` are several strings."""
    if isinstance(smiles, (str, bytes)):
        raise TypeError(f"SMILES come as a list, such as [{smiles!r}], not as one string.")
    strings = list(smiles)
    for n, string in enumerate(strings):
        if not isinstance(string, str):
            raise TypeError(f"SMILES must be strings; number {n + 1} is {string!r}.")
    return strings
