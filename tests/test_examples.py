"""The examples do what they say: the PPO reaches the optimum that enumeration knows, peptides are scored as by hand."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from agents.evaluate import evaluate
from seqtutor_envs.exact import objective
from toys.agent_toys import EXACT, enumerated_log_probs
from toys.forbidding import FORBIDDING, is_legal

ROOT = Path(__file__).parents[1]
PPO = ROOT / "examples" / "cleanrl_ppo.py"
CLOSE = 0.05  # nats from log Z; three seeds end between .008 and .03


def loaded(path):
    """The file as a module: `examples` is no package, and others may have installed one of that name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ppo = loaded(PPO)
peptides = loaded(ROOT / "examples" / "peptides.py")


def enumerated(id, **kwargs):
    return gym.make(id, **kwargs).unwrapped.solution()


def sequence_log_probs(agent, id, solution, **kwargs):
    """log pi of every enumerated sequence."""
    state = agent.initial_state(len(solution["sequences"]))

    def log_pi(t, observation, infos, actions):
        nonlocal state
        policy, _, state = agent(ppo.one_step(observation), torch.full((1, len(actions)), float(t == 0)), state)
        return policy.log_prob(actions[None])[0]

    return enumerated_log_probs(log_pi, id, solution, "dict", **kwargs)


def gap(agent, id, solution, **kwargs):
    """log Z - J, exactly: the sum over all sequences."""
    return solution["log_z"] - objective(solution, sequence_log_probs(agent, id, solution, **kwargs))


@pytest.fixture(scope="module")
def trained():
    return ppo.train(ppo.Args(env_id=EXACT, total_timesteps=30_000))


def test_ppo_comes_near_the_enumerated_optimum(trained):
    solution = enumerated(EXACT)
    torch.manual_seed(0)
    untrained = ppo.Agent(gym.make(EXACT, obs_mode="dict").observation_space, ppo.Args.hidden_size)
    assert gap(untrained, EXACT, solution) > 1
    assert gap(trained, EXACT, solution) < CLOSE


def test_the_judge_sees_the_policy_that_was_trained(trained):
    """Mean return and J are the enumerated ones, by 5 standard errors: `step` passes the state on as `train` does."""
    solution = enumerated(EXACT)
    expected = np.exp(sequence_log_probs(trained, EXACT, solution)) @ solution["task_returns"]
    verdict = evaluate(ppo.AgentRows(trained), EXACT, n=5000, obs_mode="dict")
    assert abs(verdict["task_return"] - expected) < 5 * verdict["task_return_se"] < 0.1
    assert abs(verdict["gap"] - gap(trained, EXACT, solution)) < 5 * verdict["gap_se"] < 0.05


def test_ppo_learns_under_a_mask():
    """Sequences that end at different steps, some tokens forbidden: allowed ones have all the probability."""
    solution = enumerated(FORBIDDING, length=4)
    assert set(solution["lengths"]) == {2, 3, 4}
    assert all(is_legal(tokens[:n]) for tokens, n in zip(solution["sequences"].tolist(), solution["lengths"]))
    agent = ppo.train(ppo.Args(env_id=FORBIDDING, env_kwargs={"length": 4}, total_timesteps=20_000, num_steps=16))
    assert gap(agent, FORBIDDING, solution, length=4) < CLOSE


def test_ppo_forgets_where_a_sequence_starts():
    agent = ppo.Agent(gym.make(EXACT, obs_mode="dict").observation_space, hidden_size=8)
    obs = {"token": torch.tensor([[2], [3]]), "step": torch.tensor([[4], [0]]), "action_mask": torch.ones(2, 1, 3)}
    first = {key: part[1:] for key, part in obs.items()}
    policies = {start: agent(obs, torch.tensor([[1.0], [start]]), agent.initial_state(1))[0] for start in (0.0, 1.0)}
    fresh = agent(first, torch.ones(1, 1), agent.initial_state(1))[0]
    assert torch.allclose(policies[1.0].logits[1], fresh.logits[0])
    assert not torch.allclose(policies[0.0].logits[1], fresh.logits[0])


def test_ppo_as_a_command_shows_j():
    """Near the optimum every sequence's R / c + log p - log pi is log Z: what is shown must be close, on both sides."""
    command = [sys.executable, PPO, "--env-id", EXACT, "--env-kwargs", "seed", "1", "--total-timesteps", "20000"]
    done = subprocess.run(
        [*command, "--judged", "64"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "9/9" in done.stderr and "Warning" not in done.stderr
    shown = [float(j) for j in re.findall(r"J=(-?[\d.]+)", done.stderr)]
    log_z = enumerated(EXACT, seed=1)["log_z"]
    assert shown[0] < log_z - 0.5 and abs(shown[-1] - log_z) < 0.25, (log_z, shown)
    verdict = ast.literal_eval(done.stdout.splitlines()[-1])
    assert np.isfinite(list(verdict.values())).all() and 0 < verdict["distinct"] <= 1


def test_peptides_are_an_environment():
    check_env(gym.make("Peptides-v0").unwrapped, skip_render_check=True)  # it draws no pictures
    envs = gym.make_vec("Peptides-v0", num_envs=2)
    envs.reset()
    envs.step(peptides.VOCAB.encode("KA"))
    *_, terminated, _, infos = envs.step(np.array([20, 11]))  # the end, K
    assert terminated.tolist() == [True, False]
    # K: charge 1, hydropathy -3.9; AK is not over
    assert infos["terms"]["charge"].tolist() == [-4.0, 0.0]
    assert infos["terms"]["hydropathy"] == pytest.approx([-3.9, 0.0])


def test_peptides_are_paid_for_charge_and_hydropathy():
    """By hand, KKI and DRA: charges 2 and 0, (-3.9 - 3.9 + 4.5) / 3 = -1.1 and (-3.5 - 4.5 + 1.8) / 3 = -2.0667."""
    tokens = np.stack([peptides.VOCAB.encode([*word, "<end>", "A"]) for word in ("KKI", "DRA")])
    terms = peptides.Peptides().terms(tokens, np.array([4, 4]))
    assert terms["charge"].tolist() == [[0, 0, 0, -3, 0], [0, 0, 0, -5, 0]]
    assert terms["hydropathy"][:, 3] == pytest.approx([-1.1, -6.2 / 3])


def test_the_prior_of_peptides_counts_pairs():
    begin = np.exp(peptides.Bigrams().step(np.array([peptides.VOCAB.start]), ())[0][0])
    first = [word[0] for word in peptides.KNOWN.split()]
    assert begin == pytest.approx([(first.count(text) + 0.1) / (5 + 2.1) for text in peptides.VOCAB.tokens])
    after = [two[1] for word in peptides.KNOWN.split() for two in zip(word, [*word[1:], "<end>"]) if two[0] == "W"]
    row = np.exp(peptides.Bigrams().step(peptides.VOCAB.encode("W"), ())[0][0])
    assert row == pytest.approx([(after.count(text) + 0.1) / (len(after) + 2.1) for text in peptides.VOCAB.tokens])


@pytest.mark.parametrize("agent, export", [("recurrent_ppo", "exact"), ("ppo", "distilled")])
def test_a_model_of_stable_baselines3_is_submitted(agent, export, tmp_path):
    pytest.importorskip("sb3_contrib")
    words = ["--steps", "8192", "-n", "100", "--sequences", "512", "--out", str(tmp_path / "mine")]
    command = [sys.executable, str(ROOT / "examples" / "submit_sb3.py"), agent, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "mine.json").read_text())
    assert card["policy"]["export"] == export and card["num_timesteps"] == 8_192
