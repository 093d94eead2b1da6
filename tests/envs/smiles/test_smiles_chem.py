"""SMILES in, numbers out: against RDKit called directly, and strings whose reading is known."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import QED

from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import checks, descriptors
from seqtutor_envs.smiles.chem.constraints import Constraints
from toys.smiles_toys import by_rdkit

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "C=CC(=O)Nc1cc(Nc2nccc(-c3cn(C)c4ccccc34)n2)c(OC)cc1N(C)CCN(C)C",
    "C[C@H](N)C(=O)[O-]", "C1CCCCCCCCCCC1", "C1CCC2(CC1)CCCCCC2", "[Na+].CC(=O)[O-]", "C", "[H][H]", "*CC", "[CH3]",
    "C/C=C/C", "C/C=C\\C", "[2H]C([2H])([2H])O", "C[Si](C)(C)C", "CP(=O)(O)O", "OCC1OC(O)C(O)C(O)C1O",
]
NO_MOLECULES = [
    "", " ", "C1CC", "CC(", "c1cccc1", "C(C)(C)(C)(C)C", "CCO junk", "CCO\n", "CCO\t", " CCO", "\0CCO", "C\0",
    "CCO |x|", "C\u00a0", "\u0421", "\ud800", "C.", "[Xx]", "nonsense", "<end>", "C" + "(" * 5000, "C1" * 2000,
]


@pytest.mark.parametrize("smiles", DRUGS)
def test_properties_are_rdkits_of_the_same_string(smiles: str) -> None:
    found = chem.properties([smiles])
    assert found["valid"][0]
    ours = [found[name][0] for name in ("logp", "sa", "qed", "ring_penalty")]
    np.testing.assert_allclose(ours, by_rdkit(smiles), rtol=0, atol=1e-9)
    assert found["canonical"][0] == Chem.MolToSmiles(Chem.MolFromSmiles(smiles)) == chem.canonical(smiles)


def test_ring_penalties_counted_by_hand() -> None:
    acyclic, benzene, seven, spiro, macro = "CCO", "c1ccccc1", "C1CCCCCC1", "C1CCC2(CC1)CCCCCC2", "C1CCCCCCCCCCC1"
    fused = "C1CCCC2CCCCC2CC1"  # an eight-membered ring and a cyclohexane; the ring around both is in no smallest set
    found = chem.properties([acyclic, benzene, seven, spiro, macro, fused])["ring_penalty"]
    assert found.tolist() == [0, 0, 1, 1, 6, 2]


@pytest.mark.parametrize("smiles", NO_MOLECULES)
def test_what_is_no_molecule_is_nan_and_says_nothing(smiles: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = chem.properties([smiles])
    assert not found["valid"][0] and found["canonical"][0] is None and chem.parse(smiles) is None
    assert all(math.isnan(found[name][0]) for name in chem.PROPERTIES)
    assert chem.canonical(smiles) is None
    assert capfd.readouterr() == ("", "")


def test_columns_keep_their_order_and_types() -> None:
    found = chem.properties(["CCO", "oops", "c1ccccc1"])
    assert list(found) == ["valid", "logp", "sa", "qed", "ring_penalty", "canonical"]
    assert found["valid"].tolist() == [True, False, True] and found["valid"].dtype == np.bool_
    assert found["canonical"].tolist() == ["CCO", None, "c1ccccc1"]
    assert all(found[name].dtype == np.float64 for name in chem.PROPERTIES)
    empty = chem.properties([])
    assert all(column.shape == (0,) for column in empty.values())
    assert chem.RDKIT_VERSION == rdBase.rdkitVersion


def test_arrays_and_numpy_strings_are_taken() -> None:
    found = chem.properties(np.array(["CCO", "x"]))
    assert found["valid"].tolist() == [True, False]


@pytest.mark.parametrize("wrong", ["CCO", b"CCO", ["CCO", None], [3.5], [b"C"]])
def test_what_are_no_strings_is_one_line(wrong: Any) -> None:
    with pytest.raises(TypeError) as error:
        chem.properties(wrong)
    assert "\n" not in str(error.value) and "SMILES" in str(error.value)


def test_what_rdkit_cannot_read_twice_still_has_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    """RDKit reads this string, but neither its own canonical SMILES nor, in QED, its own copy of the molecule."""
    odd = "O=c1cc(C(F)(F)F)oc2c(F)cc(F)c=12"
    with rdBase.BlockLogs(), pytest.raises(Chem.KekulizeException):
        QED.qed(Chem.MolFromSmiles(odd))
    found = chem.properties([odd])
    assert found["valid"][0] and np.isfinite([found[name][0] for name in chem.PROPERTIES]).all()
    assert capfd.readouterr() == ("", "")


def test_the_users_logging_stays_as_it_is() -> None:
    """After ours, RDKit's own lines are still printed where they were, and still held back where they were."""
    program = """
from rdkit import Chem, RDLogger
from seqtutor_envs.smiles import chem
chem.properties(["C1CC", "CCO"])
Chem.MolFromSmiles("heard")
RDLogger.DisableLog("rdApp.*")
chem.properties(["C1CC"])
Chem.MolFromSmiles("unheard")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "heard" in done.stderr and "unheard" not in done.stderr and "C1CC" not in done.stderr


def test_nothing_depends_on_what_was_asked_before() -> None:
    """RDKit keeps results in the molecule; each order of asking gives the same numbers."""
    for smiles in DRUGS:
        one, other = chem.parse(smiles), chem.parse(smiles)
        assert one is not None and other is not None
        forwards = descriptors.values(one, chem.PROPERTIES) + (chem.canonical_of(one),)
        backwards = (chem.canonical_of(other), *descriptors.values(other, chem.PROPERTIES[::-1]))
        assert forwards == backwards[::-1]


# ---------------------------------------------------------------- the task's own checks


@pytest.mark.parametrize(
    "smiles, failed",
    [
        ("C.C", "fragments"), ("[Na+].[Cl-]", "fragments"), ("C1.C1", ""), ("C*", "wildcard"), ("[2*]C", "wildcard"),
        ("[CH3]", "radical"), ("C[O]", "radical"), ("[O][O]", "radical"), ("O", "carbon"), ("[H][H]", "carbon"),
        ("C[Na]", "elements"), ("C[Se]C", "elements"), ("c1cc[se]c1", "elements"), ("[2H]C", ""), ("CC", ""),
        ("BrC(Cl)(F)I", ""), ("CB(O)O", ""), ("C[SiH3]", ""), ("CP", ""), ("c1cc[nH]c1", ""), ("C[N+](C)(C)C", ""),
    ],
)
def test_the_first_check_that_fails_is_named(smiles: str, failed: str) -> None:
    assert checks.find_failed_check(Chem.MolFromSmiles(smiles)) == failed


def test_checks_come_in_their_order_and_can_be_switched_off() -> None:
    all_fail = Chem.MolFromSmiles("[Na].*")  # two fragments, a wildcard, a radical, no carbon, another element
    left = list(checks.CHECKS)
    for name in checks.CHECKS:
        assert checks.find_failed_check(all_fail, left) == name
        left.remove(name)
    assert checks.find_failed_check(all_fail, left) == ""


def test_elements_are_the_users() -> None:
    amine, chloride = Chem.MolFromSmiles("CCN"), Chem.MolFromSmiles("CCCl")
    assert checks.find_failed_check(amine, elements=("C", "N")) == ""
    assert checks.find_failed_check(chloride, elements=("C", "N")) == "elements"
    assert checks.find_failed_check(Chem.MolFromSmiles("[2H]C"), elements=("C",)) == "elements"


def test_unknown_checks_and_elements_name_the_choices() -> None:
    with pytest.raises(ValueError, match="'fragment'; there are fragments, wildcard"):
        checks.check_names(["fragment"], ["C"])
    for symbol in ("Xx", "c", "", "*"):
        with pytest.raises(ValueError, match="no element"):
            checks.check_names([], [symbol])
    with pytest.raises(ValueError, match="several names"):
        checks.check_names("carbon", ["C"])
    assert checks.check_names(["carbon"], ["C", "Se"]) == (("carbon",), ("C", "Se"))


# -- what RDKit does not survive --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "smiles, is_read",
    [
        ("C" + "(C" * 20_000 + ")" * 20_000, False),  # RDKit's recursion fills the stack
        ("C" * 60_000, False),  # 40 s
        ("C" * 1_001, False),
        ("C" * 1_000, True),
        ("C" + "(C" * 251 + ")" * 251, False),
        ("C" + "(C" * 250 + ")" * 250, True),
        ("C(C)(C)" * 142 + "C", True),  # 284 branches, none within another
    ],
)
def test_a_string_that_is_too_large_is_no_molecule(smiles: str, is_read: bool) -> None:
    begun = time.perf_counter()
    assert chem.properties([smiles])["valid"].tolist() == [is_read]
    assert (chem.canonical(smiles) is not None) == is_read
    assert time.perf_counter() - begun < 10


def test_a_smarts_that_is_too_large_is_none() -> None:
    for smarts in ("[$(" * 20_000 + "C" + ")]" * 20_000, "C" * 60_000):
        with pytest.raises(ValueError, match="is no SMARTS") as raised:
            Constraints(forbid=smarts)
        assert len(str(raised.value)) < 200
