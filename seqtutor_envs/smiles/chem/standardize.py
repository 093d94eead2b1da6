"""Standardise a molecule by RDKit's MolStandardize: cleaned up, largest fragment, neutral; and tell what changed."""

from __future__ import annotations

from typing import NamedTuple

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from seqtutor_envs.smiles.chem import canonical_of

CLEANED, STRIPPED, NEUTRALISED = CHANGES = ("cleaned", "salts stripped", "neutralised")


class Parent(NamedTuple):
    """Hold a standardised molecule.

    Attributes:
        molecule: sanitised, one fragment.
        changes: which of CHANGES were made; empty if the molecule was in standard form already.
    """

    molecule: Chem.Mol
    changes: tuple[str, ...]


def parent(molecule: Chem.Mol) -> Parent:
    """Standardise a molecule; 1.2 ms.

    Cleanup (metals off, groups normalised, charges in their usual places), FragmentParent, Uncharger.

    Charges without a hydrogen to take or give stay, as in a quaternary ammonium or a nitro group; RDKit's normal form
    of a sulfoxide is charged too, [S+][O-].

    Raises ValueError where RDKit cannot.
    """
    with rdBase.BlockLogs():  # several lines a molecule
        try:
            cleaned = rdMolStandardize.Cleanup(molecule)
            # skipStandardize: Cleanup has just done it
            largest = rdMolStandardize.FragmentParent(cleaned, skipStandardize=True)
            neutral = rdMolStandardize.Uncharger().uncharge(largest)
            texts = [canonical_of(each) for each in (molecule, cleaned, largest, neutral)]
        except (ValueError, RuntimeError) as error:  # sanitisation, kekulisation and the C++ library's own
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"RDKit cannot standardise this molecule ({reason}).") from None
    # compared as canonical SMILES: RDKit's molecules have no equality
    if texts[0] == texts[3]:
        return Parent(neutral, ())
    made = (texts[0] != texts[1], fragments(cleaned) > fragments(largest), texts[2] != texts[3])
    return Parent(neutral, tuple(change for change, done in zip(CHANGES, made) if done))


def fragments(molecule: Chem.Mol) -> int:
    """Count the parts that no bond connects."""
    return len(Chem.GetMolFrags(molecule))


def without_stereo(molecule: Chem.Mol) -> Chem.Mol:
    """Return the molecule without its stereo centres and the directions of its double bonds."""
    flat = Chem.Mol(molecule)
    Chem.RemoveStereochemistry(flat)
    return flat
