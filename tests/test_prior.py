"""Priors: rows of log p against torch and against enumeration, sampling, files that cannot be trusted."""

from __future__ import annotations

import itertools
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from recurrent_toys import CASES, TEXTS, random_prior, random_weights, torch_log_probs
from safetensors.numpy import save_file
from scipy.stats import chisquare

from seqtutor_envs import prior as module
from seqtutor_envs.files import load_arrays, save_arrays
from seqtutor_envs.prior import Prior, RecurrentPrior, TablePrior, load_prior, token_log_probs
from seqtutor_envs.vocab import TokenVocab

V = len(TEXTS)
END = V - 1
SIGNIFICANCE = 1e-3  # of each chi-square test; seeds are fixed


def some_tokens(n, length=6, seed=0):
    return np.random.default_rng(seed).integers(0, V, (n, length))


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("n", [1, 40])
def test_rows_of_log_p_equal_torch(cell, num_layers, n):
    prior, tokens = random_prior(cell, num_layers), some_tokens(n)
    rows = prior.log_probs(tokens)
    assert rows.dtype == np.float32 and rows.shape == (n, 6, V)
    expected = torch_log_probs(prior.weights, cell, tokens)
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    chosen = [[expected[i, t, tokens[i, t]] for t in range(6)] for i in range(n)]
    np.testing.assert_allclose(token_log_probs(rows, tokens), chosen, rtol=1e-5, atol=1e-5)


def test_steps_give_the_rows_of_log_probs():
    prior, tokens = random_prior("gru", 2), some_tokens(8)
    state, last = prior.initial_state(8), np.full(8, V)
    for t in range(6):
        row, state = prior.step(last, state)
        np.testing.assert_array_equal(row, prior.log_probs(tokens)[:, t])
        last = tokens[:, t]


def test_rows_of_a_state_can_be_taken_and_put_back():
    prior, tokens = random_prior("lstm", 2), some_tokens(6)
    state = prior.initial_state(6)
    for t in range(3):
        rows, state = prior.step(tokens[:, t], state)
    picked = np.array([4, 1, 5])
    expected, _ = prior.step(tokens[:, 3], state)
    got, _ = prior.step(tokens[picked, 3], tuple(part[picked] for part in state))
    np.testing.assert_allclose(got, expected[picked], atol=1e-6)


@pytest.mark.parametrize("filler", [V, V + 7, -1, -100, 2**40])
@pytest.mark.parametrize("make", [random_prior, lambda: table_prior(4, 6)[0]])
def test_what_lies_after_a_length_is_ignored(make, filler):
    prior = make()
    vocab_size = len(prior.vocab)
    tokens = np.random.default_rng(3).integers(0, vocab_size, (5, 6))
    lengths = np.array([1, 6, 3, 5, 2])
    inside = np.arange(6) < lengths[:, None]
    filled = np.where(inside, tokens, filler)
    expected, got = prior.log_probs(tokens), prior.log_probs(filled, lengths)
    np.testing.assert_array_equal(got[inside], expected[inside])
    assert np.isfinite(got).all()
    chosen = token_log_probs(got, filled, lengths)
    np.testing.assert_array_equal(chosen[~inside], 0.0)
    np.testing.assert_array_equal(chosen[inside], token_log_probs(expected, tokens)[inside])
    for n, length in enumerate(lengths):  # each alone, and no longer than it is
        np.testing.assert_allclose(prior.log_probs(tokens[n : n + 1, :length])[0], expected[n, :length], atol=1e-6)


# -- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, END])
def test_same_seed_same_tokens(end):
    prior = random_prior(end=end)
    first, lengths = prior.sample(30, 5)
    again, same_lengths = prior.sample(30, 5)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(lengths, same_lengths)
    assert (prior.sample(30, 6)[0][:, 0] != first[:, 0]).any()


def test_sampling_leaves_the_global_generator_alone():
    before = pickle.dumps(np.random.get_state())
    random_prior().sample(5, 0)
    assert pickle.dumps(np.random.get_state()) == before


def test_lengths_count_the_end_token():
    tokens, lengths = random_prior(end=END, length=8).sample(400, 0)
    assert tokens.shape == (400, 8) and tokens.dtype == lengths.dtype == np.int64
    assert set(lengths) == set(range(1, 9))
    cut_short = 0
    for row, length in zip(tokens, lengths):
        assert (row[length:] == V).all() and (row[:length] < V).all()
        assert END not in row[: length - 1]
        if row[length - 1] == END:
            cut_short += length < 8
        else:
            assert length == 8
    assert cut_short > 100
    without, lengths = random_prior(end=None, length=8).sample(400, 0)
    assert (lengths == 8).all() and (without < V).all() and (without == END).any()


def test_samples_are_as_wide_as_the_longest():
    prior = table_prior(3, 5, end=2)[0]
    prior._rows[1:] = np.log([[1e-9, 1e-9, 1 - 2e-9]])  # whatever begins ends with the second token
    tokens, lengths = prior.sample(50, 0)
    assert tokens.shape == (50, 2) and set(lengths) == {1, 2}
    assert prior.sample(0, 0)[0].shape == (0, 0)
    assert prior.sample(7, 0, length=1)[0].shape == (7, 1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("end", [None, 2])
def test_sequences_are_drawn_by_their_probabilities(end, temperature):
    prior, logits = table_prior(3, 3, end=end)
    expected = enumerated(logits / temperature, 3, 3, end)
    tokens, lengths = prior.sample(30_000, 11, temperature=temperature)
    drawn = {sequence: 0 for sequence in expected}
    for row, length in zip(tokens, lengths):
        drawn[tuple(row[:length].tolist())] += 1
    p = np.exp(list(expected.values()))
    assert p.sum() == pytest.approx(1.0)
    enough = p * 30_000 > 5  # the rule for chi-square; the others are counted together
    counts = np.array(list(drawn.values()))
    observed, wanted = np.append(counts[enough], counts[~enough].sum()), np.append(p[enough], p[~enough].sum())
    assert chisquare(observed[wanted > 0], 30_000 * wanted[wanted > 0]).pvalue > SIGNIFICANCE


def test_a_temperature_must_be_positive():
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            random_prior().sample(3, 0, temperature=temperature)
    coldest, _ = random_prior().sample(20, 0, temperature=1e-6)
    assert (coldest == coldest[0]).all()


# -- tables -----------------------------------------------------------------------------------------------------------


def table_prior(vocab_size, length, end=None, seed=4):
    nodes = sum(vocab_size**t for t in range(length))
    logits = np.random.default_rng(seed).standard_normal((nodes, vocab_size))
    return TablePrior(TokenVocab(tuple("abcdefgh"[:vocab_size]), end), logits, length), logits


def enumerated(logits, vocab_size, length, end=None):
    """log p of every whole sequence by a plain walk over all prefixes, breadth first."""
    prefixes = [prefix for t in range(length) for prefix in itertools.product(range(vocab_size), repeat=t)]
    rows = {prefix: row - np.log(np.exp(row).sum()) for prefix, row in zip(prefixes, logits, strict=True)}
    result, open_prefixes = {}, [((), 0.0)]
    while open_prefixes:
        prefix, log_p = open_prefixes.pop()
        for a in range(vocab_size):
            sequence, total = (*prefix, a), log_p + rows[prefix][a]
            if a == end or len(sequence) == length:
                result[sequence] = total
            else:
                open_prefixes.append((sequence, total))
    return result


@pytest.mark.parametrize("vocab_size, length", [(2, 1), (2, 5), (3, 4), (5, 3)])
def test_a_table_gives_log_p_of_every_sequence(vocab_size, length):
    prior, logits = table_prior(vocab_size, length)
    expected = enumerated(logits, vocab_size, length)
    tokens = np.array(list(expected))
    assert len(tokens) == vocab_size**length
    got = token_log_probs(prior.log_probs(tokens), tokens).sum(axis=1)
    np.testing.assert_allclose(got, list(expected.values()), rtol=1e-6, atol=1e-6)
    assert np.exp(got).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_table_of_the_wrong_size_is_an_error():
    with pytest.raises(ValueError, match=r"\[7, 2\]"):
        TablePrior(TokenVocab(("a", "b")), np.zeros((6, 2)), 3)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell, num_layers", CASES)
def test_a_saved_prior_comes_back_exactly(tmp_path, cell, num_layers):
    prior = random_prior(cell, num_layers, end=END)
    path = prior.save(tmp_path / "new folder" / "mine")
    assert path == tmp_path / "new folder" / "mine.safetensors"
    loaded = RecurrentPrior.load(path)
    assert loaded.weights.keys() == prior.weights.keys()
    for name, array in prior.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)
        assert loaded.weights[name].dtype == np.float32
    for name in ("vocab", "length", "cell", "hidden_size", "num_layers"):
        assert getattr(loaded, name) == getattr(prior, name)
    tokens = some_tokens(3)
    np.testing.assert_array_equal(loaded.log_probs(tokens), prior.log_probs(tokens))
    assert sorted(file.name for file in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card == loaded.card
    assert card["note"] == "random" and card["vocabulary"] == list(TEXTS) and card["end"] == END
    path.with_suffix(".json").unlink()
    RecurrentPrior.load(path)  # the card is to be read by people


def test_a_prior_can_be_pickled():
    prior, tokens = random_prior("gru"), some_tokens(2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(prior)).log_probs(tokens), prior.log_probs(tokens))


def test_the_weights_and_the_vocabulary_must_fit():
    with pytest.raises(ValueError, match="5 tokens, the vocabulary has 2"):
        RecurrentPrior(random_weights(), "lstm", TokenVocab(("a", "b")), 3)


@pytest.mark.parametrize("name", ["my.prior.v1", "my.prior.v1.safetensors", "plain"])
def test_dots_in_a_name_stay(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    prior = random_prior(seed=1)
    random_prior(seed=2).save("my.prior.v2")
    prior.save(name)
    stem = name.removesuffix(".safetensors")
    assert {file.name for file in tmp_path.iterdir()} >= {f"{stem}.safetensors", f"{stem}.json"}
    for given in (name, stem, Path(name), tmp_path / stem):
        np.testing.assert_array_equal(RecurrentPrior.load(given).weights["head.bias"], prior.weights["head.bias"])


def broken_files(folder):
    """Name -> a file that is no prior and what its error says."""
    whole = random_prior().save(folder / "whole").read_bytes()
    arrays, card = load_arrays(folder / "whole.safetensors")
    (folder / "garbage").write_bytes(b"not a prior" * 50)
    (folder / "empty").write_bytes(b"")
    (folder / "truncated").write_bytes(whole[:-40])
    (folder / "short").write_bytes(whole[:30])
    save_file(arrays, folder / "foreign")
    save_file(arrays, folder / "foreign facts", metadata={"facts": "{ no json"})
    save_arrays(folder / "no card", arrays, {})
    save_arrays(folder / "list", arrays, ["lstm"])
    save_arrays(folder / "no weights", {}, card)
    save_arrays(folder / "a weight less", {k: v for k, v in arrays.items() if k != "rnn.bias_hh_l0"}, card)
    save_arrays(folder / "flat", {k: v.reshape(-1) for k, v in arrays.items()}, card)
    save_arrays(folder / "cell", arrays, {**card, "cell": "gru"})
    save_arrays(folder / "vocabulary", arrays, {**card, "vocabulary": ["a"]})
    save_arrays(folder / "tampered", {**arrays, "head.bias": arrays["head.bias"] + np.float32(1e-3)}, card)
    save_arrays(folder / "no hash", arrays, {k: v for k, v in card.items() if k != "weights_sha256"})
    return {
        "damaged": ["garbage", "empty", "truncated", "short", "foreign", "foreign facts"],
        "holds no prior": ["no card", "list", "no weights", "a weight less", "flat", "cell", "vocabulary"],
        "hash": ["tampered", "no hash"],
    }


def test_files_that_hold_no_prior_are_refused_in_one_line(tmp_path):
    for reason, names in broken_files(tmp_path).items():
        for name in names:
            with pytest.raises(ValueError, match=reason) as error:
                RecurrentPrior.load(tmp_path / name)
            assert str(tmp_path / name) in str(error.value), name
            assert "\n" not in str(error.value), name


def test_a_missing_file_is_named_with_what_there_is(tmp_path, monkeypatch):
    random_prior().save(tmp_path / "data" / "shipped-one")
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    for given in ("nowhere", tmp_path / "nowhere.safetensors", tmp_path):  # a folder is no prior either
        with pytest.raises(FileNotFoundError, match="shipped-one"):
            RecurrentPrior.load(given)


def test_a_shipped_name_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    shipped, own = random_prior(seed=1), random_prior(seed=2)
    shipped.save(tmp_path / "data" / "tune")
    own.save("tune")
    for given, expected in (("tune", shipped), ("./tune", own), ("tune.safetensors", own)):
        got = RecurrentPrior.load(given).weights["head.bias"]
        np.testing.assert_array_equal(got, expected.weights["head.bias"])


class Marker:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_loading_executes_nothing_from_the_file(tmp_path):
    marker = tmp_path / "executed"
    evil = pickle.dumps(Marker(marker))
    pickle.loads(evil).close()
    assert marker.exists()  # else the test could not fail
    marker.unlink()
    (tmp_path / "pickle.safetensors").write_bytes(evil)
    np.save(tmp_path / "array.npy", np.array([Marker(marker)], dtype=object), allow_pickle=True)
    (tmp_path / "array.npy").rename(tmp_path / "array.safetensors")
    for name in ("pickle", "array"):
        with pytest.raises(ValueError, match="damaged"):
            RecurrentPrior.load(tmp_path / name)
    assert not marker.exists()


def failing(*args):
    raise OSError("No space left on device")


@pytest.mark.parametrize("where, name", [(os, "replace"), (Path, "write_bytes")])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where, name):
    old = random_prior(seed=1)
    path = old.save(tmp_path / "prior")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(where, name, failing)
    with pytest.raises(OSError, match="No space"):
        random_prior(seed=2).save(path)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    np.testing.assert_array_equal(RecurrentPrior.load(path).weights["head.bias"], old.weights["head.bias"])


# -- load_prior -------------------------------------------------------------------------------------------------------


def test_a_path_is_loaded_once_and_shared(tmp_path, monkeypatch):
    path = random_prior(seed=1).save(tmp_path / "prior")
    first = load_prior(path)
    monkeypatch.chdir(tmp_path)
    for same in (str(path), "prior", Path("prior.safetensors")):
        assert load_prior(same) is first
    random_prior(seed=2).save(path)  # written anew: loaded anew
    assert (load_prior(path).weights["head.bias"] != first.weights["head.bias"]).any()


class Foreign:
    """No subclass of ours, but with all that a prior needs."""

    vocab = TokenVocab(("a", "b"))
    initial_state = step = log_probs = sample = None


def test_objects_are_taken_as_they_are():
    for prior in (random_prior(), table_prior(2, 2)[0], Foreign()):
        assert load_prior(prior) is prior
    with pytest.raises(TypeError, match="vocab, initial_state, step, log_probs, sample; int"):
        load_prior(3)


class Fair(Prior):
    """The least that a prior of one's own has to bring."""

    vocab, length = TokenVocab(("heads", "tails")), 3

    def initial_state(self, n):
        return ()

    def step(self, tokens, state):
        return np.full((len(tokens), 2), np.log(0.5), np.float32), ()


def test_a_prior_of_ones_own_inherits_log_probs_and_sample():
    tokens, lengths = Fair().sample(1000, 0)
    assert tokens.shape == (1000, 3) and (lengths == 3).all()
    assert abs(tokens.mean() - 0.5) < 0.04  # over four standard errors
    np.testing.assert_allclose(token_log_probs(Fair().log_probs(tokens), tokens).sum(1), 3 * np.log(0.5), rtol=1e-6)
