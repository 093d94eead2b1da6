"""The section "prior": torch's three steps compute what ours computes; "sampling" and the bare prior's steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from demo_toys import small_prior
from recurrent_toys import random_weights, torch_log_probs
from speed_toys import by_name, one_call, quick, small_options

from benchmarks.speed import bare, prior, sampling
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.vocab import smiles_vocab


class Watched(RecurrentPrior):
    """Keeps the tokens that it is fed."""

    fed: list

    def step(self, tokens, state):
        self.fed.append(tokens.tolist())
        return super().step(tokens, state)


def watched(path, vocab, length):
    model = Watched.load(small_prior(path, vocab, length))
    model.fed = []
    return model


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_torchs_three_steps_are_ours(cell):
    """Along random tokens, against torch's own module over whole sequences in doubles, too."""
    weights = random_weights(cell, 1, len(MELODY_VOCAB), 16, scale=2.0)
    model = RecurrentPrior(weights, cell, MELODY_VOCAB, 6)
    tokens = np.random.default_rng(0).integers(0, len(MELODY_VOCAB), (3, 6))
    expected = torch_log_probs(weights, cell, tokens)
    fed = np.concatenate([np.full((3, 1), MELODY_VOCAB.start), tokens[:, :-1]], axis=1)
    steps = prior.torch_steps(model)
    assert len(steps) == 3
    with torch.inference_mode():
        for name, step in steps.items():
            state, ours = (torch.zeros(3, 16), torch.zeros(3, 16)), model.initial_state(3)
            for t in range(6):
                found, state = step(torch.from_numpy(fed[:, t]), state)
                rows, ours = model.step(fed[:, t], ours)
                np.testing.assert_allclose(found.numpy(), expected[:, t], atol=1e-5, err_msg=name)
                np.testing.assert_allclose(found.numpy(), rows, atol=1e-5, err_msg=name)


def test_both_sides_take_as_many_steps_and_end_at_the_same_rows():
    model = bare.random_prior("lstm", 16, MELODY_VOCAB, 32)
    tokens = np.arange(5)
    ours = prior.through(model, tokens, 4)
    for step in prior.torch_steps(model).values():
        found = prior.through_torch(step, 16, torch.from_numpy(tokens), 4)
        np.testing.assert_allclose(found.numpy(), ours, atol=1e-5)
        other = prior.through_torch(step, 16, torch.from_numpy(tokens), 3).numpy()
        assert np.abs(other - ours).max() > 1e-4, "a step more or less is seen"


def test_the_fastest_of_torchs_steps_is_the_limit(monkeypatch):
    monkeypatch.setattr(prior, "in_turns", one_call)  # ours 1 s, LSTMCell 2 s, nn.LSTM 3 s, by hand 4 s
    row = prior.compared("LSTM-16", bare.random_prior("lstm", 16, MELODY_VOCAB, 32), 2, 0.0)
    assert (row.value, row.limit, row.limit_name, row.ratio) == (64.0, 32.0, "torch: LSTMCell", 2.0)
    assert row.note == "nn.LSTM 21 (3.00); by hand 16 (4.00)"


def test_what_is_compared_is_what_is_asked_about(tmp_path, monkeypatch):
    assert prior.BATCHES == (1, 4, 16, 64, 256, 1024, 4096)
    assert prior.MODELS == (("lstm", 100), ("lstm", 256), ("gru", 256))
    quick(monkeypatch)
    monkeypatch.setattr(prior, "BATCHES", (1, 3))
    monkeypatch.setattr(prior, "SHIPPED_BATCHES", (2,))
    monkeypatch.setattr(prior, "MODELS", (("gru", 8),))
    found = by_name(prior.rows(small_options(tmp_path)))
    assert [name for name in found if "GRU" in name] == ["GRU-8, batch of 1", "GRU-8, batch of 3"] and len(found) == 4


def test_several_layers_are_one_line():
    model = RecurrentPrior(random_weights("lstm", 2, len(MELODY_VOCAB), 8), "lstm", MELODY_VOCAB, 32)
    with pytest.raises(ValueError, match="one layer"):
        prior.torch_steps(model)


def test_random_priors_have_the_asked_form():
    model = bare.random_prior("gru", 24, bare.words(10), 7)
    assert (model.cell, model.hidden_size, model.num_layers, len(model.vocab)) == ("gru", 24, 1, 10)
    assert model.sample(3, 0)[0].shape == (3, 7), "no token ends them"


def test_each_row_is_the_priors_samples_one_after_the_other(tmp_path):
    vocab = smiles_vocab(["C", "O"])
    model = RecurrentPrior.load(small_prior(tmp_path / "small", vocab, 20))
    columns = bare.stream(model, 5, 20)
    assert len(columns) == 20 and all(column.shape == (5,) for column in columns)
    tokens, lengths = model.sample(20, bare.SEED, 20)
    pool = 3 * [row[:length].tolist() for row, length in zip(tokens, lengths)]
    assert min(lengths) < 20, "some end early, so that others follow"
    for row in np.stack(columns, axis=1).tolist():
        expected = []
        while len(expected) < 20:
            expected += pool.pop(0)
        assert row == expected[:20]


def test_the_bare_prior_reads_all_tokens_but_the_last(tmp_path):
    model = watched(tmp_path / "small", MELODY_VOCAB, 32)
    columns = [np.array([3, 4]), np.array([5, 6]), np.array([7, 8])]
    bare.written(model, columns)
    assert model.fed == [[38, 38], [3, 4], [5, 6]]


def test_sampling_and_its_limit_read_the_same_tokens(tmp_path, monkeypatch):
    """Those that end leave both; in another order they would not be the same."""
    model = watched(tmp_path / "small", smiles_vocab(["C", "O", "N"]), 20)
    calls = []

    def one_by_one(sides, seconds):
        for name, side in sides.items():
            model.fed = []
            side()
            calls.append(model.fed)
        return {name: np.ones(3) for name in sides}

    monkeypatch.setattr(sampling, "in_turns", one_by_one)
    row = sampling.sampling("molecules", model, 16, 0.0)
    sample, limit = calls
    assert sample == limit and len(sample[0]) == 16 > len(sample[-1])
    lengths = model.sample(16, bare.SEED)[1]
    assert row.value == 16.0 and row.unit == "molecules/s" and row.note == f"{lengths.sum()} tokens/s"
    assert sum(map(len, sample)) == lengths.sum()


def test_sampling_has_both_domains(tmp_path, monkeypatch):
    assert sampling.BATCHES == (64, 256, 1024)
    quick(monkeypatch)
    monkeypatch.setattr(sampling, "BATCHES", (3, 5))
    found = by_name(sampling.rows(small_options(tmp_path)))
    names = [f"{what}, batch of {n}" for what in ("melodies", "molecules") for n in (3, 5)]
    assert list(found) == names
