"""Pictures hold what they should, whatever the string; SD files are read back by RDKit as the same molecules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem

from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import drawing

UNKEKULIZABLE = "O=c1cc(C(F)(F)F)oc2c(F)cc(F)c=12"  # RDKit reads it, but not its own canonical SMILES


def inked(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of a picture that are not white."""
    return (picture != 255).any(axis=2)


@pytest.mark.parametrize("smiles", ["CC(=O)Oc1ccccc1", "C", "C.C", "*", "c1ccc(", "", UNKEKULIZABLE, "C" * 900 + "("])
@pytest.mark.parametrize("caption", [[], ["QED 0.83"], ["x" * 300, "two"]])
def test_every_string_has_a_picture_of_one_size(smiles: str, caption: list[str]) -> None:
    picture = drawing.picture(smiles, caption)
    assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8 and picture.flags.owndata
    ink = inked(picture)
    assert ink.any() and not ink[:, :2].any() and not ink[:, -2:].any() and not ink[-2:].any()


def test_atoms_have_their_colours_and_text_has_none() -> None:
    def coloured(picture: np.ndarray) -> bool:
        return bool((picture.max(axis=2).astype(int) - picture.min(axis=2) > 128).any())

    assert coloured(drawing.picture("CC(=O)O")) and coloured(drawing.picture(UNKEKULIZABLE))
    assert not coloured(drawing.picture("CCC")) and not coloured(drawing.picture("CC(=O"))


def test_the_caption_stands_below_the_drawing() -> None:
    bare, one, two = (inked(drawing.picture("CC", ["QED 0.4", "logP 1.0"][:n])) for n in range(3))
    below = slice(400, 480)
    assert not bare[below].any() and one[below].any() and two[below].sum() > one[below].sum()


@pytest.mark.parametrize(
    "prefix, closed",
    [
        ("", ""), ("C", "C"), ("CC(", "CC"), ("CC(=", "CC"), ("CC(=O", "CC(=O)"), ("[13CH3]C(C(F", "[13CH3]C(C(F))"),
        ("Cc1cc", "Cccc"), ("C1CC1", "C1CC1"), ("C1CC1C1", "C1CC1C"), ("C12CC1", "C1CC1"), ("C=1CC", "CCC"),
        ("C%10CC", "CCC"), ("c1cc[nH]", "ccc[nH]"), ("CC(=[N", "CC"), ("Cc1ccc(NC(=O", "Ccccc(NC(=O))"),
    ],
)
def test_what_a_prefix_leaves_open_is_closed(prefix: str, closed: str) -> None:
    assert drawing.close_prefix(prefix) == closed
    assert drawing.close_prefix(closed) == closed


@pytest.mark.parametrize("whole", ["CC(=O)Nc1ccc2[nH]ccc2c1", "[H]c1ccccc1F", UNKEKULIZABLE, "C[C@H](N)C(=O)O", "C"])
def test_every_prefix_of_a_molecule_has_a_picture(whole: str) -> None:
    for length in range(len(whole)):
        assert drawing.picture(whole[:length], whole=whole).shape == (480, 640, 3)


def test_a_molecule_grows_in_place() -> None:
    """The oxygen stays where it is; a ring is closed by its second digit; what is to come is not drawn."""
    whole = "O=C(C)Cc1ccccc1F"
    last, pictures = drawing.picture(whole, whole=whole), [drawing.picture(whole[:n], whole=whole) for n in (7, 14, 15)]

    def red(picture: np.ndarray) -> np.ndarray:
        return np.median(np.argwhere((picture[:, :, 0] > 200) & (picture[:, :, 1:] < 80).all(axis=2)), axis=0)

    assert all(red(picture) == pytest.approx(red(last), abs=2) for picture in pictures)
    assert 0 < inked(pictures[0]).sum() < inked(pictures[1]).sum() < inked(pictures[2]).sum() < inked(last).sum()
    assert not inked(drawing.picture("", whole=whole)).any()


@pytest.mark.parametrize("whole, prefix", [("CCO", "CN"), ("CC(", "CC")])
def test_only_a_molecule_that_begins_so_can_grow(whole: str, prefix: str) -> None:
    with pytest.raises(ValueError, match="is no molecule that begins with"):
        drawing.picture(prefix, whole=whole)


def test_an_svg_has_one_size_and_needs_a_molecule() -> None:
    for smiles in ("CC(=O)O", UNKEKULIZABLE, "C[C@H](N)C(=O)O"):
        drawn = drawing.svg(smiles)
        assert drawn.lstrip().startswith("<?xml") and "width='260px' height='220px'" in drawn
    with pytest.raises(ValueError, match="'oops' is no molecule"):
        drawing.svg("oops")


# ---------------------------------------------------------------- SD files


def read_back(text: str) -> list[Chem.Mol]:
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text)
    return list(supplier)


def test_sd_files_are_read_back_as_the_same_molecules() -> None:
    smiles = [
        "CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)[O-]", "C/C=C\\C", "C[C@@H]1CC[C@H](O)CC1", "[2H]C([2H])O",
        "[Na+].[Cl-]", "C[N+](C)(C)C", "[CH2]C", "C1COCCOCCN2CCOCCOCCN1CCOCCOCC2", "[13CH3]c1cc[nH]c1", "*C", "[H][H]",
        "CP(=O)(O)O", "C",
    ]
    mols = read_back(drawing.sdf([{"smiles": string} for string in smiles]))
    assert [Chem.MolToSmiles(mol) for mol in mols] == [chem.canonical(string) for string in smiles]
    assert [mol.GetProp("_Name") for mol in mols] == [str(n + 1) for n in range(len(smiles))]
    conformer = mols[0].GetConformer()
    assert not conformer.Is3D() and np.ptp(conformer.GetPositions()[:, :2], axis=0).min() > 1


def test_tags() -> None:
    record = {"smiles": "OCC", "QED": 1 / 3, "times seen": 4, "novel": True}
    unknown = {"nothing": None, "nan": math.nan}
    (mol,) = read_back(drawing.sdf([record | unknown | {"note": "a\n\n> b"}]))
    tags = mol.GetPropsAsDict(autoConvertStrings=False)
    assert tags == {"smiles": "OCC", "QED": repr(1 / 3), "times seen": "4", "novel": "True", "note": "a > b"}


def test_sd_files_hold_no_hydrogens_of_our_own() -> None:
    decalin = "C1CC[C@H]2CCCC[C@@H]2C1"  # a picture shows its two hydrogens
    supplier = Chem.SDMolSupplier()
    supplier.SetData(drawing.sdf([{"smiles": decalin}]), removeHs=False)
    assert supplier[0].GetNumAtoms() == 10 and Chem.MolToSmiles(supplier[0]) == chem.canonical(decalin)


def test_sd_files_take_what_rdkit_reads_only_once() -> None:
    assert drawing.sdf([{"smiles": UNKEKULIZABLE}]).endswith(f"\n>  <smiles>\n{UNKEKULIZABLE}\n\n$$$$\n")


def test_large_molecules_are_v3000() -> None:
    text = drawing.sdf([{"smiles": "C" * 1000}, {"smiles": "CC"}])
    assert text.count("V3000") == 1 and text.count("V2000") == 1
    assert [mol.GetNumAtoms() for mol in read_back(text)] == [1000, 2]


def test_no_records_are_an_empty_file() -> None:
    assert drawing.sdf([]) == ""


@pytest.mark.parametrize(
    "record, told",
    [
        ({"smiles": "C1CC"}, "Record 2 .* 'C1CC'"), ({"qed": 1.0}, "Record 2 .* None"), ({"smiles": 3}, "Record 2"),
    ],
)
def test_records_that_cannot_be_are_named(record: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        drawing.sdf([{"smiles": "C"}, record])
    assert "\n" not in str(error.value)
