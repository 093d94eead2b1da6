"""What the tests of `python -m agents` for molecules share: a folder to run in, short runs, what they wrote."""

from __future__ import annotations

import csv
import gzip
import json
import sys

import pytest
from rdkit import Chem, RDLogger

from agents import PsiLearning
from agents.__main__ import main
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.vocab import smiles_vocab
from toys.agent_toys import assert_same_agents
from toys.recurrent_toys import random_weights

SMILES, MELODY = "SeqTutor-SMILES-v0", "SeqTutor-Melody-v0"
SETTINGS = {"n_envs": 16, "batch_size": 16, "buffer_size": 64, "updates_per_round": 1}
OBJECTIVE = '''
def carbons(smiles):
    """Share of carbons in at most eight atoms; RDKit's canonical SMILES of these molecules has a letter an atom."""
    return [text.count("C") / 8 for text in smiles]

def noted(smiles):
    """As carbons; what it is asked for goes into a file."""
    with open("asked.txt", "a") as file:
        file.writelines(text + "\\n" for text in smiles)
    return carbons(smiles)

def oxides(smiles):
    if any("O" in text for text in smiles):
        raise RuntimeError("oxygen")
    return [1.0 for _ in smiles]

def wrong(smiles):
    return [1.0] * (len(smiles) + 1)

number = 3
'''


def working_folder(path, monkeypatch):
    """`path` as the current folder, with a small random prior over chains of C, N, O and S, and an objective."""
    vocab = smiles_vocab(["C", "N", "O", "S", "="])
    weights = random_weights("lstm", 1, len(vocab), hidden_size=7, scale=1.0)
    RecurrentPrior(weights, "lstm", vocab, 8, {"note": "random"}).save(path / "prior")
    (path / "chemist.py").write_text(OBJECTIVE)
    monkeypatch.chdir(path)
    monkeypatch.syspath_prepend(path)
    yield path
    sys.modules.pop("chemist", None)


def options(out, *args, steps=1500):
    kwargs = json.dumps({"prior": str(out.parent / "prior.safetensors"), "max_length": 8})
    asked = ["train", SMILES, "--steps", str(steps), "--out", str(out), "--workers", "0"]
    return [*asked, "--env-kwargs", kwargs, "--settings", json.dumps(SETTINGS), *map(str, args)]


def train(out, *args, steps=1500):
    main(options(out, *args, steps=steps))


def resume(out, steps):
    main(["train", SMILES, "--resume", "--trust", "--steps", str(steps), "--out", str(out), "--workers", "0"])


def molecules(out):
    with gzip.open(out / "molecules.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def record(out):
    return json.loads((out / "run.json").read_text())


def assert_same_runs(a, b):
    assert_same_agents(*(PsiLearning.load(run / "agent", trust=True) for run in (a, b)))
    budget = record(a)["objective"] is not None and record(a)["objective"]["oracle_budget"] is not None
    for name in ("molecules.csv.gz", "top.sdf", *["calls.yaml"] * budget):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    for fact in ("num_timesteps", "counts", "distinct_molecules", "oracle", "objective", "prior_sha256"):
        assert record(a)[fact] == record(b)[fact]


def refused(capsys, *args):
    """The one line that the command says before it ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert len(error.splitlines()) == 1, error
    return error


def valid_by_rdkit(text):
    """Canonical SMILES, or None: the task asks for a carbon too, and nothing else can fail with these tokens."""
    RDLogger.DisableLog("rdApp.*")
    mol = Chem.MolFromSmiles(text) if text else None
    RDLogger.EnableLog("rdApp.*")
    return Chem.MolToSmiles(mol) if mol is not None and "C" in text else None
