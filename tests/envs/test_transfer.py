"""Transfer learning: a base prior with further tokens, training that starts from it, and where that stops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.prior.transfer import Transfer, extend_prior, say_worse_than
from seqtutor_envs.vocab import TokenVocab
from toys.interruptions import InterruptingBar
from toys.recurrent_toys import CASES, TEXTS, assert_same_weights, plain_nll, random_prior, torch_log_probs, uneven

WIDER = TokenVocab(("re", "so", "do", "fa", "la", "mi", "."), 6)  # the five of TEXTS in another order, and two more
COUNTS = [40, 3, 9, 20, 5, 10, 8]
IDS = np.array([WIDER.tokens.index(text) for text in TEXTS])  # of the old tokens
SETTINGS = Settings(7, 1, "lstm", epochs=3, batch_size=4, chunk=64)
VOCAB = TokenVocab(("a", "b", "c", "d"))


def base(cell="lstm", num_layers=1):
    return random_prior(cell, num_layers, end=4)


def start_of(vocab_size=4, seed=3):
    return RecurrentPrior(random_prior(seed=seed).weights, "lstm", TokenVocab(TEXTS), 6)


@pytest.mark.parametrize("cell, num_layers", CASES)
def test_old_tokens_have_the_same_distribution_as_before(cell, num_layers):
    """By torch's own layers, from the start token on: renormalised over the old tokens, row for row."""
    prior = base(cell, num_layers)
    wider = extend_prior(prior, WIDER, COUNTS, {"so": "mi"}.get)
    tokens = np.random.default_rng(0).integers(0, len(TEXTS), (5, 9))
    before = torch_log_probs(prior.weights, cell, tokens)
    after = torch_log_probs(wider.weights, cell, IDS[tokens])[:, :, IDS]
    after -= np.logaddexp.reduce(after, axis=-1, keepdims=True)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert wider.vocab == WIDER and (wider.cell, wider.num_layers, wider.length) == (cell, num_layers, prior.length)


def test_a_new_token_stands_where_its_relative_stands_as_often_as_in_the_corpus():
    wider = extend_prior(base(), WIDER, COUNTS, {"so": "mi"}.get)
    new, like = WIDER.tokens.index("so"), WIDER.tokens.index("mi")
    tokens = np.random.default_rng(1).integers(0, len(WIDER), (6, 8))
    rows = np.exp(torch_log_probs(wider.weights, "lstm", tokens))
    # 3 of "so" beside 10 of "mi"
    np.testing.assert_allclose(rows[:, :, new] / (rows[:, :, new] + rows[:, :, like]), 3 / 13, atol=1e-4)
    # and what follows it is what follows the relative
    after = torch_log_probs(wider.weights, "lstm", np.where(tokens == new, like, tokens))
    np.testing.assert_allclose(torch_log_probs(wider.weights, "lstm", tokens), after, atol=1e-5)


def test_a_new_token_without_a_relative_is_the_mean_of_the_old_ones():
    prior = base()
    wider = extend_prior(prior, WIDER, COUNTS, {"so": "not there"}.get)
    columns = prior.weights["rnn.weight_ih_l0"]
    for text, count in (("so", 3), ("la", 5)):
        new = WIDER.tokens.index(text)
        np.testing.assert_allclose(wider.weights["rnn.weight_ih_l0"][:, new], columns[:, :5].mean(1), rtol=1e-6)
        np.testing.assert_allclose(wider.weights["head.weight"][new], prior.weights["head.weight"].mean(0), rtol=1e-6)
        bias = prior.weights["head.bias"].mean() + math.log(count / (95 - count))
        assert wider.weights["head.bias"][new] == pytest.approx(bias, rel=1e-5)
    np.testing.assert_array_equal(wider.weights["rnn.weight_ih_l0"][:, 7], columns[:, 5])  # the start token


def test_a_vocabulary_without_an_old_token_is_refused():
    with pytest.raises(ValueError, match=r"lacks mi of the prior to start from\.$"):
        extend_prior(base(), TokenVocab(("do", "re", "fa", ".", "so"), 3), [1] * 5)


# -- training that starts from it -------------------------------------------------------------------------------------


def test_training_starts_from_the_given_weights(tmp_path):
    start = start_of()
    prior = fit(uneven(), uneven(5, seed=1), start.vocab, tmp_path / "p", SETTINGS, start=start)
    still = Settings(**{**vars(SETTINGS), "learning_rate": 0.0})
    same = fit(uneven(), uneven(5, seed=1), start.vocab, tmp_path / "q", still, start=start)
    assert_same_weights(same.weights, start.weights)
    assert not np.array_equal(prior.weights["head.bias"], start.weights["head.bias"])
    nll = np.concatenate(plain_nll(start.weights, "lstm", uneven(5, seed=1))).mean()
    assert same.card["validation"]["nll_per_token"] == pytest.approx(nll, rel=1e-5)
    assert prior.card["validation"]["nll_per_token"] < nll


def test_a_start_that_no_epoch_betters_is_kept(tmp_path):
    start = start_of()
    wild = Settings(**{**vars(SETTINGS), "learning_rate": 30.0})
    prior = fit(uneven(), uneven(5, seed=1), start.vocab, tmp_path / "p", wild, start=start)
    assert_same_weights(prior.weights, start.weights)
    assert prior.card["training"]["best_epoch"] == 0 and len(prior.card["training"]["history"]) == 3


@pytest.mark.parametrize("patience, epochs", [(0, 8), (1, 3), (2, 6), (3, 8)])
def test_training_ends_after_so_many_epochs_without_a_better_loss(tmp_path, monkeypatch, patience, epochs):
    nlls = iter([3.0, 2.0, 2.5, 1.5, 1.6, 1.7, 1.4, 1.3])
    monkeypatch.setattr(fitting, "mean_nll", lambda *_: next(nlls))
    settings = Settings(7, epochs=8)
    prior = fit(uneven(), uneven(5), VOCAB, tmp_path / "p", settings, patience=patience)
    assert len(prior.card["training"]["history"]) == epochs
    assert not (tmp_path / "p.checkpoint").exists()


@pytest.mark.parametrize("batches", [[1], [5], [6, 3]])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, batches):
    """Four batches an epoch; a learning rate that makes the losses rise, so that patience ends the run."""
    start = start_of()
    settings = Settings(7, epochs=9, batch_size=4, chunk=64, learning_rate=0.3)
    arguments = uneven(), uneven(5, seed=1), start.vocab

    def train(name, resume=False):
        return fit(*arguments, tmp_path / name, settings, start=start, patience=2, resume=resume)

    whole = train("whole")
    assert len(whole.card["training"]["history"]) < 9
    for part, count in enumerate(batches):
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "make_bar", InterruptingBar)
            InterruptingBar.left = count
            with pytest.raises(KeyboardInterrupt, match="--resume"):
                train("parts", resume=part > 0)
        assert RecurrentPrior.load(tmp_path / "parts").card["validation"]  # usable, whenever it was interrupted
    with pytest.raises(ValueError, match="start_sha256"):
        fit(*arguments, tmp_path / "parts", settings, start=start_of(seed=4), patience=2, resume=True)
    resumed = train("parts", resume=True)
    assert_same_weights(whole.weights, resumed.weights)
    assert whole.card == resumed.card


def test_varied_epochs_come_first_and_patience_does_not_count_them(tmp_path, monkeypatch):
    nlls = iter([3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6])
    monkeypatch.setattr(fitting, "mean_nll", lambda *_: next(nlls))
    seen = []
    vary = lambda sequences, epoch: seen.append((len(sequences), epoch)) or sequences  # noqa: E731
    prior = fit(uneven(), uneven(5), VOCAB, tmp_path / "p", Settings(7, epochs=7), patience=2, vary=vary, varied=4)
    assert len(prior.card["training"]["history"]) == 6 and seen == [(len(uneven()), epoch) for epoch in range(4)]


def test_a_varied_epoch_is_trained_on_what_vary_returns(tmp_path, monkeypatch):
    """Against a run whose data these are; and a resumed run must vary as many epochs."""
    other, settings = uneven(seed=2), Settings(7, epochs=2, batch_size=4)
    whole = fit(other, uneven(5), VOCAB, tmp_path / "p", settings)
    varied = fit(uneven(), uneven(5), VOCAB, tmp_path / "q", settings, vary=lambda *_: other, varied=2)
    assert_same_weights(whole.weights, varied.weights)
    monkeypatch.setattr(fitting, "make_bar", InterruptingBar)
    InterruptingBar.left = 3
    with pytest.raises(KeyboardInterrupt):
        fit(uneven(), uneven(5), VOCAB, tmp_path / "r", settings, vary=lambda *_: other, varied=2)
    with pytest.raises(ValueError, match="varied=2, not None"):
        fit(uneven(), uneven(5), VOCAB, tmp_path / "r", settings, resume=True)


def test_patience_below_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="patience must be .* not -1"):
        fit(uneven(), uneven(5), VOCAB, tmp_path / "p", SETTINGS, patience=-1)


# -- the comparison ---------------------------------------------------------------------------------------------------


def test_both_corpora_are_measured_before_and_after(tmp_path, monkeypatch):
    """Against plain loops; the base's corpus is samples of it, whose loss in nll is an estimate of KL(base || new)."""
    monkeypatch.setattr("seqtutor_envs.prior.transfer.SAMPLES", 40)
    prior = base()
    prior.save(tmp_path / "base")
    transfer = Transfer(str(tmp_path / "base"), tmp_path / "new")
    start = transfer.extend(WIDER, COUNTS, {"so": "mi"}.get)
    other = RecurrentPrior({name: 0.5 * array for name, array in start.weights.items()}, "lstm", WIDER, 6)
    held_out = [np.array(row) for row in ([0, 1, 6], [2, 2, 4, 3, 6], [6])]
    facts = transfer.measure(other, held_out)
    sampled = [row[:length] for row, length in zip(*prior.sample(40, 1))]
    in_new_ids = [IDS[row] for row in sampled]
    assert facts["new_tokens"] == ["so", "la"] and facts["from"] == "base"
    assert facts["weights_sha256"] == RecurrentPrior.load(tmp_path / "base").card["weights_sha256"]
    for corpus, when, model, sequences in (
        ("corpus", "before", start, held_out),
        ("corpus", "after", other, held_out),
        ("base", "before", prior, sampled),
        ("base", "after", other, in_new_ids),
    ):
        nll = plain_nll(model.weights, "lstm", sequences)
        got = facts[corpus][when]
        assert got["nll_per_token"] == pytest.approx(np.concatenate(nll).mean(), rel=1e-4)
        assert got["nll_per_sequence"] == pytest.approx(np.mean([part.sum() for part in nll]), rel=1e-4)
    assert transfer.share_with_new(WIDER, np.array([[0, 2, 6], [1, 0, 6], [0, 4, 6], [6, 7, 7]])) == 0.5


def test_n_gram_tables_that_are_not_beaten_are_named():
    tables = {"unigram": 2.5, "bigram": 2.0, "trigram": 1.5}
    assert say_worse_than(1.4, tables) == []
    assert say_worse_than(1.8, tables) == ["validation nll 1.8000 a token is no better than its own trigram (1.5000)"]
    [line] = say_worse_than(2.5, tables)
    assert line.endswith("its own unigram (2.5000), bigram (2.0000), trigram (1.5000)")
