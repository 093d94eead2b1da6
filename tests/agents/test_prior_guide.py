"""The KL penalty in stable-baselines3's rollout buffers, against a plain loop and against the enumerated optimum."""

from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents import PsiLearning
from agents.sb3.one_hot_prefix import OneHotPrefix
from agents.sb3.prior_guide import KLPenaltyCallback
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.exact import objective
from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env
from toys.agent_toys import EXACT, enumerated_log_probs
from toys.env_toys import ToyTask, toy_prior
from toys.sb3_toys import algorithm

GAMMA, LAMBDA, WEIGHT = 0.9, 0.8, 0.7
ALGORITHMS = ["A2C", "PPO", "TRPO", "MaskablePPO", "RecurrentPPO"]


class Recorder(BaseCallback):
    """What the algorithm saw in each rollout of a learn(), step by step, and what the buffer held after the last."""

    def _on_training_start(self):
        self.rollouts = []

    def _on_rollout_start(self):
        self.rollouts.append([])

    def _on_step(self):
        step = {name: np.array(self.locals[name]) for name in ("rewards", "dones", "infos", "actions")}
        step |= {name: self.locals[name].numpy().flatten() for name in ("values", "log_probs")}
        for i, info in enumerate(step["infos"]):
            step["rewards"][i] += GAMMA * self.truncation_value(i, info)
        self.rollouts[-1].append(step)
        return True

    def truncation_value(self, i, info):
        """V of the observation where a sequence was broken off: there alone an end is worth more than its reward."""
        if not info.get("TimeLimit.truncated"):
            return 0.0
        return self.values_of(np.array([info["terminal_observation"]]))[0]

    def values_of(self, observations):
        tensor, _ = self.model.policy.obs_to_tensor(observations)
        with torch.no_grad():
            if not hasattr(self.model.policy, "lstm_actor"):
                return self.model.policy.predict_values(tensor).numpy().flatten()
            starts = torch.tensor(self.model._last_episode_starts).float()
            states = self.model._last_lstm_states.vf
            return self.model.policy.predict_values(tensor, states, starts).numpy().flatten()

    def _on_rollout_end(self):
        self.last_values = self.values_of(self.model._last_obs)
        buffer = self.model.rollout_buffer
        self.buffer = {name: getattr(buffer, name).copy() for name in ("rewards", "advantages", "returns", "values")}

    def recorded(self, name):
        return np.array([step[name] for step in self.rollouts[-1]])


def plain_advantages(rewards, values, dones, last_values):
    """GAE by its definition: discounted sums of temporal differences until the episode or the rollout ends."""
    steps, n = rewards.shape
    following = np.concatenate([values[1:], last_values[None]])
    advantages = np.zeros((steps, n))
    for i in range(n):
        for t in range(steps):
            discount = 1.0
            for k in range(t, steps):
                advantages[t, i] += discount * (
                    rewards[k, i] + GAMMA * following[k, i] * (not dones[k, i]) - values[k, i]
                )
                discount *= GAMMA * LAMBDA
                if dones[k, i]:
                    break
    return advantages


def assert_penalised(record, weight):
    rewards, dones = record.recorded("rewards") - weight * record.recorded("log_probs"), record.recorded("dones")
    advantages = plain_advantages(rewards, record.recorded("values"), dones, record.last_values)
    np.testing.assert_allclose(record.buffer["rewards"], rewards, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(record.buffer["advantages"], advantages, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(record.buffer["returns"], advantages + record.buffer["values"], rtol=1e-4, atol=1e-4)
    assert dones[:-1].any() and not dones[-1].all()  # ends within, and a value after the last step that counts
    assert np.abs(record.last_values[~dones[-1]]).min() > 0


def toy_vec_env(n_envs=3, masked=False, **kwargs):
    """Sequences of different lengths, so that they end at different steps."""
    task, prior = ToyTask(masked=masked), toy_prior(impossible=False)
    return SB3VecEnv(SequenceTutorVectorEnv(task, prior, num_envs=n_envs, c=1.0, autoreset_mode="SameStep", **kwargs))


def made(name, env, n_steps=11, **kwargs):
    policy = "MultiInput" if isinstance(env.observation_space, gymnasium.spaces.Dict) else "Mlp"
    policy += "LstmPolicy" if name == "RecurrentPPO" else "Policy"
    settings = {} if name == "A2C" else {"batch_size": n_steps * env.num_envs}
    settings |= {"n_steps": n_steps, "gamma": GAMMA, "gae_lambda": LAMBDA, "device": "cpu", "seed": 0}
    return algorithm(name)(policy, env, **settings | kwargs)


@pytest.mark.parametrize("obs_mode", ["token", "dict"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_buffers_hold_gae_of_the_penalised_rewards(name, obs_mode):
    model = made(name, toy_vec_env(masked=name == "MaskablePPO", obs_mode=obs_mode))
    record = Recorder()
    model.learn(2 * 33, callback=CallbackList([KLPenaltyCallback(WEIGHT), record]))
    assert_penalised(record, WEIGHT)
    assert isinstance(model.rollout_buffer, DictRolloutBuffer if obs_mode == "dict" else RolloutBuffer)


def test_broken_off_episodes_keep_their_bootstrap():
    """Where a time limit truncates, stable-baselines3 adds the last observation's value to the reward."""
    env = DummyVecEnv([lambda: gymnasium.make(EXACT, max_episode_steps=3)] * 2)
    model, record = made("PPO", env), Recorder()
    model.learn(22, callback=CallbackList([KLPenaltyCallback(WEIGHT), record]))
    infos = record.recorded("infos").flatten()
    assert sum(info["TimeLimit.truncated"] for info in infos) == 6
    assert_penalised(record, WEIGHT)


def test_learning_goes_by_the_buffer():
    """A penalty of weight 0 changes nothing, to the bit; one of weight 1 does."""
    weights = []
    for callback in (None, KLPenaltyCallback(0.0), KLPenaltyCallback(1.0)):
        model = made("PPO", toy_vec_env(), normalize_advantage=False)
        model.learn(33, callback=callback)
        weights.append(model.policy.action_net.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert (weights[0] - weights[2]).abs().max() > 1e-4


class Logged(Logger):
    """A logger that keeps all it is told."""

    def __init__(self):
        super().__init__(folder=None, output_formats=[])
        self.rows = []

    def record(self, key, value, exclude=None):
        self.rows.append((key, value))


@pytest.mark.parametrize("infos", ["full", "end"])
def test_j_and_kl_are_those_of_the_episodes_that_ended(infos):
    model, record, logger = made("PPO", toy_vec_env(4, infos=infos)), Recorder(), Logged()
    penalty = KLPenaltyCallback(WEIGHT)
    model.set_logger(logger)
    running, whole = [[] for _ in range(4)], [True] * 4  # (reward, log pi, log p) of each token so far
    for _ in range(3):
        ended = []
        logger.rows.clear()
        model.learn(88, callback=CallbackList([penalty, record]), reset_num_timesteps=False)
        assert len(record.rollouts) == 2
        for step in sum(record.rollouts, []):
            if step is record.rollouts[-1][0]:
                ended = []  # only what ends in the newest rollout counts
            for i in range(4):
                log_p = step["infos"][i].get("prior_log_prob")
                running[i].append((step["rewards"][i], step["log_probs"][i], log_p))
                if step["dones"][i]:
                    ended += [running[i]] if whole[i] else []
                    running[i], whole[i] = [], True
        whole = [not episode for episode in running]  # the next learn() goes on where this one stopped
        logged = dict(logger.rows)
        j = np.mean([sum(reward - log_pi for reward, log_pi, _ in episode) for episode in ended])
        assert logged["rollout/j"] == penalty.j == pytest.approx(j, abs=1e-5)
        if infos == "full":
            kl = np.mean([sum(log_pi - log_p for _, log_pi, log_p in episode) for episode in ended])
            assert logged["rollout/kl"] == penalty.kl == pytest.approx(kl, abs=1e-5)
        else:
            assert "rollout/kl" not in logged and np.isnan(penalty.kl)
        assert len(ended) > 4 and not all(whole)


def test_without_an_end_there_is_no_figure():
    penalty, logger = KLPenaltyCallback(), Logged()
    model = made("PPO", make_vec_env("SeqTutor-Melody-v0", 2), n_steps=4)
    model.set_logger(logger)
    model.learn(8, callback=penalty)
    assert np.isnan(penalty.j) and "rollout/j" not in dict(logger.rows)


def test_algorithms_without_log_pi_are_refused():
    with pytest.raises(ValueError, match="DQN keeps no log pi.*on-policy"):
        DQN("MlpPolicy", toy_vec_env(), device="cpu").learn(10, callback=KLPenaltyCallback())
    with pytest.raises(ValueError, match="PsiLearning keeps no log pi"):
        PsiLearning(EXACT, n_envs=2).learn(10, callback=KLPenaltyCallback())


def test_rescaled_rewards_are_refused():
    with pytest.raises(ValueError, match="norm_reward=False"):
        made("PPO", VecNormalize(toy_vec_env(), norm_obs=False)).learn(33, callback=KLPenaltyCallback())
    made("PPO", VecNormalize(toy_vec_env(), norm_obs=False, norm_reward=False)).learn(33, callback=KLPenaltyCallback())


def test_a_weight_is_a_number():
    with pytest.raises(ValueError, match="weight must be a finite number"):
        KLPenaltyCallback(-0.5)


def log_pi_of(model, t, observation, infos, actions):
    return model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).log_prob(actions)


def test_ppo_finds_the_optimum_of_j():
    """log Z - J, which is KL(pi || optimum), in nats; PPO on the bare reward gives up all chance that J has."""

    def linear(left):
        return 0.01 * left

    gaps = {}
    for callback in (KLPenaltyCallback(), None):
        env = make_vec_env(EXACT, 256, obs_mode="prefix")
        settings = {"n_steps": 4, "batch_size": 1024, "n_epochs": 4, "learning_rate": linear}
        settings |= {"gamma": 1.0, "ent_coef": 0.0, "seed": 0, "device": "cpu"}
        model = PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": OneHotPrefix}, **settings)
        model.learn(100_000, callback=callback)
        solution = env.native.solution()
        log_pi = enumerated_log_probs(partial(log_pi_of, model), EXACT, solution, "prefix")
        gaps[callback is not None] = solution["log_z"] - objective(solution, log_pi)
    assert gaps[True] < 0.08 and gaps[False] > 1.0, gaps
