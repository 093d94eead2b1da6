"""What the tests of bounds share: tables as twists, and the soft values of a toy task by plain recursion."""

from __future__ import annotations

import math

import numpy as np

from seqtutor_envs.prior import TablePrior
from seqtutor_envs.prior.masking import mask_prior
from toys.env_toys import ToyTask, toy_prior

LENGTH = 4


def toy(masked=False, length=LENGTH):
    """A toy task and the prior by which its environment scores."""
    task = ToyTask(length, masked)
    return task, mask_prior(toy_prior(length, impossible=False), task)


class TableTwist:
    """A twist that is a table over all prefixes, in TablePrior's order: logits [nodes, V] and values [nodes]."""

    def __init__(self, vocab, logits, values, length, c=None):
        self.vocab, self.c, self.values = vocab, c, np.asarray(values)
        self._policy = TablePrior(vocab, logits, length)

    def initial_state(self, n):
        return self._policy.initial_state(n)

    def step(self, tokens, state):
        rows, (nodes,) = self._policy.step(tokens, state)
        return rows, self.values[nodes], (nodes,)


def exact_twist(task, prior, c, learned_at=None):
    """The optimum's own policy and soft values, written for the temperature `learned_at`."""
    size = len(task.vocab)
    nodes = sum(size**t for t in range(task.length))
    logits, values = np.zeros((nodes, size)), np.zeros(nodes)

    def visit(prefix, node):
        row = prior.log_probs(np.array([[*prefix, 0]]))[0, -1].astype(np.float64)
        for token in range(size):
            tokens = np.array([[*prefix, token]])
            row[token] += float(task.step_terms(tokens, np.array([len(prefix)])).sum()) / c
            if token != task.vocab.end and len(prefix) + 1 < task.length:
                row[token] += visit((*prefix, token), node * size + 1 + token)
        logits[node] = row
        values[node] = math.log(sum(math.exp(one) for one in row))
        return values[node]

    visit((), 0)
    scale = 1.0 if learned_at is None else c / learned_at
    return TableTwist(task.vocab, logits, values * scale, task.length, learned_at)


def wrong_twist(task, seed, spread=1.0, c=None):
    """Random policy and random values."""
    rng = np.random.default_rng(seed)
    nodes = sum(len(task.vocab) ** t for t in range(task.length))
    logits = spread * rng.standard_normal((nodes, len(task.vocab)))
    return TableTwist(task.vocab, logits, spread * rng.standard_normal(nodes), task.length, c)
