"""The store of what an agent has seen, against plain loops, exact probabilities and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from agents.store.replay import Sequences
from agents.store.store import Origin, Store, StoreSettings, make_store, rank_probabilities
from seqtutor_envs.files import load_arrays, save_arrays

HORIZON, SIZE = 5, 4


def batch_of(rows, returns, width=HORIZON, seed=0):
    """Sequences of these tokens, paid at their last one; filler of nonsense after each, which must not matter."""
    n, rng = len(rows), np.random.default_rng(seed)
    tokens, rewards = rng.integers(SIZE, size=(n, width)), rng.standard_normal((n, width)).astype(np.float32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        rewards[i, : len(row)] = 0
        rewards[i, len(row) - 1] = returns[i]
    logits = rng.standard_normal((n, width, SIZE))
    log_p = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    return Sequences(tokens, np.array([len(row) for row in rows]), rewards, log_p.astype(np.float32))


def random_batch(rng, n=12):
    """Short sequences over few tokens, so that many repeat, with returns of few values, so that many are equal."""
    rows = [rng.integers(SIZE, size=rng.integers(1, 4)).tolist() for _ in range(n)]
    return batch_of(rows, rng.integers(5, size=n).astype(float), seed=int(rng.integers(1000)))


def store_of(**settings):
    return Store(HORIZON, SIZE, StoreSettings(**settings))


def stored(store):
    """{tokens: (return, origin, round)} of what is stored."""
    kept = store.stored
    return {
        tuple(kept.tokens[i, : kept.lengths[i]].tolist()): (store.returns[i], store.origins[i], store.born[i])
        for i in range(store.size)
    }


def words(sequences):
    return [tuple(row[:length].tolist()) for row, length in zip(sequences.tokens, sequences.lengths)]


def everything(store):
    return {**vars(store.stored), **{name: value for name, value in vars(store).items() if name != "stored"}}


def assert_same_stores(a, b):
    """Bit for bit, in what counts."""
    assert (a.size, a.arrived, a._keys, a._known) == (b.size, b.arrived, b._keys, b._known)
    for name, array in everything(a).items():
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array[: a.size], everything(b)[name][: b.size], err_msg=name)


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_known_sequence_is_not_stored_twice_and_keeps_its_origin_and_age():
    store = store_of()
    assert store.add(batch_of([[1, 2], [1], [1, 2]], [1, 2, 1]), Origin.GIVEN, 3).tolist() == [True, True, False]
    assert store.add(batch_of([[2, 1], [1, 2]], [5, 1], seed=9), Origin.OWN, 4).tolist() == [True, False]
    assert stored(store) == {(1, 2): (1, Origin.GIVEN, 3), (1,): (2, Origin.GIVEN, 3), (2, 1): (5, Origin.OWN, 4)}
    assert store.find_new(batch_of([[1, 2], [3], [3]], [0, 0, 0])).tolist() == [False, True, False]


@pytest.mark.parametrize("draw", ["rank", "uniform", "newest"])
def test_what_leaves_a_full_store_is_what_a_plain_loop_drops(draw):
    store, expected = store_of(capacity=7, draw=draw), []  # [(tokens, return, round)], in the order of arrival
    rng = np.random.default_rng(1)
    for born in range(30):
        batch = random_batch(rng)
        new = []
        for i, word in enumerate(words(batch)):
            if word not in [entry[0] for entry in expected]:
                expected.append((word, float(batch.task_rewards[i, batch.lengths[i] - 1]), born))
                new.append(i)
        if draw == "rank":
            expected = sorted(expected, key=lambda entry: -entry[1])[:7]  # stable: of equal ones the older stay
            expected.sort(key=lambda entry: entry[2])
        expected = expected[-7:]
        assert np.flatnonzero(store.add(batch, Origin.OWN, born)).tolist() == new
        assert {word: (value, born) for word, (value, _, born) in stored(store).items()} == {
            word: (value, born) for word, value, born in expected
        }
        assert store.size <= 7
    assert store.size == 7


def test_more_than_there_is_room_for_in_one_call():
    batch = batch_of([[0], [1], [2], [3]], [1, 3, 2, 3])
    for draw, left in {"rank": {(1,), (3,)}, "uniform": {(2,), (3,)}, "newest": {(2,), (3,)}}.items():
        store = store_of(capacity=2, draw=draw)
        assert store.add(batch, Origin.OWN, 0).all()
        assert set(stored(store)) == left


def test_log_p_and_returns_are_those_of_a_plain_loop_and_filler_is_nothing():
    store, batch = store_of(), batch_of([[1, 2, 3], [0]], [2, -1])
    batch.task_rewards[0, 0] = 0.5
    store.add(batch, Origin.OWN, 0)
    for i in range(2):
        steps = range(batch.lengths[i])
        assert store.log_p[i] == pytest.approx(sum(batch.prior_log_probs[i, t, batch.tokens[i, t]] for t in steps))
    assert store.returns[:2].tolist() == [2.5, -1.0]
    for array in (store.stored.tokens, store.stored.task_rewards, store.stored.prior_log_probs):
        assert not array[0, 3:].any() and not array[1, 1:].any()


def test_narrow_sequences_go_in_and_come_out_cut():
    store = store_of(draw="newest")
    batch = batch_of([[1, 2], [3]], [1, 2], width=3)
    store.add(batch, Origin.OWN, 0)
    sample = store.sample(2, np.random.default_rng(0))
    assert words(sample) == [(3,), (1, 2)]
    assert sample.prior_log_probs.shape == (2, 2, SIZE)
    np.testing.assert_array_equal(sample.prior_log_probs[1], batch.prior_log_probs[0, :2])
    np.testing.assert_array_equal(sample.task_rewards[1], batch.task_rewards[0, :2])


# -- what is drawn ----------------------------------------------------------------------------------------------------


def test_ranks_are_drawn_with_the_published_probabilities():
    store = store_of(capacity=4)
    store.add(batch_of([[0], [1], [2], [3]], [1, 7, 3, 3]), Origin.OWN, 0)
    weights = [1 / 0.04, 1 / 1.04, 1 / 2.04, 1 / 3.04]  # 1 / (.01 * 4 + rank)
    exact = {word: weight / sum(weights) for word, weight in zip([(1,), (2,), (3,), (0,)], weights)}
    np.testing.assert_allclose(rank_probabilities(4, 0.01), list(exact.values()))
    drawn = words(store.sample(50_000, np.random.default_rng(0)))
    observed = [drawn.count(word) for word in exact]
    # at a significance level of .1%; the two equal returns in the wrong order give 1e-30
    assert chisquare(observed, [50_000 * p for p in exact.values()]).pvalue > 1e-3


def test_uniform_draws_are_without_replacement_and_even():
    store = store_of(capacity=4, draw="uniform")
    store.add(batch_of([[0], [1], [2], [3]], [1, 7, 3, 3]), Origin.OWN, 0)
    rng = np.random.default_rng(0)
    pairs = [tuple(words(store.sample(2, rng))) for _ in range(6000)]
    kinds = sorted(set(pairs))
    assert len(kinds) == 12 and all(a != b for a, b in kinds)
    assert chisquare([pairs.count(kind) for kind in kinds]).pvalue > 1e-3  # a significance level of .1%
    assert sorted(words(store.sample(9, rng))) == [(0,), (1,), (2,), (3,)]


def test_the_newest_come_first_and_the_best_first():
    store = store_of(capacity=3, draw="newest")
    for born, (token, value) in enumerate(zip([0, 1, 2, 3], [1, 7, 3, 3])):
        store.add(batch_of([[token]], [value]), Origin.OWN, born)
    assert words(store.sample(2, np.random.default_rng(0))) == [(3,), (2,)]
    assert words(store.best(9)) == [(1,), (2,), (3,)]
    assert words(store.best(1)) == [(1,)]


def test_a_sample_does_not_change_with_the_store():
    store = store_of(capacity=1)
    store.add(batch_of([[1]], [1]), Origin.OWN, 0)
    sample = store.sample(1, np.random.default_rng(0))
    store.add(batch_of([[2]], [2]), Origin.OWN, 1)
    assert words(sample) == [(1,)] and words(store.best(1)) == [(2,)]


def test_an_empty_store_says_so():
    assert store_of().diagnostics(3) == {}
    with pytest.raises(ValueError, match="^There is nothing to sample: the store is empty until something is added"):
        store_of().sample(1, np.random.default_rng(0))


def test_diagnostics_as_worked_out_by_hand():
    store = store_of()
    store.add(batch_of([[0], [1], [2]], [1, 3, 5]), Origin.OWN, 2)
    store.add(batch_of([[3]], [7]), Origin.CHILD, 6)
    assert store.diagnostics(8) == pytest.approx(
        {
            "size": 4, "share_own": 0.75, "share_given": 0, "share_spelling": 0, "share_child": 0.25,
            "share_particle": 0, "mean_age": (6 * 3 + 2) / 4, "return_std": 5**0.5, "best_return": 7,
        }
    )  # fmt: skip


# -- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["rank", "uniform", "newest"])
@pytest.mark.parametrize("rounds", [0, 1, 9])
def test_a_restored_store_goes_on_as_one_that_was_never_saved(draw, rounds, tmp_path):
    store, other = (store_of(capacity=20, draw=draw) for _ in range(2))
    rng = np.random.default_rng(2)
    for born in range(rounds):
        store.add(random_batch(rng), Origin(born % 5), born)
    other.add(random_batch(np.random.default_rng(7)), Origin.GIVEN, 0)  # what `restore` replaces
    save_arrays(tmp_path / "store.safetensors", store.arrays(), {})
    other.restore(load_arrays(tmp_path / "store.safetensors")[0])
    assert_same_stores(store, other)
    state = rng.bit_generator.state
    drawn = []
    for one in (store, other):
        rng.bit_generator.state = state
        for born in range(rounds, rounds + 5):
            one.add(random_batch(rng), Origin.OWN, born)
            drawn.append(one.sample(16, rng))
    assert_same_stores(store, other)
    for a, b in zip(drawn[:5], drawn[5:]):
        for array, same in zip(a.arrays(), b.arrays()):
            np.testing.assert_array_equal(array, same)


def test_a_checkpoint_holds_no_filler():
    store = store_of()
    store.add(batch_of([[1, 2, 3], [0]], [2, -1]), Origin.OWN, 0)
    assert store.arrays()["prior_log_probs"].shape == (4, SIZE)


def damaged(name, change):
    def apply(arrays):
        arrays[name] = change(arrays[name].copy())

    return apply


def overwrite(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    "damage, message",
    [
        (damaged("shape", overwrite(0, 6)), "the store is of at most 6 steps of 4 tokens, not 5 steps of 4 tokens"),
        (damaged("shape", overwrite(1, 3)), "the store is of at most 5 steps of 3 tokens, not 5 steps of 4 tokens"),
        (damaged("prior_log_probs", lambda a: a.astype(np.float64)), "'prior_log_probs' must be float32"),
        (damaged("prior_log_probs", overwrite(0, np.nan)), "'prior_log_probs' holds numbers that are not finite"),
        (damaged("tokens", overwrite(0, 4)), "'tokens' must be within 0..3"),
        (damaged("tokens", overwrite(0, 1)), "the store holds a sequence twice"),
        (damaged("lengths", overwrite(0, 2)), r"'tokens' must be int64 \[4\]"),
        (damaged("lengths", overwrite(0, 0)), "'lengths' must be within 1..5"),
        (damaged("lengths", lambda a: a.sum()), r"'origins' must be int8 \[1\]|'lengths' must be int64 \[1\]"),
        (damaged("arrivals", overwrite(0, 1)), "the store holds a sequence twice"),
        (damaged("arrivals", overwrite(0, 3)), "'arrivals' must be within 0..2"),
        (damaged("arrived", overwrite(0, 2)), "'arrived' must be within 3"),
        (damaged("origins", overwrite(0, 5)), "'origins' must be within 0..4"),
        (lambda arrays: arrays.pop("born"), "'born' is missing"),
        (lambda arrays: arrays.update(more=arrays["born"]), "'more' is unknown"),
    ],
)
def test_what_cannot_be_this_stores_is_refused_and_changes_nothing(damage, message):
    source, store = store_of(), store_of()
    source.add(batch_of([[0], [1], [2]], [1, 3, 5]), Origin.OWN, 0)
    store.add(batch_of([[3]], [2]), Origin.OWN, 0)
    arrays = source.arrays()
    damage(arrays)
    with pytest.raises(ValueError, match=message) as error:
        store.restore(arrays)
    assert "\n" not in str(error.value)
    assert stored(store) == {(3,): (2, Origin.OWN, 0)} and not store.find_new(batch_of([[3]], [2]))[0]


def test_a_smaller_store_refuses_more_than_it_has_room_for():
    source = store_of()
    source.add(batch_of([[0], [1], [2]], [1, 3, 5]), Origin.OWN, 0)
    with pytest.raises(ValueError, match="^the store holds 3 sequences, more than its capacity 2$"):
        store_of(capacity=2).restore(source.arrays())


def test_sequences_of_another_vocabulary_or_horizon_are_refused():
    ours = "^This store holds sequences of at most {} steps of {} tokens, not of 5 steps of 4: make a store for this"
    for horizon, size in ((5, 6), (4, 4)):
        with pytest.raises(ValueError, match=ours.format(horizon, size)):
            Store(horizon, size).add(batch_of([[1]], [1]), Origin.OWN, 0)


# -- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_given_by_name():
    assert make_store(None, 5, 4) is make_store(False, 5, 4) is None
    assert make_store(True, 5, 4).settings == StoreSettings(1024, "rank", 0.01, 0.5)
    assert make_store({"draw": "newest", "own": 1}, 5, 4).settings == StoreSettings(1024, "newest", 0.01, 1.0)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"size": 3},
            "store= has no setting 'size'; the settings are: capacity, draw, rank_weight, own, spellings, children, "
            "tries, parents.",
        ),
        ({"own": 1.5}, "store: own must be a finite number from 0 to 1, not 1.5."),
        ({"own": -0.1}, "store: own must be a finite number from 0 to 1, not -0.1."),
        ({"tries": 0}, "store: tries must be an integer of at least 1, not 0."),
        ({"capacity": 0}, "store: capacity must be an integer of at least 1, not 0."),
        ({"rank_weight": 0}, "store: rank_weight must be a finite number above 0 and at most 1e+06, not 0."),
        ({"draw": "best"}, "store: draw must be one of 'rank', 'uniform', 'newest', not 'best'."),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError) as error:
        make_store(settings, 5, 4)
    assert str(error.value) == message
