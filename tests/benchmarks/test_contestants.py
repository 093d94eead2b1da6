"""stable-baselines3's agents in experiments: what they learn from, when they stop, what is counted."""

from __future__ import annotations

import itertools
import math
import tempfile

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from agents.evaluate import evaluate
from benchmarks import contestants
from benchmarks.domains import MELODY, SMILES
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles import chem
from toys.recurrent_toys import random_weights

EXACT = "SeqTutor-Exact-v0"
KWARGS = {"vocab_size": 3, "length": 3, "seed": 2, "c": 0.5}
ROLLOUT = 8 * 3  # tokens: 8 environments, 3 steps
needs_contrib = "sb3-contrib is not installed"


def made(name="ppo", env_id=EXACT, env_kwargs=KWARGS, **settings):
    if name != "ppo":
        pytest.importorskip("sb3_contrib", reason=needs_contrib)
    settings = {"n_envs": 8, "gamma": 1.0, "batch_size": 24, **settings}
    return contestants.make_agent(f"benchmarks.contestants:{name}", env_id, 0, env_kwargs, settings)


class Recorder(BaseCallback):
    """The newest rollout's actions, log pi and rewards as they are learned from, [T, N], and all ended sequences."""

    def __init__(self):
        super().__init__()
        self.ended = []

    def _on_step(self):
        self.ended += [info["sequence"] for info in self.locals["infos"] if "sequence" in info]
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        self.actions, self.log_pi, self.rewards = (
            array.reshape(buffer.buffer_size, buffer.n_envs).copy()
            for array in (buffer.actions, buffer.log_probs, buffer.rewards)
        )


def recorded(tokens, *args, **settings):
    """An agent that has learned from these tokens, and what was recorded."""
    agent, recorder = made(*args, **settings), Recorder()
    agent.callbacks.append(recorder)
    learn(agent, tokens)
    return agent, recorder


def learn(agent, tokens):
    agent.learn(tokens, math.inf, itertools.count().__next__)


def test_ppo_sees_the_prefix_one_hot_and_recurrent_ppo_the_last_token():
    ppo, recurrent = made(), made("recurrent_ppo")
    assert ppo.model.policy.features_extractor.features_dim == 3 * 4  # 3 places, 3 tokens and the filler
    assert ppo.env_kwargs["obs_mode"] == "prefix" and ppo.env.observation_space.shape == (3,)
    assert recurrent.env_kwargs["obs_mode"] == "token" and recurrent.env.observation_space == gym.spaces.Discrete(4)


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_log_pi_is_taken_from_every_reward(name):
    """So that their sum is a sample of J; what the environment pays is that of a single one."""
    _, rollout = recorded(ROLLOUT, name)
    env = gym.make(EXACT, **KWARGS)
    for actions, log_pi, rewards in zip(rollout.actions.T, rollout.log_pi.T, rollout.rewards.T):
        env.reset()
        paid = [env.step(int(action))[1] for action in actions]
        np.testing.assert_allclose(rewards, paid - log_pi, atol=1e-4)
    assert (rollout.log_pi < -0.1).all()


def test_ppo_comes_near_the_best_j():
    """Nearer to log Z than the best single sequence is, which what maximises the rewards alone would write."""
    agent = made(n_envs=64, batch_size=64, learning_rate=3e-3, n_epochs=10, max_grad_norm=0.5)
    learn(agent, 192 * 60)
    solution = gym.make(EXACT, **KWARGS).unwrapped.solution()
    best_alone = (solution["prior_log_probs"] + solution["task_returns"] / KWARGS["c"]).max()
    figures = evaluate(agent.model, EXACT, 2000, env_kwargs=agent.env_kwargs)
    assert best_alone < solution["log_z"] - 1
    assert solution["log_z"] - 0.2 < figures["j"] < solution["log_z"] + 4 * figures["j_se"]


def test_one_starts_as_the_prior():
    agent = made("recurrent_ppo_prior", MELODY, {"length": 6})
    fresh = made("recurrent_ppo", MELODY, {"length": 6})
    kl, fresh_kl = (evaluate(a.model, MELODY, 64, env_kwargs=a.env_kwargs)["kl"] for a in (agent, fresh))
    assert kl == pytest.approx(0, abs=1e-4) and fresh_kl > 5
    shapes = [{name: value.shape for name, value in a.model.policy.named_parameters()} for a in (agent, fresh)]
    assert shapes[0] == shapes[1], "the start is all that differs"


@pytest.mark.parametrize(("tokens", "seconds", "rollouts"), [(10**12, 3, 3), (ROLLOUT + 1, math.inf, 2), (5, 9, 1)])
def test_learning_is_whole_rollouts_by_the_clock_or_by_tokens(tokens, seconds, rollouts):
    """By a clock that ticks once a rollout; and it goes on where it stopped."""
    agent = made()
    assert agent.learn(tokens, seconds, itertools.count().__next__) == rollouts
    assert agent.model.num_timesteps == rollouts * ROLLOUT
    agent.learn(tokens, seconds, itertools.count().__next__)
    assert agent.model.num_timesteps == 2 * rollouts * ROLLOUT


def test_learning_leaves_no_folders(tmp_path, monkeypatch):
    """stable-baselines3 makes one for each logger, and would make a logger for each rollout."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("SB3_LOGDIR", raising=False)
    learn(made(), 3 * ROLLOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_spent_budget_of_calls_ends_learning():
    kwargs = {"max_length": 8, "objective": lambda smiles: [1.0] * len(smiles), "oracle_budget": 3}
    agent = made(env_id=SMILES, env_kwargs=kwargs, batch_size=64)
    learn(agent, 200 * 64)
    assert agent.task.spent and agent.model.num_timesteps < 200 * 64


def test_what_is_written_is_counted():
    agent, rollouts = recorded(10 * ROLLOUT)
    assert len(rollouts.ended) == 80
    assert agent.count_sequences() == {"sequences": 80, "scored": len({tuple(sequence) for sequence in rollouts.ended})}


def test_molecules_count_once_however_they_are_spelled():
    settings = {"n_envs": 64, "batch_size": 384}
    agent, rollouts = recorded(3 * 64 * 12, "recurrent_ppo_prior", SMILES, {"max_length": 12}, **settings)
    found = chem.properties(rollouts.ended)
    distinct = {name for name, valid in zip(found["canonical"], found["valid"]) if valid}
    assert agent.count_sequences() == {"sequences": len(rollouts.ended), "scored": len(distinct)}
    assert 10 < len(distinct) < sum(found["valid"]) < len(rollouts.ended), "the case is an interesting one"


def test_what_the_user_sets_comes_before_our_defaults():
    agent = made(n_steps=6, policy_kwargs={"net_arch": [7]}, ent_coef=0.25)
    assert (agent.model.n_steps, agent.model.ent_coef, agent.model.n_envs) == (6, 0.25, 8)
    assert agent.model.policy.mlp_extractor.policy_net[0].out_features == 7
    assert made().model.n_steps == 3, "one sequence of full length from each environment"
    assert contestants.make_agent("benchmarks.contestants:ppo", EXACT, 0, KWARGS, {}).model.n_envs == 64


def test_what_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install sb3-contrib"):
        contestants.make_agent("benchmarks.contestants:recurrent_ppo", EXACT, 0, KWARGS, {})


def test_another_prior_s_file_is_scored_by_the_environment_s_own(tmp_path):
    weights = random_weights("lstm", 1, len(MELODY_VOCAB), hidden_size=7, scale=1.0)
    mine = RecurrentPrior(weights, "lstm", MELODY_VOCAB, 32)
    path = str(mine.save(tmp_path / "mine"))
    agent = contestants.make_agent("benchmarks.contestants:prior", MELODY, 0, {"length": 6}, {"file": path})
    tokens, _ = agent.sample(9, 4)
    np.testing.assert_array_equal(tokens, mine.sample(9, 4, 6)[0])
    assert evaluate(agent, MELODY, 50, length=6) == evaluate(mine, MELODY, 50, prior="melody", length=6)
    with pytest.raises(ValueError, match="same vocabulary"):
        contestants.make_agent("benchmarks.contestants:prior", EXACT, 0, KWARGS, {"file": path})
