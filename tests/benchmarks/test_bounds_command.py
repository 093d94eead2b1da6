"""The command `bounds`: its rows, its file, the sequences it reads, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import bounds as command
from benchmarks.__main__ import main
from benchmarks.bounds import format_entries, list_questions, remember_scores, round_numbers
from benchmarks.domains import MELODY, SMILES
from benchmarks.experiment import Experiment
from benchmarks.report.load import load_folder
from benchmarks.runner import results
from benchmarks.suites import SUITES
from seqtutor_envs.bounds import Bounds, find_bounds
from seqtutor_envs.bounds.known import describe_task, make_key, read_entries
from seqtutor_envs.files.locks import lock_file
from seqtutor_envs.melody import MelodyTask
from seqtutor_envs.prior import find_prior
from seqtutor_envs.registry import Untrusted
from seqtutor_envs.smiles.task import SmilesTask
from toys.commands import refuse

EXACT = "SeqTutor-Exact-v0"
FEW = ["--samples", "256"]
# 32 notes, four times the same eight, with R = 247.93 and log p = -34.70: at c = .5 a mass of e**461.16
LOOP = [26, 23, 21, 19, 18, 16, 14, 1] * 4
MELODIES = Experiment(MELODY, "agents:PsiLearning", {"c": 0.5}, steps=1000)


def run(capsys, *words):
    main(["bounds", *map(str, words)])
    return capsys.readouterr().out


def write_result(folder, rows, experiment=MELODIES):
    path = results.result_path(folder, experiment)
    results.write(path, experiment, {"metrics": {"j": 1.0}, "samples": [{"tokens": row} for row in rows]})
    return path


def test_an_exact_task_is_enumerated(tmp_path, capsys):
    """The sum over the enumeration, here of all 81 sequences."""
    out = tmp_path / "b.json"
    kwargs = {"vocab_size": 3, "length": 4, "seed": 5}
    shown = run(capsys, EXACT, "--env-kwargs", json.dumps(kwargs), "--c", 0.5, 2, "--out", out)
    table = gym.make(EXACT, **kwargs).unwrapped.solution()
    for c, line in zip((0.5, 2.0), shown.splitlines()[2:]):
        log_z = np.logaddexp.reduce(table["prior_log_probs"] + table["task_returns"] / c)
        found = find_bounds(EXACT, {**kwargs, "c": c}, out)
        assert found.lower == found.upper == found.estimate == pytest.approx(log_z, abs=1e-5)
        assert line.split()[:3] == [f"{c:g}", f"{log_z:.3f}", "enumeration"]
    assert shown.splitlines()[-1] == str(out)


def test_the_temperature_is_the_environments_where_none_is_given(tmp_path, capsys):
    run(capsys, EXACT, "--out", tmp_path / "a.json")
    run(capsys, EXACT, "--env-kwargs", '{"c": 0.7}', "--out", tmp_path / "b.json")
    assert [read_entries(tmp_path / name)[0]["c"] for name in ("a.json", "b.json")] == [1.0, 0.7]


def test_melodies_have_a_row_for_each_temperature_and_their_file_goes_on(tmp_path, capsys, monkeypatch):
    """What is there is not computed again; other options are, and rows of other temperatures stay."""
    out = tmp_path / "b.json"
    run(capsys, MELODY, *FEW, "--c", 50, "--out", out)
    before = read_entries(out)
    shown = run(capsys, MELODY, *FEW, "--c", 20, 50, "--out", out)
    after = read_entries(out)
    assert [one["c"] for one in after] == [20.0, 50.0] and after[1] == before[0]
    assert [line.split()[0] for line in shown.splitlines()[2:4]] == ["20", "50"]
    # -.15 is known from 40,000 samples; 256 are worth some tenths
    assert after[1]["bounds"]["estimate"] == pytest.approx(-0.15, abs=0.5)
    assert after[1]["bounds"]["lower"] <= -0.1
    monkeypatch.setattr("seqtutor_envs.bounds.log_z", lambda *_, **__: pytest.fail("computed again"))
    run(capsys, MELODY, *FEW, "--c", 20, "--out", out)
    with pytest.raises(pytest.fail.Exception):
        run(capsys, MELODY, *FEW, "--c", 20, "--seed", 1, "--out", out)
    assert read_entries(out) == after


def test_a_tail_is_drawn_once_for_all_temperatures(tmp_path, capsys, monkeypatch):
    """It is in the file, so that rows of other temperatures and numbers of samples use it later."""
    out = tmp_path / "b.json"
    tail = ("--tail", 290, 5_000)
    run(capsys, MELODY, *FEW, *tail, "--c", 20, "--out", out)
    monkeypatch.setattr("seqtutor_envs.bounds.draw_tail", lambda *_, **__: pytest.fail("drawn again"))
    run(capsys, MELODY, "--samples", 512, *tail, "--c", 10, 20, "--out", out)
    entries = read_entries(out)
    assert [one["c"] for one in entries] == [10.0, 20.0]
    for one in entries:
        assert one["bounds"]["upper_method"] == "importance sampling and tail"
        drawn = one["bounds"]["diagnostics"]["tail"]
        assert (drawn["above"], drawn["samples"], drawn["hits"]) == (290.0, 5_000, 0) and drawn["nodes"] > 38
        assert one["made"]["tail"] == [290.0, 5_000]
    run(capsys, MELODY, "--samples", 512, "--c", 20, "--out", out)  # which asks for none, and so takes no such row
    assert [one["bounds"]["upper_method"] for one in read_entries(out)][1] == "importance sampling"


def test_ctrl_c_keeps_the_rows_that_are_finished(tmp_path, capsys, monkeypatch):
    out, found = tmp_path / "b.json", []

    def log_z(env, **options):
        if found:
            raise KeyboardInterrupt
        found.append(env.c)
        return Bounds(1.0, "a", 1.0, 2.0, "b", 0.9, 1.5, "c", (1.0, 2.0))

    monkeypatch.setattr("seqtutor_envs.bounds.log_z", log_z)
    with pytest.raises(SystemExit) as end:
        main(["bounds", MELODY, "--c", "5", "7", "9", "--out", str(out)])
    said = capsys.readouterr()
    assert end.value.code == 130 and f"1 of 3 rows are in {out}; the same command computes the other 2." in said.err
    assert [one["c"] for one in read_entries(out)] == [5.0] and "2.000" in said.out


# ---------------------------------------------------------------- sequences of result files


def test_the_sequences_of_result_files_are_summed_up(tmp_path, capsys):
    """In folders below too, twice the same once; damaged, failed and other environments' files add none."""
    folder = tmp_path / "results"
    path = write_result(folder / "suite", [LOOP, LOOP, [14] * 32])
    one_hot = write_result(folder, [LOOP, LOOP[:8]], replace(MELODIES, env="SeqTutor-MelodyOneHot-v0"))
    write_result(folder, [[0, 1, 2, 0]], Experiment(EXACT, "benchmarks.contestants:prior"))
    results.write(results.failure_path(folder, MELODIES), MELODIES, {"reason": "it broke"})
    for name in (results.SUITE_FILE, results.BOUNDS_FILE):
        (folder / name).write_text("{}")
    shutil.copy(path, folder / "copy.json")
    path.write_text(path.read_text()[:-9])
    main(["bounds", MELODY, *FEW, "--c", ".5", "--results", str(folder), "--out", str(tmp_path / "b.json")])
    damaged, read, *_ = capsys.readouterr().out.splitlines()
    assert damaged.startswith(f"Left out: {path} is damaged (")
    # the second file has half a melody, the exact task's one sequence
    assert read == f"{MELODY}: 2 distinct sequences of --results; 2 others do not fit."
    found = find_bounds(MELODY, {"c": 0.5}, tmp_path / "b.json")
    assert 461.0 < found.lower < 461.5 and found.lower_method == "certified sum" and found.lower_probability == 1
    assert one_hot.exists() and read_entries(tmp_path / "b.json")[0]["made"]["sequences"].startswith("2 ")


def test_molecules_fit_if_they_end_once_or_at_the_horizon(tmp_path):
    """Token 24 is the shipped prior's end token."""
    from benchmarks.stored_sequences import read_stored, select_sequences

    good = [[0, 1, 24], [24], [3] * 6]
    bad = [[0, 1], [0, 24, 1, 24], [3] * 7, [0, 25, 24], [-1, 24], [3] * 5 + [0, 24]]
    write_result(tmp_path, good + bad, Experiment(SMILES, "agents:PsiLearning", steps=10))
    tokens, lengths = select_sequences(read_stored([tmp_path]), SMILES, SmilesTask(max_length=6))
    assert sorted(row[:n].tolist() for row, n in zip(tokens, lengths)) == sorted(good)
    assert tokens.shape == (3, 6) and (tokens[lengths == 1, 1:] == 25).all()


def test_a_report_takes_a_file_of_bounds_for_no_result(tmp_path):
    write_result(tmp_path, [LOOP])
    (tmp_path / results.BOUNDS_FILE).write_text('{"bounds": []}')
    assert load_folder(tmp_path).notes == []


# ---------------------------------------------------------------- twists


class SaidToBeAnAgent:
    """An agent's file cannot be trained here in no time: its twist proposes any token, and expects nothing."""

    def __init__(self, vocab):
        self.env, self.vocab, self.c = gym.make(MELODY), vocab, 10.0

    def twist(self):
        return self

    def initial_state(self, n):
        return (np.zeros(n),)

    def step(self, tokens, state):
        v = len(self.vocab)
        return np.full((len(tokens), v), -np.log(v), np.float32), np.zeros(len(tokens)), state


@pytest.fixture
def twist(monkeypatch):
    agent = SaidToBeAnAgent(gym.make(MELODY).unwrapped.task.vocab)
    monkeypatch.setattr("agents.evaluate.load.load_ours", lambda file, trust: agent)
    return agent


def test_a_twist_serves_every_temperature_and_says_where_it_was_learned(tmp_path, capsys, twist):
    shown = run(capsys, MELODY, *FEW, "--c", 50, 10, "--twist", "runs/psi", "--out", tmp_path / "b.json")
    (note,) = [line for line in shown.splitlines() if "The twist" in line]
    assert note.startswith("c = 50: ") and "c = 10" in note
    assert [one["made"]["twist"] for one in read_entries(tmp_path / "b.json")] == ["psi None", "psi None"]


def test_a_twist_of_other_tokens_is_refused(tmp_path, capsys, twist):
    twist.vocab = gym.make(EXACT).unwrapped.task.vocab
    said = refuse(capsys, main, "bounds", MELODY, *FEW, "--twist", "psi", "--out", tmp_path / "b.json")
    assert "vocabulary" in said


def test_an_agent_that_names_a_program_needs_its_users_word(tmp_path, capsys, monkeypatch):
    def refused(file, trust):
        raise Untrusted(file, {"objective": "somebodys:score"})

    monkeypatch.setattr("agents.evaluate.load.load_ours", refused)
    said = refuse(capsys, main, "bounds", MELODY, "--twist", "psi", "--out", tmp_path / "b.json")
    assert "objective='somebodys:score'" in said and said.endswith("add --trust if you trust where it comes from.\n")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["SeqTutor-Nothing-v0"], "SeqTutor-Nothing"),
        (["CartPole-v1"], "no environment of this library"),
        ([], "Which environment?"),
        ([MELODY, "--samples", "0"], "samples must be"),
        ([MELODY, "--c", "0"], "c must be"),
        ([MELODY, *FEW, "--c", "1e-6", "--weights", '{"repetition": 1e6}'], "c 1e-06"),
        ([MELODY, "--env-kwargs", '{"lenght": 8}'], "--env-kwargs: TypeError"),
        ([MELODY, "--c", "2", "--env-kwargs", '{"lenght": 8}'], "--env-kwargs: TypeError"),
        ([MELODY, "--workers", "2"], "no scoring processes"),
        ([MELODY, "--results", "missing"], "No such folder of results: missing"),
        ([MELODY, "--twist", "missing"], "No agent in missing"),
        ([MELODY, "--twist", find_prior("melody")], "holds no agent of this library"),
        (["--all", "--c", "2"], "--all has its own environments"),
        (["--all", MELODY], "--all has its own environments"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    assert says in refuse(capsys, main, "bounds", *words)
    assert not list(tmp_path.iterdir())


def test_results_without_a_sequence_that_fits_are_refused(tmp_path, capsys):
    write_result(tmp_path, [[0, 1, 2, 0]], Experiment(EXACT, "benchmarks.contestants:prior"))
    said = refuse(capsys, main, "bounds", MELODY, "--results", tmp_path, "--out", tmp_path / "b.json")
    assert f"None of the 1 sequences in --results is one of {MELODY}" in said


def test_another_file_is_not_written_over(tmp_path, capsys):
    out = tmp_path / "b.json"
    out.write_text('{"mine": 1}')
    assert "holds no bounds" in refuse(capsys, main, "bounds", EXACT, "--out", out)
    assert out.read_text() == '{"mine": 1}'


def test_a_second_command_does_not_write_the_same_file(tmp_path, capsys):
    with lock_file(tmp_path / "b.json"):
        said = refuse(capsys, main, "bounds", EXACT, "--out", tmp_path / "b.json")
    assert "Another run is writing" in said


# ---------------------------------------------------------------- what is shipped


def test_all_is_every_temperature_of_the_suites():
    found = {(one.env, json.dumps(one.env_kwargs.get("term_weights"))): one.temperatures for one in list_questions(0)}
    qed = json.dumps({"logp": 0.0, "ring": 0.0, "sa": 0.0, "valid": 0.0})
    assert found == {
        (MELODY, "null"): (0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 20.0, 50.0),
        (MELODY, json.dumps({"repeated_motif": 0.5, "unique_extremes": 3.0})): (2.0,),
        (SMILES, "null"): (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        (SMILES, qed): (0.01, 0.02, 0.05, 0.1, 0.2),
    }


@pytest.mark.parametrize("env_id", [MELODY, SMILES])
def test_every_task_of_the_suites_has_shipped_bounds(env_id):
    """Where the prior is shipped too, and no objective is asked."""
    usual, checked = describe_task(env_id, {}), set()
    for one in (one for suite in SUITES.values() for one in suite.experiments):
        task = describe_task(one.env, one.env_kwargs)
        if task is None or (task["env"], task["prior"]) != (env_id, usual["prior"]) or "objective" in one.env_kwargs:
            continue
        found = find_bounds(one.env, one.env_kwargs)
        assert found is not None, one
        assert found.lower <= found.estimate and found.lower <= found.upper and found.interval[0] <= found.interval[1]
        checked.add(make_key(task))
    assert len(checked) >= 8


def test_a_scorer_remembers_the_samples_of_every_temperature():
    task = SmilesTask(max_length=20)
    before = task.scorer
    remember_scores(task, 1_000)
    assert task.scorer is before
    remember_scores(task, before.cache_size)
    assert task.scorer.cache_size > 2 * before.cache_size and task.scorer.spec == before.spec


def test_numbers_are_rounded_wherever_they_stand():
    assert round_numbers({"a": [1.23456789, 3], "b": {"c": -np.inf}, "d": "x"}) == {
        "a": [1.2346, 3], "b": {"c": None}, "d": "x"
    }


def test_a_table_has_the_methods_the_notes_and_the_weights():
    known = Bounds(
        1.0, "certified sum", 1.0, np.inf, "none", 1.0, 1.5, "sequential Monte Carlo", (1.25, 1.75),
        {"importance_sampling": {"effective": 1234.5}, "smc": {"distinct": 0.875}}, ("Too few.",),
    )
    entry = {"env": MELODY, "c": 2.0, "env_kwargs": {"length": 16}, "bounds": known.to_json()}
    shown = format_entries([{**entry, "made": {"seconds": 3.21}}])
    head, names, row, note = shown.splitlines()
    assert head == f"{MELODY}, length=16" and note == "c = 2: Too few."
    assert row.split("  ") and [part for part in row.split("  ") if part.strip()] and "1.250 .. 1.750" in row
    assert all(text in row for text in ("certified sum", "inf", "1,234", "88%", "3.2")) and names.startswith("c ")
    assert command.format_entries([]) == ""


def test_sequences_in_text_files_count_and_damaged_ones_are_named(tmp_path):
    from benchmarks.stored_sequences import read_stored, select_sequences

    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "loops.sequences").write_text(f"{MELODY}\n" + "14 21 16 11 " * 8 + "\n\n" + "14 1 " * 16)
    (tmp_path / "short.sequences").write_text("SeqTutor-MelodyOneHot-v0\n14 21 16\n")
    (tmp_path / "broken.sequences").write_text(f"{MELODY}\n14 x\n")
    (tmp_path / "empty.sequences").write_text("")
    stored = read_stored([tmp_path])
    tokens, lengths = select_sequences(stored, MELODY, MelodyTask())
    np.testing.assert_array_equal(tokens, [[14, 1] * 16, [14, 21, 16, 11] * 8])
    np.testing.assert_array_equal(lengths, [32, 32])
    assert [line.split(" holds no sequences")[0].rpartition("/")[2] for line in stored.damaged] == [
        "broken.sequences", "empty.sequences",
    ]
