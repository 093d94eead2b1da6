"""`pretrain smiles --from`: what a small corpus makes of a prior that can write molecules, and warnings without one."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from rdkit import Chem

from seqtutor_envs.pretrain import main
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior.transfer import extend_prior
from seqtutor_envs.smiles import pretraining
from seqtutor_envs.smiles.pretraining import TRANSFER
from seqtutor_envs.smiles.vocab import END, decode, encode, find_relative
from seqtutor_envs.vocab import TokenVocab
from toys.interruptions import InterruptingBar
from toys.recurrent_toys import assert_same_weights, plain_nll, random_prior

CHAINS = [f"{'C' * i}{group}" for i in range(1, 13) for group in ("O", "N", "")]  # 36 molecules
SALTS = [f"{'C' * i}{group}" for i in range(1, 11) for group in ("[O-]", "[NH3+]", "S")]  # 30, with new tokens
BASE_TOKENS = ("C", "N", "O", END)


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch):
    monkeypatch.setattr(pretraining, "SAMPLES", 200)
    monkeypatch.setattr(pretraining, "WATCHED", 20)
    monkeypatch.setattr("seqtutor_envs.prior.transfer.SAMPLES", 60)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a base prior of chains, and the files that it was and is to be trained on."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "chains.smi").write_text("\n".join(CHAINS) + "\n")
    (folder / "salts.smi").write_text("\n".join(SALTS) + "\n")
    (folder / "junk.smi").write_text("nothing\nhere\n")
    fast = ["--epochs", "15", "--learning-rate", "0.03", "--batch-size", "8", "--hidden-size", "8"]
    main(["smiles", "--file", str(folder / "chains.smi"), "--out", str(folder / "base"), *fast])
    return folder


def train(home, *args):
    main(["smiles", "--file", str(home / "salts.smi"), "--from", str(home / "base"), *map(str, args)])


def test_a_prior_learns_new_tokens_and_both_corpora_are_measured_before_and_after(tmp_path, home, capsys):
    train(home, "--out", tmp_path / "p", "--epochs", 4)
    said = capsys.readouterr().out
    base, prior = RecurrentPrior.load(home / "base"), RecurrentPrior.load(tmp_path / "p")
    assert base.vocab.tokens == BASE_TOKENS
    # old ids stay, new tokens come in order, the end token is last
    assert prior.vocab.tokens == ("C", "N", "O", "S", "[NH3+]", "[O-]", END) and prior.vocab.end == 6
    card = json.loads((tmp_path / "p.json").read_text())
    facts = card["transfer"]
    assert facts["from"] == "base" and facts["weights_sha256"] == base.card["weights_sha256"]
    assert facts["new_tokens"] == ["S", "[NH3+]", "[O-]"]
    assert card["command"].endswith("pretrain smiles --file salts.smi --from base --epochs 4")
    assert {name: card["training"][name] for name in ("hidden_size", "num_layers", "cell", "learning_rate")} == {
        "hidden_size": 8, "num_layers": 1, "cell": "lstm", "learning_rate": TRANSFER.learning_rate
    }
    # before, by torch: 3 of 30 are held out; [NH3+] begins as N, [O-] as O, S as the mean
    texts = [[*text.partition("[")[0].replace("S", ""), *tail(text), END] for text in SALTS]
    counts = [sum(text.count(token) for text in texts) for token in prior.vocab.tokens]
    assert counts == [165, 0, 0, 10, 10, 10, 30]
    start = extend_prior(base, prior.vocab, counts, {"[NH3+]": "N", "[O-]": "O"}.get)
    rows = [prior.vocab.encode(text) for text in texts]
    held_out = [rows[i] for i in np.argsort([crc(text) for text in SALTS], kind="stable")[:3]]
    for when, model in (("before", start), ("after", prior)):
        nll = np.concatenate(plain_nll(model.weights, "lstm", held_out)).mean()
        assert facts["corpus"][when]["nll_per_token"] == pytest.approx(nll, rel=1e-4)
    assert facts["corpus"]["after"]["nll_per_token"] < facts["corpus"]["before"]["nll_per_token"]
    for when, model in (("before", base), ("after", prior)):
        got = facts["samples"][when]
        smiles = ["".join(model.vocab.decode(row[:n])).removesuffix(END) for row, n in zip(*model.sample(200, 0))]
        assert got["valid"] == np.mean([bool(text) and Chem.MolFromSmiles(text) is not None for text in smiles])
        assert got["with new tokens"] == np.mean([any(new in text for new in ("S", "[")) for text in smiles])
    assert facts["samples"]["before"]["with new tokens"] == 0 < facts["samples"]["after"]["with new tokens"]
    assert "from base, with 3 new tokens: S [NH3+] [O-]" in said
    assert f"{facts['base']['after']['nll_per_token']:12.4f}   60 samples of base" in said


def tail(text):
    return [text[text.index("[") :]] if "[" in text else ["S"]


def crc(text):
    return zlib.crc32(text.encode())


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, home, monkeypatch, capsys):
    args = ["--epochs", 4, "--batch-size", 8]
    train(home, *args, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "make_bar", InterruptingBar)
        InterruptingBar.left = 6  # in the second epoch of four batches each
        with pytest.raises(SystemExit) as exit_:
            train(home, *args, "--out", tmp_path / "parts")
        assert exit_.value.code == 130
    assert "--resume goes on" in capsys.readouterr().err.strip().splitlines()[-1]
    train(home, *args, "--out", tmp_path / "parts", "--resume")
    whole, parts = (RecurrentPrior.load(tmp_path / name) for name in ("whole", "parts"))
    assert_same_weights(whole.weights, parts.weights)
    assert whole.card == parts.card


def test_mistakes_are_one_line_and_leave_nothing(tmp_path, home, capsys):
    random_prior(end=4).save(tmp_path / "song")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    before = sorted(tmp_path.iterdir())
    base, salts = ["--from", home / "base"], ["--file", home / "salts.smi"]
    for args, expected in [
        ([*salts, "--from", "melody"], "melody is no prior of SMILES"),
        ([*salts, "--from", tmp_path / "song"], "song is no prior of SMILES"),
        ([*salts, "--from", "nowhere"], "No prior 'nowhere': give a shipped name"),
        ([*salts, "--from", tmp_path / "garbage"], "garbage.safetensors"),
        ([*salts, *base, "--cell", "gru"], "--cell gru cannot be had: the network is that of base, lstm."),
        ([*salts, *base, "--hidden-size", "256"], "--hidden-size 256 cannot be had: the network is that of base, 8."),
        ([*salts, *base, "--patience", "-1"], "patience must be a number of epochs, or 0 for never, not -1."),
        ([*salts, *base, "--respell", "-1"], "respell must be a number of epochs, or 0 for none, not -1."),
        ([*salts, *base, "--out", home / "base"], "--out would overwrite"),
        ([*salts, *base, "--vocabulary", "smiles", "--out", home / "base.safetensors"], "--out would overwrite"),
        (["--file", home / "junk.smi", *base], "junk.smi: no molecule in 2 records: 2 not SMILES."),
    ]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["smiles", "--out", str(tmp_path / "q"), *map(str, args)])
        said = capsys.readouterr().err
        said = said[said.rindex("python -m seqtutor_envs.pretrain: ") :].strip()
        assert exit_.value.code == 2 and expected in said and "\n" not in said, args
    assert [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".bloom"] == before


def test_few_molecules_from_scratch_are_warned_of_with_a_figure_and_the_remedy(tmp_path, home, capsys):
    """At once, before an hour of training; and after it, since it brought a prior that is worse than tables."""
    small = ["--hidden-size", "8", "--epochs", "1"]
    main(["smiles", "--file", str(home / "salts.smi"), "--out", str(tmp_path / "p"), *small])
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    card = RecurrentPrior.load(tmp_path / "p").card
    unigram, valid = card["baselines"]["unigram"], card["samples"]["valid"]
    assert card["validation"]["nll_per_token"] > unigram and valid < 0.8
    assert len(warned) == 2
    assert "30 molecules are few" in warned[0] and "--from smiles" in warned[0]
    assert f"no better than its own unigram ({unigram:.4f})" in warned[1]
    assert f"only {valid:.2%} of the samples are valid" in warned[1] and "--from smiles" in warned[1]


def test_a_prior_that_writes_molecules_is_not_warned_of(tmp_path, home, monkeypatch, capsys):
    monkeypatch.setattr(pretraining, "FEW", 36)
    monkeypatch.setattr(pretraining, "NGRAM_TOKENS", 3)  # a bigram is all there is to know of these chains
    fast = ["--epochs", "15", "--learning-rate", "0.03", "--batch-size", "8", "--hidden-size", "8"]
    main(["smiles", "--file", str(home / "chains.smi"), "--out", str(tmp_path / "p"), *fast])
    assert RecurrentPrior.load(tmp_path / "p").card["samples"]["valid"] > 0.8
    assert "warning: " not in capsys.readouterr().err


def test_the_first_epochs_write_the_same_molecules_from_other_atoms():
    written = ["CCO", "C[NH2+]CC(=O)[O-]", "OCCN"]
    vocab = TokenVocab(("C", "N", "O", "(", ")", "=", "[NH2+]", "[O-]", END), 8)
    rows, rng = [encode(vocab, smiles) for smiles in written], np.random.default_rng(0)
    drawn = [[decode(vocab, row) for row in pretraining.spell_anew(rows, vocab, 100, rng)] for _ in range(40)]
    for smiles, spellings in zip(written, zip(*drawn)):
        assert {Chem.CanonSmiles(spelling) for spelling in spellings} == {Chem.CanonSmiles(smiles)}
    assert {spellings[0] for spellings in drawn} == {"CCO", "C(C)O", "OCC"}
    # "C(C)O" has no token for its branch, or is too long: the molecule stays as it was
    short = TokenVocab(("C", "N", "O", END), 3)
    for vocab, most in ((short, 100), (vocab, 4)):
        row = [encode(vocab, "CCO")]
        assert {decode(vocab, pretraining.spell_anew(row, vocab, most, rng)[0]) for _ in range(40)} == {"CCO", "OCC"}


@pytest.mark.parametrize("args, epochs", [([], 3), (["--respell", "1"], 1), (["--respell", "0"], 0)])
def test_half_of_the_epochs_are_respelled_unless_told(tmp_path, home, monkeypatch, args, epochs):
    spell_anew, calls = pretraining.spell_anew, []
    monkeypatch.setattr(pretraining, "spell_anew", lambda *a: calls.append(0) or spell_anew(*a))
    train(home, "--epochs", 6, *args, "--out", tmp_path / "p")
    card = RecurrentPrior.load(tmp_path / "p").card
    assert len(calls) == epochs == card.get("respelled_epochs", 0)
    assert card["command"].endswith(" ".join(["--from base", *args, "--epochs 6"]))


def test_with_a_fixed_vocabulary_no_token_is_added(tmp_path, home):
    args = ["--file", home / "chains.smi", "--from", home / "base", "--vocabulary", home / "base", "--epochs", 1]
    main(["smiles", *map(str, args), "--out", str(tmp_path / "p")])
    prior = RecurrentPrior.load(tmp_path / "p")
    assert prior.vocab.tokens == BASE_TOKENS and prior.card["transfer"]["new_tokens"] == []


@pytest.mark.parametrize(
    "token, relative",
    [("[NH3+]", "N"), ("[C@@H]", "C"), ("[nH+]", "n"), ("[13CH3]", "C"), ("[Cl-]", "Cl"), ("[Na+]", "Na"), ("/", ""),
     ("7", ""), ("%12", ""), ("[se]", "se"), ("I", "")],
)  # fmt: skip
def test_a_bracket_atom_is_like_its_atom(token, relative):
    assert find_relative(token) == relative
