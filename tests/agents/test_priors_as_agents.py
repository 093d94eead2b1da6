"""A prior where an agent can stand: evaluated, sampled and learned from, by file, by shipped name or as an object."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agents import PsiLearning
from agents.__main__ import main
from agents.evaluate import evaluate
from seqtutor_envs.melody.render import render_ansi
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior, load_prior, token_log_probs
from toys.agent_toys import EXACT, made
from toys.molecule_runs import MELODY, SMILES, refused, working_folder
from toys.recurrent_toys import random_prior, random_weights

SHORT = {"length": 6}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The current folder, with a prior of molecules, two of melodies, and one of neither."""
    for folder in working_folder(tmp_path, monkeypatch):
        for name, seed in (("song", 1), ("other", 2)):
            weights = random_weights("lstm", 1, len(MELODY_VOCAB), 7, seed, scale=1.0)
            RecurrentPrior(weights, "lstm", MELODY_VOCAB, 32).save(folder / name)
        random_prior(end=4).save(folder / "unknown")
        yield folder


def kept(folder, name):
    return json.loads((folder / f"{name}.evaluation.json").read_text())


def log_p(prior, tokens):
    return token_log_probs(prior.log_probs(tokens), tokens).sum(axis=1)


# -- evaluated --------------------------------------------------------------------------------------------------------


def test_a_prior_is_evaluated_as_the_policy_that_it_is(home):
    """Its own samples, KL 0 to itself, and the KL to another prior by a plain sum."""
    song, other = load_prior("song"), load_prior("other")
    tokens, _ = song.sample(80, 3, 6)
    row = evaluate("song.safetensors", MELODY, 80, 3, length=6)
    assert row["log_p"] == pytest.approx(log_p(song, tokens).mean(), rel=1e-5)
    assert row["kl"] == pytest.approx(0.0, abs=1e-6) and row["j"] == pytest.approx(row["task_return"] / 2.0, rel=1e-5)
    assert evaluate(song, MELODY, 80, 3, length=6) == evaluate("song", MELODY, 80, 3, length=6) == row
    against = evaluate(song, MELODY, 80, 3, prior="other.safetensors", length=6)
    kl = (log_p(song, tokens) - log_p(other, tokens)).mean()
    assert against["kl"] == pytest.approx(kl, rel=1e-4) and against["task_return"] == row["task_return"]


def test_the_environment_is_found_by_the_tokens(home, capsys):
    main(["evaluate", "song.safetensors", "-n", "50", "--env-kwargs", json.dumps(SHORT)])
    found = kept(home, "song")
    assert found["env"] == MELODY and found["env_kwargs"] == {"prior": "song.safetensors", "length": 6}
    assert {name: found[name] for name in ("j", "kl")} == {
        name: evaluate("song", MELODY, 50, length=6)[name] for name in ("j", "kl")
    }
    assert "repeated_pitches" in capsys.readouterr().out
    main(["evaluate", "prior", "-n", "40"])
    found = kept(home, "prior")
    assert found["env"] == SMILES and found["env_kwargs"]["prior"] == "prior" and "valid" in found


def test_the_environment_and_its_prior_can_be_given(home):
    kwargs = json.dumps({**SHORT, "prior": "other"})
    main(["evaluate", "song", "-n", "50", "--env", f"seqtutor_envs:{MELODY}", "--env-kwargs", kwargs])
    found = kept(home, "song")
    assert found["env_kwargs"]["prior"] == "other"
    assert found["kl"] == evaluate("song", MELODY, 50, length=6, prior="other")["kl"] > 0.1


def test_a_shipped_name_is_a_prior_unless_a_folder_of_that_name_holds_an_agent(home, capsys):
    main(["evaluate", "melody", "-n", "20", "--env-kwargs", json.dumps(SHORT)])
    assert kept(home, "melody")["env"] == MELODY
    (home / "melody").mkdir()
    made(PsiLearning, EXACT, n_envs=16).save(home / "melody" / "agent")
    main(["evaluate", "melody", "-n", "20"])
    assert json.loads((home / "melody" / "evaluation.json").read_text())["env"] == EXACT


@pytest.mark.parametrize(
    "args, says",
    [
        (["unknown"], "unknown does not say which environment its tokens are of: add --env ID."),
        (["unknown", "--env", MELODY], "same vocabulary"),
        (["song", "--env", SMILES], "needs an end token"),
        (["nowhere"], "No agent in nowhere"),
        (["garbage.safetensors"], "garbage.safetensors was not written by this library"),
        (["cut.safetensors"], "cut.safetensors was not written by this library, or is damaged"),
        (["song", "--reference", "x.smi"], "--reference is for agents that write molecules"),
        (["song", "--env", "SeqTutor-Nothing-v0"], "SeqTutor-Nothing"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(args, says, home, capsys):
    (home / "garbage.safetensors").write_bytes(b"garbage" * 9)
    (home / "cut.safetensors").write_bytes((home / "song.safetensors").read_bytes()[:-9])
    before = sorted(home.iterdir())
    assert says in refused(capsys, "evaluate", *args)
    assert sorted(home.iterdir()) == before


def test_a_prior_of_other_tokens_is_refused_in_a_program(home):
    with pytest.raises(ValueError, match="same vocabulary"):
        evaluate(load_prior("unknown"), MELODY, 10, prior="song")


# -- sampled ----------------------------------------------------------------------------------------------------------


def test_samples_are_the_priors_own(home, capsys):
    main(["sample", "song.safetensors", "-n", "3", "--seed", "5", "--midi"])
    shown = capsys.readouterr().out.splitlines()
    tokens, _ = load_prior("song").sample(3, 5, 32)
    assert shown[:3] == [f"{n:3}  {render_ansi(row)}" for n, row in enumerate(tokens, start=1)]
    assert sorted(path.name for path in (home / "samples").iterdir()) == ["001.mid", "002.mid", "003.mid"]


def test_molecules_are_exported_as_an_agents_are(home, capsys):
    main(["sample", "prior", "-n", "6", "--format", "csv"])
    header, *rows = capsys.readouterr().out.splitlines()
    tokens, lengths = load_prior("prior").sample(6, 0, 100)
    vocab = load_prior("prior").vocab
    texts = ["".join(vocab.decode(row[:n])).removesuffix("<end>") for row, n in zip(tokens, lengths)]
    assert header.startswith("smiles,canonical,valid") and [row.split(",")[0].lstrip("'") for row in rows] == texts
    log_probs = np.array([[float(value) for value in row.split(",")[-2:]] for row in rows])
    np.testing.assert_allclose(log_probs[:, 0], log_probs[:, 1], atol=1e-5)  # log p and log pi


def test_a_prior_of_unknown_tokens_is_sampled_in_an_environment_that_is_named(home, capsys):
    assert "add --env ID" in refused(capsys, "sample", "unknown")
    main(["sample", "song", "-n", "2", "--env", MELODY])
    assert len(capsys.readouterr().out.splitlines()) == 2


# -- learned from -----------------------------------------------------------------------------------------------------


def test_an_agent_learns_from_a_prior_by_its_file(home, capsys):
    settings = ["--settings", '{"n_envs": 16, "batch_size": 16, "buffer_size": 64}']
    main(["train", MELODY, "--prior", "song.safetensors", "--steps", "600", "--out", "run", *settings])
    record = json.loads((home / "run" / "run.json").read_text())
    assert record["env_kwargs"] == {"prior": "song.safetensors"}
    assert record["prior_sha256"] == load_prior("song").card["weights_sha256"]
    (home / "song.safetensors").rename(home / "moved.safetensors")
    load_prior.__globals__["_load_once"].cache_clear()
    main(["train", MELODY, "--resume", "--prior", "moved.safetensors", "--steps", "1200", "--out", "run"])
    assert json.loads((home / "run" / "run.json").read_text())["num_timesteps"] >= 1200
    assert "another prior" in refused(
        capsys, "train", MELODY, "--resume", "--prior", "other", "--steps", "9000", "--out", "run"
    )


def test_a_prior_of_another_domain_is_refused(home, capsys):
    assert "needs an end token" in refused(capsys, "train", SMILES, "--prior", "song", "--out", "run")
    assert "No prior 'nowhere'" in refused(capsys, "train", SMILES, "--prior", "nowhere", "--out", "run")
    assert not (home / "run").exists()
