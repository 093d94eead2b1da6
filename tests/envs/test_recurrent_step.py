"""The recurrent step against torch's modules; its tanh and exp against numpy's; drawing tokens."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from scipy.stats import chisquare

from seqtutor_envs.prior import kernels
from seqtutor_envs.prior.recurrent_step import RecurrentStep, log_softmax, product, sample_tokens
from toys.recurrent_toys import CASES, random_weights, torch_logits

BATCHES = (1, 2, 3, 64, 257)


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("batch", BATCHES)
def test_steps_equal_torch(cell, num_layers, batch):
    weights = random_weights(cell, num_layers)
    inputs = np.random.default_rng(batch).integers(0, 6, (batch, 9))  # 5 tokens and the start token
    step = RecurrentStep(weights, cell)
    state, logits = step.initial_state(batch), []
    for t in range(inputs.shape[1]):
        row, state = step(inputs[:, t], state)
        logits.append(row)
    assert logits[0].dtype == np.float32
    np.testing.assert_allclose(np.stack(logits, axis=1), torch_logits(weights, cell, inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("batch", [1, 5])
def test_a_step_writes_to_nothing_it_was_given(cell, num_layers, batch):
    step = RecurrentStep(random_weights(cell, num_layers), cell)
    tokens = np.arange(batch)
    logits, state = step(tokens, step.initial_state(batch))
    before = [part.copy() for part in (tokens, logits, *state)]
    later, later_state = step(tokens, state)
    for part, copy in zip((tokens, logits, *state), before):
        np.testing.assert_array_equal(part, copy)
    for new in (later, *later_state):
        assert not any(np.shares_memory(new, old) for old in (logits, *state))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("batch", [1, 5])
def test_weights_are_copied(cell, batch):
    weights = random_weights(cell, 2)
    step = RecurrentStep(weights, cell)
    tokens = np.zeros(batch, np.int64)
    before, _ = step(tokens, step.initial_state(batch))
    for array in weights.values():
        array += 1.0
    after, _ = step(tokens, step.initial_state(batch))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", sorted(random_weights("gru", 2)))
def test_a_weight_that_is_missing_or_of_a_wrong_shape_is_named(name):
    weights = random_weights("gru", 2)
    wrong = {**weights, name: np.zeros((3, 4), np.float32)}
    without = {key: array for key, array in weights.items() if key != name}
    # the head's matrix says what V and H are; if it is wrong, another weight is the first that does not fit it
    named = "rnn.weight|head" if name == "head.weight" else name
    for bad in (wrong, without):
        with pytest.raises(ValueError, match=named):
            RecurrentStep(bad, "gru")


def test_weights_of_another_cell_and_unknown_cells_are_errors():
    with pytest.raises(ValueError, match="shape"):
        RecurrentStep(random_weights("gru"), "lstm")
    with pytest.raises(ValueError, match="lstm, gru"):
        RecurrentStep(random_weights("gru"), "rnn")
    with pytest.raises(ValueError, match="head.weight"):
        RecurrentStep({}, "lstm")
    with pytest.raises(ValueError, match="head.weight"):
        RecurrentStep({"head.weight": np.zeros(3, np.float32)}, "lstm")


def test_log_softmax_is_worked_in_place():
    logits = np.array([[0.0, np.log(3.0)], [1e4, 1e4], [-np.inf, 2.0], [np.nan, 1.0]], np.float32)
    result = log_softmax(logits)
    assert result is logits
    expected = [[np.log(0.25), np.log(0.75)], [np.log(0.5), np.log(0.5)], [-np.inf, 0.0], [np.nan, np.nan]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 8, 38, 200])
def test_log_softmax_equals_numpys(size):
    logits = (10 * np.random.default_rng(size).standard_normal((75, size))).astype(np.float32)  # not whole blocks
    exact = logits.astype(np.float64)
    expected = exact - np.logaddexp.reduce(exact, axis=1, keepdims=True)
    logits[::7, size // 2] = np.nan  # a row with one has nothing else, whatever stands beside it
    expected[::7] = np.nan
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-6, atol=5e-6)


@njit
def tanh_of(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = kernels.tanh(x[i])
    return out


def test_tanh_and_exp_equal_numpys():
    x = np.concatenate([np.linspace(-20, 20, 40_001), [np.inf, -np.inf, np.nan]]).astype(np.float32)
    np.testing.assert_allclose(tanh_of(x), np.tanh(x.astype(np.float64)), rtol=5e-7)
    x = np.linspace(-87.0, 0.0, 40_001).astype(np.float32)
    out, scale = np.empty_like(x), np.empty_like(x)
    kernels.exp(x, scale, out)
    np.testing.assert_allclose(out, np.exp(x.astype(np.float64)), rtol=2e-7)
    least = np.array([-np.inf, -1e9, -88.5, np.nan], np.float32)
    kernels.exp(least, scale[:4], out[:4])
    np.testing.assert_array_equal(out[:4], [0.0, 0.0, 0.0, np.nan])


@pytest.mark.parametrize("size, columns", [(1, 4), (7, 28), (8, 32), (100, 400), (128, 512), (256, 1024), (300, 1000)])
def test_one_row_is_multiplied_as_many_are(size, columns):
    rng = np.random.default_rng(size)
    h = rng.standard_normal((5, size)).astype(np.float32)
    matrix = rng.standard_normal((size, columns)).astype(np.float32)
    exact = h.astype(np.float64) @ matrix.astype(np.float64)
    many = product(h, matrix)  # the largest in two pieces of columns
    one = np.concatenate([product(row[None], matrix) for row in h])
    for found in (many, one):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=5e-5)  # sums of up to 256 numbers of size 1


@pytest.mark.parametrize("cell, num_layers", CASES)
@pytest.mark.parametrize("token", [-1, 6])
def test_a_token_beyond_the_start_is_an_error(cell, num_layers, token):
    step = RecurrentStep(random_weights(cell, num_layers), cell)  # 5 tokens and the start token
    with pytest.raises(IndexError, match="none of 0..V"):
        step(np.array([0, token]), step.initial_state(2))


SIGNIFICANCE = 1e-3  # of the one chi-square test below; its seed is fixed


@pytest.mark.parametrize("offset", [0.0, -300.0])
def test_tokens_are_drawn_by_their_probabilities(offset):
    p = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    with np.errstate(divide="ignore"):
        rows = np.tile((np.log(p) + offset).astype(np.float32), (20_000, 1))  # offset: they need not be normalised
    counts = np.bincount(sample_tokens(rows, np.random.default_rng(1)), minlength=5)
    assert counts[1] == 0
    possible = p > 0
    assert chisquare(counts[possible], 20_000 * p[possible]).pvalue > SIGNIFICANCE


def test_rows_are_drawn_independently():
    rows = np.log(np.array([[1e-30, 1.0], [1.0, 1e-30]] * 500, np.float32))
    np.testing.assert_array_equal(sample_tokens(rows, np.random.default_rng(0)), [1, 0] * 500)


class Edge:
    """A generator whose draws are all the same."""

    def __init__(self, draw):
        self.draw = draw

    def random(self, shape):
        return np.full(shape, self.draw)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0)])
def test_extreme_draws_give_possible_tokens(draw, seed):
    """Draws lie in [0, 1): neither end may pick a token of probability 0 or one beyond the last."""
    rows = np.random.default_rng(seed).standard_normal((500, 9)).astype(np.float32)
    rows[:, [0, 4, 8]] = -np.inf
    tokens = sample_tokens(log_softmax(rows), Edge(draw))
    assert set(tokens) == ({1} if draw == 0 else {7})


def test_a_very_low_temperature_draws_the_most_probable_token():
    rows = (np.log([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25]]) / 1e-4).astype(np.float32)  # exp of all of these is 0
    np.testing.assert_array_equal(sample_tokens(rows, np.random.default_rng(0)), [1, 0])
