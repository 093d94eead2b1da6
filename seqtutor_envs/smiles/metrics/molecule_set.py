"""MoleculeSet: a set of molecules with the features that are compared, each computed on first use.

N strings, M distinct molecules among them. RDKit's time for a molecule, on one core: 0.1 ms to read and name it, 0.2
for its fingerprint and scaffold, 0.4 for its fragments, 0.5 for the filters, 1.2 for the properties.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import Range
from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import comparison, descriptors
from seqtutor_envs.smiles.chem.exact_qed import qed
from seqtutor_envs.smiles.corpus import reading

PROPERTIES = ("logp", "sa", "qed", "mw", "tpsa", "ring_penalty")
SPLITS = ("train", "test", "test_scaffolds")  # MOSES'
MIN_RINGS = 2  # of the scaffolds that MOSES compares


class MoleculeSet:
    """Hold the molecules that N strings spell; invalid strings are left out, equal molecules are counted.

    Args:
        smiles: N strings.
        most: how many molecules `properties` is about at most, evenly spaced; 0: all.

    Attributes:
        strings: as given, [N].
        canonical: canonical SMILES of the molecules, [M], in the order of their first appearance.
        counts: how often each was written, [M].
        spelling: index into `canonical` of each valid string, in their order.

    Raises:
        TypeError: one string instead of several, or something else than strings.
    """

    def __init__(self, smiles: Iterable[str], most: int = 0) -> None:
        most = Range(0, whole=True).check("most", most)
        self.strings = chem.check_strings(smiles)
        names: dict[str, str | None] = {}
        places: dict[str, int] = {}
        self._spellings: list[str] = []  # the first one of each molecule, which RDKit surely reads
        found = []
        for string in self.strings:
            # each spelling is read once: samples repeat many
            if string not in names:
                names[string] = chem.canonical(string)
            name = names[string]
            if name is not None:
                if name not in places:
                    places[name] = len(places)
                    self._spellings.append(string)
                found.append(places[name])
        self.canonical, self.most = list(places), most
        self.spelling = np.array(found, dtype=np.int64)
        self.counts = np.bincount(self.spelling, minlength=len(places))

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], column: str | None = None, split: str = "test", most: int = 10_000
    ) -> MoleculeSet:
        """Read the molecules of a .smi, .csv or .tsv file, also gzipped, or of MOSES' wheel; other lines are left out.

        Args:
            column: of a table; by default the one that is called "smiles".
            split: of the wheel: one of SPLITS.

        Raises:
            FileNotFoundError, ValueError: one line that names the file and what is wrong with it.
        """
        smiles = read_smiles(path, column, split)
        molecules = cls(smiles, most)
        if not molecules.canonical:
            raise ValueError(f"{os.fspath(path)} has no molecule in {len(smiles)} records.")
        return molecules

    def __len__(self) -> int:
        return len(self.canonical)

    @cached_property
    def fingerprints(self) -> NDArray[np.uint8]:
        """Compute packed Morgan fingerprints, [M, 128]."""
        rows = [comparison.fingerprint(mol) for mol in self._molecules()]
        return np.stack(rows) if rows else np.zeros((0, comparison.FINGERPRINT_BITS // 8), np.uint8)

    @cached_property
    def scaffolds(self) -> list[tuple[str, int]]:
        """Return the Murcko scaffold of each molecule, "" without rings, and its number of rings; [M]."""
        return [comparison.scaffold(mol) for mol in self._molecules()]

    @cached_property
    def fragment_counts(self) -> Counter[str]:
        """Count how often each BRICS fragment occurs in the N strings."""
        return self._counted(comparison.fragments(mol) for mol in self._molecules())

    @cached_property
    def scaffold_counts(self) -> Counter[str]:
        """Count how many of the N strings have each Murcko scaffold; molecules without rings have none."""
        return self._counted([scaffold] if rings else [] for scaffold, rings in self.scaffolds)

    @cached_property
    def large_scaffold_counts(self) -> Counter[str]:
        """Count the scaffolds with two rings or more, as in `scaffold_counts`; MOSES compares these."""
        return self._counted([scaffold] if rings >= MIN_RINGS else [] for scaffold, rings in self.scaffolds)

    @cached_property
    def passes_filters(self) -> NDArray[np.bool_]:
        """Return whether each molecule passes MOSES' filters, [M]."""
        return np.array([not comparison.find_failed_filter(mol) for mol in self._molecules()], np.bool_)

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """Return which of the M molecules `properties` is about."""
        m = len(self)
        # evenly spaced, not the first: files are often sorted
        return np.arange(m) if not 0 < self.most < m else np.linspace(0, m - 1, self.most).astype(np.int64)

    @cached_property
    def properties(self) -> dict[str, NDArray[np.float64]]:
        """Return PROPERTIES of the chosen molecules, in the first spelling of each."""
        rows = [_compute_properties(mol) for mol in self._molecules(self.chosen)]
        return dict(zip(PROPERTIES, np.array(rows, dtype=np.float64).reshape(len(rows), len(PROPERTIES)).T))

    def _molecules(self, which: Iterable[int] | None = None) -> Iterator[Any]:
        """Read the molecules, one after another: a million would fill the memory."""
        return map(chem.parse, self._spellings if which is None else (self._spellings[i] for i in which))

    def _counted(self, items: Iterable[Iterable[str]]) -> Counter[str]:
        counter: Counter[str] = Counter()
        for these, count in zip(items, self.counts.tolist()):
            for item in these:
                counter[item] += count
        return counter


def read_smiles(path: str | os.PathLike[str], column: str | None = None, split: str = "test") -> list[str]:
    """Read the SMILES of a file, as they stand there. Arguments and errors as MoleculeSet.from_file has them."""
    if split not in SPLITS:
        raise ValueError(f"MOSES has no split {split!r}; it has {', '.join(SPLITS)}.")
    wheel = str(path).endswith(".whl")
    found = reading.read_moses(path, split) if wheel else reading.read_records(path, column)
    return [text for _, text in found if text]


def _compute_properties(mol: Any) -> list[float]:
    logp = descriptors.logp(mol)  # once: QED takes it over
    weight, area = descriptors.DESCRIPTORS["mw"](mol), descriptors.DESCRIPTORS["tpsa"](mol)
    return [logp, descriptors.sa(mol), qed(mol, logp), weight, area, descriptors.ring_penalty(mol)]
