"""SmilesTask: the user's objective in the reward, and constraints."""

from __future__ import annotations

import copy

import pytest

from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, carbons, encoded, smiles_task, worth

ETHANOL, ETHANOL_TOO = "CCO", "OCC"  # one molecule in two spellings


class Asked:
    """An objective that remembers what it was asked."""

    def __init__(self, function=carbons):
        self.function, self.calls = function, []

    def __call__(self, smiles):
        self.calls.append(list(smiles))
        return self.function(smiles)


def test_other_terms_can_be_mixed_in():
    own = smiles_task(objective=carbons, weights={"objective": 3, "qed": 1})
    tokens, lengths = encoded([ETHANOL])
    assert own.weights == {"qed": 0.25, "objective": 0.75}
    assert own.reward(tokens, lengths).sum() == pytest.approx(0.25 * worth(ETHANOL)[1] + 0.75 * 2 / 3)


def test_an_objective_of_weight_0_is_not_asked():
    asked = Asked()
    smiles_task(objective=asked, weights={"objective": 0, "valid": 1}).scores([ETHANOL])
    assert asked.calls == []


def test_what_fails_counts_as_invalid():
    def shape(smiles):
        return [1 / (len(string) - 3) for string in smiles]

    own = smiles_task(objective=shape, weights={"valid": 1}, invalid_score=-2.0)
    with pytest.warns(match="division by zero.* for CCO"):
        terms = own.scores([BENZENE, ETHANOL, "*C"])
    assert terms.tolist() == [[1.0, 0.2], [0.0, -2.0], [0.0, -2.0]]
    assert own.counts == {"valid": 1, "objective failed": 1, "wildcard": 1}


def test_a_budget_is_kept_and_then_the_task_is_spent():
    asked = Asked()
    own = smiles_task(objective=asked, oracle_budget=2)
    assert list(own.weights) == ["objective"] and own.properties == ()
    assert own.scores([ETHANOL])[0, 0] > 0 and not own.spent
    assert own.scores([ETHANOL_TOO, BENZENE, CAFFEINE])[:, 0].tolist() == [pytest.approx(2 / 3), 1.0, 0.0]
    assert own.spent and asked.calls == [[ETHANOL], [BENZENE]] and own.counts["oracle budget"] == 1
    assert copy.deepcopy(own).spent


def test_hard_constraints_make_invalid():
    hard = smiles_task(require="c1ccccc1", ranges={"mw": (100, None)}, objective=carbons)
    assert (hard.scores([ASPIRIN, BENZENE, CAFFEINE])[:, 0] > 0).tolist() == [True, False, False]
    assert hard.counts == {"valid": 1, "constraint: mw >= 100": 1, "constraint: require c1ccccc1": 1}


def test_soft_constraints_are_a_term():
    soft = smiles_task(require="c1ccccc1", forbid="[NX3;H2]", ranges={"mw": (100, None)}, constraints="soft")
    assert soft.weights == pytest.approx(dict.fromkeys(["valid", "qed", "logp", "sa", "ring", "constraints"], 1 / 6))
    terms = soft.scores([ASPIRIN, BENZENE, ETHANOL, "*C"])
    assert terms[:, 5] == pytest.approx([1, 2 / 3, 1 / 3, 0]) and soft.counts["valid"] == 3


def test_soft_without_constraints_is_the_plain_task():
    assert smiles_task(constraints="soft").weights == smiles_task().weights
