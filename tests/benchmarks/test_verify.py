"""`verify`: true cards hold, false ones are caught, whatever their own errors are; the page is what was found."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from agents import load, save_policy
from agents.evaluate import evaluate
from benchmarks.__main__ import main
from benchmarks.leaderboard.entries import find_entries, load_entry
from benchmarks.leaderboard.page import write_page
from benchmarks.leaderboard.verify import compare, recompute
from seqtutor_envs.files import FileError
from seqtutor_envs.prior import load_prior
from toys import fuzzing
from toys.commands import ROOT, refuse

MELODY = "SeqTutor-Melody-v0"
ENTRIES = [path for folder in ("agents/data", "docs/leaderboard") for path in find_entries(ROOT / folder)]
TASK = {"length": 8, "c": 7.0}
SMC = {"sampler": "smc", "settings": {"particles": 16}, "env": {"id": MELODY, "kwargs": TASK}, "description": "SMC"}


@pytest.fixture
def entry(tmp_path):
    """The prior of melodies as a submitted policy; n=2,000 are enough to tell a claim that is off by .5 nats."""
    save_policy(load_prior("melody"), tmp_path / "mine", MELODY, TASK, n=2_000)
    return tmp_path / "mine.safetensors"


def change(file, **metrics):
    card = json.loads(file.read_text())
    card["claims"]["metrics"] |= metrics
    file.write_text(json.dumps(card))


def verify(*words):
    """Return the exit status."""
    try:
        main(["verify", *map(str, words)])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def test_a_true_card_holds_and_what_was_found_is_kept(entry, capsys):
    assert verify(entry, "--env", MELODY) == 0
    said = capsys.readouterr().out
    assert said.count("holds") == 4 and "FALSE" not in said  # J, KL, return, distinct
    kept = json.loads(entry.with_name("mine.verified.json").read_text())
    expected = evaluate(load(entry), MELODY, 2_000, seed=1, **TASK)
    assert kept["verdict"] == "holds" and kept["metrics"]["j"] == expected["j"] and kept["n"] == 2_000


@pytest.mark.parametrize("name, shift", [("j", 2.0), ("kl", 0.2), ("task_return", 15.0), ("distinct", -0.1)])
def test_a_false_claim_is_caught(entry, capsys, name, shift):
    """Also where the card claims great errors, or few sequences, for what it says."""
    card = entry.with_suffix(".json")
    true = json.loads(card.read_text())["claims"]["metrics"][name]
    change(card, **{name: true + shift, f"{name}_se": 1e6})
    # the share of distinct sequences falls with their number, so it is compared at the same number only
    for n in (2_000, 1) if name != "distinct" else (2_000,):
        text = json.loads(card.read_text())
        text["claims"]["n"] = n
        card.write_text(json.dumps(text))
        assert verify(entry) == 1
        said = capsys.readouterr()
        assert said.out.count("FALSE") == 1 and said.err == "1 of 1 cards make a false claim\n"
        kept = json.loads(entry.with_name("mine.verified.json").read_text())
        assert kept["verdict"] == "false" and kept["false"] == [name] and kept["n"] == max(n, 1_000)


def test_other_weights_than_those_of_the_card_are_caught(entry, tmp_path, capsys):
    other = save_policy(load_prior("planted-melody"), tmp_path / "other", MELODY, TASK, n=50)
    entry.write_bytes(other.read_bytes())
    assert verify(entry) == 1
    assert "FALSE" in capsys.readouterr().out


def test_samplers_are_cards_alone_and_the_page_shows_what_was_found(entry, tmp_path, capsys):
    (tmp_path / "smc.json").write_text(json.dumps(SMC))
    change(entry.with_suffix(".json"), j=99.0)
    assert verify(tmp_path, "-n", 1_000, "--page", tmp_path / "page.md") == 1
    assert "no claims" in capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    header, smc, mine = rows[0], rows[1], rows[2]
    assert "99" not in page and header[0] == "agent"
    assert '-Melody-v0, c = 7\n\nKeywords: `{"length": 8}`\n' in page
    assert (smc[0], smc[-2], smc[-1]) == ("smc", "sampler", "no claims") and smc[1].startswith("≥ ")
    assert (mine[0], mine[-2], mine[-1]) == ("mine", "exact", "false")
    found = json.loads(entry.with_name("mine.verified.json").read_text())["metrics"]
    assert mine[1] == f"{found['j']:.2f} ± {1.96 * found['j_se']:.2f}".replace("-", "−")
    # changed since then: what was found is no longer of these entries
    sampler, policy = tmp_path / "smc.json", entry.with_suffix(".json")
    card = json.loads(policy.read_text())
    for file, changed in (
        (policy, card | {"weights_sha256": "0" * 64}),
        (policy, card | {"env": {"id": MELODY, "kwargs": {"c": 7.0}}}),
        (sampler, SMC | {"settings": {"particles": 2}}),
    ):
        file.write_text(json.dumps(changed))
        write_page(tmp_path / "page.md", [tmp_path])
        page = (tmp_path / "page.md").read_text()
        assert "| mine" not in page and ("| smc" in page) == (file == policy)
        assert f"{file.stem} was changed since it was verified: left out; verify it again." in capsys.readouterr().err


@pytest.mark.parametrize(
    "card, line",
    [
        ("[]", "holds no JSON object"),
        ('{"claims": {"metrics": {"j": "9"}}}', "claims no figures"),
        ('{"sampler": "luck", "env": {"id": "SeqTutor-Melody-v0", "kwargs": {}}}', "the samplers are prior, smc"),
        ('{"sampler": "smc", "settings": {"wrong": 1}, "env": {"id": "SeqTutor-Melody-v0", "kwargs": {}}}', "names no"),
        ('{"sampler": "smc"}', "names no sampler"),
        ("{}", "No prior"),
    ],
)
def test_a_damaged_card_is_one_line(tmp_path, capsys, card, line):
    (tmp_path / "bad.json").write_text(card)
    assert line in refuse(capsys, main, "verify", tmp_path / "bad.json")


def test_wrong_words_are_one_line(entry, tmp_path, capsys):
    assert "is for SeqTutor-Melody-v0, not for" in refuse(capsys, main, "verify", entry, "--env", "SeqTutor-Exact-v0")
    (tmp_path / "empty").mkdir()
    assert "holds no entry" in refuse(capsys, main, "verify", tmp_path / "empty")
    assert "Give the file of an agent" in refuse(capsys, main, "verify")
    load_prior("melody").save(tmp_path / "prior")
    assert "is a prior, no policy" in refuse(capsys, main, "verify", tmp_path / "prior.safetensors")


def test_damaged_cards_are_one_line_each(tmp_path):
    """300 of them: a card is read, or refused by what commands report in a line."""
    load_prior("melody").save(tmp_path / "card")
    claims = {"n": 50, "seed": 0, "metrics": {"j": 1.0, "j_se": 0.1, "kl": 2.0, "distinct": 1.0}}
    card = {**SMC, "sampler": "prior", "settings": {}, "claims": claims, "policy": {"export": "exact"}}
    found = {"n": 1_000, "metrics": {"j": 1.0, "j_se": 0.1, "kl": 2.0, "kl_se": 0.1, "distinct": 1.0}}
    read = 0
    for seed in range(300):
        rng = random.Random(seed)
        (tmp_path / "card.json").write_bytes(fuzzing.dump(fuzzing.mutate_json(card, rng), rng))
        try:
            entry = load_entry(tmp_path / "card.json")
            assert all(isinstance(check.holds, bool) for check in compare(entry.claims, found))
            read += 1
        except (FileError, ValueError, OSError):
            continue
    assert 30 < read < 300


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.name)
def test_the_claims_of_the_leaderboard_hold(path):
    """A sample: policies on 2,000 sequences, of which a seed of its own. Samplers take minutes."""
    entry = load_entry(path)
    if "sampler" in entry.card and entry.card["sampler"] != "prior":
        pytest.skip("a sampler that takes minutes")
    checks, kept = recompute(entry, 2_000 if entry.recipe["id"] == MELODY else 300, seed=2)
    assert [check.name for check in checks if not check.holds] == []
    stored = json.loads(path.with_name(f"{path.name}.verified.json").read_text())["metrics"]
    for name in ("j", "kl", "task_return"):
        apart = kept["metrics"][name] - stored[name]
        assert abs(apart) <= 4 * np.hypot(kept["metrics"][f"{name}_se"], stored[f"{name}_se"]), name


def test_the_page_is_that_of_its_entries(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    write_page(tmp_path / "page.md", [Path("agents/data"), Path("docs/leaderboard")])
    command = f"--page {tmp_path / 'page.md'}`"
    text = (tmp_path / "page.md").read_text("utf-8").replace(command, "--page docs/leaderboard.md`")
    assert text == (ROOT / "docs" / "leaderboard.md").read_text("utf-8")
