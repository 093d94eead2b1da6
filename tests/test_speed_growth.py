"""The sections "rules" and "growth": a rule alone is that rule, and no prefix is read again by the prior."""

from __future__ import annotations

import numpy as np
import pytest
from speed_toys import by_name, quick, small_options

from benchmarks.speed import bare, growth, rules
from seqtutor_envs.melody.rules import RULE_NAMES, RULES
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import load_prior


@pytest.fixture
def options(tmp_path):
    return small_options(tmp_path)


def test_a_rule_alone_is_that_rule_at_every_step(options):
    tokens = load_prior(options.melody_prior).sample(5, 3, 32)[0]
    terms = MelodyTask(32).terms(tokens)
    for name, rule in zip(RULE_NAMES, RULES):
        assert rules.rule_everywhere(rule, tokens, 32) == pytest.approx(terms[name].sum()), name
    assert sum(abs(term.sum()) > 0 for term in terms.values()) >= 6, "most rules have something to say"


def test_rows_of_the_rules(options, monkeypatch):
    aim = rules.TABLE_AIM
    assert (rules.TABLE, aim.bound, aim.of, aim.at_most) == (100_000, 1.0, "value", True)
    quick(monkeypatch)
    for name, value in (("BATCH", 4), ("TABLE", 30), ("TABLE_WITH_PRIOR", 10)):
        monkeypatch.setattr(rules, name, value)
    found = by_name(rules.rows(options))
    assert [name for name in found if name.startswith("rule ")] == [f"rule {name}" for name in RULE_NAMES]
    assert [name for name in found if name.startswith("nine")] == [
        "nine rules, step by step", "nine rules, whole melodies"
    ]
    assert "metrics.table of 30 melodies" in found and "metrics.table of 10, with the prior" in found
    assert [name for name, rows in found.items() if rows[0].aim] == ["metrics.table of 30 melodies"]


@pytest.mark.parametrize("horizon", [5, 32])
def test_the_prior_reads_each_token_once(options, horizon):
    """In T steps of N sequences at most T x N tokens; a prefix that is read again would take T / 2 times as many."""
    model = growth.Counted(load_prior(options.melody_prior))
    found = growth.fed_tokens(model, horizon)
    assert set(found) == {"environment", "prior.sample", "Psi-learning's round"}
    for what, fed in found.items():
        assert (horizon - 1) * growth.N <= fed <= horizon * growth.N, what


def test_a_prefix_that_is_read_again_is_counted(options):
    model = growth.Counted(load_prior(options.melody_prior))
    for t in range(1, 9):
        bare.written(model, bare.sampled(model.prior, 3, 8)[:t])
    assert model.fed == 3 * 8 * 9 / 2


def test_rows_of_growth(options, monkeypatch):
    assert growth.BATCHES == (1, 4, 16, 64, 256, 1024, 4096) and growth.HORIZONS == (16, 32, 64, 128, 256, 512)
    assert growth.VOCABULARIES[0] == 16 and growth.VOCABULARIES[-1] == 1024
    assert growth.HIDDEN[0] == 64 and growth.HIDDEN[-1] == 512
    quick(monkeypatch)
    for name, value in (("BATCHES", (2,)), ("HORIZONS", (4, 8)), ("COUNTED", (6,)), ("VOCABULARIES", (16, 20))):
        monkeypatch.setattr(growth, name, value)
    monkeypatch.setattr(growth, "HIDDEN", (8,))
    monkeypatch.setattr(growth, "N", 3)
    found = by_name(growth.rows(options))
    assert len(found) == 1 + 3 * 2 + 3 + 2 + 1
    for name, (row,) in found.items():
        if "horizon 4" in name:
            assert row.ratio == row.low == row.high == 1.0, "the shortest is the measure"
        if name.startswith("tokens fed"):
            assert row.met() and row.limit == 6 and 5 <= row.value <= 6
    assert sum(rows[0].met() is not None for rows in found.values()) == 3


def test_an_unjudged_task_is_paid_log_p_alone():
    vocab = bare.words(6)
    model = bare.random_prior("lstm", 8, vocab, 4)
    env = growth.gym.make_vec(growth.MELODY, num_envs=2, prior=model, task=growth.Unjudged(vocab, 4))
    tokens = np.array([[1, 2, 3, 4], [5, 5, 0, 1]])
    rows = model.log_probs(tokens)
    env.reset()
    for t in range(4):
        paid = env.step(tokens[:, t])[1]
        np.testing.assert_allclose(paid, rows[np.arange(2), t, tokens[:, t]], atol=1e-5)
