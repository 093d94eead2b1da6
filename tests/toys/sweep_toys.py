"""Agents of experiments that learn in no time, wait for a file, or go wrong, and suites of them, for tests of sweeps.

They are named in suites as "toys.sweep_toys:NAME", and the runner's processes import this module.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import CallbackList

from benchmarks.contestants import Learner
from benchmarks.experiment import Experiment
from benchmarks.prior_samples import make_batch

EXACT = "SeqTutor-Exact-v0"
V, T = 3, 3  # tokens and horizon of the task: 27 sequences
KWARGS = {"vocab_size": V, "length": T, "seed": 1, "c": 0.5}
N = 8  # sequences of a round
PATIENCE = 180.0  # seconds that a waiting agent waits; a test that fails leaves nothing for longer


def toy(name, *, n=40, seed=0, steps=None, **agent_kwargs):
    """An experiment of one of the agents below."""
    return Experiment(EXACT, f"toys.sweep_toys:{name}", KWARGS, agent_kwargs, steps=steps, n=n, seed=seed, label=name)


def write_suite(path, experiments, question="What goes wrong?"):
    """A user's file with these experiments."""
    lines = "".join(f"    {one!r},\n" for one in experiments)
    text = f'"""{question}"""\nfrom benchmarks.experiment import Experiment\n\nSUITE = (\n{lines})\n'
    path.write_text(text, encoding="utf-8")
    return path


def ended(process_id, seconds=20.0):
    """Whether a process is gone, or goes within so many seconds; one that nobody has asked for its status is gone."""
    stat, end = Path(f"/proc/{process_id}/stat"), time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(process_id, 0)
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except ProcessLookupError:
            return True
        except FileNotFoundError:  # no such system, or gone in between
            pass
        time.sleep(0.05)
    return False


def appears(path, seconds=PATIENCE):
    """Whether a file appears."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return path.exists()


class Table:
    """Independent steps: log pi [T, V]. What it learns: of each round's N sequences the best becomes likelier.

    It has what the runner asks of an agent that learns, and no more.

    Args:
        until: where it waits in its second round, until this file exists; see `wait_for`.
    """

    def __init__(self, env, seed=0, until=None):
        self.env, self.task, self.until = env, env.task, until
        self.rng, self.logits = np.random.default_rng(seed), np.zeros((T, V))
        self.num_timesteps = self.rounds = 0

    def log_pi(self):
        return self.logits - np.logaddexp.reduce(self.logits, axis=1, keepdims=True)

    def sample(self, n, seed):
        noise = np.random.default_rng(seed).gumbel(size=(n, T, V))
        return (self.log_pi() + noise).argmax(axis=2), np.full(n, T)

    def log_prob(self, tokens, lengths=None):
        return self.log_pi()[np.arange(T), tokens].sum(axis=1)

    def get_parameters(self):
        return {"table": {"logits": torch.from_numpy(self.logits.copy())}}

    def learn(self, total_timesteps, callback=None, reset_num_timesteps=True):
        callbacks = CallbackList(callback or [])
        callbacks.init_callback(self)
        callbacks.on_training_start({}, {})
        goal = self.num_timesteps + total_timesteps
        while self.num_timesteps < goal:
            for _ in range(T):
                self.num_timesteps += N
                if not callbacks.on_step():
                    return self
            self.improve()
            callbacks.on_rollout_end()
        return self

    def improve(self):
        self.rounds += 1
        tokens, lengths = self.sample(N, int(self.rng.integers(2**31)))
        best = tokens[self.task.reward(tokens, lengths).sum(axis=1).argmax()]
        self.logits[np.arange(T), best] += 0.1
        if self.rounds == 2 and self.until is not None:
            wait_for(Path(self.until))


def wait_for(file):
    """Until the file exists; says so in a file beside it, which appears whole and has its process and the parent's."""
    waiting = file.with_suffix(".waiting")
    waiting.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
    waiting.with_suffix(".new").rename(waiting)
    appears(file)


def waiting_processes(file):
    """Of whom waits for this file: its process id, and that of the process it was forked from."""
    return [int(text) for text in file.with_suffix(".waiting").read_text().split()]


def table(env, *, seed, env_kwargs, until=None):
    return Table(make_batch(env, env_kwargs), seed, until)


def still(env, *, seed, env_kwargs):
    """Every sequence equally likely; it does not learn, and prints nothing."""
    return Still()


class Still:
    def sample(self, n, seed):
        return np.random.default_rng(seed).integers(0, V, (n, T)), np.full(n, T)

    def log_prob(self, tokens, lengths=None):
        return np.full(len(tokens), -T * np.log(V))


class OnlyPredicts:
    """Actions and nothing else: no log pi."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.zeros(len(observation), np.int64), state


def only_predicts(env, *, seed, env_kwargs):
    return OnlyPredicts()


class LearnsAndOnlyPredicts(OnlyPredicts):
    """The same that learns, as if it were a model of a library that nobody knows."""

    def __init__(self, table):
        self.table, self.env = table, table.env

    @property
    def num_timesteps(self):
        return self.table.num_timesteps

    def learn(self, total_timesteps, callback=None, reset_num_timesteps=True):
        self.table.learn(total_timesteps, callback, reset_num_timesteps)
        return self


def learns_and_only_predicts(env, *, seed, env_kwargs):
    return LearnsAndOnlyPredicts(Table(make_batch(env, env_kwargs), seed))


class Counts(Learner):
    """A user's own contestant, whose figures are what JSON cannot hold."""

    def count_sequences(self):
        return {"sequences": {self.model.rounds * N}}


def counts_in_sets(env, *, seed, env_kwargs):
    return Counts(Table(make_batch(env, env_kwargs), seed), env_kwargs)


# ---------------------------------------------------------------- what goes wrong


def raises(env, *, seed, env_kwargs):
    print("about to break")
    raise RuntimeError("my agent is broken")


class Breaking(Table):
    """Breaks in its third round."""

    def improve(self):
        super().improve()
        if self.rounds == 3:
            raise FloatingPointError("the third round is broken")


def breaks(env, *, seed, env_kwargs):
    return Breaking(make_batch(env, env_kwargs), seed)


def exits(env, *, seed, env_kwargs):
    sys.exit(3)


def crashes(env, *, seed, env_kwargs):
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(env, *, seed, env_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(env, *, seed, env_kwargs):
    print("good night")
    time.sleep(PATIENCE)


def needs_file(env, *, seed, env_kwargs, path):
    """Fails until the file is there."""
    Path(path).read_bytes()
    return Still()
