"""`python -m benchmarks demo --only melodies`, short: every file it writes is read back."""

from __future__ import annotations

import signal
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate
from agents.sb3.budget import SecondsBudget
from benchmarks.__main__ import main
from benchmarks.demo import LearningCurve, Melodies, commands
from benchmarks.demo_settings import DemoSettings
from benchmarks.report.demo_page import MELODY_OBJECTIVE
from benchmarks.report.metrics import MELODY_TERMS, TABLE_1
from seqtutor_envs.melody.midi import canonical, from_midi
from seqtutor_envs.melody.rules import RULE_NAMES
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from toys.commands import refuse
from toys.demo_toys import assert_fetches_nothing, demo, files_in, results_of, small_prior

N, SECONDS = 200, 1.0


@pytest.fixture(scope="module")
def prior_path(tmp_path_factory):
    return str(small_prior(tmp_path_factory.mktemp("prior") / "small", MELODY_VOCAB, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, prior_path):
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    (out / "mine.txt").write_text("stays")
    (out / "table.txt").write_text("an older demonstration's")
    demo(out=out, seconds=SECONDS, n=N, seed=3, prior=prior_path, only="melodies")
    return out


@pytest.fixture(scope="module")
def results(folder):
    return results_of(folder)


@pytest.fixture(scope="module")
def part(results):
    return results["melodies"]


def test_every_file_is_there_and_no_other(folder):
    names = [f"melodies/{when}_{number}" for when in ("before", "after") for number in range(1, 9)]
    melodies = {f"{name}.{kind}" for name in names for kind in ("mid", "wav", "png")}
    own = {"report.html", "table.txt", "results.json", "learning_curve.png", "agent.safetensors"}
    assert files_in(folder) == own | melodies | {"mine.txt"}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert (folder / "mine.txt").read_text() == "stays"


@pytest.mark.parametrize(("when", "writer"), [("before", "prior"), ("after", "tutor")])
def test_melodies_are_the_first_samples_and_their_files_hold_them(folder, part, prior_path, when, writer):
    prior = FixedPolicy(RecurrentPrior.load(prior_path), 32)
    agent = PsiLearning.load(folder / "agent", trust=True) if writer == "tutor" else prior
    samples, _ = agent.sample(8, 3)
    assert [melody["tokens"] for melody in part["samples"][writer]] == samples.tolist()
    for number, tokens in enumerate(samples, start=1):
        path = folder / "melodies" / f"{when}_{number}"
        np.testing.assert_array_equal(from_midi(path.with_suffix(".mid"))[0], canonical(tokens))
        with wave.open(str(path.with_suffix(".wav"))) as sound:
            assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
            assert 6.0 <= sound.getnframes() / sound.getframerate() <= 8.0
            assert np.abs(np.frombuffer(sound.readframes(-1), "<i2")).max() > 10_000
        assert Image.open(path.with_suffix(".png")).size == (700, 350)
    width, height = Image.open(folder / "learning_curve.png").size
    assert width > 1000 and height > 300


def test_json_has_what_the_judge_says_of_the_saved_agent(folder, results, part, prior_path):
    agent = PsiLearning.load(folder / "agent", trust=True)
    tutor = evaluate(agent, "SeqTutor-Melody-v0", N, 3, prior=prior_path, c=2.0)
    assert part["metrics"]["tutor"] == pytest.approx({k: v if np.isfinite(v) else None for k, v in tutor.items()})
    prior = part["metrics"]["prior"]
    assert prior["kl"] == pytest.approx(0.0, abs=1e-5)
    assert prior["j"] == pytest.approx(prior["task_return"] / 2.0)  # J = E[R / c] - 0
    for writer in (prior, part["metrics"]["tutor"]):
        assert {row.key for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS)} <= set(writer)
        assert sum(writer[f"term_{name}"] for name in RULE_NAMES) == pytest.approx(writer["task_return"])
    assert part["metrics"]["paper_psi"]["leaps_resolved"] == 0.9
    assert results["settings"]["seed"] == 3 and part["agent"]["gamma"] == 1.0
    assert part["training"]["timesteps"] == agent.num_timesteps == part["training"]["rounds"] * agent.n_envs * 32
    assert part["training"]["seconds"] >= SECONDS and not part["training"]["interrupted"]
    assert {"seqtutor", "python", "torch", "numpy"} <= set(results["versions"])


def test_learning_curve_runs_from_the_start_to_the_budget(part):
    seconds = [point["seconds"] for point in part["curve"]]
    assert len(seconds) >= 3 and seconds == sorted(seconds)
    assert seconds[0] < SECONDS / 2 and seconds[-1] >= SECONDS
    assert all({"timesteps", "j", "task_return", "kl", "distinct"} <= set(point) for point in part["curve"])


def test_text_table_has_every_row_and_the_papers_figures(folder):
    text = (folder / "table.txt").read_text(encoding="utf-8")
    assert all(row.title in text for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS))
    assert "python -m benchmarks demo --out" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    papers = {"Excessively repeated": "0.02%", "Starts with tonic": "28.7%", "Autocorrelation, lag 2": "−0.01"}
    for title, paper in papers.items():
        assert lines[title].endswith(f" {paper}")


def test_page_is_whole_and_holds_all_it_shows(folder, part):
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = assert_fetches_nothing(source)
    played = [attributes["data-tokens"] for _, attributes in page.tags if attributes.get("class") == "play"]
    melodies = zip(part["samples"]["prior"], part["samples"]["tutor"])
    assert played == [" ".join(map(str, melody["tokens"])) for pair in melodies for melody in pair]
    rolls = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("class") == "roll"]
    assert len(rolls) == 16 and rolls[0] == f"Piano roll: {part['samples']['prior'][0]['notes']}"
    assert sum(attributes.get("class") == "plot" for _, attributes in page.tags) == 3
    words = " ".join(page.text)
    assert all(row.title in words for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS))
    assert "python -m benchmarks demo" in words and "28.7%" in words
    assert len(source) < 1_000_000


def test_ctrl_c_ends_the_learning_and_the_report_is_still_written(tmp_path, prior_path, monkeypatch, capsys):
    def interrupt(self):
        if self.model.rounds == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LearningCurve, "_on_rollout_end", interrupt)
    with pytest.raises(SystemExit) as end:
        demo(out=tmp_path / "out", seconds=500, n=20, prior=prior_path, only="melodies")
    assert end.value.code == 130
    assert "of 500 s; the report is about what was learned so far" in capsys.readouterr().err
    training = results_of(tmp_path / "out")["melodies"]["training"]
    assert training["interrupted"] and training["rounds"] == 3
    assert "Ctrl-C ended the fine-tuning" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        *(("--seconds", seconds, "--seconds must be above 0") for seconds in ("0", "-5", "nan", "inf")),
        ("--n", "1", "--n must be at least 2"),
        ("--molecule-seconds", "0", "--molecule-seconds must be above 0"),
        ("--n-molecules", "1", "--n-molecules must be at least 2"),
        ("--molecule-prior", "melody", "needs an end token"),
        ("--workers", "-1", "--workers must be at least 0"),
        ("--seed", "-1", "--seed must be at least 0"),
        *((option, "no such prior", "No prior 'no such prior'") for option in ("--prior", "--molecule-prior")),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, prior_path, capsys, option, value, words):
    given = {"--out": tmp_path / "out", "--prior": prior_path, option: value}
    assert words in refuse(capsys, main, "demo", *(word for pair in given.items() for word in pair))
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_folders_place_is_one_line_and_status_2(tmp_path, prior_path, capsys):
    (tmp_path / "out").write_text("a file")
    options = ("--out", tmp_path / "out", "--prior", prior_path, "--only", "melodies")
    assert "exists" in refuse(capsys, main, "demo", *options)


def test_a_short_demo_is_short_in_both_parts():
    settings = DemoSettings(Path("x"), seconds=5, n=500)
    assert (settings.seconds_of_molecules, settings.evaluated_molecules) == (5, 100)
    assert (DemoSettings(Path("x")).seconds_of_molecules, DemoSettings(Path("x")).evaluated_molecules) == (60, 2000)


def test_paper_is_the_papers_temperature_discount_and_targets():
    ours, papers = (Melodies(DemoSettings(Path("x"), paper=paper)).agent for paper in (False, True))
    assert (ours.c, ours.settings["gamma"], ours.settings["lam"]) == (2.0, 1.0, None)
    assert (papers.c, papers.settings["gamma"], papers.settings["lam"]) == (0.5, 0.5, 0.0)
    assert DemoSettings(Path("a b"), paper=True).command == (
        "python -m benchmarks demo --out 'a b' --seed 0 --seconds 60 --n 10000 --prior melody --min-distinct 0.995"
        " --paper --molecule-seconds 60 --n-molecules 2000 --molecule-prior smiles"
    )
    assert DemoSettings(Path("x"), only="molecules", molecule_seconds=3).command == (
        "python -m benchmarks demo --out x --seed 0 --only molecules --molecule-seconds 3 --n-molecules 2000"
        " --molecule-prior smiles"
    )


@pytest.mark.parametrize("distinct, goes_on", [(0.995, True), (0.98, False)])
def test_fine_tuning_ends_where_melodies_begin_to_repeat(distinct, goes_on):
    metrics = {"j": 0.0, "kl": 0.0, "task_return": 0.0, "distinct": distinct}
    budget = SecondsBudget(60.0)
    recorder = LearningCurve(budget, min_distinct=0.99)
    recorder.model = SimpleNamespace(num_timesteps=1, training_metrics=lambda: metrics)
    recorder._on_training_start()
    budget.spent = 1.0
    assert recorder._on_step() is goes_on and recorder.repeating is not goes_on
    recorder._on_training_end()


@pytest.mark.parametrize("out", [".", "..", "a b", "deep/er"])
def test_any_folder_has_its_next_commands(out):
    lines = commands(DemoSettings(Path(out))).values()
    assert all(line.startswith("python -m ") for line in lines)
    assert len({line.partition("--out ")[2] for line in lines if "--out" in line}) == 2
