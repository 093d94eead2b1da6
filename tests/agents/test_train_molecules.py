"""`python -m agents` for molecules: what is written, and what a user mistypes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from rdkit import Chem
from stable_baselines3.common.callbacks import BaseCallback

from agents import PsiLearning
from agents.__main__ import main
from seqtutor_envs.command import scoring_processes
from seqtutor_envs.registry import get_vector_class
from seqtutor_envs.smiles.runs.log import MoleculeLog
from seqtutor_envs.smiles.runs.options import MoleculeTrainOptions
from seqtutor_envs.task import RunLog
from toys.agent_toys import EXACT
from toys.molecule_runs import (
    MELODY,
    OBJECTIVE,
    SETTINGS,
    SMILES,
    molecules,
    options,
    record,
    refused,
    resume,
    train,
    valid_by_rdkit,
    working_folder,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    yield from working_folder(tmp_path, monkeypatch)


# -- what a run writes ------------------------------------------------------------------------------------------------


class Written(BaseCallback):
    """All sequences of a run, with the timesteps at the end of their round."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        new = self.model.newest
        vocab = self.model.prior.vocab
        for tokens, length, rows in zip(new.tokens, new.lengths, new.prior_log_probs):
            chosen = tokens[:length].tolist()
            text = "".join(vocab.tokens[token] for token in chosen if token != vocab.end)
            log_p = sum(float(rows[t, token]) for t, token in enumerate(chosen))
            self.rows.append((text, log_p, self.model.num_timesteps))


def test_the_csv_has_a_row_for_each_distinct_molecule_as_a_plain_loop_finds_them(home):
    train(home / "out", "--objective", "chemist:carbons", "--c", "0.1", "--seed", "3")
    written = Written()
    agent = PsiLearning.load(home / "out" / "agent", trust=True)
    again = PsiLearning(SMILES, seed=3, env_kwargs=agent.recipe["kwargs"], **SETTINGS)
    again.learn(1500, written)

    expected, reasons = {}, {"valid": 0, "invalid": 0}
    for text, log_p, step in written.rows:
        name = valid_by_rdkit(text)
        reasons["invalid" if name is None else "valid"] += 1
        if name is not None:
            first = expected.setdefault(name, {"log_p": log_p, "first": step, "times": 0})
            first |= {"last": step, "times": first["times"] + 1}
    assert any(row["times"] > 1 for row in expected.values()) and len(expected) > 20

    rows = molecules(home / "out")
    assert {row["smiles"] for row in rows} == set(expected)
    assert len(rows) == len(expected)
    for row in rows:
        known = expected[row["smiles"]]
        assert float(row["objective"]) == float(row["task_return"]) == row["smiles"].count("C") / 8
        assert float(row["prior_log_prob"]) == pytest.approx(known["log_p"], abs=1e-5)
        steps = known["first"], known["last"], known["times"]
        assert tuple(int(row[name]) for name in ("first_step", "last_step", "times_seen")) == steps
    returns = [float(row["task_return"]) for row in rows]
    assert returns == sorted(returns, reverse=True)
    counts = record(home / "out")["counts"]
    assert counts["valid"] == reasons["valid"] and sum(counts.values()) == len(written.rows)


def test_the_record_says_what_was_run(home, capsys):
    train(home / "out", "--objective", "chemist:carbons", "--clip", "None", "0.5", "--seed", "3", steps=200)
    said = record(home / "out")
    assert (said["id"], said["agent"], said["seed"]) == (SMILES, "PsiLearning", 3)
    assert said["env_kwargs"]["objective"] == "chemist:carbons"
    assert said["objective"]["path"] == "chemist:carbons"
    assert said["objective"]["source_hash"] == hashlib.sha256(OBJECTIVE.encode()).hexdigest()
    (session,) = said["sessions"]
    assert session["versions"]["rdkit"] and session["versions"]["python"]
    assert session["command"].startswith(f"python -m agents train {SMILES} --steps 200")
    assert session["started"] <= session["ended"]
    learned = PsiLearning.load(home / "out" / "agent", trust=True).num_timesteps
    assert session["to_timestep"] == said["num_timesteps"] == learned
    assert said["oracle"]["calls"] == said["distinct_molecules"] == len(molecules(home / "out"))
    assert f"{len(molecules(home / 'out'))} distinct molecules" in capsys.readouterr().out


def test_top_sdf_holds_the_best_molecules_with_coordinates_and_terms(home):
    train(home / "out", "--term-weights", '{"valid": 0, "qed": 1, "logp": 0, "sa": 1, "ring": 0}')
    rows = molecules(home / "out")
    assert {"qed", "sa"} <= set(rows[0]) and "ring" not in rows[0]
    drawn = list(Chem.SDMolSupplier(str(home / "out" / "top.sdf")))
    assert len(drawn) == min(100, len(rows)) >= 20
    for mol, row in zip(drawn, rows):
        assert Chem.MolToSmiles(mol) == row["smiles"]
        assert float(mol.GetProp("qed")) == pytest.approx(float(row["qed"]), rel=1e-4)
        assert mol.GetNumAtoms() == 1 or np.abs(mol.GetConformer().GetPositions()).max() > 0.5
        assert not mol.GetConformer().Is3D()


def test_molecules_whose_objective_failed_are_not_in_the_files_but_are_counted(home, capsys):
    train(home / "out", "--objective", "chemist:oxides", steps=600)
    said = capsys.readouterr().err
    assert "warning: The objective chemist:oxides" in said and "oxygen" in said and "objective.py" not in said
    names = [row["smiles"] for row in molecules(home / "out")]
    assert names and not any("O" in name for name in names)
    said = record(home / "out")
    assert said["counts"]["objective failed"] > 0
    assert said["oracle"]["calls"] > said["distinct_molecules"] == len(names)


def test_a_resumed_run_does_not_ask_again_what_it_knows(home):
    train(home / "out", "--objective", "chemist:noted", "--oracle-budget", "500", steps=600)
    before = (home / "asked.txt").read_text().split()
    resume(home / "out", 1500)
    asked = (home / "asked.txt").read_text().split()
    assert len(before) < len(asked) == len(set(asked)) == record(home / "out")["oracle"]["calls"]


def test_a_failure_of_the_session_before_stays_one(home):
    train(home / "out", "--objective", "chemist:oxides", steps=600)
    task = PsiLearning.load(home / "out" / "agent", trust=True).env.task
    log = MoleculeLog(home / "out", task, record(home / "out")["num_timesteps"])
    with closing(log._db) as db:
        failed = [name for (name,) in db.execute("SELECT smiles FROM molecules WHERE failed")]
    assert failed and {score.reason for score in task.objective(failed)} == {"objective failed"}
    assert task.objective.scored == 0


def test_an_objective_of_weight_0_is_not_asked(home, capsys):
    weights = ["--term-weights", json.dumps({"objective": 0, "qed": 1})]
    train(home / "out", "--objective", "chemist:noted", *weights, steps=600)
    assert not (home / "asked.txt").exists()
    assert record(home / "out")["oracle"] is None and len(molecules(home / "out")) > 10
    refusal = refused(capsys, *options(home / "b", "--objective", "chemist:noted", *weights, "--oracle-budget", "9"))
    assert "oracle_budget counts the scores of an objective, and its weight is 0" in refusal


def test_other_domains_have_checkpoints_and_a_record_but_no_molecules(tmp_path):
    main(["train", EXACT, "--steps", "64", "--out", str(tmp_path), "--settings", json.dumps(SETTINGS)])
    names = {path.name for path in tmp_path.iterdir()}
    assert {"agent.safetensors", "run.json"} <= names
    assert not {"molecules.csv.gz", "molecules.sqlite", "top.sdf", "agent-next.safetensors"} & names
    assert record(tmp_path)["id"] == EXACT and "counts" not in record(tmp_path)


# -- sample and evaluate ----------------------------------------------------------------------------------------------


def test_samples_as_text_smi_csv_and_sdf(home, capsys):
    train(home / "out", "--objective", "chemist:carbons", steps=200)
    agent = PsiLearning.load(home / "out" / "agent", trust=True)
    tokens, lengths = agent.sample(40, seed=1)
    strings = agent.task.smiles(tokens, lengths)
    canonical = [valid_by_rdkit(text) for text in strings]
    assert 5 < canonical.count(None) < 35 and "" in strings
    asked = ["sample", str(home / "out"), "-n", "40", "--seed", "1", "--trust"]
    capsys.readouterr()

    main(asked)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  (")[0] for line in lines] == [f"{n:3}  {text}" for n, text in enumerate(strings, start=1)]
    assert ["(valid)" in line for line in lines] == [name is not None for name in canonical]

    main([*asked, "--format", "smi"])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{text} {n}" for n, text in enumerate(strings, start=1) if text]
    assert f"{strings.count('')} of 40 are no molecules and left out of the SMI" in printed.err

    main([*asked, "--format", "csv", "--out", str(home / "samples.csv")])
    with open(home / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # a spreadsheet would run what begins with "="
    assert [row["smiles"] for row in rows] == [f"'{text}" if text.startswith("=") else text for text in strings]
    assert [row["canonical"] or None for row in rows] == canonical
    assert [row["valid"] == "1" for row in rows] == [name is not None for name in canonical]
    assert [float(row["objective"]) for row in rows] == [(name or "").count("C") / 8 for name in canonical]
    assert [float(row["log_prob"]) for row in rows] == pytest.approx(agent.log_prob(tokens, lengths).tolist())

    main([*asked, "--format", "sdf", "--out", str(home / "samples.sdf")])
    assert f"{canonical.count(None)} of 40 are no molecules and left out of the SDF" in capsys.readouterr().err
    drawn = [Chem.MolToSmiles(mol) for mol in Chem.SDMolSupplier(str(home / "samples.sdf"))]
    assert drawn == [name for name in canonical if name is not None]


def test_evaluate_compares_with_a_reference(home, capsys):
    train(home / "out", "--term-weights", '{"qed": 0}', steps=200)
    agent = PsiLearning.load(home / "out" / "agent", trust=True)
    names = {valid_by_rdkit(text) for text in agent.task.smiles(*agent.sample(100, seed=4))} - {None}
    (home / "actives.smi").write_text("".join(f"{name} known\n" for name in sorted(names)[:3]) + "c1ccccc1 ring\n")
    asked = ["-n", "100", "--seed", "4", "--trust", "--reference", str(home / "actives.smi")]
    main(["evaluate", str(home / "out"), *asked])
    figures = json.loads((home / "out" / "evaluation.json").read_text())
    assert (figures["recovered"], figures["recovered_share"]) == (3, 0.75)
    assert 0 < figures["nearest_mean"] <= 1 and 0 < figures["share_above_0.4"] <= 1
    printed = capsys.readouterr().out
    assert f"{figures['recovered_share']:.4f}" in printed and "kl" in printed


# -- options ----------------------------------------------------------------------------------------------------------


def test_options_are_keywords_of_the_environment():
    assert MoleculeTrainOptions().env_kwargs() == {}
    given = MoleculeTrainOptions(
        require=("c1ccccc1", "[OH]"), range=("mw=200:500", "logp=:5"), constraints="soft", workers=3, clip=(None, 2.0)
    )
    assert given.env_kwargs() == {
        "require": ("c1ccccc1", "[OH]"),
        "ranges": {"mw": [200.0, 500.0], "logp": [None, 5.0]},
        "constraints": "soft",
        "workers": 3,
        "clip": (None, 2.0),
    }


def test_options_from_the_command_line_reach_the_environment(home):
    soft = ["--require", "CO", "--require", "CN", "--range", "mw=10:40", "--range", "hbd=:1", "--constraints", "soft"]
    more = ["--diversity", '{"bucket_size": 3}', "--objective", "chemist:carbons", "--transform", "step:low=.2,high=1"]
    train(home / "out", *soft, *more, steps=100)
    agent = PsiLearning.load(home / "out" / "agent", trust=True)
    assert agent.task.constraints.names == ("require CO", "require CN", "mw 10..40", "hbd <= 1")
    assert set(agent.task.weights) == {"objective", "constraints"}
    assert agent.diversity.settings.bucket_size == 3
    assert agent.task.objective.transform.name == "step"


def test_options_may_stand_before_the_environment(home):
    first, *rest = options(home / "out", steps=100)
    main([first, "--range", "mw=10:40", "--objective", "chemist:carbons", *rest])
    assert PsiLearning.load(home / "out" / "agent", trust=True).task.constraints.names == ("mw 10..40",)


def test_workers_are_the_cores_that_the_process_may_use(monkeypatch):
    for allowed, workers in ((1, 0), (2, 2), (12, 12)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=allowed: set(range(n)), raising=False)
        assert scoring_processes() == workers


def test_only_ids_of_molecules_keep_a_log_of_molecules():
    logs = [get_vector_class(name).task_type.run_log() for name in (SMILES, MELODY, EXACT, "CartPole-v1")]
    assert logs == [MoleculeLog, RunLog, RunLog, RunLog]


@pytest.mark.parametrize(
    "args, says",
    [
        (["--objective", "no_such_module:f"], "there is no module no_such_module"),
        (["--objective", "chemist:carbon"], "chemist has no carbon; its functions are: carbons"),
        (["--objective", "chemist:number"], "chemist:number is int"),
        (["--objective", "chemist.py"], "form package.module:name"),
        (["--require", "c1ccc"], "require: 'c1ccc' is no SMARTS"),
        (["--range", "mw=500:200"], "no value lies between"),
        (["--range", "mw=500"], "--range must be NAME=LOW:HIGH"),
        (["--range", "mw=1:2", "--range", "mw=1:3"], "--range is given twice"),
        (["--range", "weight=1:2"], "'weight' is no descriptor"),
        (["--oracle-budget", "5"], "oracle_budget belongs to an objective"),
        (["--term-weights", '{"ged": 1}'], "No reward term is called 'ged'"),
        (["--diversity", "yes"], "--diversity must be a JSON object"),
        (["--checkpoint-seconds", "0"], "checkpoint_seconds must be a finite number above 0, not 0.0"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(args, says, home, capsys):
    assert says in refused(capsys, *options(home / "out", *args))
    assert not (home / "out" / "agent.safetensors").exists()
    assert not (home / "out" / "molecules.csv.gz").exists()


DAMAGES = {
    "facts of another kind": "UPDATE facts SET value = '[1, 2]' WHERE name = 'counts'",
    "facts that are no JSON": "UPDATE facts SET value = '{' WHERE name = 'num_timesteps'",
    "no facts": "DROP TABLE facts",
    "no molecules": "DROP TABLE molecules",
    "broken pages": "",
}


def test_a_damaged_table_is_one_line(home, capsys):
    train(home / "whole", steps=300)
    for name, damage in DAMAGES.items():
        path = shutil.copytree(home / "whole", home / name) / "molecules.sqlite"
        if damage:
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(damage)
        else:
            content = path.read_bytes()
            path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        more = ["--steps", 600, "--out", home / name, "--workers", 0, "--trust"]
        says = refused(capsys, "train", SMILES, "--resume", *more)
        assert f"{path} was not written by this library, or is damaged (" in says


def test_an_objective_that_returns_no_list_of_scores_ends_the_run(home, capsys):
    with pytest.raises(SystemExit):
        train(home / "out", "--objective", "chemist:wrong")
    said = capsys.readouterr().err
    assert "must return" in said.splitlines()[-1] and "Traceback" not in said
    assert not (home / "out" / "agent.safetensors").exists()


def test_options_of_molecules_are_refused_where_they_would_be_ignored(home, capsys):
    out = home / "out"
    assert "--objective is for" in refused(capsys, "train", MELODY, "--objective", "chemist:carbons", "--out", out)
    assert "--range is for" in refused(capsys, "train", EXACT, "--range", "mw=1:2", "--out", out)
    assert not out.exists()
    main(["train", EXACT, "--steps", "64", "--out", str(out), "--settings", json.dumps(SETTINGS)])
    assert "write molecules" in refused(capsys, "sample", out, "--format", "sdf")
    assert "write molecules" in refused(capsys, "evaluate", out, "--reference", home / "prior.json")
    train(home / "mol", steps=100)
    again = ["train", SMILES, "--resume", "--trust", "--out", home / "mol"]
    assert "--forbid is the saved one" in refused(capsys, *again, "--forbid", "F")
    assert "no_such.smi" in refused(capsys, "evaluate", home / "mol", "--trust", "--reference", home / "no_such.smi")
