"""Maximum likelihood: the loss against plain loops and known sources, what an interruption leaves, what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from recurrent_toys import CASES, random_weights, torch_log_probs

from seqtutor_envs import pretrain
from seqtutor_envs.files import load_arrays
from seqtutor_envs.network import RecurrentNetwork
from seqtutor_envs.pretrain import Settings, chunks, fit, mean_nll, shuffled_batches, token_nll
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.vocab import TokenVocab

VOCAB = TokenVocab(("a", "b", "c", "d"))
V = len(VOCAB)
QUICK = Settings(hidden_size=6, epochs=5, batch_size=4, chunk=5, learning_rate=1e-2)

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


def uneven(n=13, seed=0, longest=23):
    """Random sequences of 1 to `longest` tokens, most of them longer than QUICK's chunk and not a multiple of it."""
    rng = np.random.default_rng(seed)
    lengths = [1, longest, *rng.integers(1, longest + 1, n - 2)]
    return [rng.integers(0, V, length) for length in lengths]


def plain_nll(weights, cell, sequences):
    """nll of each token, each sequence alone through torch's own module; as one array."""
    per_sequence = []
    for tokens in sequences:
        rows = torch_log_probs(weights, cell, np.asarray(tokens, np.int64)[None])[0]
        per_sequence.append(-rows[np.arange(len(tokens)), tokens])
    return per_sequence


def same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# -- the loss -----------------------------------------------------------------------------------------------------------


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


def test_pieces_hold_every_token_once_after_its_predecessor():
    sequences = uneven()
    heard = [[] for _ in sequences]
    rows = list(range(len(sequences)))
    for inputs, targets, stay in chunks(sequences, V, 5):
        rows = [row for row, stays in zip(rows, stay.tolist(), strict=True) if stays]
        assert inputs.shape == targets.shape and inputs.shape[0] == len(rows) and inputs.shape[1] <= 5
        for row, source, target in zip(rows, inputs.tolist(), targets.tolist(), strict=True):
            for given, wanted in zip(source, target):
                if wanted >= 0:
                    assert given == (heard[row][-1] if heard[row] else V)
                    heard[row].append(wanted)
    for line, tokens in zip(heard, sequences):
        np.testing.assert_array_equal(line, tokens)


def test_batches_hold_every_sequence_once_and_differ_from_epoch_to_epoch():
    sequences = uneven(50)
    first, second = (shuffled_batches(sequences, 8, np.random.default_rng(seed)) for seed in (0, 1))
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(50))
        assert all(len(batch) <= 8 for batch in batches)
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_epoch_equals_a_plain_loop(tmp_path, monkeypatch, cell):
    """Truncated backpropagation, written out for one sequence at a time: state carried, gradient cut, clipped, Adam."""
    sequences = uneven(6, longest=17)
    order = [4, 1, 0, 5, 2, 3]
    monkeypatch.setattr(pretrain, "shuffled_batches", lambda *_: [np.array([i]) for i in order])
    settings = Settings(6, 1, cell, epochs=2, batch_size=1, chunk=5, learning_rate=5e-2, max_grad_norm=0.3)
    run = pretrain._Run(VOCAB, settings, tmp_path / "prior.safetensors", 9, {})
    network = RecurrentNetwork.from_weights(run.network.weights(), cell)
    optimizer = torch.optim.Adam(network.parameters())
    clipped = []
    for step in range(12):
        tokens = sequences[order[step % 6]]
        optimizer.param_groups[0]["lr"] = 5e-2 * (1 + math.cos(math.pi * step / 12)) / 2
        inputs = torch.tensor([V, *tokens[:-1]])[None]
        state = None
        for begin in range(0, len(tokens), 5):
            piece = slice(begin, begin + 5)
            logits, state = network(inputs[:, piece], state)
            state = tuple(part.detach() for part in state) if cell == "lstm" else state.detach()
            loss = torch.nn.functional.cross_entropy(logits[0], torch.tensor(tokens[piece]))
            optimizer.zero_grad()
            loss.backward()
            clipped.append(float(torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)) > 0.3)
            optimizer.step()
    assert True in clipped and False in clipped and len(clipped) > 12
    for epoch in range(2):
        run.epoch(sequences, epoch, pretrain.tqdm(disable=True))
    for name, expected in network.weights().items():
        np.testing.assert_allclose(run.network.weights()[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_dropout_is_on_in_training_alone(tmp_path):
    train = uneven(40)
    for rate, equal in ((0.0, True), (0.5, False)):
        settings = Settings(7, epochs=1, chunk=64, learning_rate=0.0, dropout=rate)
        history = fit(train, train, VOCAB, tmp_path / str(rate), settings).card["training"]["history"][0]
        assert (history["train_nll"] == pytest.approx(history["validation_nll"], rel=1e-6)) == equal


# -- learning -----------------------------------------------------------------------------------------------------------


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
    assert np.concatenate(plain_nll(loaded.weights, "lstm", validation)).mean() == pytest.approx(history[best], rel=1e-5)
    assert loaded.card["training"]["best_epoch"] == best + 1
    assert loaded.card["training"]["history"] == prior.card["training"]["history"]
    assert loaded.card["validation"]["nll_per_token"] == history[best]


def test_training_is_the_same_again_and_touches_no_global_generator(tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    settings = Settings(6, epochs=2, dropout=0.3, batch_size=4)
    first, again = (fit(uneven(), uneven(3), VOCAB, tmp_path / name, settings) for name in "ab")
    same_weights(first.weights, again.weights)
    other = fit(uneven(), uneven(3), VOCAB, tmp_path / "c", Settings(6, epochs=2, dropout=0.3, batch_size=4, seed=1))
    assert (other.weights["head.bias"] != first.weights["head.bias"]).any()
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


# -- interruption -------------------------------------------------------------------------------------------------------


class InterruptingBar(pretrain.tqdm):
    """Ctrl-C after so many batches of the run."""

    left = 0

    def set_description(self, *args, **kwargs):
        InterruptingBar.left -= 1
        if InterruptingBar.left == 0:
            raise KeyboardInterrupt


def interrupted_fit(monkeypatch, batches, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "tqdm", InterruptingBar)
        InterruptingBar.left = batches
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            fit(*args, **kwargs)


@pytest.mark.parametrize("cell, dropout", [("lstm", 0.0), ("gru", 0.4)])
@pytest.mark.parametrize("batches", [[2], [9], [9, 3, 1], [19]])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, batches, cell, dropout):
    """Bit for bit on one thread; 13 sequences make 4 batches an epoch, so 2 is in the first epoch, 19 in the last."""
    assert torch.get_num_threads() == 1
    settings = Settings(6, 2, cell, 5, 4, 5, 1e-2, 0.01, dropout)
    data = uneven(), uneven(5, seed=1), VOCAB
    whole = fit(*data, tmp_path / "whole", settings)
    out = tmp_path / "parts.safetensors"
    for part, count in enumerate(batches):
        interrupted_fit(monkeypatch, count, *data, out, settings, resume=part > 0)
        assert RecurrentPrior.load(out).vocab == VOCAB
    resumed = fit(*data, out, settings, resume=True)
    same_weights(whole.weights, resumed.weights)
    assert whole.card == resumed.card
    same_weights(RecurrentPrior.load(out).weights, whole.weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "parts.json", "parts.safetensors", "whole.json", "whole.safetensors"
    ]


def test_an_interruption_leaves_the_best_weights_so_far(tmp_path, monkeypatch):
    data = uneven(), uneven(5, seed=1), VOCAB
    after_two = fit(*data, tmp_path / "reference", QUICK)
    history = after_two.card["training"]["history"]
    interrupted_fit(monkeypatch, 10, *data, tmp_path / "prior", QUICK)  # in the third epoch
    left = RecurrentPrior.load(tmp_path / "prior")
    best = min(history[:2], key=lambda epoch: epoch["validation_nll"])
    assert left.card["training"]["best_epoch"] == best["epoch"]
    assert left.card["validation"]["nll_per_token"] == best["validation_nll"]
    assert left.card["training"]["history"] == history[: best["epoch"]]
    nll = np.concatenate(plain_nll(left.weights, "lstm", data[1])).mean()
    assert nll == pytest.approx(best["validation_nll"], rel=1e-5)
    assert json.loads((tmp_path / "prior.json").read_text()) == left.card


def test_an_interruption_in_the_first_epoch_leaves_a_usable_file(tmp_path, monkeypatch):
    data = uneven(), uneven(5, seed=1), VOCAB
    interrupted_fit(monkeypatch, 3, *data, tmp_path / "prior", QUICK, length=7)
    left = RecurrentPrior.load(tmp_path / "prior")
    assert left.card["training"]["best_epoch"] == 0 and left.card["training"]["history"] == []
    nll = np.concatenate(plain_nll(left.weights, "lstm", data[1])).mean()
    assert left.card["validation"]["nll_per_token"] == pytest.approx(nll, rel=1e-5)
    assert left.sample(3, 0)[0].shape == (3, 7)


# -- what is refused ----------------------------------------------------------------------------------------------------

OTHERS = {
    "hidden_size": 5, "num_layers": 2, "cell": "gru", "epochs": 6, "batch_size": 3, "chunk": 4, "learning_rate": 0.5,
    "weight_decay": 0.1, "dropout": 0.1, "max_grad_norm": 1.0, "seed": 1,
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        interrupted_fit(patch, 6, uneven(), uneven(5, seed=1), VOCAB, folder / "prior", QUICK)
    return folder / "prior"


def test_every_setting_is_tried():
    assert OTHERS.keys() == vars(Settings()).keys()


@pytest.mark.parametrize("name", OTHERS)
def test_resuming_with_another_setting_is_refused_by_name(interrupted, name):
    other = Settings(**{**vars(QUICK), name: OTHERS[name]})
    with pytest.raises(ValueError, match=f"Cannot resume.*{name}={getattr(QUICK, name)}, not {OTHERS[name]}"):
        fit(uneven(), uneven(5, seed=1), VOCAB, interrupted, other, resume=True)


@pytest.mark.parametrize("train, validation", [(uneven(14), uneven(5, seed=1)), (uneven(), uneven(5, seed=2))])
def test_resuming_with_other_data_is_refused(interrupted, train, validation):
    with pytest.raises(ValueError, match="Cannot resume.*data_sha256"):
        fit(train, validation, VOCAB, interrupted, QUICK, resume=True)


def test_starting_anew_over_an_interrupted_run_is_refused(interrupted):
    before = interrupted.with_suffix(".checkpoint").read_bytes()
    with pytest.raises(ValueError, match="add --resume"):
        fit(uneven(), uneven(5, seed=1), VOCAB, interrupted, QUICK)
    assert interrupted.with_suffix(".checkpoint").read_bytes() == before


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing to resume.*Leave out --resume"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "prior", QUICK, resume=True)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    (tmp_path / "prior.checkpoint").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="prior.checkpoint was not written by this library"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "prior", QUICK, resume=True)


def test_a_checkpoint_holds_plain_arrays_and_json(interrupted):
    arrays, facts = load_arrays(interrupted.with_suffix(".checkpoint"))
    assert {name.split(".")[0] for name in arrays} == {"network", "adam"}
    assert facts["settings"] == vars(QUICK)


@pytest.mark.parametrize(
    "train, validation, message",
    [
        ([], uneven(3), "0 to train on, 3 to validate"),
        (uneven(3), [], "3 to train on, 0 to validate"),
        ([np.array([0, 4])], uneven(3), r"0\.\.3"),
        ([np.array([0, -1])], uneven(3), r"0\.\.3"),
        (uneven(3), [np.array([], np.int64)], "at least one token"),
    ],
)
def test_sequences_that_cannot_be_trained_on_are_errors(tmp_path, train, validation, message):
    with pytest.raises(ValueError, match=message):
        fit(train, validation, VOCAB, tmp_path / "prior", QUICK)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_is_an_error_and_keeps_the_last_good_weights(tmp_path, monkeypatch):
    figures = iter([1.5, 1.4, math.nan])
    monkeypatch.setattr(pretrain, "mean_nll", lambda *_: next(figures))
    with pytest.raises(ValueError, match="nan after epoch 3.*learning rate"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "prior", QUICK)
    assert RecurrentPrior.load(tmp_path / "prior").card["training"]["best_epoch"] == 2


def test_a_place_where_nothing_can_be_written_shows_before_the_first_epoch(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(pretrain._Run, "epoch", lambda *_: pytest.fail("trained first"))
    with pytest.raises(OSError, match="file"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "file" / "prior", QUICK)
