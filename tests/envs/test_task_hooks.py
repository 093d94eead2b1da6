"""A task of the user's own adds options, files, columns and metrics to the commands of `python -m agents`."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest

from agents import PsiLearning
from agents.__main__ import main
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.task import EvaluateOptions, FurtherResults, RunLog, RunOptions, SampleOptions, TrainOptions
from toys.agent_toys import EXACT, SMALL
from toys.env_toys import ToyTask, toy_prior
from toys.molecule_runs import refused

ID = "WordsOfToys-v0"


def words(task, tokens, lengths):
    return ["".join(task.vocab.tokens[token] for token in row[:length]) for row, length in zip(tokens, lengths)]


@dataclass(frozen=True)
class Train(TrainOptions):
    """
    Args:
        bonus: what a step is worth.
    """

    bonus: float = 0.0


@dataclass(frozen=True)
class Sample(SampleOptions):
    formats = ("text", "upper")

    def export(self, agent, tokens, lengths):
        if self.format == "text":
            return super().export(agent, tokens, lengths)
        kept = [word.upper() for word in words(agent.task, tokens, lengths) if word != "."]
        return "".join(f"{word}\n" for word in kept), len(tokens) - len(kept)

    def write_files(self, folder, tokens, lengths):
        (folder / "lengths.txt").write_text(" ".join(map(str, lengths)))
        return "lengths.txt"


@dataclass(frozen=True)
class Evaluate(EvaluateOptions):
    letter: str = "a"

    def evaluator(self):
        def count(task, tokens, lengths):
            share = np.mean([self.letter in word for word in words(task, tokens, lengths)])
            return FurtherResults({"with_letter": float(share)}, {"letter": self.letter}, ("a line of its own",))

        return count


class Log(RunLog):
    """Keeps all words in memory; goes on from its own table."""

    files = ("words.csv",)

    def __init__(self, folder, task, num_timesteps):
        super().__init__(folder, task, num_timesteps)
        self.times = Counter()
        if num_timesteps:
            with open(folder / "words.csv", newline="") as file:
                self.times.update({row["word"]: int(row["times"]) for row in csv.DictReader(file)})

    def add(self, newest):
        assert newest.prior_log_probs.shape == (*newest.tokens.shape, 4) and set(newest.terms) == {"letter", "step"}
        self.times.update(words(self.task, newest.tokens, newest.lengths))

    def export(self):
        with open(self.folder / "words.csv", "w", newline="") as file:
            csv.writer(file).writerows([("word", "times"), *self.times.items()])

    def facts(self):
        return {"sequences": self.times.total()}

    def summary(self):
        return [f"{len(self.times)} distinct words"]


class Words(ToyTask):
    writes = "words"

    @classmethod
    def run_options(cls):
        return RunOptions(Train, Sample, Evaluate)

    @classmethod
    def run_log(cls):
        return Log


class WordsVectorEnv(SequenceTutorVectorEnv):
    task_type = Words

    def __init__(self, *, bonus=0.0, c=1.0, **kwargs):
        super().__init__(Words(weights={"step": bonus}), toy_prior(), c=c, **kwargs)


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register(ID, vector_entry_point=WordsVectorEnv)
    yield
    gymnasium.registry.pop(ID)


def train(out, *args, steps=300):
    settings = json.dumps({**SMALL, "n_envs": 8})
    main(["train", ID, "--steps", str(steps), "--out", str(out), "--settings", settings, *args])


def table(out):
    with open(out / "words.csv", newline="") as file:
        return {row["word"]: int(row["times"]) for row in csv.DictReader(file)}


def record(out):
    return json.loads((out / "run.json").read_text())


def test_a_run_has_the_options_files_and_facts_of_its_task(tmp_path, capsys):
    train(tmp_path, "--bonus", "2.5")
    agent = PsiLearning.load(tmp_path / "agent")
    assert agent.recipe == {"id": ID, "kwargs": {"bonus": 2.5}} and agent.task.weights["step"] == 2.5
    assert sum(table(tmp_path).values()) == record(tmp_path)["sequences"] == 8 * agent.rounds
    assert sum(times * len(word) for word, times in table(tmp_path).items()) == agent.num_timesteps
    assert f"{len(table(tmp_path))} distinct words" in capsys.readouterr().out


def test_an_environment_may_be_named_with_its_module(tmp_path, monkeypatch, capsys):
    imports, call = f"import gymnasium, {__name__} as own", "('Mine-v0', vector_entry_point=own.WordsVectorEnv)"
    (tmp_path / "words_of_mine.py").write_text(f"{imports}\ngymnasium.register{call}\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = json.dumps({**SMALL, "n_envs": 8})
    asked = ["--steps", "100", "--out", str(tmp_path / "out"), "--settings", settings, "--bonus", "3"]
    main(["train", "words_of_mine:Mine-v0", *asked])
    assert record(tmp_path / "out")["env_kwargs"] == {"bonus": 3.0} and table(tmp_path / "out")
    capsys.readouterr()
    main(["sample", str(tmp_path / "out"), "--format", "upper"])
    assert "lengths.txt" in capsys.readouterr().out
    gymnasium.registry.pop("Mine-v0")


def test_resume_gives_the_log_what_it_kept(tmp_path, capsys):
    train(tmp_path / "whole", steps=600)
    train(tmp_path / "parts")
    main(["train", ID, "--resume", "--steps", "600", "--out", str(tmp_path / "parts")])
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    again = ["train", ID, "--resume", "--steps", "900", "--out", tmp_path / "parts"]
    assert "--bonus is the saved one" in refused(capsys, *again, "--bonus", "1")


def test_samples_have_the_formats_and_files_of_the_task(tmp_path, capsys):
    train(tmp_path)
    agent = PsiLearning.load(tmp_path / "agent")
    tokens, lengths = agent.sample(30, seed=0)
    expected = [word.upper() for word in words(agent.task, tokens, lengths)]
    assert "." in expected
    capsys.readouterr()
    main(["sample", str(tmp_path), "-n", "30", "--format", "upper"])
    said = capsys.readouterr()
    assert said.out.splitlines() == [*(word for word in expected if word != "."), "lengths.txt"]
    assert f"{expected.count('.')} of 30 are no words and left out of the UPPER" in said.err
    assert (tmp_path / "lengths.txt").read_text() == " ".join(map(str, lengths))
    assert "--format must be one of text, upper, not lower" in refused(capsys, "sample", tmp_path, "--format", "lower")


def test_an_evaluation_has_the_metrics_and_facts_of_the_task(tmp_path, capsys):
    train(tmp_path)
    main(["evaluate", str(tmp_path), "-n", "50", "--letter", "b"])
    agent = PsiLearning.load(tmp_path / "agent")
    expected = np.mean(["b" in word for word in words(agent.task, *agent.sample(50, seed=0))])
    kept = json.loads((tmp_path / "evaluation.json").read_text())
    assert (kept["with_letter"], kept["letter"]) == (expected, "b") and 0 < expected < 1
    printed = capsys.readouterr().out
    assert "a line of its own" in printed and f"{expected:.4f}" in printed


def test_options_of_other_tasks_are_refused(tmp_path, capsys):
    train(tmp_path)
    assert "--objective is for agents that write molecules" in refused(capsys, "train", ID, "--objective", "a:b")
    assert "--midi is for agents that write melodies" in refused(capsys, "sample", tmp_path, "--midi")
    assert "--format sdf is for agents that write molecules" in refused(capsys, "sample", tmp_path, "--format", "sdf")
    with pytest.raises(SystemExit):
        main(["train", EXACT, "--bonus", "1", "--out", str(tmp_path / "other")])
    assert "bonus" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_help_lists_the_options_of_the_named_environment(capsys):
    for command, option, absent in ((["train", ID], "--bonus", "--objective"), (["train"], "--objective", "--bonus")):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        shown = capsys.readouterr().out
        assert option in shown and absent not in shown
