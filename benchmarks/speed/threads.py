"""Compare what a user has who sets nothing with one thread: alone, and beside a busy process on every core.

Wall time, because threads that wait for each other may take no CPU time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import torch

from agents import GLearning, PsiLearning
from agents.tutor import Tutor
from benchmarks.domains import MELODY
from benchmarks.speed.agents import make_agent
from benchmarks.speed.environments import LENGTH, columns, endless_samples, load, play
from benchmarks.speed.measure import SEED, Aim, Comparison, Options, Sides
from seqtutor_envs.command import usable_cores
from seqtutor_envs.threads import find_blas

N = 64  # melodies of a round
SAMPLED = 256
# it ends with this process, however that ends
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"

Work = tuple[Callable[[], Any], float]  # what is timed, and its amount


def with_threads(number: int, work: Callable[[], Any]) -> Callable[[], None]:
    """Return a function that does the work in a process whose numbers of threads are `number`.

    It raises RuntimeError if a library has another number before or after the work: the comparison would mean nothing.
    """

    def check() -> None:
        found = find_blas().get(), torch.get_num_threads()
        if found != (number, number):
            raise RuntimeError(f"numpy and torch should have {number} threads here, and have {found}")

    def run() -> None:
        find_blas().set(number)  # directly: threadpoolctl's limit takes as long as the work
        torch.set_num_threads(number)
        check()
        work()
        check()

    return run


def defaults_and_one(options: Options, make: Callable[[Options], Work], busy: bool) -> Sides:
    """Compare work on the numbers of threads that libraries choose for this machine with the same work on one."""
    cores = usable_cores()
    if cores < 2:
        raise ValueError("with one core the libraries choose one thread")
    work, amount = make(options)
    neighbours = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(cores if busy else 0)]

    def close() -> None:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
        find_blas().set(options.threads)
        torch.set_num_threads(options.threads)

    return Sides(with_threads(cores, work), {"one thread": with_threads(1, work)}, amount, close)


def step_batch(options: Options, n: int) -> Work:
    """Return the steps of n melodies, of `gym.make`'s single environment if n is 1."""
    prior = load(options, MELODY)
    tokens = endless_samples(prior, n, LENGTH)
    if n == 1:
        return partial(play, gym.make(MELODY, prior=prior), tokens[0].tolist()), LENGTH
    return partial(play, gym.make_vec(MELODY, num_envs=n, prior=prior), columns(tokens)), n * LENGTH


def learn_round(options: Options, kind: type[Tutor]) -> Work:
    """Return a round of `learn`: sampling, rewards and the update."""
    agent = make_agent(options, kind, MELODY, N)
    return partial(agent.learn, 1, reset_num_timesteps=False), N


def sample_prior(options: Options) -> Work:
    """Return the sampling of melodies."""
    return partial(load(options, MELODY).sample, SAMPLED, SEED), SAMPLED


WORK: tuple[tuple[str, str, Callable[[Options], Work]], ...] = (
    *((f"env.step, batch of {n:,}", "steps/s", partial(step_batch, n=n)) for n in (1, 64, 256, 1024)),
    ("Psi, learn()", "melodies/s", partial(learn_round, kind=PsiLearning)),
    ("G, learn()", "melodies/s", partial(learn_round, kind=GLearning)),
    (f"sample, {SAMPLED} melodies", "melodies/s", sample_prior),
)
COMPARISONS = tuple(
    Comparison(
        section="threads",
        name=f"{name}{', all cores busy' if busy else ''}",
        unit=unit,
        setup=partial(defaults_and_one, make=make, busy=busy),
        aim=Aim(0.9),
        wall=True,
    )
    for busy in (False, True)
    for name, unit, make in WORK
)
