"""Epochs smaller than the data, warm-up, precision and what is watched beside the losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tqdm import tqdm

from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior.batches import deal_epoch
from seqtutor_envs.prior.fit import Settings, fit, options
from seqtutor_envs.vocab import TokenVocab
from toys.interruptions import InterruptingBar
from toys.recurrent_toys import assert_same_weights, needs_bfloat16, plain_nll, uneven

VOCAB = TokenVocab(("a", "b", "c", "d"))
QUICK = Settings(hidden_size=6, epochs=5, batch_size=4, chunk=5, learning_rate=1e-2)


def numbers(n):
    return [np.array([i]) for i in range(n)]


def dealt_numbers(n, size, epoch, seed=0):
    return [int(tokens[0]) for tokens in deal_epoch(numbers(n), size, seed, epoch)]


@pytest.mark.parametrize("n, size, epochs", [(100, 10, 10), (100, 33, 4), (100, 99, 2), (7, 3, 3), (5, 1, 5)])
def test_a_pass_deals_every_sequence_once(n, size, epochs):
    """In as many epochs as are needed for none to be larger than asked, all nearly alike."""
    for first in (0, epochs, 2 * epochs):
        hands = [dealt_numbers(n, size, epoch) for epoch in range(first, first + epochs)]
        assert sorted(sum(hands, [])) == list(range(n))
        assert max(map(len, hands)) <= size and max(map(len, hands)) - min(map(len, hands)) <= 1


def test_every_pass_is_dealt_differently_and_the_same_again():
    assert dealt_numbers(100, 50, 0) == dealt_numbers(100, 50, 0)
    different = {tuple(dealt_numbers(100, 50, epoch, seed)) for epoch, seed in ((0, 0), (1, 0), (2, 0), (0, 1))}
    assert len(different) == 4


@pytest.mark.parametrize("size", [0, 13, 14, 1000])
def test_an_epoch_as_large_as_the_data_is_all_of_it(size):
    data = uneven()
    assert deal_epoch(data, size, 0, 3) is data


def test_an_epoch_trains_on_what_was_dealt(tmp_path):
    """With learning rate 0 its loss is that of these sequences alone."""
    data = uneven(20)
    settings = Settings(7, epochs=4, epoch_size=7, batch_size=4, learning_rate=0.0)
    prior = fit(data, uneven(3), VOCAB, tmp_path / "prior", settings)
    for epoch, figures in enumerate(prior.card["training"]["history"]):
        hand = deal_epoch(data, 7, 0, epoch)
        assert len(hand) in (6, 7)
        expected = np.concatenate(plain_nll(prior.weights, "lstm", hand)).mean()
        assert figures["train_nll"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "cell, precision", [("lstm", "float32"), ("gru", "float32"), pytest.param("lstm", "bfloat16", marks=needs_bfloat16)]
)
@pytest.mark.parametrize("batches", [[1], [3], [5], [3, 2], [9]])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, batches, cell, precision):
    """Bit for bit on one thread; 13 sequences make two batches an epoch and two epochs a pass, warm-up six of ten."""
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(fitting, "WARMUP_SHARE", 0.6)
    settings = Settings(6, 2, cell, 5, 7, 4, 5, warmup=6, weight_decay=0.01, dropout=0.2, precision=precision)
    arguments = uneven(), uneven(5, seed=1), VOCAB

    def watch(prior):
        return {"bias": float(prior.weights["head.bias"][0])}

    whole = fit(*arguments, tmp_path / "whole", settings, watch=watch)
    for part, count in enumerate(batches):
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "make_bar", InterruptingBar)
            InterruptingBar.left = count
            with pytest.raises(KeyboardInterrupt, match="--resume"):
                fit(*arguments, tmp_path / "parts", settings, resume=part > 0, watch=watch)
    resumed = fit(*arguments, tmp_path / "parts", settings, resume=True, watch=watch)
    assert_same_weights(whole.weights, resumed.weights)
    assert_same_weights(RecurrentPrior.load(tmp_path / "parts").weights, whole.weights)
    assert whole.card == resumed.card
    names = ["parts.json", "parts.safetensors", "whole.json", "whole.safetensors"]  # the checkpoint is gone
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def rates(monkeypatch, tmp_path, settings, n=13):
    """The learning rate of every batch of a run."""
    seen = []

    class Recording(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            seen.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "AdamW", Recording)
    fit(uneven(n), uneven(3), VOCAB, tmp_path / "prior", settings)
    return seen


def test_the_learning_rate_rises_to_its_cosine(tmp_path, monkeypatch):
    """100 sequences in batches of 5: 20 an epoch, 80 in all, 8 of them at most to rise in."""
    settings = Settings(4, epochs=4, batch_size=5, chunk=64, learning_rate=0.01)
    cosine = [0.01 * (1 + math.cos(math.pi * i / 80)) / 2 for i in range(80)]
    for warmup, used in ((0, 0), (3, 3), (8, 8), (1000, 8)):
        with monkeypatch.context() as patch:
            seen = rates(patch, tmp_path, Settings(**{**vars(settings), "warmup": warmup}), 100)
        rise = [min(1.0, (i + 1) / (used + 1)) for i in range(80)]
        np.testing.assert_allclose(seen, np.multiply(cosine, rise), rtol=1e-12, err_msg=str(warmup))


@needs_bfloat16
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_half_precision_is_of_products_alone(tmp_path, cell):
    """Near the exact loss but not equal to it; weights and validation stay float32."""
    data = uneven(40)
    exact, rough = (
        fit(data, data, VOCAB, tmp_path / kind, Settings(16, 1, cell, 1, learning_rate=0.0, precision=kind))
        for kind in ("float32", "bfloat16")
    )
    assert_same_weights(exact.weights, rough.weights)
    assert all(array.dtype == np.float32 for array in rough.weights.values())
    one, other = exact.card["training"]["history"][0], rough.card["training"]["history"][0]
    assert one["validation_nll"] == other["validation_nll"] == pytest.approx(one["train_nll"], rel=1e-5)
    assert 0 < abs(other["train_nll"] - one["train_nll"]) < 0.01
    learned = fit(data, data, VOCAB, tmp_path / "learned", Settings(16, 1, cell, 3, precision="bfloat16"))
    first, *_, last = learned.card["training"]["history"]
    assert last["validation_nll"] < first["validation_nll"]
    assert all(array.dtype == np.float32 for array in learned.weights.values())


def test_watched_figures_stand_beside_the_losses_of_their_epoch(tmp_path, monkeypatch):
    shown = []

    class Bar(tqdm):
        def set_postfix(self, figures):
            shown.append(figures)

    monkeypatch.setattr(fitting, "make_bar", Bar)
    validation = uneven(5, seed=1)
    own = []

    def watch(prior):
        assert prior.vocab == VOCAB and prior.length == 9
        own.append(np.concatenate(plain_nll(prior.weights, "lstm", validation)).mean())
        return {"valid": 1 / 3, "number": float(len(own))}

    prior = fit(uneven(), validation, VOCAB, tmp_path / "prior", QUICK, length=9, watch=watch)
    history = prior.card["training"]["history"]
    assert [figures["number"] for figures in history] == [1, 2, 3, 4, 5]
    validation_nll = [figures["validation_nll"] for figures in history]
    np.testing.assert_allclose(validation_nll, own, rtol=1e-5)  # of that epoch's weights
    assert all(figures.keys() == {"epoch", "train_nll", "validation_nll", "valid", "number"} for figures in history)
    assert [figures["valid"] for figures in shown] == ["0.3333"] * 5
    assert [figures["validation_nll"] for figures in shown] == [f"{nll:.4f}" for nll in validation_nll]


def test_options_are_what_differs_from_the_default():
    assert options(Settings()) == []
    assert options(Settings(epoch_size=5, cell="gru")) == ["--cell gru", "--epoch-size 5"]
    assert options(Settings(epochs=3), Settings(epochs=3, seed=1)) == ["--seed 0"]
