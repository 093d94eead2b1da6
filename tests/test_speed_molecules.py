"""The section "molecules" of the speed report: RDKit alone is RDKit, all sides do the same work, figures are there."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from recurrent_toys import needs_bfloat16, random_weights
from smiles_toys import ASPIRIN, CAFFEINE, GLUCOSE, by_rdkit

from benchmarks.speed import molecules
from benchmarks.speed.chem_alone import AllCores, score
from benchmarks.speed.options import Options
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.scoring import Scorer
from seqtutor_envs.smiles.vocab import smiles_vocab

VOCAB = smiles_vocab(["C", "O", "N"])


@cache
def small():
    """Chains of C, O and N; some are molecules with a carbon."""
    return RecurrentPrior(random_weights("lstm", 1, len(VOCAB), 6, scale=1.0), "lstm", VOCAB, 30)


@pytest.fixture
def few(monkeypatch):
    for name, value in (("ROUNDS", (4,)), ("SCORED", 6), ("KEPT", 8)):
        monkeypatch.setattr(molecules, name, value)


def test_rdkit_alone_gives_rdkits_numbers():
    for string in (ASPIRIN, GLUCOSE):
        logp, sa, qed, _ = by_rdkit(string)
        assert score(string) == (qed, sa, logp)
    assert score("C(C") is None


def test_our_scorer_gives_what_rdkit_alone_gives():
    ours = Scorer(molecules.SPEC, 0, cache_size=1)([ASPIRIN, "C(C", CAFFEINE])
    assert ours[1].values == () and score("C(C") is None
    for scored, string in zip(ours[::2], (ASPIRIN, CAFFEINE)):
        assert scored.values == pytest.approx(score(string), rel=1e-6)


def test_all_cores_answer_in_order_and_end():
    alone = AllCores(2)
    smiles = [ASPIRIN, "C(C", GLUCOSE, CAFFEINE, ASPIRIN]
    for batch in (smiles, smiles[:1], smiles[::-1]):
        assert [one and tuple(one) for one in alone(batch)] == [score(string) for string in batch]
    processes = alone._processes
    alone.close()
    assert [process.returncode for process in processes] == [0, 0]


def test_the_wall_clock_sees_what_others_do():
    times = in_turns({"sleep": lambda: time.sleep(0.02)}, 0.0, time.perf_counter)
    assert typical(times["sleep"]) == pytest.approx(0.02, rel=0.5)


def test_the_loop_beside_the_sum_of_its_parts(few, monkeypatch):
    seconds = {"loop": 8.0, "writing": 1.0, "rdkit": 2.0, "update": 4.0}
    called, asked = [], []

    def once(sides, *_):
        for name, side in sides.items():
            side()
            called.append(name)
        return {name: np.full(5, seconds[name]) for name in sides}

    class Counts(dict):
        def total(self):
            return 4

    monkeypatch.setattr(molecules, "in_turns", once)
    made = molecules.tutor(small(), 4, 0, learning_rate=molecules.STILL)
    monkeypatch.setattr(made.task, "counts", Counts(valid=3))
    monkeypatch.setattr(made.task.counts, "update", lambda *_: None, raising=False)
    monkeypatch.setattr(molecules, "tutor", lambda *_, **__: made)
    rows = list(molecules.loop(small(), lambda smiles: asked.append(len(smiles)), 4, 0, "float32", 0.0))
    assert called == list(seconds) and asked == [4], "RDKit scores as many as a round has"
    whole, alone, *parts = rows
    assert (whole.value, whole.limit, whole.ratio) == pytest.approx((3 / 8, 3 / 7, 7 / 8)) and whole.met()
    assert f"{8e6 / 3:.0f} us" in whole.note and f"{7e6 / 3:.0f}" in whole.note
    assert alone.value == whole.value and alone.met() is False, "600 are asked for"
    assert [row.value for row in parts] == pytest.approx([1e6 / 3, 2e6 / 3, 4e6 / 3])
    assert [row.ratio for row in parts] == [1 / 8, 1 / 4, 1 / 2]


@pytest.mark.parametrize(
    ("workers", "precision"), [pytest.param(0, "bfloat16", marks=needs_bfloat16), (0, "float32"), (1, "float32")]
)
def test_all_rows_come_with_figures(few, tmp_path, monkeypatch, workers, precision):
    monkeypatch.setattr(molecules, "PRECISIONS", (precision,))
    prior = str(small().save(tmp_path / "small"))
    rows = list(molecules.rows(Options(seconds=0.01, smiles_prior=prior, workers=workers)))
    names = [row.name for row in rows]
    assert len(set(names)) == len(names) == (3 if workers else 1) + 5
    figures = [figure for row in rows for figure in (row.value, row.limit, row.ratio, row.low, row.high)]
    assert all(0 < figure < np.inf for figure in figures if figure is not None)
    assert sum(row.met() is not None for row in rows) == (2 if workers else 1) + 2
    assert sum(precision in name for name in names) == 5


def test_a_cpu_without_bfloat16_has_no_rows_of_it(monkeypatch):
    monkeypatch.setattr(molecules, "scoring", lambda *_: [])
    monkeypatch.setattr(molecules, "load_prior", lambda _: None)
    monkeypatch.setattr(molecules, "loop", lambda prior, alone, n, workers, precision, seconds: [(n, precision)])
    for supported, precisions in ((True, ("float32", "bfloat16")), (False, ("float32",))):
        monkeypatch.setattr(molecules, "supports_bfloat16", lambda: supported)
        rows = list(molecules.rows(Options(seconds=0.01, workers=0)))
        assert rows == [(n, precision) for n in molecules.ROUNDS for precision in precisions]


@needs_bfloat16
def test_precision_is_the_learners():
    assert molecules.tutor(small(), 4, 0, precision="bfloat16").learner.network.precision == "bfloat16"
