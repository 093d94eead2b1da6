"""What the tests of threads share: numpy's and torch's numbers of threads, and a process in which both are 2.

In the tests themselves both are 1 (conftest.py). A library takes any number, also more than there are cores.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch

from seqtutor_envs.prior import Prior
from seqtutor_envs.threads import find_blas
from toys.recurrent_toys import random_prior


def numbers():
    """Return the threads of numpy's BLAS and of torch, in this Python thread."""
    return find_blas().get(), torch.get_num_threads()


@contextmanager
def two_threads():
    """Let both libraries have two threads, as where a user sets nothing."""
    before = numbers()
    find_blas().set(2)
    torch.set_num_threads(2)
    try:
        yield
    finally:
        find_blas().set(before[0])
        torch.set_num_threads(before[1])


class OwnPrior(Prior):
    """A prior of the user's own: a class that is none of ours, whose step is a spy's place."""

    def __init__(self, length=6, end=4):
        self.inner = random_prior(end=end, length=length)
        self.vocab, self.length = self.inner.vocab, length

    def initial_state(self, n):
        return self.inner.initial_state(n)

    def step(self, tokens, state):
        return self.inner.step(tokens, state)


def spy(monkeypatch, owner, name):
    """Return a set that gets the numbers at each call of a function."""
    seen, original = set(), getattr(owner, name)

    def spied(*args, **kwargs):
        seen.add(numbers())
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, spied)
    return seen
