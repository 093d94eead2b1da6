"""Checks of a molecule beyond RDKit's parsing. Each can be switched off; each failure has a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from rdkit import Chem
from rdkit.Chem import rdqueries

CHECKS = ("fragments", "wildcard", "radical", "carbon", "elements")  # in the order in which they are tried
ELEMENTS = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")


def find_failed_check(mol: Chem.Mol, checks: Sequence[str] = CHECKS, elements: Sequence[str] = ELEMENTS) -> str:
    """Return the first of CHECKS, in their order, that is among `checks` and fails; "" if there is none.

    `fragments`: more than one. `wildcard`: an atom `*`. `radical`: an unpaired electron. `carbon`: none at all.
    `elements`: an atom, other than a wildcard, of another element; the hydrogens that a SMILES does not write are
    always allowed.
    """
    # a generator: the checks after the first failure are not run
    found = (name for name in CHECKS if name in checks and _FAILS[name](mol, tuple(elements)))
    return next(found, "")


def check_names(checks: Sequence[str], elements: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check both and return them as tuples.

    Raise ValueError, with the choices, for an unknown check or element.
    """
    for what, names in (("checks", checks), ("elements", elements)):
        # a string is a sequence too: checks="carbon" would be read letter by letter
        if isinstance(names, str):
            raise ValueError(f"{what} must be several names, such as ({names!r},), not one string.")
    for name in checks:
        if name not in CHECKS:
            raise ValueError(f"There is no check {name!r}; there are {', '.join(CHECKS)}.")
    table = Chem.GetPeriodicTable()
    known = {table.GetElementSymbol(number) for number in range(1, 119)}  # all that RDKit has
    for symbol in elements:
        if symbol not in known:
            raise ValueError(f"There is no element {symbol!r}; elements are symbols such as {', '.join(ELEMENTS)}.")
    return tuple(checks), tuple(elements)


@lru_cache(maxsize=16)
def _other_elements(elements: tuple[str, ...]) -> Chem.Mol:
    """Make a pattern of one atom that is none of these elements and no wildcard."""
    table = Chem.GetPeriodicTable()
    # 0, the wildcard, is no element: it has a check of its own
    numbers = [0, *(table.GetAtomicNumber(symbol) for symbol in elements)]
    return Chem.MolFromSmarts("[" + ";".join(f"!#{number}" for number in numbers) + "]")


_WILDCARD = Chem.MolFromSmarts("[#0]")
_CARBON = Chem.MolFromSmarts("[#6]")
_RADICAL = rdqueries.NumRadicalElectronsGreaterQueryAtom(0)

_FAILS: dict[str, Callable[[Chem.Mol, tuple[str, ...]], bool]] = {
    "fragments": lambda mol, elements: len(Chem.GetMolFrags(mol)) > 1,
    "wildcard": lambda mol, elements: mol.HasSubstructMatch(_WILDCARD),
    "radical": lambda mol, elements: len(mol.GetAtomsMatchingQuery(_RADICAL)) > 0,
    "carbon": lambda mol, elements: not mol.HasSubstructMatch(_CARBON),
    "elements": lambda mol, elements: mol.HasSubstructMatch(_other_elements(elements)),
}
