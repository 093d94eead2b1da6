"""Saved policies: exact copies against the agents' own log pi and torch's, distilled ones against enumeration."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import nn
from toys.agent_toys import AGENTS, EXACT, Sung, made, toy_batch
from toys.recurrent_toys import random_prior

import agents
from agents import GLearning, PsiLearning, load, save_policy
from agents.baselines import FixedPolicy, PolicyGradient
from agents.evaluate import evaluate
from agents.policies.frozen import FrozenAgent, list_policies
from agents.policies.networks import NotOneNetwork, read_network
from agents.samplers import SMCSampler
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import FileError
from seqtutor_envs.prior import load_prior
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.registry import Untrusted
from seqtutor_envs.sb3 import make_vec_env

MELODY = "SeqTutor-Melody-v0"
SHORT = {"length": 6, "c": 5.0}
SMALL_LSTM = {"prior": "lstm", "length": 4}  # 81 sequences of an LSTM prior


def read_card(file):
    return json.loads(file.with_suffix(".json").read_text())


@pytest.mark.parametrize("agent_class", [one for one in AGENTS if one is not GLearning])
def test_the_file_of_our_agent_is_an_exact_copy(agent_class, tmp_path):
    agent = made(agent_class, MELODY, n_envs=16, env_kwargs=SHORT).learn(300)
    loaded = load(save_policy(agent, tmp_path / "policy", n=50, note="a note"))
    tokens, lengths = agent.sample(40, 0)
    np.testing.assert_array_equal(loaded.sample(40, 0)[0], tokens)
    np.testing.assert_allclose(loaded.log_prob(tokens, lengths), agent.log_prob(tokens, lengths), atol=1e-5)
    assert loaded.recipe == {"id": MELODY, "kwargs": SHORT} and loaded.c == 5.0
    card = read_card(tmp_path / "policy.safetensors")
    assert card["policy"]["export"] == "exact" and card["note"] == "a note" and card["agent"] == agent_class.__name__
    assert card["claims"]["metrics"]["j"] == evaluate(agent, MELODY, 50, **SHORT)["j"]


def test_a_loaded_policy_predicts_as_its_agent_does(tmp_path):
    agent = made(PsiLearning, MELODY, n_envs=16, env_kwargs=SHORT).learn(300)
    loaded = load(save_policy(agent, tmp_path / "policy", n=50))
    state = copied = None
    for token in (38, 14, 1, 16):
        tokens = np.array([token])
        expected, state = agent.predict(tokens, state, deterministic=True)
        found, copied = loaded.predict(tokens, copied, deterministic=True)
        assert found == expected
    assert loaded.predict(38)[0].shape == ()
    assert not hasattr(loaded, "learn")


def test_a_policy_of_a_task_that_forbids_tokens_is_exact_under_its_masks():
    batch = toy_batch(masked=True, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = PsiLearning(batch).learn(200)
    copy = FixedPolicy(read_network(agent, batch.task.vocab, batch.task.length), batch.task.length)
    tokens, lengths = agent.sample(30, 0)
    unmasked = copy.log_prob(tokens, lengths)
    assert np.all(unmasked < agent.log_prob(tokens, lengths))  # some of its probability is forbidden
    masked = FixedPolicy(mask_prior(copy.policy, batch.task), batch.task.length)
    np.testing.assert_allclose(masked.log_prob(tokens, lengths), agent.log_prob(tokens, lengths), atol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("embeds", [False, True])
def test_torch_modules_are_written_as_they_compute(kind, embeds, tmp_path):
    torch.manual_seed(0)
    ids, size = 39, 8
    embedding = nn.Embedding(ids, size) if embeds else None
    core, head = kind(size if embeds else ids, 7, num_layers=2), nn.Linear(7, 38)
    modules = (core, head) if embedding is None else (embedding, core, head)
    loaded = load(save_policy(modules, tmp_path / "mine", MELODY, {"length": 5}, n=20))
    tokens, lengths = loaded.sample(10, 0)
    ids_read = torch.from_numpy(np.concatenate([np.full((10, 1), 38), tokens[:, :-1]], axis=1))
    inputs = nn.functional.one_hot(ids_read, ids).float() if embedding is None else embedding(ids_read)
    with torch.no_grad():
        rows = head(core(inputs.transpose(0, 1))[0]).transpose(0, 1).log_softmax(2)
    expected = rows.gather(2, torch.from_numpy(tokens)[:, :, None])[:, :, 0].sum(1)
    np.testing.assert_allclose(loaded.log_prob(tokens, lengths), expected, atol=1e-4)


@pytest.mark.parametrize(
    "modules, reason",
    [
        ((nn.LSTM(39, 7, bidirectional=True), nn.Linear(14, 38)), "not a plain one"),
        ((nn.LSTM(39, 7, bias=False), nn.Linear(7, 38)), "not a plain one"),
        ((nn.LSTM(38, 7), nn.Linear(7, 38)), "38 inputs and 38 outputs; 38 tokens need 39 and 38"),
        ((nn.Linear(39, 7), nn.Linear(7, 38)), r"modules must be .*, not \(Linear, Linear\)"),
        ((nn.LSTM(39, 7),), r"not \(LSTM\)"),
    ],
)
def test_modules_that_are_no_such_network_are_refused_with_the_reason(modules, reason, tmp_path):
    with pytest.raises(NotOneNetwork, match=reason):
        save_policy(modules, tmp_path / "mine", MELODY)
    assert not any(tmp_path.iterdir())


def test_recurrent_ppo_without_an_mlp_is_an_exact_copy(tmp_path):
    from sb3_contrib import RecurrentPPO

    env = make_vec_env(MELODY, 4, env_kwargs=SHORT)
    plain = {"net_arch": {"pi": [], "vf": [8]}, "lstm_hidden_size": 9, "n_lstm_layers": 2}
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=6, batch_size=24, policy_kwargs=plain, seed=0).learn(48)
    file = save_policy(model, tmp_path / "ppo", MELODY, SHORT, n=60)
    card = read_card(file)
    assert card["policy"]["export"] == "exact" and card["policy"]["difference"] < 1e-4
    assert card["num_timesteps"] == 48 and card["description"] == "the policy of RecurrentPPO of sb3_contrib"
    # sampled by stepping, the agent's own J differs from the file's by chance alone
    ours, theirs = (evaluate(one, MELODY, 2_000, **SHORT) for one in (load(file), model))
    assert abs(ours["kl"] - theirs["kl"]) < 4 * np.hypot(ours["kl_se"], theirs["kl_se"])


@pytest.mark.parametrize("cell, layers", [("lstm", 1), ("gru", 2)])
def test_a_policy_of_two_networks_is_one_of_twice_the_cells(cell, layers, tmp_path):
    batch = SequenceTutorVectorEnv(Sung(), random_prior(cell, layers, end=4), num_envs=16, c=1.0)
    agent = GLearning(batch, prior_weight=0.7).learn(400)
    copy = FixedPolicy(read_network(agent, batch.task.vocab, batch.task.length), batch.task.length)
    assert copy.policy.hidden_size == 2 * random_prior(cell, layers).hidden_size
    tokens, lengths = agent.sample(50, 0)
    np.testing.assert_allclose(copy.log_prob(tokens, lengths), agent.log_prob(tokens, lengths), atol=1e-4)


def test_g_learning_is_saved_exactly(tmp_path):
    agent = made(GLearning, EXACT, n_envs=64, env_kwargs=SMALL_LSTM).learn(2_000)
    how = read_card(save_policy(agent, tmp_path / "g", n=50))["policy"]
    assert how["export"] == "exact" and how["difference"] < 1e-4


class Foreign:
    """What `evaluate` takes of another library: no network that could be read."""

    def __init__(self, agent):
        self.sample, self.log_prob = agent.sample, agent.log_prob


def test_any_other_policy_is_distilled_and_the_card_has_its_kl(tmp_path):
    """The KL of all 81 sequences, by enumeration; four standard errors."""
    agent = made(GLearning, EXACT, n_envs=64, env_kwargs=SMALL_LSTM).learn(5_000)
    file = save_policy(Foreign(agent), tmp_path / "g", EXACT, SMALL_LSTM, n=50, sequences=4_096)
    how = read_card(file)["policy"]
    assert how["export"] == "distilled" and how["reason"] == "Foreign is not recurrent"
    tokens = np.stack(np.unravel_index(np.arange(81), (3,) * 4), axis=1)
    own, copied = agent.log_prob(tokens), load(file).log_prob(tokens)
    kl = float((np.exp(own) * (own - copied)).sum())
    assert abs(how["kl"] - kl) < 4 * how["kl_se"] and 0 < kl < 0.02
    prior = gym.make(EXACT, **SMALL_LSTM).unwrapped.prior
    assert (np.exp(own) * (own - FixedPolicy(prior, 4).log_prob(tokens))).sum() > 5 * kl  # it is not just the prior


def test_what_gives_actions_only_is_distilled_without_a_kl(tmp_path):
    class AlwaysTonic:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.full(len(observation), 14), state

    file = save_policy(AlwaysTonic(), tmp_path / "tonic", MELODY, SHORT, n=50, sequences=4_096)
    card = read_card(file)
    assert card["policy"] | {"kl": None, "kl_se": None, "reason": "AlwaysTonic is not recurrent"} == card["policy"]
    assert (load(file).sample(100, 0)[0] == 14).mean() > 0.9
    smc = SMCSampler(MELODY, particles=16, env_kwargs=SHORT)
    assert read_card(save_policy(smc, tmp_path / "smc", n=50, sequences=64))["policy"]["kl"] is None


def test_a_table_is_no_network_to_join_or_to_distil_into(tmp_path):
    agent = made(GLearning, EXACT, n_envs=4)
    with pytest.raises(NotOneNetwork, match="log p . G, and its prior is no network of the same kind"):
        read_network(agent, agent.prior.vocab, 4)
    with pytest.raises(ValueError, match="distilled into the environment's prior, and TablePrior is none"):
        save_policy(agent, tmp_path / "g", n=50)


def test_an_environment_must_be_known_and_fit_a_card(tmp_path):
    with pytest.raises(ValueError, match="does not say which environment it is for: pass env_id"):
        save_policy(random_prior(), tmp_path / "x")
    with pytest.raises(ValueError, match="keeps the environment's keywords as JSON"):
        save_policy(load_prior("melody"), tmp_path / "x", MELODY, {"prior": load_prior("melody")})
    assert not any(tmp_path.iterdir())


def test_a_prior_that_others_use_keeps_its_card(tmp_path):
    card = dict(load_prior("melody").card)
    saved = load(save_policy(load_prior("melody"), tmp_path / "x", MELODY, SHORT, n=50))
    assert load_prior("melody").card == card and saved.card != card
    assert read_card(tmp_path / "x.safetensors")["claims"]["metrics"]["kl"] == pytest.approx(0.0, abs=1e-6)


def test_a_file_names_nothing_that_is_used_without_trust(tmp_path):
    kwargs = {"c": 0.1, "workers": 1, "oracle_budget": None}
    file = save_policy(load_prior("smiles"), tmp_path / "x", "SeqTutor-SMILES-v0", kwargs, n=20)
    policy = load_prior(file)
    assert policy.card["env"]["kwargs"] == {"c": 0.1}  # neither this machine's processes nor what is a default
    policy.card["env"]["kwargs"]["objective"] = "os:system"
    changed = type(policy)(policy.weights, policy.cell, policy.vocab, policy.length, policy.card).save(tmp_path / "y")
    with pytest.raises(Untrusted, match="objective"):
        load(changed)
    del policy.card["env"]
    bare = type(policy)(policy.weights, policy.cell, policy.vocab, policy.length, policy.card).save(tmp_path / "z")
    with pytest.raises(FileError, match="names no environment"):
        load(bare)


def test_shipped_policies_load_by_name_and_by_no_other():
    for name in list_policies():
        assert isinstance(load(name), FrozenAgent)
    with pytest.raises(FileNotFoundError):
        load("psi-nothing")
    assert agents.load is load


def test_load_gives_back_agents_that_learn_on_and_priors(tmp_path):
    agent = made(PolicyGradient, EXACT, n_envs=4).learn(50)
    assert load(agent.save(tmp_path / "a")).num_timesteps == agent.num_timesteps
    assert load("melody") is load_prior("melody")
