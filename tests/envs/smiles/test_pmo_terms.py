"""What PMO's scores are made of: modifiers by hand, fingerprints by RDKit's older functions, counts by plain loops."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem, Crippen, GraphDescriptors, rdMolDescriptors
from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

from seqtutor_envs.smiles.chem.descriptors import parse_formula
from seqtutor_envs.smiles.pmo import chem_terms, modifiers

ROOT_E = math.exp(-0.5)  # a Gaussian at one sigma
TARGET = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
SMILES = ["Nc1nc2cc(O)ccc2n1C1CCC1", "CN(C)CCOc1ccccc1C(=O)NC=C", "CCCCO", "ClC(F)(F)c1ccncc1"]


def identity(numbers):
    return np.asarray(numbers, np.float64)


def molecules(smiles):
    return [Chem.MolFromSmiles(text) for text in smiles]


def test_modifiers_by_hand():
    x = [-1.0, 1.0, 3.0, 5.0]
    at_two_sigma = math.exp(-2)
    assert modifiers.gauss(identity, 1, 2)(x) == pytest.approx([ROOT_E, 1, ROOT_E, at_two_sigma])
    assert modifiers.above(identity, 3, 2)(x) == pytest.approx([at_two_sigma, ROOT_E, 1, 1])
    assert modifiers.below(identity, 1, 2)(x) == pytest.approx([1, 1, ROOT_E, at_two_sigma])
    assert modifiers.clip(identity, 4)(x).tolist() == [0, 0.25, 0.75, 1]
    assert modifiers.clip(identity, 0.5)([0.2, 0.5, 0.7]).tolist() == [0.4, 1, 1]


def test_means_by_hand():
    terms = np.array([[0.25, 1.0, 0.0, 0.3], [1.0, 1.0, 1.0, 0.3], [0.5, 1.0, 0.9, 0.3]])
    assert modifiers.geometric_mean(terms) == pytest.approx([0.5, 1, 0, 0.3])
    assert modifiers.arithmetic_mean(terms) == pytest.approx([7 / 12, 1, 1.9 / 3, 0.3])


def older_functions():
    """RDKit's functions that its generators replace."""
    return {
        "ecfp4": lambda mol: AllChem.GetMorganFingerprint(mol, 2),
        "ecfp6": lambda mol: AllChem.GetMorganFingerprint(mol, 3),
        "fcfp4": lambda mol: AllChem.GetMorganFingerprint(mol, 2, useFeatures=True),
        "atom_pairs": lambda mol: rdMolDescriptors.GetAtomPairFingerprint(mol, maxLength=10),
    }


@pytest.mark.parametrize("name", older_functions())
def test_similarities_are_of_counts(name):
    """The Tanimoto similarity by hand: the smaller of each two counts over the larger ones."""
    with rdBase.BlockLogs():  # they are deprecated
        counts = [older_functions()[name](mol).GetNonzeroElements() for mol in molecules([TARGET, *SMILES])]
    target, *others = counts
    assert max(target.values()) > 1
    found = chem_terms.similarity(getattr(chem_terms, name), TARGET)(molecules(SMILES))
    for value, other in zip(found, others, strict=True):
        pairs = [(target.get(key, 0), other.get(key, 0)) for key in target.keys() | other.keys()]
        assert value == pytest.approx(sum(map(min, pairs)) / sum(map(max, pairs)), rel=1e-12)


def test_similarity_of_pharmacophores_is_of_bits():
    mols = molecules([SMILES[0], *SMILES])
    target, *others = [set(Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory).GetOnBits()) for mol in mols]
    found = chem_terms.similarity(chem_terms.phco, SMILES[0])(molecules(SMILES))
    assert found == pytest.approx([len(target & other) / len(target | other) for other in others])
    assert found[0] == 1 and 0 < found[1] < 1


def test_pharmacophores_are_rdkits():
    # no feature; two fragments; more of one family than distances; long distances; all eight families
    more = ["C", "OCC.NCC(N)CO", "OCC(O)C(O)C(O)C(O)CO", "NCCCCCCCCCCCCCCC(=O)NCCCCCCCCCO", "OC(=O)C1CC1c1ccccc1P(C)CN"]
    seen = set()
    for mol in molecules([TARGET, *SMILES, *more]):
        wanted = set(Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory).GetOnBits())
        assert set(chem_terms.phco(mol).GetOnBits()) == wanted, Chem.MolToSmiles(mol)
        seen |= wanted
    families = {name for bit in seen for name in Gobbi_Pharm2D.factory.GetBitDescription(bit).split("|")[0].split()}
    assert families == set(Gobbi_Pharm2D.factory.GetFeatFamilies())


def test_a_target_that_is_no_molecule_is_named():
    with pytest.raises(ValueError, match="The target 'C1CC' is no molecule."):
        chem_terms.similarity(chem_terms.ecfp4, "C1CC")(molecules(["C"]))


def test_descriptors_are_rdkits():
    mols = molecules([TARGET, *SMILES])
    assert chem_terms.logp(mols).tolist() == [Crippen.MolLogP(mol) for mol in mols]
    assert chem_terms.tpsa(mols).tolist() == [rdMolDescriptors.CalcTPSA(mol) for mol in mols]
    assert chem_terms.bertz(mols).tolist() == [GraphDescriptors.BertzCT(mol) for mol in mols]
    assert chem_terms.rings(mols).tolist() == [4, 3, 1, 0, 1]
    assert chem_terms.aromatic_rings(mols).tolist() == [4, 2, 1, 0, 1]
    assert chem_terms.fluorine(mols).tolist() == [0, 0, 0, 0, 2]
    # sulfur and phosphorus do not count: dimethyl sulfide
    assert chem_terms.tpsa(molecules(["CSC"])).tolist() == [0]


def test_substructures_are_found_or_not():
    mols = molecules(["CCO", "c1ccncc1"])
    assert chem_terms.has("[#8]")(mols).tolist() == [1, 0]
    assert chem_terms.no("[#8]")(mols).tolist() == [0, 1]


def test_formulas_are_read():
    assert parse_formula("C9H10N2O2PF2Cl") == {"C": 9, "H": 10, "N": 2, "O": 2, "P": 1, "F": 2, "Cl": 1}
    assert parse_formula("CH4") == {"C": 1, "H": 4}


def test_a_formula_by_hand():
    # methanol and methylamine against CH4O: one O and 1 of 6 atoms; one H more, no O, one more atom
    terms = chem_terms.formula_terms("CH4O")
    found = {name: term(molecules(["CO", "CN"])).tolist() for name, term in terms.items()}
    wanted = {"C": [1, 1], "H": [1, ROOT_E], "O": [1, ROOT_E], "atoms": [1, math.exp(-0.125)]}
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values)
    assert chem_terms.formula("CH4O")(molecules(["CN"])) == pytest.approx([math.exp(-1.125 / 4)])


@pytest.mark.parametrize("smiles", [*SMILES, "C[NH3+].[Cl-]", "[2H]C([2H])O", "[H][H]", "*CC", "CP(=O)(O)O", "[13CH4]"])
def test_a_formula_counts_atoms_with_hydrogens(smiles):
    """By a plain loop over all atoms, hydrogens added."""
    counts = Counter(atom.GetSymbol() for atom in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms())
    wanted = {"C": 2, "H": 6, "N": 1, "Cl": 1}
    exponents = [(counts[element] - number) ** 2 / 2 for element, number in wanted.items()]
    exponents.append((sum(counts.values()) - 10) ** 2 / 8)
    found = chem_terms.formula("C2H6NCl")(molecules([smiles]))
    assert found == pytest.approx([math.exp(-sum(exponents) / 5)], rel=1e-9)
