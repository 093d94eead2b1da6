"""`pretrain melody --from`: a prior goes on with other melodies; warnings of a corpus that is too small without one."""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs.melody import metrics, pretraining
from seqtutor_envs.melody.corpus import Corpus
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.pretrain import main
from seqtutor_envs.prior import RecurrentPrior
from toys.recurrent_toys import assert_same_weights, plain_nll, random_weights

SCALE = MELODY_VOCAB.encode(["C4", "D4", "E4", "F4", "G4", "A4", "B4", "C5"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a base prior of random weights, and 60 tunes, of which every tenth is held out."""
    weights = random_weights("lstm", 1, len(MELODY_VOCAB), hidden_size=8, scale=1.0)
    RecurrentPrior(weights, "lstm", MELODY_VOCAB, 32).save(tmp_path / "base")
    tokens = np.random.default_rng(0).choice(SCALE, (60, 40)).astype(np.uint8)
    split = (np.arange(60) % 10 == 0).astype(np.uint8)
    data = Corpus(tokens.reshape(-1), np.arange(0, 2401, 40), np.zeros(60, np.uint8), ("here",), split)
    data.save(tmp_path / "t.npz")
    monkeypatch.setattr(pretraining, "SAMPLES", 50)
    monkeypatch.setattr("seqtutor_envs.prior.transfer.SAMPLES", 30)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*args):
    main(["melody", "--tokens", "t.npz", *map(str, args)])


def test_a_prior_goes_on_with_other_melodies(home, capsys):
    train("--from", "base", "--out", "p", "--epochs", 3, "--learning-rate", 0.02)
    said = capsys.readouterr()
    base, prior = RecurrentPrior.load("base"), RecurrentPrior.load("p")
    facts = prior.card["transfer"]
    assert prior.vocab == MELODY_VOCAB and facts["new_tokens"] == [] and facts["from"] == "base"
    assert prior.card["command"].endswith("melody --tokens t.npz --from base --epochs 3 --learning-rate 0.02")
    with np.load("t.npz") as file:
        held_out = [row.astype(np.int64) for row in file["tokens"].reshape(60, 40)[::10]]
    sampled = [row[:n] for row, n in zip(*base.sample(30, 1))]
    for corpus, sequences in (("corpus", held_out), ("base", sampled)):
        for when, model in (("before", base), ("after", prior)):
            nll = np.concatenate(plain_nll(model.weights, "lstm", sequences)).mean()
            assert facts[corpus][when]["nll_per_token"] == pytest.approx(nll, rel=1e-4)
    assert facts["corpus"]["after"]["nll_per_token"] < facts["corpus"]["before"]["nll_per_token"]
    row = metrics.table(prior.sample(50, 0, 32)[0])
    assert facts["samples"]["after"] == {name: row[name] for name in pretraining.COMPARED}
    assert "from base\n" in said.out and "30 samples of base" in said.out and "not_in_key" in said.out
    assert "melodies are few" not in said.err


def test_epochs_that_make_it_worse_leave_the_prior_that_it_started_from(home):
    train("--from", "base", "--out", "p", "--learning-rate", 30, "--patience", 2)
    prior = RecurrentPrior.load("p")
    assert_same_weights(prior.weights, RecurrentPrior.load("base").weights)
    assert len(prior.card["training"]["history"]) == 2


def test_sixty_tunes_from_scratch_are_warned_of_with_a_figure_and_the_remedy(home, capsys):
    train("--hidden-size", 8, "--epochs", 1, "--learning-rate", 0.0001, "--out", "p")
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    baselines = RecurrentPrior.load("p").card["baselines"]
    assert len(warned) == 2 and all(line.endswith("--from melody.") for line in warned)
    assert "60 melodies are few for a prior from scratch" in warned[0]
    assert "Of 54 melodies came a weak prior: " in warned[1]
    assert f"no better than its own unigram ({baselines['unigram']:.4f})" in warned[1]


def test_mistakes_are_one_line(home, capsys):
    for args, expected in [
        (["--from", "smiles"], "smiles is no prior of melodies"),
        (["--from", "nowhere"], "No prior 'nowhere'"),
        (["--from", "base", "--num-layers", 2], "--num-layers 2 cannot be had: the network is that of base, 1."),
        (["--from", "base", "--out", "base"], "--out would overwrite base"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            train("--out", "q", *args)
        said = capsys.readouterr().err.strip()
        assert exit_.value.code == 2 and expected in said and "\n" not in said, args
    assert sorted(path.name for path in home.iterdir()) == ["base.json", "base.safetensors", "t.npz"]
