"""RecurrentPPO started as the prior: its distributions against the prior's own, along whole sequences and rollouts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.sb3.one_hot_prefix import OneHotPrefix
from agents.sb3.prior_guide import recurrent_policy_kwargs, start_as_prior
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.prior import RecurrentPrior, load_prior
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env
from toys.agent_toys import Sung, SungWithoutRepeats
from toys.env_toys import HORIZON, ToyTask, toy_prior
from toys.recurrent_toys import random_prior

contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
PRIORS = {MELODY: "melody", SMILES: "smiles"}
N = 3


def made(env, prior=None, n_steps=8, **policy_kwargs):
    """RecurrentPPO in the shape of a prior (of the environment's, if none is given), not started yet."""
    shape = recurrent_policy_kwargs(env.get_attr("prior")[0] if prior is None else prior)
    policy = "MultiInputLstmPolicy" if hasattr(env.observation_space, "spaces") else "MlpLstmPolicy"
    settings = {"n_steps": n_steps, "batch_size": n_steps * env.num_envs, "seed": 0, "device": "cpu"}
    return contrib.RecurrentPPO(policy, env, policy_kwargs=shape | policy_kwargs, **settings)


def sung(num_layers=1, cell="lstm", masked=False, **kwargs):
    """Sequences of different lengths over a random prior."""
    task, prior = (SungWithoutRepeats if masked else Sung)(), random_prior(cell, num_layers, end=4)
    return SB3VecEnv(SequenceTutorVectorEnv(task, prior, num_envs=N, c=0.5, autoreset_mode="SameStep", **kwargs))


def shake(model):
    """Nothing of the weights that a policy had may matter."""
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(torch.randn_like(parameter))


def assert_is_prior(model, env, sequences=2):
    """Log-probabilities of all tokens along sequences that the prior writes, one after the other within each row."""
    prior, policy = env.get_attr("prior")[0], model.policy
    shape = (policy.lstm_actor.num_layers, env.num_envs, policy.lstm_actor.hidden_size)
    states = torch.full(shape, 0.3), torch.full(shape, -0.2)  # of another episode; the start wipes them out
    observations, rng, compared = env.reset(), np.random.default_rng(0), 0
    starts, ended = np.ones(env.num_envs, bool), 0
    prior_state, last = prior.initial_state(env.num_envs), np.full(env.num_envs, prior.vocab.start)
    while ended < sequences * env.num_envs:
        expected, prior_state = prior.step(last, prior_state)
        tensor, _ = policy.obs_to_tensor(observations)
        with torch.no_grad():
            distribution, states = policy.get_distribution(tensor, states, torch.tensor(starts).float())
        np.testing.assert_allclose(distribution.distribution.logits.numpy(), expected, rtol=0, atol=3e-5)
        compared += not starts.all()
        last = np.array([rng.choice(len(row), p=np.exp(row) / np.exp(row).sum()) for row in expected.astype(float)])
        observations, _, starts, _ = env.step(last)
        for i in np.flatnonzero(starts):
            last[i] = prior.vocab.start
            for part, first in zip(prior_state, prior.initial_state(1)):
                part[i] = first[0]
        ended += int(starts.sum())
    assert compared > 4


@pytest.mark.parametrize("obs_mode", ["token", "dict"])
@pytest.mark.parametrize("env, sequences", [(MELODY, 2), (SMILES, 1), *((layers, 5) for layers in (1, 2, 3))])
def test_shipped_priors_and_those_of_several_layers_are_written_along_whole_sequences(env, sequences, obs_mode):
    made_by = partial(make_vec_env, env, N) if env in PRIORS else partial(sung, env)
    model = made(made_by(obs_mode=obs_mode), PRIORS.get(env))
    shake(model)
    start_as_prior(model)
    assert env in PRIORS or model.policy.lstm_actor.num_layers == env
    assert_is_prior(model, model.get_env(), sequences)


class Rollouts(BaseCallback):
    """Actions, log pi, values and starts [T, N] of each rollout, as the buffer holds them."""

    def __init__(self):
        super().__init__()
        self.rollouts = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        names = ("actions", "log_probs", "values", "episode_starts")
        self.rollouts.append({name: getattr(buffer, name).copy() for name in names})


@pytest.mark.parametrize("id", [MELODY, SMILES])
def test_the_first_rollout_is_the_priors(id):
    """log pi in the buffer, over the ends of episodes, is log p of the tokens that were written; values are 0."""
    env = make_vec_env(id, N, **{HORIZON[id]: 5})
    model, rollouts = made(env, n_steps=13), Rollouts()
    shake(model)
    start_as_prior(model)
    model.learn(13 * N, callback=rollouts)
    buffer, = rollouts.rollouts
    prior, checked = load_prior(PRIORS[id]), 0
    for i in range(N):
        starts = np.flatnonzero(buffer["episode_starts"][:, i]).tolist()
        for begin, end in zip(starts, starts[1:] + [13]):
            tokens = buffer["actions"][begin:end, i, 0].astype(int)
            rows = prior.log_probs(tokens[None])[0]
            expected = rows[np.arange(len(tokens)), tokens]
            np.testing.assert_allclose(buffer["log_probs"][begin:end, i], expected, atol=3e-5)
            checked += len(tokens)
    assert checked == 13 * N and len(starts) >= 3
    assert (buffer["values"] == 0.0).all()


def test_the_critic_reads_the_same_features_and_learns():
    env = sung(2)
    model = made(env)
    start_as_prior(model)
    for name, actor in model.policy.lstm_actor.state_dict().items():
        torch.testing.assert_close(actor, model.policy.lstm_critic.state_dict()[name], rtol=0, atol=0)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(4 * 8 * N)
    for name, value in model.policy.state_dict().items():
        assert (value != before[name]).any(), name


@pytest.mark.parametrize("lstm", [{"shared_lstm": True, "enable_critic_lstm": False}, {"enable_critic_lstm": False}])
def test_other_critics_are_left_to_the_user(lstm):
    env = sung()
    model = made(env, **lstm)
    start_as_prior(model)
    assert_is_prior(model, env, sequences=5)


def test_the_prior_may_be_given():
    """By name, path or object; the environment's own is the default."""
    env = make_vec_env(MELODY, N)
    prior = RecurrentPrior.load("melody")
    head = torch.tensor(prior.weights["head.weight"])
    for given in (None, "melody", prior):
        model = made(env, prior)
        start_as_prior(model, given)
        torch.testing.assert_close(model.policy.action_net.weight.detach(), head, rtol=0, atol=0)


def test_a_saved_policy_without_environment_needs_the_prior(tmp_path):
    env = make_vec_env(MELODY, N)
    made(env).save(tmp_path / "model")
    model = contrib.RecurrentPPO.load(tmp_path / "model", device="cpu")
    with pytest.raises(ValueError, match="no environment.*pass prior="):
        start_as_prior(model)
    refused(model, "reads 6 ids, its 5 tokens and the start; observations have 39", random_prior(hidden_size=128))
    start_as_prior(model, "melody")
    assert_is_prior(model, env, sequences=1)


def refused(model, message, prior=None):
    before = [parameter.clone() for parameter in model.policy.parameters()]
    with pytest.raises(ValueError, match=message) as error:
        start_as_prior(model, prior)
    assert "\n" not in str(error.value)
    assert all((a == b).all() for a, b in zip(before, model.policy.parameters()))


def test_other_networks_are_refused():
    env = sung()
    refused(PPO("MlpPolicy", env, device="cpu"), "ActorCriticPolicy is not recurrent.*pip install sb3-contrib")
    sizes = "has 1 x 7 cells, the policy's {}: use RecurrentPPO.*recurrent_policy_kwargs"
    refused(made(env, lstm_hidden_size=8), sizes.format("1 x 8 cells"))
    refused(made(env, n_lstm_layers=2), sizes.format("2 x 7 cells"))
    refused(made(env, net_arch=[7]), "An MLP stands between")
    refused(made(env, lstm_kwargs={"bias": False}), "with biases: leave out lstm_kwargs")


def test_other_observations_are_refused():
    refused(made(sung(obs_mode="prefix")), "one token at a time: use obs_mode='token' or 'dict'")
    prefixes = made(sung(obs_mode="prefix"), features_extractor_class=OneHotPrefix)
    refused(prefixes, "not a OneHotPrefix's features")


def test_other_tokens_are_refused():
    model = made(make_vec_env(MELODY, 1), "smiles")
    refused(model, "same vocabulary; task against prior: 38 tokens against 25", "smiles")


def test_gru_and_table_priors_are_refused():
    lstm, gru, table = random_prior(end=4), random_prior("gru", end=4), toy_prior()
    for call in (recurrent_policy_kwargs, lambda prior: start_as_prior(made(sung()), prior)):
        with pytest.raises(ValueError, match="RecurrentPPO is an LSTM, this prior a GRU: .*cell='lstm'"):
            call(gru)
        with pytest.raises(ValueError, match="Only a RecurrentPrior has weights.*TablePrior"):
            call(table)
        with pytest.raises(FileNotFoundError, match="No prior 'nonsense'"):
            call("nonsense")
    refused(made(sung(cell="gru"), lstm), "this prior a GRU")
    toy = SequenceTutorVectorEnv(ToyTask(), table, c=1.0, autoreset_mode="SameStep")
    refused(made(SB3VecEnv(toy), lstm), "this is a TablePrior")


def test_tasks_that_forbid_tokens_are_refused():
    """RecurrentPPO knows no masks, so it would sooner or later write what is an error."""
    env = sung(masked=True)
    refused(made(env), "SungWithoutRepeats forbids tokens, and RecurrentPPO has no masks")
    masked = mask_prior(env.get_attr("prior")[0], env.get_attr("task")[0])
    refused(made(env), "this is a MaskedPrior", masked)
