"""The section "peers" of the speed report: all sides write and learn the same number of tokens, or say why not."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from demo_toys import small_prior

from benchmarks.speed import peers, torchrl_alone
from benchmarks.speed.options import Options
from seqtutor_envs.melody.vocab import MELODY_VOCAB

with_contrib = pytest.mark.skipif(find_spec("sb3_contrib") is None, reason="sb3-contrib is not installed")
with_torchrl = pytest.mark.skipif(find_spec("torchrl") is None, reason="torchrl is not installed")
COUNTED = """
import sys
from benchmarks.speed import torchrl_alone
from seqtutor_envs.env import SequenceTutorVectorEnv

steps, step = [], SequenceTutorVectorEnv.step
SequenceTutorVectorEnv.step = lambda env, actions: (steps.append(actions.shape), step(env, actions))[1]
for name, side in torchrl_alone.sides(sys.argv[1], 3, 40).items():
    side()
    steps.clear()
    side()
    print(name, len(steps), set(steps))
"""


@pytest.fixture
def prior(tmp_path):
    return str(small_prior(tmp_path / "small", MELODY_VOCAB, 32))


@with_contrib
def test_one_call_of_each_is_one_melody_from_each_environment(prior, monkeypatch):
    monkeypatch.setattr(peers, "N", 4)
    seconds, learned = {"psi": 1.0, "ppo": 4.0, "recurrent_ppo": 10.0}, {}

    def once(sides, *_):
        for name, side in sides.items():
            side()
            model = side.func.__self__
            before = model.num_timesteps
            side()
            learned[name] = model.num_timesteps - before
        return {name: np.full(5, seconds[name]) for name in sides}

    monkeypatch.setattr(peers, "in_turns", once)
    what = {name: name for name in ("ppo", "recurrent_ppo")}
    rows = list(peers.learning(what, Options(melody_prior=prior)))
    assert learned == dict.fromkeys(seconds, 4 * 32)
    assert [(row.value, row.limit, row.ratio) for row in rows] == [(128.0, 32.0, 4.0), (128.0, 12.8, 10.0)]
    assert [row.limit_name for row in rows] == ["ppo", "recurrent_ppo"]


@with_contrib
def test_recurrent_ppo_has_the_priors_shape(prior, monkeypatch):
    monkeypatch.setattr(peers, "N", 4)
    lstm = peers.peer("recurrent_ppo", prior).policy.lstm_actor
    assert (lstm.hidden_size, lstm.num_layers) == (8, 1)


def test_what_is_not_installed_is_said_with_the_way_to_get_it(prior, monkeypatch):
    monkeypatch.setattr(peers, "N", 2)
    monkeypatch.setattr(peers, "find_spec", lambda name: name == "stable_baselines3" or None)
    rows = list(peers.rows(Options(seconds=0.01, melody_prior=prior)))
    assert [bool(row.limit) for row in rows] == [True, False, False]
    assert all("third-party" in row.note and row.value == 0.0 for row in rows[1:])
    assert "sb3_contrib" in rows[1].note and "torchrl" in rows[2].note
    assert 0 < rows[0].ratio < np.inf and rows[0].limit_name.startswith("PPO")


def test_the_plain_loop_goes_on_where_it_stopped(prior):
    env = torchrl_alone.made(prior, 3)
    taken, step = [], env.step
    env.step = lambda actions: taken.append(actions.tolist()) or step(actions)
    call = torchrl_alone.native(env, 40)  # melodies end within it
    call(), call()
    assert len(taken) == 80 and all(len(actions) == 3 for actions in taken)
    assert {token for actions in taken for token in actions} == set(range(38))


@with_torchrl
def test_torchrls_collector_takes_as_many_steps(prior):
    command = [sys.executable, "-c", COUNTED, prior]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=peers.ROOT).stdout.splitlines()
    assert lines[-2:] == ["native 40 {(3,)}", "torchrl 40 {(3,)}"]


@with_torchrl
def test_stepping_beside_torchrl_has_figures(prior):
    row = peers.stepping(Options(seconds=0.01, melody_prior=prior))
    assert 0 < row.limit < np.inf and 0 < row.low <= row.ratio <= row.high and "not measured" not in row.note


def test_a_collector_that_fails_is_said(prior, monkeypatch):
    monkeypatch.setattr(peers, "find_prior", lambda name: "no such prior")
    row = peers.stepping(Options(melody_prior=prior))
    assert "not measured" in row.note and "no such prior" in row.note
