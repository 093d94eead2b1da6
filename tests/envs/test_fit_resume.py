"""A training that is interrupted and resumed, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from seqtutor_envs.checks import Diverged
from seqtutor_envs.files import load_arrays, save_arrays
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.vocab import TokenVocab
from toys.interruptions import InterruptingBar
from toys.recurrent_toys import assert_same_weights, plain_nll, uneven

VOCAB = TokenVocab(("a", "b", "c", "d"))
QUICK = Settings(hidden_size=6, epochs=5, batch_size=4, chunk=5, learning_rate=1e-2)


def interrupted_fit(monkeypatch, batches, *args, **kwargs):
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "make_bar", InterruptingBar)
        InterruptingBar.left = batches
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            fit(*args, **kwargs)


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


# -- what is refused --------------------------------------------------------------------------------------------------

OTHERS = {
    "hidden_size": 5, "num_layers": 2, "cell": "gru", "epochs": 6, "batch_size": 3, "chunk": 4, "learning_rate": 0.5,
    "weight_decay": 0.1, "dropout": 0.1, "max_grad_norm": 1.0, "seed": 1, "epoch_size": 7, "warmup": 2,
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        interrupted_fit(patch, 6, uneven(), uneven(5, seed=1), VOCAB, folder / "prior", QUICK)
    return folder / "prior"


def test_every_setting_is_tried():
    assert OTHERS.keys() | {"precision"} == vars(Settings()).keys()


@pytest.mark.parametrize("name", OTHERS)
def test_resuming_with_another_setting_is_refused_by_name(interrupted, name):
    other = Settings(**{**vars(QUICK), name: OTHERS[name]})
    with pytest.raises(ValueError, match=f"Cannot resume.*{name}={getattr(QUICK, name)}, not {OTHERS[name]}"):
        fit(uneven(), uneven(5, seed=1), VOCAB, interrupted, other, resume=True)


def test_a_run_goes_on_under_another_precision_with_a_note(tmp_path, monkeypatch):
    """The checkpoint is a float32 run's that says bfloat16, which not every CPU has; the end is the float32 run's."""
    data = uneven(), uneven(5, seed=1), VOCAB
    whole = fit(*data, tmp_path / "whole", QUICK)
    interrupted_fit(monkeypatch, 9, *data, tmp_path / "parts", QUICK)
    arrays, facts = load_arrays(tmp_path / "parts.checkpoint")
    facts["settings"]["precision"] = "bfloat16"
    save_arrays(tmp_path / "parts.checkpoint", arrays, facts)
    with pytest.warns(UserWarning, match="parts.checkpoint was written with bfloat16 products; going on with float32"):
        resumed = fit(*data, tmp_path / "parts", QUICK, resume=True)
    assert_same_weights(whole.weights, resumed.weights)
    assert resumed.card == whole.card and whole.card["training"]["precision"] == "float32"


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
    monkeypatch.setattr(fitting, "mean_nll", lambda *_: next(figures))
    with pytest.raises(ValueError, match="nan after epoch 3.*learning rate"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "prior", QUICK)
    assert RecurrentPrior.load(tmp_path / "prior").card["training"]["best_epoch"] == 2


def test_a_place_where_nothing_can_be_written_shows_before_the_first_epoch(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(fitting._Run, "epoch", lambda *_: pytest.fail("trained first"))
    with pytest.raises(OSError, match="file"):
        fit(uneven(), uneven(3), VOCAB, tmp_path / "file" / "prior", QUICK)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_diverges_keeps_its_best_weights_and_says_so(tmp_path, monkeypatch, epoch):
    """The 13 sequences of `uneven` make four batches an epoch, of one chunk or more each."""
    out, losses, epochs = tmp_path / "prior.safetensors", fitting._losses, []
    begin = fitting._Run.epoch
    monkeypatch.setattr(fitting._Run, "epoch", lambda self, *args: epochs.append(1) or begin(self, *args))

    def broken(logits, targets):
        return losses(logits, targets) * (math.nan if len(epochs) == epoch and logits.requires_grad else 1.0)

    monkeypatch.setattr(fitting, "_losses", broken)
    with pytest.raises(Diverged) as error:
        fit(uneven(), uneven(3), VOCAB, out, QUICK)
    said = str(error.value)
    assert f"training diverged in epoch {epoch}: the loss is nan, the norm of its gradient nan" in said
    assert "learning_rate than 0.01" in said and "\n" not in said
    # before the first whole epoch nothing is worth keeping, and the next run begins without --resume
    assert out.exists() == out.with_suffix(".checkpoint").exists() == (epoch > 1)
    if epoch > 1:
        assert len(RecurrentPrior.load(out).card["training"]["history"]) <= 2
        assert all(np.isfinite(array).all() for array in RecurrentPrior.load(out).weights.values())
