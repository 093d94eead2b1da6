"""Policies of agents as optima: `export`, planted tasks that are learned, files that name a policy."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest

from agents import PsiLearning, save_policy
from agents.__main__ import main
from agents.evaluate import evaluate
from seqtutor_envs.exact import kl_policy_optimum, solve
from seqtutor_envs.prior import load_prior
from seqtutor_envs.registry import Untrusted
from toys.agent_toys import EXACT, made
from toys.commands import refuse

PLANTED, MELODY = "SeqTutor-Planted-v0", "SeqTutor-Melody-v0"


def test_the_command_exports_a_policy_that_can_be_planted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["train", MELODY, "--steps", "3000", "--out", "tutor", "--env-kwargs", '{"length": 6}'])
    main(["export", "tutor", "--out", "mine", "--note", "six notes", "-n", "50"])
    assert capsys.readouterr().out.splitlines()[-1] == "mine.safetensors: an exact copy"
    card = json.loads((tmp_path / "mine.json").read_text())
    assert (card["note"], card["length"], card["env"]["id"]) == ("six notes", 6, MELODY)
    found = evaluate(load_prior("mine"), PLANTED, 50, policy="mine.safetensors", prior="melody", length=6)
    assert found["gap"] == pytest.approx(0.0, abs=1e-5) and found["kl"] != 0.0
    assert "No agent in nothing" in refuse(capsys, main, "export", "nothing", "--out", "mine")


def test_a_file_that_names_a_policy_needs_trust_and_a_shipped_one_does_not(tmp_path):
    policy = save_policy(made(PsiLearning, MELODY, n_envs=2, env_kwargs={"length": 4}), tmp_path / "mine", n=20)
    for name, named in ((str(policy), True), ("planted-melody", False)):
        kwargs = {"length": 4, "policy": name}
        file = made(PsiLearning, PLANTED, n_envs=2, env_kwargs=kwargs).save(tmp_path / "agent")
        if named:
            with pytest.raises(Untrusted, match="names policy="):
                PsiLearning.load(file)
        assert PsiLearning.load(file, trust=named).task.policy.inner.vocab == load_prior(policy).vocab


@pytest.mark.parametrize("every", [1, None])
def test_psi_learning_reaches_a_planted_optimum(every):
    """KL by enumeration of 27 sequences."""
    prior, policy = (gym.make(EXACT, length=3, seed=seed).unwrapped.prior for seed in (5, 6))
    kwargs = {"prior": prior, "policy": policy, "length": 3, "every": every}
    agent = PsiLearning(PLANTED, env_kwargs=kwargs)
    best = solve(agent.task, prior, 1.0)
    before = kl_policy_optimum(best, agent.log_prob(best["sequences"]))
    agent.learn(15_000)
    assert kl_policy_optimum(best, agent.log_prob(best["sequences"])) < 0.02 < 0.5 < before
