"""PMO's classifiers: values of scikit-learn and of the models' authors, trees walked one by one, libsvm's coupling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from seqtutor_envs.smiles.pmo import PmoTask
from seqtutor_envs.smiles.pmo.classifiers import (
    FOLDER,
    SIZE,
    Forest,
    SupportVectorMachine,
    couple,
    load_forest,
    load_svm,
)

# SMILES: drd2, gsk3b, jnk3 of scikit-learn 1.2.2; those of the classifiers' authors are the same
VALUES = {
    "CC(=O)Nc1ccc(OCC(O)CNC(C)(C)C)cc1": (0.000279, 0.00, 0.00),
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(F)cc2)cc1": (0.004418, 0.01, 0.01),
    "O=C(Nc1ccccc1F)c1ccc2[nH]cnc2c1": (0.000679, 0.01, 0.02),
    "CN(C=O)Cc1ccc(-c2ccccc2)cc1": (0.000377, 0.02, 0.01),
    "O=C(CCCN1CCC(O)(c2ccc(Cl)cc2)CC1)c1ccc(F)cc1": (0.999999, 0.00, 0.00),
    "CC(C)(C)[C@H]1CCc2c(sc(NC(=O)COc3ccc(Cl)cc3)c2C(N)=O)C1": (0.001547, 0.03, 0.01),
    "CCNC(=O)c1ccc(NC(=O)N2CC[C@H](C)[C@H](O)C2)c(C)c1": (0.002354, 0.00, 0.00),
    "C[C@@H]1CCN(C(=O)CCCc2ccccc2)C[C@@H]1O": (0.004715, 0.00, 0.01),
    "Nc1nonc1-c1nc2cc(O)ccc2n1C1CCC1": (0.005598, 0.99, 0.01),
    "COC1CCC(C(=O)Nc2cc(-c3ccnc(Nc4ccc(F)cc4)c3)ccn2)CC1": (0.007918, 0.27, 0.99),
    "c1cc2ccc3ncc(-c4ccc(-c5ccn[nH]5)cc4)cc3c2cn1": (0.011251, 0.52, 0.91),
    "N#Cc1ccccc1N1CCN(Cc2cccc(C(=O)N3CCCCC3)c2)CC1": (0.995195, 0.01, 0.02),
    "C": (0.007585, None, 0.00),
}
HALOPERIDOL = "O=C(CCCN1CCC(O)(c2ccc(Cl)cc2)CC1)c1ccc(F)cc1"
PIPERAZINE = "N#Cc1ccccc1N1CCN(Cc2cccc(C(=O)N3CCCCC3)c2)CC1"


@pytest.mark.parametrize("column, name", list(enumerate(["drd2", "gsk3b", "jnk3"])))
def test_scores_are_those_of_scikit_learn(column, name):
    known = {smiles: values[column] for smiles, values in VALUES.items() if values[column] is not None}
    assert PmoTask(name).score(list(known)) == pytest.approx(list(known.values()), abs=1e-6)


def test_drd2_has_the_digits_that_its_authors_print():
    assert PmoTask("drd2").score([HALOPERIDOL]) == pytest.approx([0.999999375], abs=5e-10)
    assert PmoTask("drd2").score([PIPERAZINE]) == pytest.approx([0.995195318487], abs=1e-12)


def test_a_forest_by_hand():
    # two trees: bit 0 ? (bit 2 ? .9 : .5) : .1, and the leaf .5
    node = np.array([0, SIZE, 2, SIZE + 1, SIZE + 2, SIZE + 1])
    right = np.array([2, 0, 2, 0, 0, 0])
    forest = Forest(node, right, np.array([0, 5]), np.array([0.1, 0.5, 0.9]))
    bits = np.zeros((4, SIZE), np.uint8)
    bits[2, 0] = bits[3, 0] = bits[3, 2] = bits[1, 2] = 1
    assert forest(bits) == pytest.approx([0.3, 0.3, 0.5, 0.7])


@pytest.mark.parametrize("name", ["gsk3b", "jnk3"])
def test_a_shipped_forest_is_walked_tree_by_tree(name):
    """Straight from the file, one tree and one node after the other, with the bits of RDKit."""
    arrays = {key: array.tolist() for key, array in np.load(FOLDER / f"{name}.npz", allow_pickle=False).items()}
    smiles = list(VALUES)[8]
    mol = Chem.MolFromSmiles(smiles)
    bits = set(rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint(mol).GetOnBits())
    total, start = 0.0, 0
    for size in arrays["tree_size"]:
        at = start
        while arrays["node"][at] < 2048:
            at += arrays["right"][at] if arrays["node"][at] in bits else 1
        assert start <= at < start + size
        total += arrays["leaf_value"][arrays["node"][at] - 2048]
        start += size
    assert start == len(load_forest(name).node)
    assert PmoTask(name).score([smiles]) == pytest.approx([total / 100])


def test_a_support_vector_machine_by_hand():
    support = np.zeros((SIZE, 2), np.uint8)
    support[3] = [1, 2]
    machine = SupportVectorMachine(support, np.array([2.0, -1.0]), -0.5, math.log(2), -3.0, 0.25)
    counts = np.zeros((2, SIZE), np.uint32)
    counts[1, [3, 5]] = 2, 1
    # squared distances 1, 4 and 1 + 1, 0 + 1, and 2 ** -distance each
    decisions = np.array([2 / 2 - 1 / 16 - 0.5, 2 / 4 - 1 / 2 - 0.5])
    assert machine(counts).tolist() == couple(1 / (1 + np.exp(3 * decisions + 0.25))).tolist()


def drd2_probability(decisions):
    """Platt's probability of class 1, and libsvm's, of decisions f."""
    machine = load_svm("drd2")
    inactive = 1 / (1 + np.exp(-machine.slope * np.asarray(decisions) + machine.offset))
    return 1 - inactive, couple(inactive)


def test_libsvms_probability_is_near_platts_and_not_equal():
    platt, coupled = drd2_probability(np.linspace(-3, 3, 2001))
    apart = np.abs(platt - coupled)
    assert 0.002 < apart.max() < 0.005
    # libsvm takes nothing nearer to 0 or 1, and starts at .5 and stops there if that is near enough
    assert couple(np.array([0.0, 1.0])) == pytest.approx([1 - 1e-7, 1e-7], rel=1e-3)
    assert couple(np.array([0.4955, 0.5, 0.5045])).tolist() == [0.5] * 3
    assert couple(np.array([0.4945, 0.5055])) != pytest.approx([0.5] * 2, abs=1e-3)


@pytest.mark.parametrize("at, height", [(-0.587, 0.0027), (-0.0467, 0.0038)])
def test_libsvms_probability_has_two_steps_down(at, height):
    _, coupled = drd2_probability(np.linspace(at - 0.002, at + 0.002, 4001))
    assert np.diff(coupled).min() == pytest.approx(-height, abs=1e-4)


def couple_one(inactive):
    """libsvm's multiclass_probability for two classes, as a loop over numbers."""
    first = min(max(inactive, 1e-7), 1 - 1e-7)
    r = [[0, first], [1 - first, 0]]
    q = [[r[1][0] ** 2, -r[1][0] * r[0][1]], [-r[0][1] * r[1][0], r[0][1] ** 2]]
    p = [0.5, 0.5]
    for _ in range(100):
        qp = [sum(q[t][j] * p[j] for j in range(2)) for t in range(2)]
        form = sum(p[t] * qp[t] for t in range(2))
        if max(abs(value - form) for value in qp) < 0.0025:
            break
        for t in range(2):
            step = (form - qp[t]) / q[t][t]
            p[t] += step
            form = (form + step * (step * q[t][t] + 2 * qp[t])) / (1 + step) ** 2
            for j in range(2):
                qp[j] = (qp[j] + step * q[t][j]) / (1 + step)
                p[j] /= 1 + step
    return p[1]


def test_coupling_many_is_coupling_one_by_one():
    inactive = np.random.default_rng(0).random(500)
    assert couple(inactive) == pytest.approx([couple_one(value) for value in inactive.tolist()], abs=1e-13)


def test_a_score_does_not_depend_on_the_batch():
    smiles = list(VALUES)
    for name in ("drd2", "gsk3b", "jnk3"):
        together = PmoTask(name).score(smiles)
        assert together[::-1].tolist() == PmoTask(name).score(smiles[::-1]).tolist()
