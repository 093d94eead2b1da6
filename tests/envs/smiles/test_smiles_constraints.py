"""Constraints: molecules whose groups and descriptors are known by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rdkit import Chem

from seqtutor_envs.smiles.chem.constraints import Constraints

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def unmet(constraints: Constraints, smiles: str) -> tuple[str, ...]:
    return constraints.unmet(Chem.MolFromSmiles(smiles))


def test_without_constraints_everything_is_met() -> None:
    assert Constraints().names == () and len(Constraints()) == 0 and unmet(Constraints(), "C") == ()


def test_all_required_patterns_and_no_forbidden_one_must_be_found() -> None:
    constraints = Constraints(require=["C(=O)[OH]", "c1ccccc1"], forbid=["[NX3]", "[F,Cl,Br,I]"])
    assert constraints.names == ("require C(=O)[OH]", "require c1ccccc1", "forbid [NX3]", "forbid [F,Cl,Br,I]")
    assert unmet(constraints, ASPIRIN) == ()
    assert unmet(constraints, "CC(=O)O") == ("require c1ccccc1",)
    assert unmet(constraints, "Nc1ccccc1Cl") == ("require C(=O)[OH]", "forbid [NX3]", "forbid [F,Cl,Br,I]")
    assert Constraints("c1ccccc1") == Constraints(["c1ccccc1"])


def test_chirality_counts_where_the_pattern_says_it() -> None:
    left, right = "N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O"
    assert unmet(Constraints(require=left), left) == ()
    assert unmet(Constraints(require=left), right) == (f"require {left}",)
    assert unmet(Constraints(require="N[CH](C)C(=O)O"), right) == ()


def test_both_ends_of_a_range_are_allowed() -> None:
    for ends in ((1, 1), (1, None), (None, 1)):
        assert unmet(Constraints(ranges={"rings": ends}), ASPIRIN) == ()
    assert unmet(Constraints(ranges={"charge": (0, 0)}), "C[N+](C)(C)C") == ("charge 0..0",)


def test_a_range_is_named_by_its_bounds() -> None:
    ranges = {"mw": (200, 500), "logp": (None, 5), "tpsa": (20.5, None)}
    assert Constraints(ranges=ranges).names == ("mw 200..500", "logp <= 5", "tpsa >= 20.5")


def test_constraints_survive_json() -> None:
    constraints = Constraints("c1ccccc1", ["N", "O"], {"mw": (200, None), "logp": (-1.5, 5)})
    assert Constraints(**json.loads(json.dumps(constraints.as_dict()))) == constraints
    assert hash(Constraints(**constraints.as_dict())) == hash(constraints)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"require": "c1ccccc"}, r"require: 'c1ccccc' is no SMARTS"),
        ({"forbid": ["N", ""]}, r"forbid: '' is no SMARTS"),
        ({"forbid": [7]}, r"forbid: 7 is no SMARTS"),
        ({"ranges": {"weight": (1, 2)}}, r"'weight' is no descriptor; the descriptors are: mw, logp, tpsa, hbd, hba, "),
        ({"ranges": {"mw": 500}}, r"mw takes two numbers, lowest and highest, None for no bound; not 500"),
        ({"ranges": {"mw": (1, 2, 3)}}, r"mw takes two numbers"),
        ({"ranges": {"mw": ("a", 2)}}, r"mw takes two numbers"),
        ({"ranges": {"mw": (None, None)}}, r"mw has no bound"),
        ({"ranges": {"mw": (500, 200)}}, r"mw has the lowest value 500.0 and the highest 200.0; no value lies between"),
        ({"ranges": {"mw": (float("nan"), 2)}}, r"mw takes two numbers.* not \(nan, 2\)"),
        ({"require": ["N", "N"]}, r"The constraint 'require N' is given twice"),
        ({"ranges": [("mw", 200, None), ("mw", None, 500)]}, r"The constraint 'mw' is given twice"),
    ],
)
def test_what_cannot_be_a_constraint_is_named(
    arguments: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Constraints(**arguments)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")  # RDKit says nothing of its own
