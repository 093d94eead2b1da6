"""Saving and loading: to the bit, atomically, without pickle, and with one line for whatever does not fit."""

from __future__ import annotations

import json
import os
import pickle

import gymnasium as gym
import numpy as np
import pytest

from agents import GLearning, PsiLearning
from agents.baselines import PolicyGradient
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import AGENTS, EXACT, assert_same_agents, made, sung_batch, toy_batch

N = 16
KWARGS = {"vocab_size": 2, "length": 3, "seed": 4, "c": 0.5}


@pytest.mark.parametrize("agent_class", AGENTS)
@pytest.mark.parametrize("env", [toy_batch, sung_batch])
def test_a_loaded_agent_learns_on_to_the_same_bits(agent_class, env, tmp_path):
    """250 timesteps, then 250 more, with and without a file between. Replays wrap around; epsilon is falling."""
    agent = made(agent_class, env(), seed=5).learn(250)
    loaded = agent_class.load(agent.save(tmp_path / "agent"), env())
    assert_same_agents(loaded, agent)
    for one in (agent, loaded):
        one.learn(250, reset_num_timesteps=False)
    assert_same_agents(loaded, agent)


@pytest.mark.parametrize("agent_class", AGENTS)
def test_a_loaded_agent_acts_the_same(agent_class, tmp_path):
    given = {"gamma": 0.7, "lam": 0.3, "learning_rate": 0.02, "tau": 0.2, "prior_weight": 0.6, "huber": None}
    given = given if agent_class is GLearning else {"learning_rate": 0.02}
    agent = made(agent_class, EXACT, n_envs=N, env_kwargs=KWARGS, **given).learn(100)
    loaded = agent_class.load(agent.save(tmp_path / "agent"))
    assert {name: loaded.settings[name] for name in given} == given
    if agent_class is not PolicyGradient:
        assert loaded.learner.settings == agent.learner.settings
        assert (loaded.batch_size, loaded.replay.capacity, loaded.updates_per_round) == (16, 64, 2)
    tokens, lengths = agent.sample(50, seed=1)
    np.testing.assert_array_equal(tokens, loaded.sample(50, seed=1)[0])
    np.testing.assert_array_equal(agent.log_prob(tokens, lengths), loaded.log_prob(tokens, lengths))
    assert loaded.get_env().get_attr("c")[0] == 0.5
    assert (loaded.n_envs, loaded.seed, loaded.settings) == (agent.n_envs, agent.seed, agent.settings)


def test_a_path_gets_its_suffix_once(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=4)
    assert agent.save(tmp_path / "psi.v1") == tmp_path / "psi.v1.safetensors"
    assert agent.save(str(tmp_path / "b.safetensors")) == tmp_path / "b.safetensors"
    assert PsiLearning.load(tmp_path / "psi.v1").n_envs == 4


def test_the_file_is_no_pickle_and_nothing_in_it_is_executed(tmp_path, monkeypatch):
    agent = made(PsiLearning, EXACT, n_envs=4).learn(64)
    content = agent.save(tmp_path / "agent").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert set(header) == {"__metadata__", *agent.state_arrays()}
    assert json.loads(header["__metadata__"]["facts"])["agent"] == "PsiLearning"

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert_same_agents(PsiLearning.load(tmp_path / "agent"), agent)


def test_a_save_that_fails_leaves_the_former_file(tmp_path, monkeypatch):
    agent = made(PsiLearning, EXACT, n_envs=4).learn(64)
    before = agent.save(tmp_path / "agent").read_bytes()
    agent.learn(64, reset_num_timesteps=False)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        agent.save(tmp_path / "agent")
    assert [path.name for path in tmp_path.iterdir()] == ["agent.safetensors"]
    assert (tmp_path / "agent.safetensors").read_bytes() == before


# -- what does not fit ------------------------------------------------------------------------------------------------


def refused(error, match, agent_class, *args, **kwargs):
    with pytest.raises(error, match=match) as caught:
        agent_class.load(*args, **kwargs)
    assert "\n" not in str(caught.value)


def test_another_class_is_refused(tmp_path):
    path = made(PsiLearning, EXACT, n_envs=4).save(tmp_path / "agent")
    refused(ValueError, "holds PsiLearning; load it with that class, not GLearning", GLearning, path)
    refused(ValueError, "not PolicyGradient", PolicyGradient, path)


def test_a_file_that_is_none_is_refused(tmp_path):
    refused(FileNotFoundError, "No agent at", PsiLearning, tmp_path / "nothing")
    (tmp_path / "text.safetensors").write_text("these are no arrays")
    refused(ValueError, "was not written by this library", PsiLearning, tmp_path / "text")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps({"agent": "PsiLearning"}))
    refused(ValueError, "was not written by this library", PsiLearning, tmp_path / "pickle")
    path = made(PsiLearning, EXACT, n_envs=4).save(tmp_path / "agent")
    path.write_bytes(path.read_bytes()[:-1000])
    refused(ValueError, "damaged", PsiLearning, path)
    prior = sung_batch().prior.save(tmp_path / "prior")
    refused(ValueError, "no agent", PsiLearning, prior)


@pytest.mark.parametrize("env", [toy_batch, lambda: make_vec_env(EXACT, N), lambda: gym.make_vec(EXACT, num_envs=N)])
def test_an_environment_that_no_id_makes_again_must_be_passed(env, tmp_path):
    agent = made(PsiLearning, env()).learn(100)
    path = agent.save(tmp_path / "agent")
    refused(ValueError, r"pass env=\.\.\.", PsiLearning, path)
    assert_same_agents(PsiLearning.load(path, env()), agent)


@pytest.mark.parametrize("agent_class", [PsiLearning, PolicyGradient])
def test_an_environment_of_other_tokens_is_refused(agent_class, tmp_path):
    path = made(agent_class, EXACT, n_envs=4).learn(64).save(tmp_path / "agent")
    refused(ValueError, "does not fit", agent_class, path, gym.make(EXACT, vocab_size=4))


@pytest.mark.parametrize("length", [2, 5])
def test_an_environment_of_another_length_is_refused_as_the_replay_does_not_fit(length, tmp_path):
    path = made(PsiLearning, EXACT, n_envs=4).learn(64).save(tmp_path / "agent")
    refused(ValueError, "does not fit", PsiLearning, path, gym.make(EXACT, length=length))


def test_an_agent_can_go_on_with_another_number_of_environments(tmp_path):
    path = made(PsiLearning, EXACT, n_envs=4).learn(64).save(tmp_path / "agent")
    loaded = PsiLearning.load(path, gym.make_vec(EXACT, num_envs=7)).learn(84, reset_num_timesteps=False)
    assert (loaded.n_envs, loaded.num_timesteps, loaded.rounds) == (7, 148, 7)
