"""The temperature that an agent learns at: where it begins and ends, how it follows the KL, what updates receive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from agents import KLPPO, PsiLearning, QLearning, TrajectoryBalance
from agents.store.replay import Sequences
from agents.store.temperature import Temperature
from toys.agent_toys import EXACT, SMALL

C = 0.5


def sequences(rewards):
    rewards = np.array(rewards, np.float32)
    n, steps = rewards.shape
    return Sequences(np.zeros((n, steps), np.int64), np.full(n, steps), rewards, np.zeros((n, steps, 2), np.float32))


class Rounds(BaseCallback):
    """The temperature after each round."""

    def __init__(self):
        super().__init__()
        self.after = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.after.append(self.model.temperature.now)


def make(agent_class=PsiLearning, **settings):
    small = {} if agent_class is KLPPO else SMALL
    return agent_class(EXACT, n_envs=16, env_kwargs={"c": C}, **{**small, **settings})


def watch_updates(agent):
    """Let the agent note what its learner receives, with the temperature of that moment."""
    received, update = [], agent.learner.update

    def note(batch, *further):
        received.append((batch, agent.temperature.now))
        return update(batch, *further)

    agent.learner.update = note
    return received


# -- by itself --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [8.0, 0.01])
def test_log_c_moves_evenly_from_the_start_to_the_environments(start):
    one = Temperature(C, start=start)
    assert one.moves and one.now == start
    found = []
    for done in (0.0, 0.25, 0.5, 0.75, 1.0):
        one.follow(done, kl=1e9)
        found.append(one.now)
    np.testing.assert_allclose(np.log(found), np.linspace(math.log(start), math.log(C), 5), atol=1e-12)
    assert found[-1] == C, "to the last bit"


FACTORS = [(10.0, 1.0), (1e6, 1.1), (15.0, math.sqrt(1.1)), (0.0, 1 / 1.1), (-5.0, 1 / 1.1)]


@pytest.mark.parametrize("kl, factor", FACTORS)
def test_c_follows_the_kl_by_at_most_a_tenth_a_round(kl, factor):
    one = Temperature(C, target_kl=10.0)
    assert one.moves and one.now == C
    for rounds in (1, 2, 3):
        one.follow(0.9, kl)  # whatever share of the learning is done
        assert one.now == pytest.approx(C * factor**rounds, rel=1e-12)


@pytest.mark.parametrize("kl, farthest", [(1e6, 1e3), (0.0, 1e-3)])
def test_c_follows_the_kl_up_to_a_thousandfold(kl, farthest):
    one = Temperature(C, target_kl=10.0)
    for _ in range(80):  # 1.1 ** 72 = 955
        one.follow(0.5, kl)
    assert one.now == pytest.approx(C * farthest, rel=1e-12)


@pytest.mark.parametrize("c, kl, end", [(1e-5, 0.0, 1e-6), (1e5, 1e9, 1e6)])
def test_c_stays_where_a_file_may_hold_it(c, kl, end):
    one = Temperature(c, target_kl=10.0)
    for _ in range(80):
        one.follow(0.5, kl)
    assert one.now == end
    again = Temperature(c, target_kl=10.0)
    again.restore(one.arrays())
    assert again.now == end


def test_without_arguments_it_never_moves():
    one = Temperature(C)
    one.follow(0.5, kl=1e6)
    assert not one.moves and one.now == C
    given = sequences([[1.0, 2.0]])
    assert one.rescale(given) is given


def test_rewards_are_divided_by_the_present_temperature_and_nothing_else_changes():
    one = Temperature(C, start=8.0)
    given = sequences([[1.0, -4.0, 0.0], [0.5, 6.0, 2.0]])
    found = one.rescale(given)
    # r / .5 becomes r / 8
    assert found.task_rewards.tolist() == [[1 / 16, -4 / 16, 0.0], [0.5 / 16, 6 / 16, 2 / 16]]
    assert found.task_rewards.dtype == np.float32
    assert found.tokens is given.tokens and found.prior_log_probs is given.prior_log_probs
    assert given.task_rewards[0].tolist() == [1.0, -4.0, 0.0]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"start": 2.0, "target_kl": 5.0}, "c_start and target_kl both set the temperature: give one of them."),
        ({"start": 0.0}, "c_start must be"),
        ({"start": float("nan")}, "c_start must be"),
        ({"target_kl": 0.0}, "target_kl must be a finite number above 0"),
        ({"target_kl": -1.0}, "target_kl must be a finite number above 0"),
    ],
)
def test_what_cannot_be_a_temperature_is_one_line(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        Temperature(C, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arrays", [{}, {"now": np.array([0.0])}, {"now": np.array([np.nan])}, {"now": np.ones(2)}])
def test_damaged_checkpoints_are_refused(arrays):
    one = Temperature(C, start=8.0)
    with pytest.raises(ValueError):
        one.restore(arrays)
    assert one.now == 8.0


# -- in agents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, TrajectoryBalance, KLPPO])
def test_an_agent_ends_at_the_environments_c(agent_class):
    """Ten rounds of 16 sequences of 4 tokens; the greedy agent, too."""
    agent, rounds = make(agent_class, c_start=C * 2**10), Rounds()
    assert agent.temperature.now == C * 2**10
    agent.learn(640, rounds)
    np.testing.assert_allclose(rounds.after, [C * 2.0 ** (10 - n) for n in range(1, 11)], rtol=1e-12)
    assert rounds.after[-1] == C


def test_a_learning_that_begins_anew_begins_at_the_start():
    agent = make(c_start=5.0)
    received = watch_updates(agent)
    agent.learn(640)
    first = [now for _, now in received]
    received.clear()
    agent.learn(640)
    assert [now for _, now in received] == first and first[0] == 5.0
    received.clear()
    agent.learn(640, reset_num_timesteps=False)
    assert received[0][1] == C  # it goes on where it was
    agent.learn(0)


def test_an_agent_sets_c_by_the_kl_of_its_newest_round():
    agent, rounds, collected = make(target_kl=0.3), Rounds(), []
    collect = agent.collect
    agent.collect = lambda: collected.append(collect()) or collected[-1]
    agent.learn(640, rounds)
    now = C
    for (newest, log_pi), after in zip(collected, rounds.after, strict=True):
        log_p = [sum(float(newest.prior_log_probs[i, t, newest.tokens[i, t]]) for t in range(4)) for i in range(16)]
        now *= 1.1 ** max(-1.0, min(1.0, float(np.mean(log_pi - np.array(log_p))) / 0.3 - 1.0))
        assert after == pytest.approx(now, rel=1e-5)
    steps = np.abs(np.diff(np.log(rounds.after)))
    assert steps.min() < 0.05 and steps.max() == pytest.approx(math.log(1.1)), "whole steps and parts of them"


CASES = [(PsiLearning, {}), (PsiLearning, {"store": True}), (TrajectoryBalance, {"store": True}), (KLPPO, {})]


@pytest.mark.parametrize("agent_class, memories", CASES)
def test_updates_receive_rewards_at_the_present_temperature(agent_class, memories):
    """What the task pays, asked anew for the tokens of each batch, over the temperature of the round."""
    agent = make(agent_class, c_start=4.0, **memories)
    received = watch_updates(agent)
    agent.learn(320)
    assert len({now for _, now in received}) == 5 and received[0][1] == 4.0
    for batch, now in received:
        rewards = agent.task.reward(batch.tokens)
        for i in range(len(rewards)):
            for t in range(rewards.shape[1]):
                assert batch.task_rewards[i, t] == pytest.approx(rewards[i, t] / now, rel=1e-5, abs=1e-7)
    # reported at the environment's c, as it paid them
    np.testing.assert_allclose(agent.newest.task_rewards, agent.task.reward(agent.newest.tokens) / C, rtol=1e-5)


def test_learning_at_another_temperature_is_learning_in_that_environment():
    """An agent held at c = 2 in an environment of c = .5 becomes, to the bit, the one of an environment of c = 2."""
    held = make(c_start=2.0, seed=3)
    held.temperature.follow = lambda done, kl: None
    held.learn(320)
    other = PsiLearning(EXACT, n_envs=16, seed=3, env_kwargs={"c": 2.0}, **SMALL).learn(320)
    arrays, others = held.state_arrays(), other.state_arrays()
    for name in others:
        if name != "replay.task_rewards":
            np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)
    np.testing.assert_allclose(arrays["replay.task_rewards"] / 4, others["replay.task_rewards"], rtol=1e-6)


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, TrajectoryBalance, KLPPO])
def test_mistakes_are_one_line_of_the_agent(agent_class):
    with pytest.raises(ValueError, match="c_start and target_kl both set the temperature"):
        make(agent_class, c_start=2.0, target_kl=1.0)
    for name in ("c_start", "target_kl"):
        with pytest.raises(ValueError, match=f"{name} must be .*, not 0"):
            make(agent_class, **{name: 0})


@pytest.mark.parametrize("settings", [{"c_start": 64.0}, {"target_kl": 0.3}])
def test_a_file_keeps_the_temperature(settings, tmp_path):
    agent = make(**settings).learn(320)
    agent.temperature.now = 3.25
    loaded = PsiLearning.load(agent.save(tmp_path / "agent"))
    assert loaded.temperature.now == 3.25 and loaded.c == C
    assert {name: loaded.settings[name] for name in settings} == settings
