"""Scores that processes work out while this one does something else: the same ones, each once, errors included."""

from __future__ import annotations

import threading

import pytest

from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec, score
from seqtutor_envs.smiles.scoring import scorer as scorers
from seqtutor_envs.smiles.scoring.pool import Ahead

SPEC = ScoreSpec(properties=("logp", "ring_penalty"))
BATCH = ["C" * n + end for n in range(1, 12) for end in ("O", "N", "(", "c1ccccc1")]


def test_what_comes_while_scoring_goes_on_is_scored_next_and_once() -> None:
    go, started, batches = threading.Event(), threading.Event(), []

    def slow(smiles):  # type: ignore[no-untyped-def]
        batches.append(list(smiles))
        started.set()
        assert go.wait(30)
        return [text.lower() for text in smiles]

    ahead = Ahead(slow)
    assert ahead.take() == {}
    ahead.give(["A", "B", "A"])
    assert started.wait(30)
    ahead.give(["C", "A"])
    ahead.give(["D"])
    go.set()
    assert ahead.take() == {"A": "a", "B": "b", "C": "c", "D": "d"}
    assert batches == [["A", "B"], ["C", "D"]]
    ahead.give(["A"])  # given anew after it was taken
    assert ahead.take() == {"A": "a"} and ahead.take() == {}


def test_an_error_is_raised_where_the_answers_are_taken_and_only_there() -> None:
    def fails(smiles):  # type: ignore[no-untyped-def]
        if "bad" in smiles:
            raise RuntimeError("no process starts")
        return list(smiles)

    ahead = Ahead(fails)
    ahead.give(["bad"])
    with pytest.raises(RuntimeError, match="no process starts"):
        ahead.take()
    ahead.give(["good"])
    assert ahead.take() == {"good": "good"}


def test_scores_begun_ahead_are_those_of_a_call() -> None:
    expected = [score(text, SPEC) for text in BATCH]
    scorer = Scorer(SPEC, workers=2)
    scorer.begin(BATCH)  # nothing runs yet, and this starts nothing
    assert not scorer._pool.running  # type: ignore[union-attr]
    assert scorer(BATCH[:8]) == expected[:8]
    asked: list[str] = []
    pool = scorer._ahead._score  # type: ignore[union-attr]
    scorer._ahead._score = lambda smiles: asked.extend(smiles) or pool(smiles)  # type: ignore[union-attr]
    scorer.begin(BATCH[:20])
    scorer.begin(BATCH[10:30])
    assert scorer(BATCH[::-1]) == expected[::-1]
    assert sorted(asked) == sorted(BATCH[8:30]), "what was in the cache is not asked again, nor anything twice"
    scorer.begin(BATCH)
    assert scorer(BATCH) == expected and len(asked) == 22
    scorer.close()


def test_more_than_the_cache_holds_may_be_begun() -> None:
    scorer = Scorer(SPEC, workers=1, score_timeout=60.0, cache_size=2)
    scorer(["C"])
    scorer.begin(BATCH)
    assert scorer(BATCH) == [score(text, SPEC) for text in BATCH]
    scorer.begin(BATCH)
    scorer.close()  # waits for them
    assert scorer(["CCO"]) == [score("CCO", SPEC)]
    scorer.close()


def test_without_processes_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(scorers, "score", lambda text, spec: asked.append(text) or score(text, spec))
    scorer = Scorer(SPEC)
    scorer.begin(BATCH)
    assert asked == []
