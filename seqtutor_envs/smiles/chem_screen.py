"""How many of many SMARTS patterns a molecule has, without trying those that it cannot have.

Most patterns of a list of structural alerts ask for something that most molecules lack: an element, a charge, a triple
bond. A pattern's query atoms say what it asks for; a molecule's formula and a few searches for single atoms and bonds
say what it lacks. What is left is searched by RDKit's own code, so the counts are RDKit's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

_SYMBOL = re.compile(r"[A-Z][a-z]?|\*")  # in a molecular formula
_ELEMENT = re.compile(r"Atom(?:Type|AtomicNum) (\d+) = val")  # an AtomType is the atomic number, + 1000 if aromatic
# shares of the atoms of drug-like molecules, roughly: a search that begins with a rare atom fails sooner
_SHARES = {6: 0.72, 7: 0.13, 8: 0.12, 9: 0.02, 16: 0.02}
_OTHER_SHARE = 0.001


class Gate(NamedTuple):
    """A single atom or bond that a pattern can need: `smarts` finds it in a molecule.

    A pattern needs it if one of its atoms (or both atoms of one of its bonds of order `bond_order`) must meet each line
    of `atom`, regular expressions on RDKit's description of a query; or if it is listed in `besides`.
    """

    smarts: str
    atom: tuple[str, ...] = ()
    bond_order: int | None = None
    besides: tuple[str, ...] = ()


# its atoms are recursive SMARTS, all of whose choices are an aliphatic C; RDKit's description does not show them
_ALKENE = "=".join(["[$([CH2]),$([CH][CX4]),$(C([CX4])[CX4])]"] * 2)

GATES = (
    Gate("[!+0]", (r"AtomFormalCharge -?[1-9]\d* = val",)),
    Gate("[!0*]", (r"AtomIsotope [1-9]\d* = val",)),
    Gate("[n]", ("AtomType 1007 = val",)),
    Gate("[C;R1]", ("AtomType 6 = val", "AtomInNRings 1 = val")),
    Gate("[C;R2]", ("AtomType 6 = val", "AtomInNRings 2 = val")),
    Gate("[c;R2]", ("AtomType 1006 = val", "AtomInNRings 2 = val")),
    Gate("[O;H1]", ("AtomType 8 = val", "AtomHCount 1 = val")),
    Gate("[N;H2]", ("AtomType 7 = val", "AtomHCount 2 = val")),
    Gate("C=C", ("AtomType 6 = val",), bond_order=2, besides=(_ALKENE,)),
    Gate("*#*", bond_order=3),
)


class Screen:
    """Counts which of P patterns, SMARTS, a molecule has: P times `HasSubstructMatch`, without most of the searches.

    What is left of the patterns for one kind of molecule (its elements, the gates that it passes) is kept for the next
    molecule of that kind. (RDKit's FilterCatalog, which loops over patterns in C++, takes as long as this loop.)
    """

    def __init__(self, smarts: Sequence[str]) -> None:
        patterns = [Chem.MolFromSmarts(text) for text in smarts]
        self._patterns = [_rare_first(pattern) for pattern in patterns]
        self._elements = [_needed_elements(pattern) for pattern in patterns]
        self._needs = [_needed_gates(text, pattern) for text, pattern in zip(smarts, patterns)]
        used = frozenset[int]().union(*self._needs)
        self._gates = [(k, Chem.MolFromSmarts(gate.smarts)) for k, gate in enumerate(GATES) if k in used]
        self._possible = lru_cache(maxsize=4096)(self._left)

    def count(self, mol: Chem.Mol) -> int:
        """How many of the patterns match."""
        elements = frozenset(_SYMBOL.findall(rdMolDescriptors.CalcMolFormula(mol)))
        passed = frozenset(k for k, gate in self._gates if mol.HasSubstructMatch(gate))
        return sum(map(mol.HasSubstructMatch, self._possible(elements, passed)))

    def _left(self, elements: frozenset[str], passed: frozenset[int]) -> list[Chem.Mol]:
        return [
            pattern
            for pattern, needed, gates in zip(self._patterns, self._elements, self._needs)
            if gates <= passed and all(elements & alternatives for alternatives in needed)
        ]


Query = tuple[str, list["Query"]]  # a line of RDKit's description of a query atom, and those below it


def _query(atom: Chem.Atom) -> Query:
    """The tree that `DescribeQuery` writes, two spaces of indentation a level."""
    root: Query = ("", [])
    path = [root]
    for line in atom.DescribeQuery().splitlines():
        text = line.lstrip()
        if not text:
            continue
        node: Query = (text, [])
        del path[(len(line) - len(text)) // 2 + 1 :]
        path[-1][1].append(node)
        path.append(node)
    return root[1][0]


def _elements(query: Query) -> frozenset[int] | None:
    """Atomic numbers one of which every atom has that meets the query; None if nothing is known. Negations are that."""
    line, parts = query
    if found := _ELEMENT.fullmatch(line):
        return frozenset([int(found[1]) % 1000])
    sets = [_elements(part) for part in parts]
    known = [numbers for numbers in sets if numbers is not None]
    if line == "AtomAnd" and known:
        return frozenset.intersection(*known)
    return frozenset().union(*known) if line == "AtomOr" and len(known) == len(sets) else None


def _implies(query: Query, leaf: str) -> bool:
    """Whether each atom that meets the query meets a line that matches `leaf`."""
    line, parts = query
    if line in ("AtomAnd", "AtomOr"):
        return (any if line == "AtomAnd" else all)(_implies(part, leaf) for part in parts)
    return re.fullmatch(leaf, line) is not None


def _needed_elements(pattern: Chem.Mol) -> frozenset[frozenset[str]]:
    """Sets of symbols; a molecule with the pattern has at least one of each set."""
    table = Chem.GetPeriodicTable()
    known = (_elements(_query(atom)) for atom in pattern.GetAtoms())
    return frozenset(frozenset(map(table.GetElementSymbol, numbers)) for numbers in known if numbers is not None)


def _needed_gates(smarts: str, pattern: Chem.Mol) -> frozenset[int]:
    """Indices of the gates without which no molecule has the pattern."""
    queries = [_query(atom) for atom in pattern.GetAtoms()]
    return frozenset(k for k, gate in enumerate(GATES) if smarts in gate.besides or _needs(gate, pattern, queries))


def _needs(gate: Gate, pattern: Chem.Mol, queries: Sequence[Query]) -> bool:
    meets = [all(_implies(query, leaf) for leaf in gate.atom) for query in queries]
    if gate.bond_order is None:
        return any(meets)
    return any(
        bond.DescribeQuery().strip() == f"BondOrder {gate.bond_order} = val"
        and meets[bond.GetBeginAtomIdx()]
        and meets[bond.GetEndAtomIdx()]
        for bond in pattern.GetBonds()
    )


def _rare_first(pattern: Chem.Mol) -> Chem.Mol:
    """The same pattern, its atoms in an order of search that begins with the rarest element and stays connected."""

    def rarity(at: int) -> tuple[float, int]:
        numbers = _elements(queries[at])
        share = 1.0 if numbers is None else sum(_SHARES.get(number, _OTHER_SHARE) for number in numbers)
        return share, -pattern.GetAtomWithIdx(at).DescribeQuery().count("\n")  # then the one with most conditions

    if len(Chem.GetMolFrags(pattern)) > 1:
        return pattern
    queries = [_query(atom) for atom in pattern.GetAtoms()]
    order = [min(range(len(queries)), key=rarity)]
    while len(order) < len(queries):
        reached = {atom.GetIdx() for at in order for atom in pattern.GetAtomWithIdx(at).GetNeighbors()}
        order.append(min(reached - set(order), key=rarity))
    return Chem.RenumberAtoms(pattern, order)
