"""Files that version 0.1.0 wrote load, can be continued, and are reported: see tests/fixtures/README.md.

Nothing here compares bits across machines. What is loaded is compared with what the files themselves say, read here by
safetensors and json alone.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents import GLearning, PsiLearning
from agents.baselines import PolicyGradient
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.chem import properties
from toys.commands import ROOT, run_module

FIXTURES = Path("tests/fixtures")  # relative, as the agents' files name their priors

AGENTS = {
    "agents/psi_melody": PsiLearning,
    "agents/g_exact": GLearning,
    "run_melodies/agent": PolicyGradient,
    "run_molecules/agent": PsiLearning,
}
PREFIXES = {  # of arrays in files, by what get_parameters calls them
    PsiLearning: {"learner.network": "network", "learner.target_network": "target"},
    GLearning: {"learner.network": "network", "learner.target_network": "target"},
    PolicyGradient: {"network": "network"},
}
SUITES = ["exact", "paper-melody", "paper-smiles"]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def file_content(path):
    """Arrays by name, and the JSON facts, of one of our safetensors files."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])


def data_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- agents


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_loads_with_the_parameters_that_are_in_its_file(name):
    arrays, facts = file_content(FIXTURES / f"{name}.safetensors")
    agent = AGENTS[name].load(FIXTURES / name, trust=True)
    assert type(agent).__name__ == facts["agent"]
    assert (agent.num_timesteps, agent.rounds) == (facts["num_timesteps"], facts["rounds"])
    assert (agent.seed, agent.n_envs) == (facts["seed"], facts["n_envs"])
    assert agent.rng.bit_generator.state == facts["rng"]
    parameters = agent.get_parameters()
    for part, prefix in PREFIXES[AGENTS[name]].items():
        own = [key for key in arrays if key.startswith(f"{prefix}.")]
        stored = {key.removeprefix(f"{prefix}."): arrays[key] for key in own}
        assert parameters[part].keys() == stored.keys()
        for key, array in stored.items():
            np.testing.assert_array_equal(parameters[part][key].numpy(), array)


@pytest.mark.parametrize("name", AGENTS)
def test_a_loaded_agent_samples_and_saves_what_it_loaded(name, tmp_path):
    agent = AGENTS[name].load(FIXTURES / name, trust=True)
    tokens, lengths = agent.sample(20, seed=3)
    assert len(tokens) == len(lengths) == 20
    log_pi = agent.log_prob(tokens, lengths)
    assert np.isfinite(log_pi).all() and (log_pi < 0).all()
    agent.save(tmp_path / "again")
    before, after = (file_content(path) for path in (FIXTURES / f"{name}.safetensors", tmp_path / "again.safetensors"))
    assert before[0].keys() <= after[0].keys()
    for key, array in before[0].items():
        np.testing.assert_array_equal(after[0][key], array)
    differing = {key for key in before[1] if before[1][key] != after[1][key]}
    assert differing <= {"versions", "settings"}
    # settings of before keep their values; later ones are as if they did not exist
    kept, settings = before[1]["settings"], after[1]["settings"]
    assert {key: settings[key] for key in kept} == kept
    added = {key: settings[key] for key in settings.keys() - kept.keys() if settings[key] is not None}
    assert added in ({}, {"scores": "free"})


def test_molecules_of_an_agent_are_told_from_those_of_its_prior(monkeypatch, tmp_path):
    shutil.copytree(FIXTURES / "run_molecules", tmp_path / "run")
    assert run_module("agents", "evaluate", tmp_path / "run", "-n", "400", "--seed", "2", "--trust") == 0
    found = json.loads((tmp_path / "run/evaluation.json").read_text())
    counts = json.loads((tmp_path / "run/run.json").read_text())["counts"]
    assert found["valid"] == pytest.approx(counts["valid"] / sum(counts.values()), abs=0.15)  # of 128 molecules
    rate = file_content(FIXTURES / "priors/smiles.bloom")[1]["false_positive_rate"]
    assert found["novelty_false_positive_rate"] == pytest.approx(rate)
    agent = PsiLearning.load(tmp_path / "run/agent", trust=True)
    written = set(canonical(agent.task.smiles(*agent.sample(400, seed=2))))
    known = set(canonical((FIXTURES / "molecules.smi").read_text().split()))
    assert found["novelty"] == pytest.approx(len(written - known) / len(written), abs=0.02)


def canonical(smiles):
    """Canonical SMILES of those that are molecules."""
    found = properties(smiles)
    return [name for name, valid in zip(found["canonical"], found["valid"]) if valid]


# ---------------------------------------------------------------- priors


@pytest.mark.parametrize("name", ["priors/melody", "priors/smiles", "interrupted/prior"])
def test_a_prior_loads_with_its_card(name):
    path = FIXTURES / f"{name}.safetensors"
    weights, facts = file_content(path)
    prior = RecurrentPrior.load(path)
    assert prior.weights.keys() == weights.keys()
    for key, array in weights.items():
        np.testing.assert_array_equal(prior.weights[key], array)
    assert prior.card == facts == json.loads(path.with_suffix(".json").read_text())
    assert (prior.cell, prior.hidden_size, prior.length) == (facts["cell"], facts["hidden_size"], facts["length"])
    assert list(prior.vocab.tokens) == facts["vocabulary"] and prior.vocab.end == facts["end"]


def test_samples_of_a_smiles_prior_are_as_valid_as_its_card_says():
    prior = RecurrentPrior.load(FIXTURES / "priors/smiles")
    tokens, lengths = prior.sample(1_000, 1)
    texts = ["".join(prior.vocab.tokens[t] for t in row[:n] if t != prior.vocab.end) for row, n in zip(tokens, lengths)]
    assert np.mean(properties(texts)["valid"]) == pytest.approx(prior.card["samples"]["valid"], abs=0.06)


# ---------------------------------------------------------------- going on


def test_a_run_of_melodies_goes_on(monkeypatch, tmp_path):
    run = shutil.copytree(FIXTURES / "run_melodies", tmp_path / "run")
    before = json.loads((run / "run.json").read_text())
    arguments = ["SeqTutor-Melody-v0", "--resume", "--trust", "--steps", "8000", "--out", run]
    assert run_module("agents", "train", *arguments) == 0
    after = json.loads((run / "run.json").read_text())
    assert after["sessions"][:-1] == before["sessions"]
    assert (after["sessions"][-1]["from_timestep"], after["num_timesteps"]) == (4096, 8192)  # rounds of 8 x 32 tokens
    for name in ("id", "env_kwargs", "agent", "settings", "n_envs", "seed", "c", "prior_sha256"):
        assert after[name] == before[name]
    assert (run / "progress.csv").read_text() == (FIXTURES / "run_melodies/progress.csv").read_text()
    steps = [int(row["time/total_timesteps"]) for row in data_of(run / "progress-4096.csv")]
    assert steps and all(4096 < step <= 8192 for step in steps)
    agent = PolicyGradient.load(run / "agent", trust=True)
    assert agent.num_timesteps == 8192 and agent.rounds == before["rounds"] + 16


def test_a_run_of_molecules_goes_on(monkeypatch, tmp_path):
    run = shutil.copytree(FIXTURES / "run_molecules", tmp_path / "run")
    before = json.loads((run / "run.json").read_text())
    names = [row["smiles"] for row in molecules_of(run)]
    assert len(names) == before["distinct_molecules"]
    arguments = ["SeqTutor-SMILES-v0", "--resume", "--trust", "--steps", "3000", "--workers", "0", "--out", run]
    assert run_module("agents", "train", *arguments) == 0
    after = json.loads((run / "run.json").read_text())
    assert after["sessions"][:-1] == before["sessions"]
    assert after["num_timesteps"] >= 3000
    rows = {row["smiles"]: row for row in molecules_of(run)}
    assert len(rows) == after["distinct_molecules"] > len(names)
    assert set(names) < set(rows)
    assert all(int(rows[name]["first_step"]) <= before["num_timesteps"] for name in names)
    found = file_content(run / "agent.safetensors")[0]
    assert len(found["diversity.seen.keys"]) == len(rows)  # what was written before still counts


def molecules_of(run):
    with gzip.open(run / "molecules.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_interrupted_training_of_a_prior_goes_on(monkeypatch, tmp_path):
    folder = shutil.copytree(FIXTURES / "interrupted", tmp_path / "interrupted")
    progress = file_content(folder / "prior.checkpoint")[1]["progress"]
    settings = {"hidden-size": 16, "epochs": 8, "epoch-size": 0, "learning-rate": 0.02, "warmup": 0, "max-length": 40}
    given = [word for name, value in settings.items() for word in (f"--{name}", value)]
    given += ["--precision", "float32", "--file", FIXTURES / "molecules.smi", "--out", folder / "prior.safetensors"]
    assert run_module("seqtutor_envs.pretrain", "smiles", "--resume", *given) == 0
    card = json.loads((folder / "prior.json").read_text())
    history = card["training"]["history"]
    assert history[: progress["epoch"]] == progress["history"] and len(history) == 8
    assert card["validation"]["nll_per_token"] < progress["best_nll"]
    assert not (folder / "prior.checkpoint").exists()
    assert RecurrentPrior.load(folder / "prior").card == card


# ---------------------------------------------------------------- results


@pytest.mark.parametrize("suite", SUITES)
def test_results_are_reported(suite, monkeypatch, tmp_path):
    results = [json.loads(path.read_text()) for path in (FIXTURES / "results" / suite).glob("*.json")]
    options = ["--html", "--markdown", "--csv", "--to", tmp_path]
    assert run_module("benchmarks", "report", suite, "--out", FIXTURES / "results" / suite, *options) == 0
    rows = {row["id"]: row for row in data_of(tmp_path / "results.csv")}
    assert rows.keys() == {result["id"] for result in results}
    points = data_of(tmp_path / "results-curves.csv")
    page, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    for result in results:
        row = rows[result["id"]]
        for name, value in result["metrics"].items():
            assert float(row[f"metrics.{name}"]) == pytest.approx(value)
        curve = [point for point in points if point["id"] == result["id"]]
        assert [int(point["timesteps"]) for point in curve] == [point["timesteps"] for point in result["curve"]]
        assert result["experiment"]["label"] in page and result["experiment"]["label"] in text
