"""An agent whose J is known for each of its settings, for tests of the search over settings."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

import seqtutor_envs  # noqa: F401  (registers the ids)


class Tempered:
    """All sequences of an exact task at probabilities in proportion to p exp(power R / c): the prior at power 0, the
    optimum, and nothing better, at power 1."""

    def __init__(self, solution, power):
        self.sequences = solution["sequences"]
        log_pi = solution["prior_log_probs"] + power * solution["task_returns"] / solution["c"]
        self.log_probs = log_pi - np.logaddexp.reduce(log_pi)
        self.row = {tuple(tokens): i for i, tokens in enumerate(self.sequences.tolist())}

    def sample(self, n, seed):
        p = np.exp(self.log_probs)
        rows = np.random.default_rng(seed).choice(len(p), n, p=p / p.sum())
        return self.sequences[rows], np.full(n, self.sequences.shape[1])

    def log_prob(self, tokens, lengths=None):
        return self.log_probs[[self.row[tuple(one)] for one in np.asarray(tokens).tolist()]]


def tempered(env, *, seed, env_kwargs, power=0.0):
    """Raises ValueError for a power above 2."""
    if power > 2:
        raise ValueError("too hot")
    return Tempered(gym.make(env, **env_kwargs).unwrapped.solution(), power)
