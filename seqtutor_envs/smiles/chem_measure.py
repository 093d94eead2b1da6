"""What a score holds of a parsed molecule: its canonical SMILES and its properties, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase

from seqtutor_envs.smiles import chem_scores


def canonical(mol: Chem.Mol) -> str:
    """The same for all spellings of a molecule."""
    return Chem.MolToSmiles(mol)


def values(mol: Chem.Mol, names: Sequence[str]) -> tuple[float, ...]:
    """The properties of these names, functions of chem_scores; QED takes logP's value where both are wanted."""
    found: dict[str, float] = {}
    with rdBase.BlockLogs():  # QED removes hydrogens and says on standard error which it must keep
        for name in sorted(names, key="qed".__eq__):  # False before True: QED comes last
            if name == "qed":
                found[name] = chem_scores.qed(mol, found.get("logp"))
            else:
                found[name] = getattr(chem_scores, name)(mol)
    return tuple(found[name] for name in names)
