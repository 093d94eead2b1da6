"""Maximum likelihood: the loss and its gradient against plain loops, learning against a known source."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior.batches import shuffled_batches
from seqtutor_envs.prior.fit import Settings, fit, mean_nll, token_nll
from seqtutor_envs.prior.network import RecurrentNetwork
from seqtutor_envs.vocab import TokenVocab
from toys.recurrent_toys import CASES, assert_same_weights, plain_nll, random_weights, uneven

VOCAB = TokenVocab(("a", "b", "c", "d"))
V = len(VOCAB)
FIRST = np.array([0.7, 0.1, 0.1, 0.1])
NEXT = np.array([[0.1, 0.8, 0.05, 0.05], [0.05, 0.05, 0.1, 0.8], [0.9, 0.0, 0.05, 0.05], [0.25, 0.25, 0.25, 0.25]])


def chain(n, length, seed):
    """n sequences of the Markov chain (FIRST, NEXT)."""
    rng = np.random.default_rng(seed)
    sequences = []
    for _ in range(n):
        line = [rng.choice(V, p=FIRST)]
        while len(line) < length:
            line.append(rng.choice(V, p=NEXT[line[-1]]))
        sequences.append(np.array(line, dtype=np.uint8))
    return sequences


def chain_entropy(length):
    """Nats per token of a sequence of the chain: entropy of its first token and of each next one, on average."""

    def entropy(p):
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    total, at = entropy(FIRST), FIRST
    for _ in range(length - 1):
        total += sum(at[i] * entropy(NEXT[i]) for i in range(V))
        at = at @ NEXT
    return total / length


# -- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_token_nll_equals_each_sequence_alone(cell, num_layers, batch_size):
    weights = random_weights(cell, num_layers, V, scale=1.5)
    network = RecurrentNetwork.from_weights(weights, cell)
    sequences = uneven()
    expected = plain_nll(weights, cell, sequences)
    for got, right in zip(token_nll(network, sequences, batch_size), expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)
    assert mean_nll(network, sequences) == pytest.approx(np.concatenate(expected).mean(), rel=1e-5)


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_an_epoch_that_learns_nothing_has_the_nll_of_each_sequence_alone(tmp_path, cell, num_layers, chunk):
    """Chunks, padding and the carried state change nothing: with learning rate 0 the weights stay."""
    train = uneven()
    settings = Settings(7, num_layers, cell, epochs=1, batch_size=4, chunk=chunk, learning_rate=0.0)
    prior = fit(train, uneven(3), VOCAB, tmp_path / "prior", settings)
    expected = np.concatenate(plain_nll(prior.weights, cell, train)).mean()
    assert prior.card["training"]["history"][0]["train_nll"] == pytest.approx(expected, rel=1e-5)


def test_batches_hold_every_sequence_once_and_differ_from_epoch_to_epoch():
    sequences = uneven(50)
    first, second = (shuffled_batches(sequences, 8, np.random.default_rng(seed)) for seed in (0, 1))
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(50))
        assert all(len(batch) <= 8 for batch in batches)
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("batches", [[[4], [1], [0], [5], [2], [3]], [[4, 1, 0], [5, 2, 3]]])
def test_an_epoch_equals_a_plain_loop(tmp_path, monkeypatch, cell, batches):
    """Truncated backpropagation, written out for each sequence alone: state carried, gradient cut, clipped, Adam.

    Every token of a piece weighs the same, whatever stands beside it in the batch.
    """
    sequences = uneven(6, longest=17)
    monkeypatch.setattr(fitting, "shuffled_batches", lambda *_: [np.array(batch) for batch in batches])
    settings = Settings(6, 1, cell, epochs=2, chunk=5, learning_rate=5e-2, max_grad_norm=0.3)
    run = fitting._Run(VOCAB, settings, tmp_path / "prior.safetensors", 9, {})
    network = RecurrentNetwork.from_weights(run.network.weights(), cell)
    optimizer = torch.optim.Adam(network.parameters())
    clipped = []
    for step in range(2 * len(batches)):
        batch = [torch.tensor(sequences[i]) for i in batches[step % len(batches)]]
        optimizer.param_groups[0]["lr"] = 5e-2 * (1 + math.cos(math.pi * step / (2 * len(batches)))) / 2
        states = [None] * len(batch)
        for begin in range(0, max(map(len, batch)), 5):
            piece, losses = slice(begin, begin + 5), []
            for row, tokens in enumerate(batch):
                if len(tokens) > begin:
                    inputs = torch.cat([torch.tensor([V]), tokens[:-1]])[None, piece]
                    logits, state = network(inputs, states[row])
                    states[row] = tuple(part.detach() for part in state) if cell == "lstm" else state.detach()
                    losses.append(torch.nn.functional.cross_entropy(logits[0], tokens[piece], reduction="none"))
            optimizer.zero_grad()
            torch.cat(losses).mean().backward()
            clipped.append(float(torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)) > 0.3)
            optimizer.step()
    assert True in clipped and False in clipped
    for epoch in range(2):
        run.epoch(sequences, epoch, fitting.make_bar(disable=True))
    for name, expected in network.weights().items():
        np.testing.assert_allclose(run.network.weights()[name], expected, rtol=1e-4, atol=2e-5, err_msg=name)


def test_dropout_is_on_in_training_alone(tmp_path):
    train = uneven(40)
    for rate, equal in ((0.0, True), (0.5, False)):
        settings = Settings(7, epochs=1, chunk=64, learning_rate=0.0, dropout=rate)
        history = fit(train, train, VOCAB, tmp_path / str(rate), settings).card["training"]["history"][0]
        assert (history["train_nll"] == pytest.approx(history["validation_nll"], rel=1e-6)) == equal


# -- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_chain_is_learned_to_its_entropy(tmp_path, cell):
    length = 20
    settings = Settings(12, 1, cell, epochs=8, batch_size=25, chunk=10, learning_rate=3e-2)
    prior = fit(chain(300, length, 1), chain(400, length, 2), VOCAB, tmp_path / "prior", settings)
    nll = prior.card["validation"]["nll_per_token"]
    # .04 are four standard errors of 8,000 tokens: nothing beats the source by more; knowing no context costs .45
    assert chain_entropy(length) - 0.04 < nll < chain_entropy(length) + 0.04
    rows = np.exp(prior.log_probs(np.array([[0, 1, 3, 0], [2, 0, 1, 2]])))
    np.testing.assert_allclose(rows[:, 0], [FIRST, FIRST], atol=0.06)
    np.testing.assert_allclose(rows[0, 1:], NEXT[[0, 1, 3]], atol=0.06)
    np.testing.assert_allclose(rows[1, 1:], NEXT[[2, 0, 1]], atol=0.06)


def test_the_best_weights_are_kept_when_validation_gets_worse(tmp_path):
    rng = np.random.default_rng(0)
    train, validation = ([rng.integers(0, V, 30) for _ in range(3)] for _ in range(2))  # nothing to learn but by heart
    settings = Settings(24, epochs=25, batch_size=3, chunk=30, learning_rate=3e-2)
    prior = fit(train, validation, VOCAB, tmp_path / "prior", settings)
    history = [epoch["validation_nll"] for epoch in prior.card["training"]["history"]]
    best = int(np.argmin(history))
    assert len(history) == 25 and history[-1] > history[best] + 0.1
    loaded = RecurrentPrior.load(tmp_path / "prior")
    kept = np.concatenate(plain_nll(loaded.weights, "lstm", validation)).mean()
    assert kept == pytest.approx(history[best], rel=1e-5)
    assert loaded.card["training"]["best_epoch"] == best + 1
    assert loaded.card["training"]["history"] == prior.card["training"]["history"]
    assert loaded.card["validation"]["nll_per_token"] == history[best]


def test_training_is_the_same_again_and_touches_no_global_generator(tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    settings = Settings(6, epochs=2, dropout=0.3, batch_size=4)
    first, again = (fit(uneven(), uneven(3), VOCAB, tmp_path / name, settings) for name in "ab")
    assert_same_weights(first.weights, again.weights)
    other = fit(uneven(), uneven(3), VOCAB, tmp_path / "c", Settings(6, epochs=2, dropout=0.3, batch_size=4, seed=1))
    assert (other.weights["head.bias"] != first.weights["head.bias"]).any()
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
