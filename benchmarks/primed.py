"""The authors' way of starting a molecule: a random character is fed to the network and then dropped from the string.

Here it is the first token of a sequence: every character equally likely under prior and policy alike, so that it costs
no KL and cannot be chosen, and no part of what is scored. The network that reads it was trained on whole strings, and
takes it for their first character: after a "(" or a "1" it goes on to close what the string never opened.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.networks import Policy, ValueNetwork
from agents.replay import Sequences
from agents.tutor import Tutor
from seqtutor_envs.masking import LOG_PROB_FLOOR
from seqtutor_envs.prior import Prior, RecurrentPrior, State
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

TIE = 1e-5  # nats; what a greedy choice among equally likely characters is left to


def primer_row(vocab: TokenVocab) -> NDArray[np.float32]:
    """log p [V] of the first token: all characters equally likely, the end impossible."""
    row = np.full(len(vocab), -np.log(len(vocab) - 1), np.float32)
    row[vocab.end] = LOG_PROB_FLOOR
    return row


class PrimedPrior(RecurrentPrior):
    """A recurrent prior whose first token is a random character."""

    @classmethod
    def of(cls, prior: RecurrentPrior) -> PrimedPrior:
        """The same network, with room for the primer."""
        return cls(prior.weights, prior.cell, prior.vocab, prior.length + 1, prior.card)

    def step(self, tokens: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        rows, state = super().step(tokens, state)
        rows[np.asarray(tokens) == self.vocab.start] = primer_row(self.vocab)
        return rows, state


class PrimedPolicy(Policy):
    """An agent's policy with the same first token.

    Args:
        rng: breaks ties of the first token, for whoever takes the most probable one.
    """

    def __init__(
        self, network: ValueNetwork, prior: Prior, length: int, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__(network, prior, length)
        self.rng = rng

    def step(
        self, tokens: NDArray[np.int64], state: State, prior_rows: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], State]:
        rows, state = super().step(tokens, state, prior_rows)
        first = np.asarray(tokens) == self.vocab.start
        rows[first] = primer_row(self.vocab)
        if self.rng is not None:
            rows[first] += TIE * self.rng.random((int(first.sum()), len(self.vocab)), np.float32)
        return rows, state


class PrimedTask(Task):
    """A molecule task on all tokens but the first, which earns nothing."""

    def __init__(self, inner: SmilesTask) -> None:
        self.inner = inner
        self.vocab, self.length, self.weights = inner.vocab, inner.length + 1, inner.weights

    def step_terms(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        terms = np.zeros((len(tokens), len(self.weights)))
        later = np.flatnonzero(np.asarray(steps) > 0)
        terms[later] = self.inner.step_terms(np.asarray(tokens)[later, 1:], np.asarray(steps)[later] - 1)
        return terms

    def terms(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        tokens = np.asarray(tokens)
        until = None if lengths is None else np.asarray(lengths) - 1
        none = np.zeros((len(tokens), 1))
        by_name = self.inner.terms(tokens[:, 1:], until)
        return {name: np.concatenate([none, term], axis=1) for name, term in by_name.items()}

    def smiles(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[str]:
        """The strings of sequences [N, T], without their primers."""
        return self.inner.smiles(np.asarray(tokens)[:, 1:], np.asarray(lengths) - 1)

    def sequence(self, tokens: NDArray[np.int64]) -> str:
        return self.inner.sequence(np.asarray(tokens)[1:])


def primed(agent_class: type[Tutor]) -> type[Tutor]:
    """The class with a random first character in all that it writes."""

    class Primed(agent_class):  # type: ignore[misc, valid-type]
        def policy(self) -> Policy:
            return PrimedPolicy(self.learner.network, self.prior, self.horizon)

        def collect(self) -> tuple[Sequences, NDArray[np.float64]]:
            policy: Any = PrimedPolicy(self.learner.network, self.prior, self.horizon, self.rng)
            epsilon = self.epsilon() if self.learner.objective.greedy else None
            return self.rollouts.collect(policy, self.rng, epsilon)

    Primed.__name__ = f"Primed{agent_class.__name__}"
    return Primed
