"""`python -m seqtutor_envs.pretrain melody`: what it reads, names, counts and refuses, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqtutor_envs.melody.corpus import Corpus, split_of
from seqtutor_envs.melody.midi import write_midi
from seqtutor_envs.melody.pretraining import measure_prior, with_validation
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.pretrain import main
from seqtutor_envs.prior import RecurrentPrior, token_log_probs
from toys.melody_toys import write_bad_files

ROOT = Path(__file__).parents[3]
SCALE = MELODY_VOCAB.encode(["C4", "D4", "E4", "F4", "G4", "A4", "B4", "C5"])
SMALL = ["--hidden-size", "8", "--epochs", "1"]


def tunes(n, seed=0, length=48):
    """n melodies in C major: a note of the scale or a hold at every step, C4 first and last."""
    rng = np.random.default_rng(seed)
    melodies = np.where(rng.random((n, length)) < 0.5, 1, rng.choice(SCALE, (n, length)))
    melodies[:, 0] = melodies[:, -1] = SCALE[0]
    return melodies


def corpus(melodies, split=None, names=("here",), source=None):
    """As `Corpus.save` writes it."""
    return Corpus(
        tokens=np.concatenate(melodies).astype(np.uint8),
        offsets=np.cumsum([0, *map(len, melodies)], dtype=np.int64),
        source=np.array(source if source is not None else [0] * len(melodies), dtype=np.uint8),
        source_names=names,
        split=np.array(split if split is not None else [0] * len(melodies), dtype=np.uint8),
    )


def command(*args):
    return [sys.executable, "-m", "seqtutor_envs.pretrain", "melody", *map(str, args)]


def refused(capsys, *args):
    """What a command that ends with status 2 writes to standard error."""
    with pytest.raises(SystemExit) as exit_:
        main(["melody", *map(str, args)])
    assert exit_.value.code == 2
    return capsys.readouterr().err.strip()


def test_a_folder_of_good_and_bad_midi_files(tmp_path):
    """Names, reasons and counts of what is skipped; a prior from the rest, whose card says all of it."""
    folder = tmp_path / "songs" / "deep"
    folder.mkdir(parents=True)
    for i, tune in enumerate(tunes(8)):
        write_midi(tune, folder / f"tune{i}.mid")
    reasons = write_bad_files(tmp_path / "songs")
    out = tmp_path / "out" / "my.prior"
    done = subprocess.run(command("--midi", tmp_path / "songs", "--out", out, "--note", "mine", *SMALL),
                          capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    for name, reason in reasons.items():
        line = next(line for line in done.stdout.splitlines() if line.startswith("skipped") and name in line)
        assert reason in line
    assert f"skipped {len(reasons)} in all" in done.stdout
    assert "8 melodies, 384 tokens: 8 songs" in done.stdout
    assert "validation_nll=" in done.stderr  # the progress bar's
    prior = RecurrentPrior.load(out)
    assert (prior.vocab, prior.hidden_size, prior.length) == (MELODY_VOCAB, 8, 32)
    card = json.loads((tmp_path / "out" / "my.prior.json").read_text())
    assert card == prior.card
    assert sum(card["skipped"].values()) == len(reasons)
    assert card["sources"] == [{"name": "songs", "melodies": 8, "tokens": 384, "licence": "the user's own"}]
    assert card["split"]["train"] + card["split"]["validation"] + card["split"]["test"] == 8
    assert card["note"] == "mine" and card["command"].endswith("--hidden-size 8 --epochs 1")
    assert not out.with_name("my.prior.checkpoint").exists()


def test_mistakes_are_one_line(tmp_path, capsys):
    corpus(tunes(20)).save(tmp_path / "tunes.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    given = ["--tokens", tmp_path / "tunes.npz"]
    for args, expected in [
        ([], "exactly one of --midi FOLDER, --corpus music21 and --tokens"),
        ([*given, "--midi", tmp_path], "exactly one of"),
        (["--midi", tmp_path / "nowhere"], "nowhere"),
        (["--midi", tmp_path / "empty"], "No .mid or .midi file"),
        (["--tokens", tmp_path / "nowhere.npz"], "nowhere.npz"),
        (["--tokens", tmp_path / "garbage.npz"], "not an .npz"),
        ([*given, "--exclude", "jazz"], "no source 'jazz'; its sources are: here"),
        ([*given, "--out", tmp_path / "prior", "--resume"], "Nothing to resume"),
        ([*given, "--out", tmp_path / "garbage.npz" / "prior"], "garbage.npz"),
    ]:
        said = refused(capsys, *args)
        assert expected in said and said.startswith("python -m seqtutor_envs.pretrain: "), args
        assert "\n" not in said, args


def test_tokens_from_an_npz(tmp_path, capsys):
    """Its split is kept, a source can be left out, and the card's figures are those of the prior in the file."""
    melodies = [*tunes(30, length=40), *tunes(6, seed=1, length=50)]
    split = [0] * 20 + [1] * 6 + [2] * 4 + [0, 0, 0, 1, 1, 2]
    data = corpus(melodies, split, ("reels", "airds"), [0] * 30 + [1] * 6)
    data.save(tmp_path / "tunes.npz")
    main(["melody", "--tokens", str(tmp_path / "tunes.npz"), "--out", str(tmp_path / "all"), *SMALL])
    prior = RecurrentPrior.load(tmp_path / "all")
    card = prior.card
    assert (card["split"]["train"], card["split"]["validation"], card["split"]["test"]) == (23, 8, 5)
    assert [(source["name"], source["melodies"], source["tokens"]) for source in card["sources"]] == [
        ("reels", 30, 1200), ("airds", 6, 300)
    ]
    assert "public domain" in card["sources"][1]["licence"]
    assert "tunes.npz" in card["command"] and str(tmp_path) not in card["command"]

    def nll(melodies):
        return [-token_log_probs(prior.log_probs(tune[None]), tune[None])[0] for tune in melodies]

    for split_name, by_source in (("validation", ((20, 26), (33, 35))), ("test", ((26, 30), (35, 36)))):
        parts = {name: melodies[slice(*part)] for name, part in zip(("reels", "airds"), by_source)}
        parts_nll = {name: nll(part) for name, part in parts.items()}
        figures = card[split_name]
        for name, part in [*parts.items(), (None, sum(parts.values(), []))]:
            got = figures["by_source"][name] if name else figures
            each = parts_nll[name] if name else sum(parts_nll.values(), [])
            flat, tokens = np.concatenate(each), np.concatenate(part)
            assert got["nll_per_token"] == pytest.approx(flat.mean(), rel=1e-4)
            assert got["nll_per_onset"] == pytest.approx(flat.sum() / (tokens > 1).sum(), rel=1e-4)
            assert got["nll_at_onsets"] == pytest.approx(flat[tokens > 1].mean(), rel=1e-4)
            assert (got["melodies"], got["tokens"]) == (len(part), len(flat))
    assert card["baselines"].keys() == {"unigram", "bigram", "trigram"}
    out = capsys.readouterr().out
    assert f"validation nll {card['validation']['nll_per_token']:.4f} per token" in out
    assert measure_prior(prior, data) == {name: card[name] for name in ("validation", "test", "baselines")}

    given = ["--tokens", str(tmp_path / "tunes.npz"), "--exclude", "airds"]
    main(["melody", *given, "--out", str(tmp_path / "some"), *SMALL])
    less = RecurrentPrior.load(tmp_path / "some").card
    assert [source["name"] for source in less["sources"]] == ["reels"] and "--exclude airds" in less["command"]
    assert less["data_sha256"] != card["data_sha256"]


def test_a_few_melodies_are_split_too():
    """Where the hash of their opening leaves none to validate on, every tenth is held out."""
    few, by = with_validation(corpus(tunes(12)))
    assert "tenth" in by
    assert few.split.tolist() == [1] + [0] * 9 + [1, 0]
    assert [len(few.melodies(name)) for name in ("train", "validation", "test")] == [10, 2, 0]
    two, _ = with_validation(corpus(tunes(2), split=[2, 2]))
    assert two.split.tolist() == [1, 0]
    enough = corpus(tunes(3), split=[0, 1, 2])
    same, by = with_validation(enough)
    assert same is enough and by == "the data's own labels"
    many = tunes(200)
    by_opening = corpus(many, split=[split_of(np.array(tune)) for tune in many])
    same, by = with_validation(by_opening)
    assert same is by_opening and by.startswith("a hash")
    with pytest.raises(ValueError, match="Only one melody"):
        with_validation(corpus(tunes(1)))
