"""Learning's loop: the same from every kind of environment; callbacks, logger, Ctrl-C, the warning of a collapse."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps

from agents import PsiLearning, QLearning
from agents.baselines import PolicyGradient
from seqtutor_envs.env import SequenceTutorVectorEnv
from toys.agent_toys import AGENTS, EXACT, Sung, assert_same_agents, made, sung_batch
from toys.recurrent_toys import random_prior

N = 16


class Note(BaseCallback):
    """Notes the timesteps at steps and at the ends of rounds; `stop` ends learning after so many steps."""

    def __init__(self, stop=None):
        super().__init__()
        self.stop, self.steps, self.timesteps, self.started, self.ended = stop, [], [], 0, 0

    def _on_training_start(self):
        self.started += 1

    def _on_step(self):
        self.steps.append(self.model.num_timesteps)
        return self.stop is None or len(self.steps) < self.stop

    def _on_rollout_end(self):
        self.timesteps.append(self.model.num_timesteps)

    def _on_training_end(self):
        self.ended += 1


# -- one agent from every kind of environment -------------------------------------------------------------------------


def test_an_id_a_single_env_and_a_batch_are_the_same_to_an_agent():
    kwargs = {"vocab_size": 2, "length": 3, "seed": 4}
    by_id = made(PsiLearning, EXACT, n_envs=8, env_kwargs=kwargs).learn(200)
    assert_same_agents(by_id, made(PsiLearning, gym.make(EXACT, **kwargs), n_envs=8).learn(200))
    assert_same_agents(by_id, made(PsiLearning, gym.make_vec(EXACT, num_envs=8, **kwargs)).learn(200))


def test_an_environment_without_a_prior_takes_the_one_given():
    class Unprincipled(gym.vector.VectorWrapper):
        prior = task = property(lambda self: self.no_such_attribute)

        @property
        def unwrapped(self):
            return self

    with pytest.raises(ValueError, match="prior=..."):
        PsiLearning(Unprincipled(sung_batch()))
    given = made(PsiLearning, Unprincipled(sung_batch()), prior=random_prior(end=4)).learn(200)
    own = made(PsiLearning, gym.vector.VectorWrapper(sung_batch())).learn(200)
    assert_same_agents(given, own)


def test_seeds_make_agents():
    assert_same_agents(made(PsiLearning, seed=3).learn(100), made(PsiLearning, seed=3).learn(100))
    a, b = (made(PsiLearning, seed=seed).learn(100).state_arrays() for seed in (3, 4))
    assert any((a[name] != b[name]).any() for name in a)


# -- the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", AGENTS)
def test_a_timestep_is_a_token_and_learning_stops_at_the_round_that_reaches_the_goal(agent_class):
    agent, note = made(agent_class), Note()
    agent.learn(300, callback=note)
    assert agent.num_timesteps == note.timesteps[-1] >= 300 > note.timesteps[-2]
    assert (note.started, note.ended, agent.rounds) == (1, 1, len(note.timesteps))
    fixed = made(agent_class, EXACT, n_envs=N).learn(4 * N * 3 + 1)
    assert (fixed.num_timesteps, fixed.rounds) == (4 * N * 4, 4)


def test_counting_goes_on_or_starts_anew():
    agent = made(PsiLearning, EXACT, n_envs=N)
    assert agent.learn(64).learn(64, reset_num_timesteps=False).num_timesteps == 128
    assert agent.learn(64).num_timesteps == 64


@pytest.mark.parametrize("settings, steps", [({}, 640), ({"epsilon_steps": 320}, 320)])
def test_exploration_falls_linearly_over_half_of_the_steps_or_those_given(settings, steps):
    agent, seen = made(QLearning, EXACT, n_envs=N, epsilon_start=0.9, epsilon_end=0.1, **settings), []
    agent.learn(1280, callback=lambda *_: seen.append(agent.epsilon()) or True)
    done = N * np.arange(1, 81)  # at each of the four steps of a round
    np.testing.assert_allclose(seen, 0.9 - 0.8 * np.minimum(1.0, done / steps))
    assert agent.epsilon() == pytest.approx(0.1)


def test_callbacks_are_stable_baselines3s(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=N)
    seen, note = [], Note()
    agent.learn(640, callback=lambda local, _: seen.append(local["total_timesteps"]) or True)
    assert seen == [640] * 40
    agent.learn(10_000, callback=lambda local, _: len(seen) < 0)
    assert agent.rounds == 1, "a function that returns False ends learning"
    agent.learn(640, callback=[note, EveryNTimesteps(96, Note(stop=2))])
    assert note.steps == list(range(16, 208, 16)), "every 96 timesteps, twice"
    assert note.timesteps == [64, 128, 192] and agent.num_timesteps == 192


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


class Interrupt(Note):
    """Sends this process SIGINT while round `at` is being written."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def _on_rollout_start(self):
        if self.model.rounds + 1 == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, PolicyGradient])
def test_ctrl_c_ends_after_the_round_and_learning_goes_on_as_if_nothing_had_been(agent_class, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    agent, hook = made(agent_class, EXACT, n_envs=N), Interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(640, callback=hook)
    assert (agent.rounds, agent.num_timesteps, hook.ended) == (3, 192, 1)
    assert signal.getsignal(signal.SIGINT) is before
    agent.save(tmp_path / "agent")
    resumed = agent_class.load(tmp_path / "agent").learn(640 - 192, reset_num_timesteps=False)
    assert_same_agents(resumed, made(agent_class, EXACT, n_envs=N).learn(640))


def test_learning_works_beside_the_main_thread():
    agent = made(PsiLearning, EXACT, n_envs=N)
    thread = threading.Thread(target=agent.learn, args=(128,))
    thread.start()
    thread.join()
    assert agent.rounds == 2


# -- collapse ---------------------------------------------------------------------------------------------------------


def collapsing(length):
    """The prior itself writes little but "re"."""
    prior = random_prior(length=length)
    prior.weights["head.bias"][1] += 30.0
    prior = type(prior)(prior.weights, prior.cell, prior.vocab, length)
    return SequenceTutorVectorEnv(Sung(length, None), prior, num_envs=N, c=1.0)


def test_a_collapse_is_warned_of_once():
    with pytest.warns(UserWarning, match="policy is collapsing. A larger c") as caught:
        made(PsiLearning, collapsing(12)).learn(N * 12 * 40)
    assert len(caught) == 1


def test_few_possible_sequences_are_no_collapse():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(PsiLearning, EXACT, n_envs=N).learn(64 * 20)
        made(PsiLearning, sung_batch(end=None, length=12)).learn(N * 12 * 20)
