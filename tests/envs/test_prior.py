"""Priors: rows of log p against torch and against enumeration, and sampling."""

from __future__ import annotations

import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chisquare

from seqtutor_envs.prior import RecurrentPrior, TablePrior, token_log_probs
from seqtutor_envs.vocab import TokenVocab
from toys.recurrent_toys import CASES, TEXTS, random_prior, random_weights, torch_log_probs

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


def test_the_weights_and_the_vocabulary_must_fit():
    with pytest.raises(ValueError, match="5 tokens, the vocabulary has 2"):
        RecurrentPrior(random_weights(), "lstm", TokenVocab(("a", "b")), 3)


def test_a_table_that_is_too_short_for_its_task_is_one_line():
    prior = TablePrior(TokenVocab(("a", "b")), np.zeros((3, 2)), length=2)
    assert prior.log_probs(np.zeros((1, 2), np.int64)).shape == (1, 2, 2)
    with pytest.raises(ValueError, match="^This TablePrior has no row after 2 tokens[^\n]*$"):
        gym.make("SeqTutor-Planted-v0", prior=prior, policy=prior, length=3)
