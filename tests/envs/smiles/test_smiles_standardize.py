"""Standardised molecules, beside SMILES worked out by hand, and what is said to have changed."""

from __future__ import annotations

import pytest
from rdkit import Chem, RDLogger
from rdkit.Chem.MolStandardize import rdMolStandardize

from seqtutor_envs.smiles.chem.standardize import CLEANED, NEUTRALISED, STRIPPED, fragments, parent

BY_HAND = [
    ("CCO", "CCO", ()),
    ("OCC", "CCO", ()),  # another spelling is no change
    ("[Na+].CC(=O)[O-]", "CC(=O)O", (STRIPPED, NEUTRALISED)),
    ("CC(=O)O[Na]", "CC(=O)O", (CLEANED, STRIPPED, NEUTRALISED)),  # the metal's bond, the metal, the charge
    ("c1ccccc1.Cl", "c1ccccc1", (STRIPPED,)),
    ("O.CCO.O", "CCO", (STRIPPED,)),
    ("CCO.CCO", "CCO", (STRIPPED,)),
    ("CCC(=O)[O-]", "CCC(=O)O", (NEUTRALISED,)),
    ("[NH3+]CC(=O)[O-]", "NCC(=O)O", (NEUTRALISED,)),
    ("C[N+](C)(C)C.[Cl-]", "C[N+](C)(C)C", (STRIPPED,)),  # no hydrogen to give
    ("C[N+](=O)[O-]", "C[N+](=O)[O-]", ()),
    ("CN(=O)=O", "C[N+](=O)[O-]", ()),  # the parser does that one
    ("CS(C)=O", "C[S+](C)[O-]", (CLEANED,)),  # RDKit's table of normal forms has sulfoxides so
    ("N[C@@H](C)C(=O)O.[K+].[Cl-]", "C[C@H](N)C(=O)O", (STRIPPED,)),
    ("[13CH3]CO", "[13CH3]CO", ()),
]


@pytest.mark.parametrize("given, expected, changes", BY_HAND)
def test_the_parent_and_what_changed(given, expected, changes):
    standard = parent(Chem.MolFromSmiles(given))
    assert Chem.MolToSmiles(standard.molecule) == Chem.CanonSmiles(expected)
    assert standard.changes == changes
    assert parent(standard.molecule).changes == ()  # twice is once


def test_fragments_are_parts_that_no_bond_connects():
    assert [fragments(Chem.MolFromSmiles(smiles)) for smiles in ("CC", "C.C.O", "C1.C1")] == [1, 3, 1]


def test_rdkits_log_is_silent_here_and_speaks_again_afterwards(capfd):
    RDLogger.EnableLog("rdApp.info")
    try:
        parent(Chem.MolFromSmiles("CC(=O)O[Na]"))
        assert capfd.readouterr() == ("", "")
        rdMolStandardize.Cleanup(Chem.MolFromSmiles("CC(=O)O[Na]"))
        assert "MetalDisconnector" in capfd.readouterr().out
    finally:
        RDLogger.DisableLog("rdApp.info")


@pytest.mark.parametrize("error", [Chem.KekulizeException("no bonds\nmore"), RuntimeError("no bonds")])
def test_what_rdkit_cannot_standardise_is_an_error_in_one_line(monkeypatch, error):
    def fail(molecule):
        raise error

    monkeypatch.setattr(rdMolStandardize, "Cleanup", fail)
    with pytest.raises(ValueError, match=r"cannot standardise this molecule \(no bonds\)\.$"):
        parent(Chem.MolFromSmiles("CC"))
