"""A learner that meets a number that is not finite stops, says so, and keeps its last finite state."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents import PsiLearning, QLearning
from agents.__main__ import PROGRAM, train
from agents.baselines import PolicyGradient
from agents.learner import SoftQLearner
from agents.rollouts import Rollouts
from agents.saving import read
from seqtutor_envs.checks import Diverged
from seqtutor_envs.command import report_errors
from toys.agent_toys import EXACT, made

AGENTS = (PsiLearning, QLearning, PolicyGradient)


def state(agent):
    """All that is learned: weights of both networks, moments and counts of the optimiser."""
    return {name: array for name, array in agent.state_arrays().items() if not name.startswith("replay")}


def with_nan(sequences):
    rewards = sequences.task_rewards.copy()
    rewards[:, 0] = np.nan
    return replace(sequences, task_rewards=rewards)


@pytest.mark.parametrize(
    ("agent_class", "graphed"), [*((agent, False) for agent in AGENTS), (PsiLearning, True), (QLearning, True)]
)
def test_an_update_that_is_not_finite_changes_no_weight_and_no_moment(agent_class, graphed):
    # one update a rollout, of the whole rollout
    one = {} if agent_class is PolicyGradient else {"buffer_size": 1, "batch_size": 64, "updates_per_round": 1}
    agent = made(agent_class, **one).learn(100)
    if graphed:
        agent.learner._gpu = True  # the way without a branch, that of a CUDA graph; the CPU's kernel knows it too
    before, target = state(agent), "target"
    with pytest.raises(Diverged, match="is nan; this update was left out, and the weights before it are kept. Lower"):
        agent.improve(with_nan(agent.newest))
    after = state(agent)
    for name, array in before.items():
        # beside a graph the target network still moves towards the online one
        if not (graphed and name.startswith(target)):
            np.testing.assert_array_equal(after[name], array, err_msg=name)
        assert np.isfinite(after[name]).all(), name


@pytest.mark.parametrize("agent_class", AGENTS)
def test_learn_stops_and_says_when_and_the_agent_can_be_used_and_saved(agent_class, tmp_path, monkeypatch):
    agent = made(agent_class)
    collect, rounds = Rollouts.collect, []

    def counted(self, *args, **kwargs):
        sequences, log_policy = collect(self, *args, **kwargs)
        rounds.append(int(sequences.lengths.sum()))
        return sequences, log_policy

    monkeypatch.setattr(Rollouts, "collect", counted)
    # what is learned from is broken after it was stored: no reward that is not finite gets so far
    owner, name = (agent, "improve") if agent_class is PolicyGradient else (agent.learner, "update")
    learn_from = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda batch: learn_from(with_nan(batch) if len(rounds) == 3 else batch))
    with pytest.raises(ValueError) as error:
        agent.learn(100_000)
    said = str(error.value)
    assert f"{agent_class.__name__} diverged after {sum(rounds[:2]):,} tokens: " in said and "\n" not in said
    assert agent.num_timesteps == sum(rounds[:2]) and len(rounds) == 3
    tokens, lengths = agent.sample(20, seed=0)
    assert np.isfinite(agent.log_prob(tokens, lengths)).all()
    loaded = agent_class.load(agent.save(tmp_path / "agent"), env=agent.env)
    np.testing.assert_array_equal(loaded.sample(20, seed=0)[0], tokens)


@pytest.mark.parametrize("agent_class", [PsiLearning, PolicyGradient])
def test_before_the_first_update_a_broken_mean_target_changes_nothing(agent_class):
    agent = made(agent_class, lam=0.5)
    before = state(agent)
    sequences, _ = agent.collect()
    with pytest.raises(Diverged, match="nan"):
        agent.improve(with_nan(sequences))
    for name, array in state(agent).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_a_run_that_diverges_exits_with_an_error_and_leaves_its_last_checkpoint(tmp_path, monkeypatch, capsys):
    targets, updates = SoftQLearner._targets, []

    def fifth_is_broken(self, batch, online, target):
        updates.append(1)
        return targets(self, batch, online, target) * (torch.nan if len(updates) == 5 * 4 else 1.0)

    monkeypatch.setattr(SoftQLearner, "_targets", fifth_is_broken)
    with pytest.raises(SystemExit) as end, report_errors(PROGRAM):
        train(EXACT, "q", steps=100_000, out=tmp_path, checkpoint_seconds=1e-6)
    shown = capsys.readouterr()
    assert end.value.code == 2 and "QLearning diverged after 1,024 tokens: loss is nan" in shown.err
    assert shown.err.rstrip().splitlines()[-1].startswith("python -m agents: QLearning diverged")
    arrays, facts = read(QLearning, tmp_path / "agent")
    # 64 sequences of 4 tokens a rollout; SHARE of the time may leave out checkpoints after the first
    assert facts["num_timesteps"] in (256, 512, 768, 1024)
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert json.loads((tmp_path / "run.json").read_text())["num_timesteps"] == facts["num_timesteps"]
