"""Rows of log pi of other libraries' agents, against what those libraries say themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

from agents.evaluate.evaluation import evaluate, sample_sequences
from agents.evaluate.policies import LogPolicy, Predictor, find_log_policy
from seqtutor_envs.sb3 import SB3VecEnv
from toys.agent_toys import toy_batch
from toys.sb3_toys import EXACT, KWARGS, algorithm, exact_env, learned

ROOT = Path(__file__).parents[2]
END, N = 3, 20  # the toy task's end token; sequences, which 7 environments write in three rounds


def batch(obs_mode="prefix", num_envs=7, **kwargs):
    """Sequences of unequal length."""
    return toy_batch(num_envs, autoreset_mode="SameStep", infos="end", obs_mode=obs_mode, **kwargs)


def prefixes(row):
    """Observations of one sequence [t] in obs_mode "prefix", as Gymnasium describes them: [t, 5]."""
    return np.array([[*row[:t], *[4] * (5 - t)] for t in range(len(row))])


def sequences(model, **kwargs):
    """Of unequal length, each with the log pi that the judge sampled it with."""
    env = batch(**kwargs)
    tokens, lengths, log_probs = sample_sequences(model, env, N, seed=3)
    assert len(set(lengths.tolist())) > 1 and log_probs.shape == (N,)
    return [(row[:length], log_pi) for row, length, log_pi in zip(tokens, lengths, log_probs)]


def by_the_library(model, observations, row, *more, **masks):
    """log pi of a sequence as the library itself says it."""
    seen = observations if isinstance(observations, dict) else torch.as_tensor(observations)
    with torch.no_grad():
        _, log_pi, _ = model.policy.evaluate_actions(seen, torch.as_tensor(row), *more, **masks)
    return pytest.approx(float(log_pi.sum()), abs=1e-4)


def assert_rows(policy, observations):
    rows = policy.step(observations, None, np.ones(len(observations), bool))[0]
    np.testing.assert_allclose(np.exp(rows).sum(1), 1.0, atol=1e-12)
    return rows


# -- policies of stable-baselines3 and sb3-contrib --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PPO", "A2C", "TRPO"])
def test_log_pi_of_sequences_is_that_of_evaluate_actions(name):
    model = learned(name, batch())
    for row, log_pi in sequences(model):
        assert log_pi == by_the_library(model, prefixes(row), row)


@pytest.mark.parametrize("obs_mode", ["token", "prefix", "dict"])
def test_a_recurrent_policy_starts_anew_with_every_sequence(obs_mode):
    """evaluate_actions reads each sequence alone, from a state of zeros."""
    model = learned("RecurrentPPO", batch(obs_mode))
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    zeros = (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
    for row, log_pi in sequences(model, obs_mode=obs_mode):
        token, step = np.array([4, *row[:-1]]), np.arange(len(row))
        parts = {"token": torch.as_tensor(token)[:, None], "step": torch.as_tensor(step)[:, None]}
        parts["action_mask"] = torch.ones(len(row), 4)
        seen = {"token": token, "prefix": prefixes(row), "dict": parts}[obs_mode]
        starts = torch.as_tensor(step == 0, dtype=torch.float32)
        assert log_pi == by_the_library(model, seen, row, RNNStates(zeros, zeros), starts)


def test_a_maskable_policy_writes_under_the_environments_masks():
    model = learned("MaskablePPO", batch(masked=True))
    for row, log_pi in sequences(model, masked=True):
        assert row[0] != END and (row[1:] != row[:-1]).all()
        masks = np.ones((len(row), 4), bool)  # the rules, as ToyTask's docstring has them
        masks[0, END] = False
        masks[np.arange(1, len(row)), row[:-1]] = False
        assert log_pi == by_the_library(model, prefixes(row), row, action_masks=masks)


@pytest.mark.parametrize("name", ["DQN", "QRDQN"])
def test_rows_of_a_greedy_model_are_the_frequencies_of_its_own_predict(name):
    """Within four standard errors; the generators that it draws from are seeded."""
    model = learned(name)
    model.exploration_rate = 0.4
    model.action_space.seed(0)
    for observation in (np.array([3, 3, 3]), np.array([1, 3, 3]), np.array([2, 0, 3])):
        row = np.exp(assert_rows(find_log_policy(model), observation[None])[0])
        assert sorted(row) == pytest.approx([0.4 / 3, 0.4 / 3, 0.6 + 0.4 / 3])
        state = np.random.get_state()
        np.random.seed(1)  # predict reads the global generator
        chosen = np.array([int(model.predict(observation)[0]) for _ in range(1500)])
        np.random.set_state(state)
        frequencies = np.bincount(chosen, minlength=3) / 1500
        assert (np.abs(frequencies - row) < 4 * np.sqrt(row * (1 - row) / 1500)).all()


def test_a_greedy_policy_without_its_model_never_explores():
    model = learned("DQN")
    rows = assert_rows(find_log_policy(model.policy), np.array([[3, 3, 3], [0, 3, 3]]))
    best, _ = model.predict(np.array([[3, 3, 3], [0, 3, 3]]), deterministic=True)
    assert (rows.argmax(1) == best).all() and (np.sort(rows, axis=1)[:, :2] == -np.inf).all()


def test_a_policy_is_judged_as_its_model_is():
    model = learned("PPO")
    assert evaluate(model.policy, EXACT, 50, 1, KWARGS) == evaluate(model, EXACT, 50, 1, KWARGS)


def test_a_model_sees_observations_normalised_as_it_learned_from_them():
    """Of the policy's own evaluate_actions, with VecNormalize's formula written out."""
    env = VecNormalize(SB3VecEnv(batch()), norm_reward=False)
    model = learned("PPO", env)
    mean, var = env.obs_rms.mean, env.obs_rms.var
    for row, log_pi in sequences(model):
        seen = np.clip((prefixes(row) - mean) / np.sqrt(var + env.epsilon), -10, 10).astype(np.float32)
        assert log_pi == by_the_library(model, seen, row)
    assert env.obs_rms.mean is mean, "judging does not change what was learned"


@pytest.mark.parametrize("name, obs_mode", [("PPO", "prefix"), ("DQN", "prefix"), ("PPO", "dict"), ("PPO", "one_hot")])
def test_normalised_observations_whose_statistics_are_lost_are_an_error(name, obs_mode, tmp_path):
    keys = {"norm_obs_keys": ["action_mask"]} if obs_mode == "dict" else {}
    env = VecNormalize(exact_env(obs_mode), norm_reward=False, **keys)
    learned(name, env).save(tmp_path / "model")
    loaded = algorithm(name).load(tmp_path / "model", device="cpu")
    with pytest.raises(ValueError, match="learned under VecNormalize, whose statistics are not in its zip"):
        evaluate(loaded, EXACT, 10, env_kwargs=KWARGS)
    loaded = algorithm(name).load(tmp_path / "model", env=env, device="cpu")
    assert "j" in evaluate(loaded, EXACT, 10, env_kwargs=KWARGS)


def test_a_network_that_diverged_is_an_error():
    model = learned("PPO")
    model.policy.action_net.bias.data[1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite: its training has diverged"):
        evaluate(model, EXACT, 10, env_kwargs=KWARGS)


def test_a_model_with_a_predict_of_ones_own_is_judged_by_that():
    class Always(algorithm("DQN")):
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.full(len(observation), 2), state

    model = Always("MlpPolicy", exact_env(), seed=0, device="cpu")
    assert find_log_policy(model) is None
    with pytest.warns(UserWarning, match="Always.predict does not say how probable"):
        figures = evaluate(model, EXACT, 20, env_kwargs=KWARGS)
    assert (figures["distinct_sequences"], figures["distinct"]) == (1, 1 / 20) and "j" not in figures


def test_a_policy_that_chooses_in_a_way_of_its_own_is_judged_by_that():
    class Best(type(learned("PPO", steps=0).policy)):
        def _predict(self, observation, deterministic=False):
            return super()._predict(observation, deterministic=True)

    model = learned("PPO", steps=0, policy=Best)
    assert find_log_policy(model) is None
    with pytest.warns(UserWarning, match="PPO.predict does not say how probable"):
        assert evaluate(model, EXACT, 20, env_kwargs=KWARGS)["distinct_sequences"] == 1


def test_a_policy_acts_without_dropout_as_in_its_own_predict():
    class Dropping(FlattenExtractor):
        def forward(self, observations):
            return torch.nn.functional.dropout(super().forward(observations), training=self.training)

    model = learned("PPO", policy_kwargs={"features_extractor_class": Dropping})
    model.policy.set_training_mode(True)
    rows = find_log_policy(model).step(np.tile([1, 2, 3], (50, 1)), None, np.ones(50, bool))[0]
    assert (rows == rows[0]).all()


def test_sb3_contrib_is_not_imported():
    """It is optional."""
    code = "import sys, agents.evaluate, agents.__main__; print('sb3_contrib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_judging_leaves_the_global_generators_alone():
    model, before = learned("PPO"), (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    evaluate(model, EXACT, 50, env_kwargs=KWARGS)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


# -- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows, says",
    [
        ([[0.5, 0.5, np.nan], [0.2, 0.3, 0.5]], "probabilities are NaN for 1 sequences"),
        ([[0.5, 0.7, -0.2], [0.2, 0.3, 0.5]], "must not be negative, as -0.2 is; of logits take the softmax"),
        ([[0.5, 0.25, 0.25], [0.2, 0.3, 0.503]], "must sum to 1, not 1.003"),
        ([[0.0, 0.0, 0.0], [0.2, 0.3, 0.5]], "must sum to 1, not 0"),
        ([[np.inf, 0.0, 0.0], [0.2, 0.3, 0.5]], "must sum to 1, not inf"),
        ([0.2, 0.3, 0.5], r"must have shape \[2, V\], a row for each sequence, not \[3\]"),
        ([[0.2, 0.3, 0.5]], r"must have shape \[2, V\], a row for each sequence, not \[1, 3\]"),
        ("abc", "must return probabilities, not str"),
        ([[1.0], [0.5, 0.5]], "must return probabilities, not list"),
    ],
)
def test_rows_that_are_no_probabilities_are_an_error(rows, says):
    with pytest.raises(ValueError, match=says):
        find_log_policy(lambda observation: rows).step(np.array([3, 3]), None, np.ones(2, bool))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, lambda rows: torch.nn.Parameter(torch.tensor(rows))])
def test_probabilities_within_the_tolerance_are_made_to_sum_to_1(kind):
    policy = find_log_policy(lambda observation: kind([[0.5004, 0.5, 0.0], [0.2, 0.3, 0.5]]))
    rows = assert_rows(policy, np.array([3, 3]))
    np.testing.assert_allclose(np.exp(rows), [[0.5004 / 1.0004, 0.5 / 1.0004, 0.0], [0.2, 0.3, 0.5]], atol=1e-7)


# -- agents that give actions only ------------------------------------------------------------------------------------


class Says:
    """An agent whose predict returns what it was made with."""

    def __init__(self, given):
        self.given = given

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return self.given


@pytest.mark.parametrize(
    "given, says",
    [
        ((np.array([0.2, 1.0]), None), r"must return 2 integers, one for each sequence, not float64 \[2\]"),
        ((np.array([1, 2, 0]), None), r"must return 2 integers, one for each sequence, not int64 \[3\]"),
        ((np.array([True, False]), None), "must return 2 integers"),
        (np.array([1, 2]), "must return a pair, predict.observation, .*; not ndarray"),
        (([0, 5], None), "Action 5 of sequence 1 is out of range: actions are token ids 0..3"),
        (([0, -1], None), "Action -1 of sequence 1 is out of range"),
    ],
)
def test_actions_that_are_none_are_an_error(given, says):
    with pytest.raises(ValueError, match=says):
        sample_sequences(Says(given), batch("token", 2), 2, seed=0)


def test_a_predict_that_cannot_be_called_as_ours_is_an_error():
    class Classifier:
        def predict(self, X):
            return X

    with pytest.raises(ValueError, match="predict is called as predict.observation, state=None.*'state'"):
        Predictor(Classifier())


class Own(LogPolicy):
    """Of a user with a memory of his own: uniform, but for the factor on every probability."""

    def __init__(self, factor=1.0, size=3):
        self.factor, self.size, self.called = factor, size, []

    def step(self, observation, state, episode_start, action_masks=None):
        steps = np.where(episode_start, 0, 0 if state is None else state + 1)
        self.called.append(steps)
        return torch.full((len(episode_start), self.size), np.log(self.factor / 3)), steps


def test_a_policy_of_ones_own_with_a_memory_has_j():
    own, uniform = Own(), lambda observation: np.full((len(observation), 3), 1 / 3)
    found = evaluate(own, EXACT, n=600, seed=2)
    assert found == pytest.approx(evaluate(uniform, EXACT, n=600, seed=2), abs=1e-6) and "gap" in found
    assert [set(steps.tolist()) for steps in own.called[:6]] == [{0}, {1}, {2}, {3}, {0}, {1}]


@pytest.mark.parametrize(
    "own, words",
    [
        (Own(factor=1.1), "sum to 1, not 1.1"),
        (Own(factor=float("nan")), "sum to 1, not nan"),
        (Own(size=2), "sum to 1, not 0.66"),
        (Own(factor=3 / 4, size=4), "chooses among 4 actions"),
    ],
)
def test_rows_of_ones_own_must_be_log_pi(own, words):
    with pytest.raises(ValueError, match=words):
        evaluate(own, EXACT, n=8)
