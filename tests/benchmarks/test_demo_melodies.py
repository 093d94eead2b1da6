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
from benchmarks.demo.learning import LearningCurve
from benchmarks.demo.melodies import OUR_C, TEMPERATURES, Melodies
from benchmarks.demo.run import commands
from benchmarks.demo.settings import DemoSettings
from benchmarks.report.demo_page import MELODY_OBJECTIVE
from benchmarks.report.metrics import MELODY_TERMS, RHYTHM, TABLE_1
from seqtutor_envs.melody.metrics import table
from seqtutor_envs.melody.midi import canonical, from_midi
from seqtutor_envs.melody.rules import RULE_NAMES
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from toys.commands import refuse
from toys.demo_toys import assert_fetches_nothing, demo, files_in, results_of, small_prior

N, SECONDS = 200, 1.5
OTHERS = [f"c{c:g}" for c in TEMPERATURES if c != OUR_C]


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
    assert len(OTHERS) == 2
    names = [f"melodies/{when}_{number}" for when in ("before", "after", *OTHERS) for number in range(1, 9)]
    melodies = {f"{name}.{kind}" for name in names for kind in ("mid", "wav", "png")}
    own = {"report.html", "table.txt", "results.json", "learning_curve.png", "agent.safetensors"}
    own |= {f"{other}/agent.safetensors" for other in OTHERS}
    assert files_in(folder) == own | melodies | {"mine.txt"}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert (folder / "mine.txt").read_text() == "stays"


@pytest.mark.parametrize("when", ["before", "after", *OTHERS])
def test_melodies_are_the_first_samples_and_their_files_hold_them(folder, part, prior_path, when):
    if when == "before":
        agent, shown = FixedPolicy(RecurrentPrior.load(prior_path), 32), part["samples"]["prior"]
    else:
        agent = PsiLearning.load((folder if when == "after" else folder / when) / "agent", trust=True)
        shown = part["tutors"][f"c = {agent.c:g}"]["samples"]
        assert agent.c == (OUR_C if when == "after" else float(when[1:]))
    samples, _ = agent.sample(8, 3)
    assert [melody["tokens"] for melody in shown] == samples.tolist()
    assert part["samples"]["tutor"] == part["tutors"][f"c = {OUR_C:g}"]["samples"]
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


def test_json_has_what_the_judge_says_of_the_saved_agents(folder, results, part, prior_path):
    told, tutors = part["metrics"], part["tutors"]
    assert list(tutors) == [f"c = {c:g}" for c in TEMPERATURES]
    assert told["tutor"] == tutors[f"c = {OUR_C:g}"]["metrics"] and part["c"] == OUR_C
    for where, one in zip([*OTHERS[:1], ".", *OTHERS[1:]], tutors.values()):
        agent = PsiLearning.load(folder / where / "agent", trust=True)
        tutor = evaluate(agent, "SeqTutor-Melody-v0", N, 3, prior=prior_path, c=one["c"])
        expected = {k: v if np.isfinite(v) else None for k, v in tutor.items()}
        assert {name: one["metrics"][name] for name in expected} == pytest.approx(expected)
        assert one["metrics"].keys() - expected.keys() == {"length_distance", "interval_distance"}
        training = one["training"]
        assert training["timesteps"] == agent.num_timesteps == training["rounds"] * agent.n_envs * 32
        assert training["seconds"] >= SECONDS / 3 and not training["interrupted"]
    assert told["prior"]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert told["prior"]["j"] == pytest.approx(told["prior"]["task_return"] / OUR_C)  # J = E[R / c] - 0
    for writer in (told["prior"], told["tutor"]):
        assert {row.key for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS, *RHYTHM)} <= set(writer)
        assert sum(writer[f"term_{name}"] for name in RULE_NAMES) == pytest.approx(writer["task_return"])
    assert told["paper_psi"]["leaps_resolved"] == 0.9
    assert results["settings"]["seed"] == 3 and part["agent"]["gamma"] == 1.0
    assert {"seqtutor", "python", "torch", "numpy"} <= set(results["versions"])


def test_distances_are_from_other_melodies_of_the_prior(part, prior_path):
    prior = FixedPolicy(RecurrentPrior.load(prior_path), 32)
    row = table(prior.sample(N, 3)[0], reference=prior.sample(N, 4)[0])
    for name in ("length_distance", "interval_distance", "length_entropy", "sixteenths", "commonest_opening"):
        assert part["metrics"]["prior"][name] == pytest.approx(row[name]), name
    assert row["length_distance"] > 0  # chance


def test_a_tutor_begins_with_what_the_one_before_has_learned(prior_path, monkeypatch):
    melody, said = np.array([[14, 1, 16, 1, 18, 1, 19, 1] * 4]), []

    def learn(agent, seconds, min_distinct, name):
        before = agent.log_prob(melody)
        agent.learn(2 * agent.n_envs * 32)
        said.append((name, seconds, before, agent.log_prob(melody)))
        return {"interrupted": False}, []

    monkeypatch.setattr("benchmarks.demo.melodies.fine_tune", learn)
    part = Melodies(DemoSettings(Path("x"), seconds=60, n=20, prior=prior_path))
    part.run()
    assert [one[:2] for one in said] == [(f"c = {c:g}", 20.0) for c in TEMPERATURES]
    for (*_, learned), (_, _, begun, after) in zip(said, said[1:]):
        np.testing.assert_array_equal(begun, learned)
        assert after != begun
    # the networks are apart again: what one goes on to learn leaves the others alone
    assert [agent.log_prob(melody) for agent in part.agents.values()] == [one[3] for one in said]


def test_learning_curve_runs_from_the_start_to_the_budget(part):
    seconds = [point["seconds"] for point in part["curve"]]
    assert len(seconds) >= 3 and seconds == sorted(seconds)
    assert seconds[0] < SECONDS / 3 and seconds[-1] >= SECONDS / 3
    assert all({"timesteps", "j", "task_return", "kl", "distinct"} <= set(point) for point in part["curve"])


def test_text_table_has_every_row_and_the_papers_figures(folder):
    text = (folder / "table.txt").read_text(encoding="utf-8")
    assert all(row.title in text for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS, *RHYTHM))
    assert "python -m benchmarks demo --out" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    papers = {"Excessively repeated": "0.02%", "Starts with tonic": "28.7%", "Autocorrelation, lag 2": "−0.01"}
    for title, paper in papers.items():
        assert lines[title].endswith(f" {paper}")


def test_page_is_whole_and_holds_all_it_shows(folder, part):
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = assert_fetches_nothing(source)
    played = [attributes["data-tokens"] for _, attributes in page.tags if attributes.get("class") == "play"]
    networks = [part["samples"]["prior"], *(one["samples"] for one in part["tutors"].values())]
    assert played == [" ".join(map(str, melody["tokens"])) for row in zip(*networks) for melody in row]
    rolls = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("class") == "roll"]
    assert len(rolls) == 32 and rolls[0] == f"Piano roll: {part['samples']['prior'][0]['notes']}"
    # KL and return: J is another objective at each temperature
    assert sum(attributes.get("class") == "plot" for _, attributes in page.tags) == 2
    words = " ".join(page.text)
    assert all(row.title in words for row in (*MELODY_OBJECTIVE, *TABLE_1, *MELODY_TERMS, *RHYTHM))
    for one in part["tutors"].values():
        assert f": KL {one['metrics']['kl']:.2f}, Return R " in words or f": KL {one['metrics']['kl']:.1f}," in words
    assert "python -m benchmarks demo" in words and "28.7%" in words
    assert len(source) < 1_000_000


def test_ctrl_c_ends_the_learning_and_the_report_is_still_written(tmp_path, prior_path, monkeypatch, capsys):
    def interrupt(self):
        if self.model.c == TEMPERATURES[1] and self.model.rounds == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LearningCurve, "_on_rollout_end", interrupt)
    with pytest.raises(SystemExit) as end:
        demo(out=tmp_path / "out", seconds=0.9, n=20, prior=prior_path, only="melodies")
    assert end.value.code == 130
    assert "of 0.3 s; the report is about what was learned so far" in capsys.readouterr().err
    tutors = results_of(tmp_path / "out")["melodies"]["tutors"]
    # the one before it is whole, the one after it is left out
    assert [one["training"]["interrupted"] for one in tutors.values()] == [False, True]
    assert list(tutors.values())[1]["training"]["rounds"] == 3
    assert (tmp_path / "out" / "agent.safetensors").is_file()
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
    ours, papers = (Melodies(DemoSettings(Path("x"), paper=paper)).agents for paper in (False, True))
    assert list(ours) == sorted(TEMPERATURES, reverse=True) and OUR_C in ours
    for c, agent in ours.items():
        assert (agent.c, agent.settings["gamma"], agent.settings["lam"]) == (c, 1.0, None)
    (papers,) = papers.values()
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
    assert len({line.partition("--out ")[2] for line in lines if "--out" in line}) == 3
