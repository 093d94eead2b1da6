"""`python -m agents train | sample | evaluate`: what a user types, and one line for what a user mistypes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import PsiLearning
from agents.__main__ import main
from agents.evaluate.load import get_agent_classes
from toys.agent_toys import EXACT, assert_same_agents
from toys.molecule_runs import refused

ROOT = Path(__file__).parents[2]
SMALL = '{"n_envs": 16, "batch_size": 16, "buffer_size": 64, "updates_per_round": 1}'
MELODY = "SeqTutor-Melody-v0"


def train(out, *args, env=EXACT, steps=640, settings=SMALL):
    main(["train", env, "--steps", str(steps), "--out", str(out), "--settings", settings, *args])


# -- what works -------------------------------------------------------------------------------------------------------


def test_train_sample_evaluate(tmp_path, capsys):
    kwargs = {"vocab_size": 2, "length": 3, "seed": 5}
    train(tmp_path, "--seed", "3", "--c", "0.5", "--gamma", "0.9", "--lam", "0.2", "--env-kwargs", json.dumps(kwargs))
    agent = PsiLearning.load(tmp_path / "agent")
    assert agent.recipe == {"id": EXACT, "kwargs": {**kwargs, "c": 0.5}}
    assert (agent.seed, agent.c, agent.learner.settings.gamma, agent.learner.settings.lam) == (3, 0.5, 0.9, 0.2)
    assert agent.num_timesteps >= 640
    assert "rollout/j" in (tmp_path / "progress.csv").read_text()
    assert "PsiLearning after 672 tokens" in capsys.readouterr().out

    main(["sample", str(tmp_path), "-n", "4", "--seed", "1"])
    expected, _ = agent.sample(4, seed=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in lines] == [[f"t{token}" for token in row] for row in expected]

    main(["evaluate", str(tmp_path), "-n", "200", "--seed", "2"])
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert {"n", "seed", "j", "j_se", "kl", "task_return", "log_p", "distinct"} <= set(figures)
    assert f"{figures['j']:.4f} ± {figures['j_se']:.4f}" in printed


def test_melodies_are_written_as_midi(tmp_path, capsys):
    train(tmp_path, env=MELODY, steps=2 * 16 * 32)
    main(["sample", str(tmp_path), "-n", "2", "--midi"])
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["001.mid", "002.mid"]
    assert len(capsys.readouterr().out.splitlines()) == 4
    main(["evaluate", str(tmp_path), "-n", "50"])
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert {"excessively_repeated", "not_in_key", "starts_with_tonic", "leaps_resolved", "j"} <= set(figures)


def test_a_run_of_melodies_imports_no_rdkit(tmp_path):
    train = ["train", MELODY, "--steps", "512", "--out", str(tmp_path), "--settings", SMALL]
    runs = f"main({train!r}); main(['sample', {str(tmp_path)!r}, '-n', '1'])"
    code = f"import sys; from agents.__main__ import main; {runs}; print('rdkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("args", [[], ["train", MELODY], ["sample"], ["evaluate"], ["export"]])
def test_help_imports_no_torch(args):
    """It would take seconds."""
    at_exit = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    code = f"{at_exit}; from agents.__main__ import main; main({[*args, '--help']!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "usage: python -m agents" in done.stdout and done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name, agent_class", get_agent_classes().items())
def test_every_agent_is_trained_and_resume_goes_on_to_the_same_end(name, agent_class, tmp_path):
    """Q's exploration ends at a fixed step, for its schedule is otherwise half of what was asked for first."""
    settings = {"q": SMALL[:-1] + ', "epsilon_steps": 500}', "rl": SMALL[:-1] + ', "epsilon_steps": 500}'}
    without_replay = dict.fromkeys(("pg", "kl_ppo"), '{"n_envs": 16}')
    settings = {**settings, **without_replay}.get(name, SMALL)
    train(tmp_path / "whole", "--agent", name, steps=1280, settings=settings)
    train(tmp_path / "parts", "--agent", name, steps=640, settings=settings)
    train(tmp_path / "parts", "--resume", steps=1280)
    assert_same_agents(agent_class.load(tmp_path / "parts" / "agent"), agent_class.load(tmp_path / "whole" / "agent"))
    assert agent_class.load(tmp_path / "whole" / "agent").num_timesteps == 1280
    main(["evaluate", str(tmp_path / "parts"), "-n", "20"])
    first, second = (tmp_path / "parts" / log for log in ("progress.csv", "progress-640.csv"))
    assert len(first.read_text().splitlines()) == len(second.read_text().splitlines()) == 2


def test_ctrl_c_keeps_the_agent_and_resume_ends_where_an_uninterrupted_run_does(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "agents", "train", EXACT, "--out", str(out), "--settings", SMALL]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "--steps", "100000000"], cwd=ROOT, **pipes)
    give_up = time.monotonic() + 120
    while not ((out / "progress.csv").is_file() and (out / "progress.csv").stat().st_size):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "PsiLearning after" in printed
    assert "Interrupted" in error and "Traceback" not in error
    reached = PsiLearning.load(out / "agent").num_timesteps
    assert reached >= 640
    train(out, "--resume", steps=reached + 640)
    train(tmp_path / "whole", steps=reached + 640)
    assert_same_agents(PsiLearning.load(out / "agent"), PsiLearning.load(tmp_path / "whole" / "agent"))


# -- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, says",
    [
        (["SeqTutor-Melodi-v0"], "doesn't exist. Did you mean: `SeqTutor-Melody`"),
        (["no such id"], "Malformed environment ID"),
        (["CartPole-v1"], "no `prior` attribute"),
        ([EXACT, "--settings", '{"learning_rat": 1}'], "unexpected keyword argument 'learning_rat'"),
        ([EXACT, "--env-kwargs", '{"lenght": 4}'], "unexpected keyword argument 'lenght'"),
        ([EXACT, "--settings", "{tau: 1}"], "--settings must be a JSON object"),
        ([EXACT, "--env-kwargs", "[4]"], "--env-kwargs must be a JSON object"),
        ([EXACT, "--c", "0"], "c must be a positive, finite number"),
        ([EXACT, "--gamma", "1.5"], "gamma must be a finite number from 0 to 1, not 1.5"),
        ([EXACT, "--device", "gpu"], "device='gpu'"),
        ([EXACT, "--device", "meta"], "device='meta'"),
        ([EXACT, "--settings", '{"gamma": []}'], "gamma must be a finite number from 0 to 1, not []"),
        ([EXACT, "--settings", '{"diversity": 3}'], "--settings, --env-kwargs or --term-weights: TypeError"),
        ([EXACT, "--env-kwargs", '{"seed": {}}'], "seed must be an integer from 0"),
        ([EXACT, "--term-weights", '{"prefix": []}'], "The weight of 'prefix' must be a finite number"),
        ([EXACT, "--settings", '{"batch_size": 0}'], "batch_size must be an integer of at least 1"),
        ([EXACT, "--settings", '{"n_envs": -2}'], "n_envs must be an integer from 1 to 1,048,576"),
        ([EXACT, "--agent", "q", "--lam", "0.5"], "lam must be 0"),
        ([EXACT, "--agent", "reinvent", "--gamma", "0.9"], "--gamma: Reinvent has none: leave it out"),
        ([EXACT, "--agent", "rl", "--settings", '{"prior_weight": 1}'], "RLOnly has prior_weight 0"),
        ([EXACT, "--env-kwargs", '{"prior": "no_such_prior"}'], "No prior 'no_such_prior'"),
        ([MELODY, "--env-kwargs", '{"term_weights": {"kye": 1}}'], "No reward term is called 'kye'; the terms are"),
        ([EXACT, "--resume"], "No agent in"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(args, says, tmp_path, capsys):
    out = tmp_path / "out"
    assert says in refused(capsys, "train", *args, "--steps", "64", "--out", out)
    assert not (out / "agent.safetensors").exists()


def test_an_agent_is_not_overwritten(tmp_path, capsys):
    train(tmp_path, steps=64)
    before = (tmp_path / "agent.safetensors").read_bytes()
    assert "add --resume" in refused(capsys, "train", EXACT, "--steps", 64, "--out", tmp_path)
    assert "64 steps already" in refused(capsys, "train", EXACT, "--resume", "--steps", 64, "--out", tmp_path)
    assert (tmp_path / "agent.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_a_folder_without_an_agent_is_named(command, tmp_path, capsys):
    assert f"No agent in {tmp_path / 'none'}" in refused(capsys, command, tmp_path / "none")
    (tmp_path / "agent.safetensors").write_text("not an agent")
    assert "was not written by this library" in refused(capsys, command, tmp_path)


def test_a_temperature_of_zero_and_no_samples_are_mistakes(tmp_path, capsys):
    train(tmp_path, steps=64)
    assert "above 0" in refused(capsys, "sample", tmp_path, "--temperature", "0")
    assert "at least 1" in refused(capsys, "sample", tmp_path, "-n", "0")


def test_midi_of_what_is_no_melody_is_a_mistake(tmp_path, capsys):
    train(tmp_path, steps=64)
    assert "melod" in refused(capsys, "sample", tmp_path, "--midi")
    assert not (tmp_path / "samples").exists()
