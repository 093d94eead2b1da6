"""Features that compare sets of molecules: fingerprints, scaffolds, fragments, and MOSES' structural filters.

Each function takes a sanitised RDKit molecule. All do what the metrics of MOSES 0.3.1 do (Polykovskiy et al. 2020,
github.com/molecularsets/moses, moses/metrics), so that results can stand beside those it published.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs, RDConfig
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from seqtutor_envs.smiles.chem import parse

FINGERPRINT_BITS = 1024
FINGERPRINT_RADIUS = 2  # bonds: ECFP4's
SCREEN_BITS = 2048  # of RDKit's pattern fingerprint, its default: of 480 PAINS patterns it leaves 30 to be tried
SMALLEST_FORBIDDEN_RING = 8  # atoms
FILTER_ELEMENTS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
MCF = Path(__file__).parents[2] / "data" / "mcf.csv"
PAINS = Path(RDConfig.RDDataDir) / "Pains" / "wehi_pains.csv"


def fingerprint(mol: Chem.Mol) -> NDArray[np.uint8]:
    """Compute the Morgan fingerprint of radius 2 in 1,024 bits, packed into 128 bytes."""
    return np.frombuffer(DataStructs.BitVectToBinaryText(_morgan().GetFingerprint(mol)), np.uint8)


def scaffold(mol: Chem.Mol) -> tuple[str, int]:
    """Return canonical SMILES of the Murcko scaffold, "" without rings, and how many rings it has.

    That is the rings, what links them, and what either is double-bonded to (RDKit's reading of Bemis & Murcko 1996).
    """
    core = MurckoScaffold.GetScaffoldForMol(mol)
    return Chem.MolToSmiles(core), core.GetRingInfo().NumRings()


def find_scaffold(smiles: str) -> str:
    """Return the `scaffold` of a molecule by its SMILES, "" where it has no rings or cannot be read."""
    mol = parse(smiles)
    return "" if mol is None else scaffold(mol)[0]


def fragments(mol: Chem.Mol) -> list[str]:
    """Return canonical SMILES of the pieces that the cuts of BRICS leave (Degen et al. 2008), repetitions and all."""
    return Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(mol)).split(".")


def find_failed_filter(mol: Chem.Mol) -> str:
    """Name which of MOSES' filters a molecule fails first, "" if it passes.

    Names are "ring", "charge", "element", "MCF1" and the like, "PAINS".

    Failed are, in this order: a ring of 8 atoms or more; a charged atom; an atom other than C, N, S, O, F, Cl, Br, H;
    one of MOSES' 22 medicinal chemistry filters; one of the 480 PAINS patterns (Baell & Holloway 2010), in RDKit's
    revision of the file that MOSES took.
    """
    # the cheap tests first; the verdict names the first that fails
    if any(len(ring) >= SMALLEST_FORBIDDEN_RING for ring in mol.GetRingInfo().AtomRings()):
        return "ring"
    if any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        return "charge"
    if any(atom.GetSymbol() not in FILTER_ELEMENTS for atom in mol.GetAtoms()):
        return "element"
    with_hydrogens = Chem.AddHs(mol)  # MCF12's `*` may be one
    for name, pattern in _mcf():
        if with_hydrogens.HasSubstructMatch(pattern):
            return name
    return "PAINS" if has_pains(mol) else ""


def has_pains(mol: Chem.Mol) -> bool:
    """Return whether a PAINS pattern occurs; most of them are ruled out in one comparison."""
    patterns, bits = _pains()
    # a pattern occurs only where the molecule has all bits of its fingerprint
    possible = np.flatnonzero(~(bits & ~_screen(mol)).any(axis=1))
    return any(mol.HasSubstructMatch(patterns[i]) for i in possible.tolist())


def _screen(mol: Chem.Mol) -> NDArray[np.uint64]:
    bits = Chem.PatternFingerprint(mol, fpSize=SCREEN_BITS)
    return np.frombuffer(DataStructs.BitVectToBinaryText(bits), np.uint64)


# cached: a generator or a list of patterns takes longer to make than to use
@lru_cache(maxsize=None)
def _morgan() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)


@lru_cache(maxsize=None)
def _mcf() -> tuple[tuple[str, Chem.Mol], ...]:
    with open(MCF, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple((row["names"], Chem.MolFromSmarts(row["smarts"])) for row in rows)


@lru_cache(maxsize=None)
def _pains() -> tuple[list[Chem.Mol], NDArray[np.uint64]]:
    """Read the PAINS patterns, with the bits of each, [P, words].

    RDKit's own catalogue gives the same verdicts in 8 times the time: it tries all patterns.
    """
    try:
        with open(PAINS, encoding="utf-8", newline="") as file:
            patterns = [Chem.MergeQueryHs(Chem.MolFromSmarts(row[0].strip())) for row in csv.reader(file)]
    except FileNotFoundError:
        raise ImportError(
            f"RDKit's {PAINS} is missing; the wheels of PyPI have it: pip install --force-reinstall rdkit."
        ) from None
    for pattern in patterns:
        # RDKit computes no fingerprint of a pattern that lacks these properties
        pattern.UpdatePropertyCache(strict=False)
    return patterns, np.stack([_screen(pattern) for pattern in patterns])
