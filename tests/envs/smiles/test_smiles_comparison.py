"""Fingerprints, scaffolds, fragments, filters against RDKit asked in other ways; similarities against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, AllChem, DataStructs
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from seqtutor_envs.smiles.chem import comparison
from seqtutor_envs.smiles.chem.comparison import find_failed_filter, fingerprint, fragments, scaffold
from seqtutor_envs.smiles.metrics import similarity

MOLECULES = (
    "CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CC(=O)Nc1ccc(O)cc1", "CCN(CC)CC",
    "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc1nccc(n1)-c1cn(C)c2ccccc12", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "Oc1ccccc1O",
    "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21", "C1CCCCCCC1", "O=C1c2ccccc2C(=O)c2ccccc21", "O=C1NC(=S)SC1=Cc1ccccc1",
    "CN(C)c1ccc(CNC(C)=O)cc1", "Oc1ccc2ccccc2c1CN1CCCCC1", "O=C(/C=C/c1ccccc1)c1ccc(O)c(O)c1", "c1ccccc1N=Nc1ccccc1",
    "CC1=C(O)C(=O)c2ccccc2C1=O", "FC(F)(F)c1ccccc1", "CCCCCCCC", "O=C1C=CC(=O)C=C1", "CSc1nnc(N)s1",
)  # fmt: skip
PASSING = {"CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CC(=O)Nc1ccc(O)cc1"}


def mols(smiles=MOLECULES):
    return [Chem.MolFromSmiles(string) for string in smiles]


def vectors(smiles=MOLECULES):
    """The fingerprints that MOSES takes, by the function it takes them with."""
    with rdBase.BlockLogs():  # it is deprecated
        return [AllChem.GetMorganFingerprintAsBitVect(mol, 2, nBits=1024) for mol in mols(smiles)]


def packed(smiles=MOLECULES):
    return np.stack([fingerprint(mol) for mol in mols(smiles)])


def test_fingerprints_are_moses_own() -> None:
    for ours, theirs in zip(packed(), vectors(), strict=True):
        assert np.flatnonzero(np.unpackbits(ours, bitorder="little")).tolist() == list(theirs.GetOnBits())


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_nearest_is_the_largest_of_all_similarities(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    ours, theirs = MOLECULES[:9], MOLECULES[7:]
    expected = [max(DataStructs.BulkTanimotoSimilarity(one, vectors(theirs))) for one in vectors(ours)]
    assert expected[7:9] == [1.0, 1.0] and max(expected[:7]) < 1
    np.testing.assert_allclose(similarity.nearest(packed(ours), packed(theirs)), expected, rtol=1e-6)


@pytest.mark.parametrize("block", [4, 1024])
def test_internal_diversity_is_over_all_ordered_pairs_and_repetitions(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    counts = np.array([3, 1, 2, 1, 1, 4])
    written = [string for string, count in zip(MOLECULES, counts) for _ in range(count)]
    rows = [DataStructs.BulkTanimotoSimilarity(one, vectors(written)) for one in vectors(written)]
    for p in (1, 2):
        means = [(sum(value**p for value in row) / len(row)) ** (1 / p) for row in rows]
        found = similarity.internal_diversity(packed(MOLECULES[:6]), counts, p)
        assert found == pytest.approx(1 - sum(means) / len(means), rel=1e-6)


def test_similarity_of_nothing() -> None:
    none = np.zeros((0, 128), np.uint8)
    assert np.isnan(similarity.nearest(packed(), none)).all() and similarity.nearest(none, packed()).shape == (0,)
    assert math.isnan(similarity.internal_diversity(none, np.zeros(0, int)))
    empty = np.zeros((1, 128), np.uint8)  # 0/0 is 1, as MOSES has it
    assert similarity.nearest(empty, empty).tolist() == [1.0]


def test_scaffolds_of_known_molecules() -> None:
    expected = {
        "CCCCCC": ("", 0),
        "Cc1ccccc1": ("c1ccccc1", 1),
        "CC(=O)Nc1ccc(Cc2ccccc2)cc1": ("c1ccc(Cc2ccccc2)cc1", 2),
        "O=C1CCCN1c1ccc(F)cc1": ("O=C1CCCN1c1ccccc1", 2),  # the double-bonded O stays, F goes
    }
    for smiles, (core, rings) in expected.items():
        assert scaffold(Chem.MolFromSmiles(smiles)) == (core, rings)


def test_fragments_are_brics_pieces() -> None:
    for mol in mols():
        pieces = Chem.GetMolFrags(BRICS.BreakBRICSBonds(mol), asMols=True)
        assert sorted(fragments(mol)) == sorted(Chem.MolToSmiles(piece) for piece in pieces)
    # by hand: an amide's N (environment 5) from its carbonyl (1), and that (6) from the ring (16)
    assert sorted(fragments(Chem.MolFromSmiles("CNC(=O)c1ccccc1"))) == ["[1*]C([6*])=O", "[16*]c1ccccc1", "[5*]NC"]
    assert fragments(Chem.MolFromSmiles("CCO")) == ["CCO"]


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CCCCCCC1", "ring"),
        ("C1CCCCCC1", ""),
        ("O=[N+]([O-])c1ccccc1", "charge"),  # every nitro group, as MOSES has it
        ("CCI", "element"),
        ("CCCl", "MCF4"),
        ("C1CO1", "MCF5"),
        ("CC=O", "MCF7"),
        ("c1ccccc1N=Nc1ccccc1", "MCF10"),
        ("BrC(Br)Br", "MCF20"),
        ("Oc1ccccc1O", "PAINS"),
        ("COc1ccc(S(=O)(=O)NCc2ccc(N(C)C)cc2)cc1", "PAINS"),
        *((smiles, "") for smiles in sorted(PASSING)),
    ],
)
def test_filters_name_what_fails_first(smiles: str, reason: str) -> None:
    assert find_failed_filter(Chem.MolFromSmiles(smiles)) == reason


def test_the_screened_pains_are_those_of_rdkits_catalogue() -> None:
    catalogue = FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.PAINS))
    expected = [catalogue.HasMatch(mol) for mol in mols()]
    assert 5 < sum(expected) < len(expected)
    assert [comparison.has_pains(mol) for mol in mols()] == expected
    assert len(comparison._pains()[0]) == catalogue.GetNumEntries() == 480


def test_all_mcf_patterns_are_read_and_credited() -> None:
    assert [name for name, _ in comparison._mcf()] == [f"MCF{i}" for i in range(1, 23)]
    assert all(pattern is not None for _, pattern in comparison._mcf())
    head = comparison.MCF.read_text()
    assert "Copyright 2018 Insilico Medicine" in head and "Permission is hereby granted" in head
