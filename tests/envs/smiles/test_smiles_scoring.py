"""Check scores under each choice of checks and constraints, the cache, and copies."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from seqtutor_envs.smiles.chem.constraints import Constraints
from seqtutor_envs.smiles.scoring import Score, Scorer, ScoreSpec, score
from seqtutor_envs.smiles.scoring import scorer as scorers

SPEC = ScoreSpec(properties=("logp", "ring_penalty"))


def test_checks_can_be_switched_off() -> None:
    lenient = ScoreSpec(properties=(), checks=())
    assert all(score(text, lenient).reason == "" for text in ("CC.O", "C*", "C[CH2]", "O", "C[Se]C"))
    assert score("C1CC", lenient).reason == "syntax"
    assert score("C[Se]C", ScoreSpec(properties=(), elements=("C", "Se"))).reason == ""


def test_hard_constraints_make_a_molecule_invalid_and_soft_ones_do_not() -> None:
    constraints = Constraints(require="c1ccccc1", forbid="[NX3]", ranges={"mw": (None, 50)})
    names = ("require c1ccccc1", "forbid [NX3]", "mw <= 50")
    hard = ScoreSpec(properties=("logp",), constraints=constraints)
    soft = ScoreSpec(properties=("logp",), constraints=constraints, hard=False)
    assert score("CCCCN", hard) == Score("constraint: require c1ccccc1", None, (), names)
    result = score("CCCCN", soft)
    assert (result.reason, result.unmet, len(result.values)) == ("", names, 1)
    assert score("c1ccccc1", hard).reason == "constraint: mw <= 50"  # 78 g/mol
    assert score("c1ccccc1", soft).unmet == ("mw <= 50",)


def test_a_spec_survives_json() -> None:
    constraints = Constraints("c1ccccc1", ["N", "O"], {"mw": (200, None), "rings": (1, 3)})
    spec = ScoreSpec(("qed", "sa"), ("carbon",), ("C", "N"), constraints, hard=False)
    assert ScoreSpec(**json.loads(json.dumps(spec.as_dict()))) == spec
    assert ScoreSpec(**json.loads(json.dumps(ScoreSpec().as_dict()))) == ScoreSpec()


def test_an_unknown_property_is_an_error_that_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="must be one of 'logp', 'sa', 'qed', 'ring_penalty', not 'logd'"):
        ScoreSpec(properties=("logd",))


def test_scores_come_in_the_order_asked_for_and_each_string_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(scorers, "score", lambda text, spec: asked.append(text) or score(text, spec))
    scorer = Scorer(SPEC)
    batch = ["CCO", "C1CC", "CCO", "OCC", "C1CC"]
    assert scorer(batch) == [score(text, SPEC) for text in batch]
    assert asked == ["CCO", "C1CC", "OCC"]
    assert scorer(iter(["CC", *batch]))[1:] == [score(text, SPEC) for text in batch]
    assert asked == ["CCO", "C1CC", "OCC", "CC"]


def test_the_cache_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(scorers, "score", lambda text, spec: asked.append(text) or score(text, spec))
    scorer = Scorer(SPEC, cache_size=3)
    assert len(scorer(["C", "CC", "CCC", "CCCC", "C"])) == 5  # more than the cache holds
    scorer(["CC"])
    scorer(["CO"])
    asked.clear()
    scorer(["CC", "CO", "CCCC", "CCC"])
    assert asked == ["CCC"]
    assert len(scorer._cache) == 3


def test_a_copied_or_pickled_scorer_scores_the_same_with_workers_of_its_own() -> None:
    scorer = Scorer(SPEC, workers=1, score_timeout=60.0, cache_size=7)
    batch = ["CCO", "C1CC", "CC.O"]
    expected = scorer(batch)
    for other in (copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        assert (other.spec, other.workers, other.score_timeout, other.cache_size) == (SPEC, 1, 60.0, 7)
        assert not other._pool.running
    assert other(batch) == expected and other._pool.pids != scorer._pool.pids  # type: ignore[union-attr]
    scorer.close()
    scorer.close()
    other.close()
    assert scorer(batch) == expected  # from its cache, without starting anything
    assert not scorer._pool.running  # type: ignore[union-attr]


def test_processes_start_with_the_first_batch_that_is_worth_it() -> None:
    scorer = Scorer(SPEC, workers=2)
    scorer(["C", "CC", "CCC"])
    assert not scorer._pool.running  # type: ignore[union-attr]
    scorer(["C" * n for n in range(4, 8)])
    assert scorer._pool.running  # type: ignore[union-attr]
    scorer.close()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"workers": -1}, "workers must be an integer from 0 to 1,024, not -1"),
        ({"workers": 1.5}, "workers must be an integer"),
        ({"score_timeout": 1.0}, "score_timeout needs workers=1 or more"),
        ({"workers": 1, "score_timeout": 0}, "score_timeout must be a finite number above 0"),
        ({"cache_size": 0}, "cache_size must be an integer of at least 1"),
    ],
)
def test_arguments_that_cannot_be_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scorer(SPEC, **arguments)  # type: ignore[arg-type]
