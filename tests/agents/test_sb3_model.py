"""Our agents as stable-baselines3 models: callbacks step by step, the log, environments, parameters."""

from __future__ import annotations

import csv
import signal
import tempfile
from contextlib import nullcontext

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, LogEveryNTimesteps
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from agents import GLearning, PsiLearning, QLearning
from agents.baselines import PolicyGradient
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.sb3 import SB3VecEnv, make_vec_env
from toys.agent_toys import AGENTS, EXACT, SMALL, assert_same_agents, made, sung_batch, toy_batch
from toys.env_toys import toy_prior

N = 16
each_kind = pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, PolicyGradient])


class Tape(BaseCallback):
    """All that a callback sees; `stop` ends learning at so many calls."""

    def __init__(self, stop=None):
        super().__init__()
        self.stop, self.calls, self.rounds = stop, [], []

    def _on_rollout_start(self):
        self.calls.append("start")

    def _on_rollout_end(self):
        self.calls.append("end")
        self.rounds.append(self.model.newest)

    def _on_step(self):
        kept = {name: self.locals[name] for name in ("actions", "rewards", "dones", "infos")}
        counted = {"timesteps": (self.num_timesteps, self.model.num_timesteps), "n_calls": self.n_calls}
        self.calls.append(kept | counted)
        return self.n_calls != self.stop

    @property
    def steps(self):
        return [call for call in self.calls if isinstance(call, dict)]


# -- callbacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [toy_batch, lambda: SB3VecEnv(toy_batch(autoreset_mode="SameStep", infos="end"))])
def test_callbacks_see_what_the_environment_says_of_the_same_tokens(env):
    """Sequences of unequal length; each is written again in a single environment."""
    tape = Tape()
    made(PsiLearning, env()).learn(200, callback=tape)
    assert len(tape.rounds) >= 2
    steps, before = iter(tape.steps), 0
    for written in tape.rounds:
        assert len(set(written.lengths.tolist())) > 1
        told = [next(steps) for _ in range(written.lengths.max())]
        for i, length in enumerate(written.lengths):
            single, total = SequenceTutorEnv(toy_batch(1).task, toy_prior(), c=1.0), 0.0
            single.reset()
            for t, step in enumerate(told):
                if t >= length:
                    assert step["rewards"][i] == 0.0 and not step["dones"][i] and step["infos"][i] == {}
                    continue
                _, reward, over, _, _ = single.step(step["actions"][i])
                total += reward
                assert step["rewards"][i] == pytest.approx(reward, abs=1e-5)
                assert step["dones"][i] == over == ("episode" in step["infos"][i])
            episode = told[length - 1]["infos"][i]["episode"]
            assert episode["r"] == pytest.approx(total, abs=1e-4) and episode["l"] == length and episode["t"] >= 0
        for t, step in enumerate(told):
            before += int((written.lengths > t).sum())
            assert step["timesteps"] == (before, before)
    assert next(steps, None) is None


def test_calls_come_in_stable_baselines3s_order_and_are_counted():
    tape = Tape()
    agent = made(PsiLearning, EXACT, n_envs=N).learn(128, callback=CallbackList([tape]))
    names = [call if isinstance(call, str) else "step" for call in tape.calls]
    assert names == 2 * ["start", *4 * ["step"], "end"]
    assert [step["n_calls"] for step in tape.steps] == list(range(1, 9))
    assert [step["timesteps"][0] for step in tape.steps] == list(range(16, 144, 16))
    assert agent.num_timesteps == 128


def test_a_callback_that_stops_within_a_round_ends_after_it():
    tape = Tape(stop=6)
    agent = made(PsiLearning, EXACT, n_envs=N).learn(10_000, callback=tape)
    assert (len(tape.steps), agent.rounds, agent.num_timesteps) == (6, 2, 128)
    assert_same_agents(agent, made(PsiLearning, EXACT, n_envs=N).learn(128))


@pytest.mark.parametrize("agent_class", AGENTS)
def test_what_a_callback_saves_at_any_step_learns_on_to_the_same_bits(agent_class, tmp_path):
    settings = {"epsilon_steps": 300} if issubclass(agent_class, QLearning) else {}
    agent = made(agent_class, EXACT, n_envs=N, **settings)
    agent.learn(320, callback=CheckpointCallback(save_freq=7, save_path=str(tmp_path), name_prefix="at"))
    files = sorted(tmp_path.iterdir(), key=lambda path: int(path.name.split("_")[1]))
    assert [path.name for path in files] == ["at_112_steps.safetensors", "at_224_steps.safetensors"]
    for path, whole in zip(files, (128, 256)):
        resumed = agent_class.load(path.with_suffix(".zip"))  # as stable-baselines3 would have named it
        assert resumed.num_timesteps == whole
        assert_same_agents(resumed.learn(320 - whole, reset_num_timesteps=False), agent)


# -- the log ----------------------------------------------------------------------------------------------------------

USUAL = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/iterations", "time/time_elapsed"}
OURS = {"rollout/j", "rollout/kl", "rollout/log_p", "rollout/task_return", "rollout/distinct", "rollout/term_prefix"}


def test_the_log_has_the_usual_keys_and_ours(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=N)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(64 * 20)
    agent.logger.close()
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert len(rows) == 2 and USUAL | OURS | {"time/total_timesteps", "train/loss"} <= set(rows[0])
    assert (rows[-1]["time/total_timesteps"], rows[-1]["time/iterations"]) == ("1280", "20")


@pytest.mark.parametrize("stop", ["end", "callback", "interrupt"])
def test_the_log_has_an_entry_of_the_last_rollout(stop, tmp_path):
    agent = PsiLearning(EXACT, seed=0, n_envs=8, env_kwargs={"seed": 3}, **SMALL)
    agent.set_logger(configure(str(tmp_path), ["csv"]))

    def callback(*_):
        if stop == "interrupt" and agent.num_timesteps == 8:  # once: a second Ctrl-C ends it within the rollout
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        return stop != "callback"

    with pytest.raises(KeyboardInterrupt) if stop == "interrupt" else nullcontext():
        agent.learn(64, callback, log_interval=1_000)
    agent.logger.close()
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert [int(row["time/total_timesteps"]) for row in rows] == [agent.num_timesteps]
    assert all(float(rows[0][f"rollout/{name}"]) is not None for name in ("j", "kl", "task_return"))


def test_log_every_n_timesteps_of_stable_baselines3_writes_entries(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=N)
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.dump_logs()  # nothing to say yet
    agent.learn(64 * 8, LogEveryNTimesteps(128), log_interval=1_000)
    agent.logger.close()
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    steps = [int(row["time/total_timesteps"]) for row in rows]
    assert steps == [128, 256, 384, 512, 512]  # the last one is of the last rollout
    assert all(row["rollout/j"] for row in rows)


def test_an_agent_says_what_it_is():
    agent = PsiLearning(EXACT, seed=0, n_envs=8, gamma=0.5, env_kwargs={"seed": 3, "c": 2.0, "length": 4}, **SMALL)
    assert repr(agent) == f"PsiLearning({EXACT}, c=2, gamma=0.5, 0 tokens learned)"
    agent.learn(32)
    assert repr(agent) == f"PsiLearning({EXACT}, c=2, gamma=0.5, 32 tokens learned)"
    own = PsiLearning(toy_batch(num_envs=4, c=0.25), seed=0, **SMALL)
    assert repr(own) == "PsiLearning(SequenceTutorVectorEnv, c=0.25, gamma=1, 0 tokens learned)"


@pytest.mark.parametrize(
    "env",
    [
        lambda: gym.make_vec(EXACT, num_envs=N),
        lambda: gym.vector.VectorWrapper(gym.make_vec(EXACT, num_envs=N)),
        lambda: gym.vector.VectorWrapper(gym.make_vec(EXACT, num_envs=N, autoreset_mode="SameStep")),
        lambda: make_vec_env(EXACT, N, infos="full"),
    ],
)
def test_figures_of_the_log_are_those_of_the_sequences(env):
    """One round, every sequence looked up among all of them."""
    agent, tape, solution = made(PsiLearning, env()), Tape(), gym.make(EXACT).unwrapped.solution()
    log_pi = agent.log_prob(solution["sequences"])  # that of the policy which writes the round
    agent.learn(64, callback=tape)
    index = [int("".join(map(str, row)), 3) for row in tape.rounds[0].tokens]
    returns, log_p = solution["task_returns"][index].mean(), solution["prior_log_probs"][index].mean()
    figures = agent.training_metrics()
    expected = {"task_return": returns, "term_prefix": returns, "log_p": log_p, "ep_rew_mean": returns + log_p}
    expected |= {"kl": (log_pi - solution["prior_log_probs"])[index].mean()}
    expected |= {"j": returns - expected["kl"], "ep_len_mean": 4.0, "distinct": len(set(index)) / N}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_without_step_infos_there_are_no_terms():
    agent = made(PsiLearning, make_vec_env(EXACT, N)).learn(64)
    assert not [name for name in agent.training_metrics() if name.startswith("term_")]


def test_learn_prints_unless_a_logger_was_set(capsys):
    agent = made(PsiLearning, EXACT, n_envs=N, verbose=1)
    agent.logger.record("before/learn", 1)
    agent.learn(64 * 10)
    assert "rollout/" in capsys.readouterr().out
    agent.set_logger(configure(None, []))
    agent.learn(64 * 10)
    assert capsys.readouterr().out == ""


def test_learn_writes_tensorboards_events_where_it_is_told_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    made(PsiLearning, EXACT, n_envs=N).learn(64)
    made(PsiLearning, EXACT, n_envs=N, tensorboard_log=str(tmp_path / "logs")).learn(640, tb_log_name="run")
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["run_1"]
    assert list((tmp_path / "temporary").iterdir()) == []


# -- evaluation -------------------------------------------------------------------------------------------------------


def test_predict_reads_a_prefix_again_where_no_state_is_given():
    agent = made(PsiLearning, sung_batch(obs_mode="prefix", end=None)).learn(300)
    tokens, _ = agent.sample(20, seed=0)
    steps = np.arange(20) % tokens.shape[1]
    prefixes = np.where(np.arange(tokens.shape[1]) < steps[:, None], tokens, agent.prior.vocab.start)
    rows = agent.policy().log_probs(tokens)[np.arange(20), steps]
    actions, state = agent.predict(prefixes, deterministic=True)
    np.testing.assert_array_equal(actions, rows.argmax(1))
    assert agent.predict(prefixes[7], deterministic=True)[0] == rows[7].argmax()
    further = np.where(np.arange(tokens.shape[1]) == steps[:, None], actions[:, None], prefixes)
    kept, _ = agent.predict(further, state, np.zeros(20, bool), deterministic=True)
    np.testing.assert_array_equal(kept, agent.predict(further, deterministic=True)[0])


# -- environments -----------------------------------------------------------------------------------------------------


@each_kind
def test_set_env_goes_on_in_an_environment_with_another_temperature(agent_class):
    agent = made(agent_class, EXACT, n_envs=N).learn(64)
    agent.set_env(gym.make_vec(EXACT, num_envs=N, c=0.5))
    assert agent.get_env().c == agent.c == 0.5
    agent.learn(64, reset_num_timesteps=False)
    figures = agent.training_metrics()
    assert figures["j"] == pytest.approx(figures["task_return"] / 0.5 - figures["kl"], abs=1e-4)
    agent.set_env(EXACT)
    assert agent.get_env().num_envs == N and agent.c == 1.0
    agent.set_env(make_vec_env(EXACT, N, c=2.0))
    assert agent.learn(64, reset_num_timesteps=False).num_timesteps == 192


def test_set_env_in_the_same_environment_changes_nothing():
    agent = made(PsiLearning, EXACT, n_envs=N).learn(64)
    agent.set_env(EXACT)
    agent.learn(64, reset_num_timesteps=False)
    assert_same_agents(agent, made(PsiLearning, EXACT, n_envs=N).learn(128))


@pytest.mark.parametrize(
    "env, what",
    [
        (lambda: gym.make_vec(EXACT, num_envs=3), "other sequences than this agent: 16 here, 3 there"),
        (lambda: gym.make_vec(EXACT, num_envs=N, length=5), "other length than this agent: 4 here, 5 there"),
        (lambda: gym.make_vec(EXACT, num_envs=N, vocab_size=2), "other tokens"),
    ],
)
def test_set_env_refuses_what_the_agent_cannot_learn_in(env, what):
    agent = made(PsiLearning, EXACT, n_envs=N)
    before = agent.env
    with pytest.raises(ValueError, match=what):
        agent.set_env(env())
    assert agent.env is before


def test_set_env_refuses_another_prior():
    env = sung_batch()
    agent = made(GLearning, env)
    weights = {name: array + 0.1 for name, array in env.prior.weights.items()}
    other = type(env.prior)(weights, env.prior.cell, env.prior.vocab, env.prior.length)
    with pytest.raises(ValueError, match="other prior than this agent"):
        agent.set_env(SequenceTutorVectorEnv(env.task, other, num_envs=N, c=0.5))


@each_kind
def test_set_env_keeps_the_masks_of_its_task_alone(agent_class, tmp_path):
    agent = made(agent_class, sung_batch(masked=True)).learn(64)
    agent.set_env(sung_batch(masked=True))
    agent.set_env(sung_batch(masked=True))
    loaded = agent_class.load(agent.save(tmp_path / "agent"), sung_batch(masked=True))
    assert_same_agents(agent, loaded)
    agent.set_env(sung_batch())
    tokens, _ = agent.sample(200, seed=0)
    assert (tokens[:, 1:] == tokens[:, :-1]).any()  # which the mask forbade


def test_an_environment_that_is_stepped_has_one_candidate():
    agent = PsiLearning(EXACT, n_envs=N, scores="expensive", target_kl=0.5, on_repeats="off")
    assert agent.candidates == 4
    agent.set_env(make_vec_env(EXACT, N))
    assert agent.candidates == 1
    agent.learn(256)
    assert agent.temperature.now != agent.c and agent.repeats.new < 1
    agent.set_env(EXACT)
    assert agent.candidates == 4
    agent.learn(256, reset_num_timesteps=False)


def test_a_prior_beside_the_environments_own_is_refused():
    env = sung_batch()
    weights = {name: array + 0.1 for name, array in env.prior.weights.items()}
    other = type(env.prior)(weights, env.prior.cell, env.prior.vocab, env.prior.length)
    with pytest.raises(ValueError, match="pays log p of its own prior, which is not the one given: leave prior out"):
        made(PsiLearning, env, prior=other)
    with pytest.raises(ValueError, match="env_kwargs="):
        PsiLearning(EXACT, prior="melody")
    same = type(env.prior)(env.prior.weights, env.prior.cell, env.prior.vocab, env.prior.length)
    for prior in (env.prior, same):
        made(PsiLearning, env, prior=prior).learn(64)


@pytest.mark.parametrize("env", [EXACT, gym.make(EXACT), make_vec_env(EXACT, N)])
def test_get_env_is_a_vec_env_that_stable_baselines3_evaluates_in(env):
    """With the best actions, so that no chance is spent, and learning goes on as if nothing had been."""
    agent = made(PsiLearning, env, **({} if isinstance(env, SB3VecEnv) else {"n_envs": N})).learn(64)
    assert isinstance(agent.get_env(), SB3VecEnv)
    mean, _ = evaluate_policy(agent, agent.get_env(), N, deterministic=True)
    solution = gym.make(EXACT).unwrapped.solution()
    returns = solution["prior_log_probs"] + solution["task_returns"]
    assert any(abs(mean - one) < 1e-4 for one in returns), "all sequences are the same one"
    agent.learn(64, reset_num_timesteps=False)
    whole = made(PsiLearning, env, **({} if isinstance(env, SB3VecEnv) else {"n_envs": N})).learn(128)
    assert_same_agents(agent, whole)


def test_spaces_are_those_of_one_sequence():
    for env in (EXACT, gym.make_vec(EXACT, num_envs=2), make_vec_env(EXACT, 2), DummyVecEnv([lambda: gym.make(EXACT)])):
        prior = gym.make(EXACT).unwrapped.prior
        agent = made(PsiLearning, env, prior=prior)
        assert agent.action_space == gym.spaces.Discrete(3) and agent.observation_space == gym.spaces.Discrete(4)


# -- parameters -------------------------------------------------------------------------------------------------------


@each_kind
def test_parameters_of_one_agent_make_another_the_same(agent_class, tmp_path):
    trained, fresh, read = (made(agent_class, EXACT, n_envs=N) for _ in range(3))
    trained.learn(320)
    tokens = gym.make(EXACT).unwrapped.solution()["sequences"]
    assert not np.allclose(trained.log_prob(tokens), fresh.log_prob(tokens))
    fresh.set_parameters(trained.get_parameters())
    read.set_parameters(trained.save(tmp_path / "agent"))
    for agent in (fresh, read):
        np.testing.assert_array_equal(trained.log_prob(tokens), agent.log_prob(tokens))
        assert agent.num_timesteps == 0
        for name, array in trained.state_arrays().items():
            if not name.startswith("replay"):
                np.testing.assert_array_equal(array, agent.state_arrays()[name], err_msg=name)


def test_parameters_must_be_the_agents_own(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=N)
    parameters = agent.get_parameters()
    assert set(parameters) == {"learner.network", "learner.target_network", "learner.optimizer"}
    some = {"learner.network": parameters["learner.network"]}
    with pytest.raises(ValueError, match=r"missing: \['learner.optimizer', 'learner.target_network'\]"):
        agent.set_parameters(some)
    agent.set_parameters(some, exact_match=False)
    with pytest.raises(ValueError, match=r"unknown: \['policy'\]"):
        agent.set_parameters({"policy": {}}, exact_match=False)
    with pytest.raises(ValueError, match="load it with that class"):
        agent.set_parameters(made(PolicyGradient, EXACT, n_envs=N).save(tmp_path / "other"))


def test_a_seed_makes_predictions_repeat():
    agent = made(PsiLearning, EXACT, n_envs=N)
    state = torch.random.get_rng_state()
    found = []
    for seed in (7, 7, 8):
        agent.set_random_seed(seed)
        found.append(agent.predict(np.full(50, 3))[0].tolist())
    assert found[0] == found[1] != found[2]
    assert torch.equal(state, torch.random.get_rng_state())
