"""What is asked of a sequence: named, weighted reward terms over tokens.

Conventions: N sequences, T tokens, K terms, V tokens in the vocabulary. A sequence that is shorter than T
is followed by filler, which is ignored. r_T is the weighted sum of the terms, before division by c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.vocab import TokenVocab


def named_weights(names: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return the weight of each term, 1 where `weights` is silent. Raise ValueError on a name that is no term."""
    full = dict.fromkeys(names, 1.0)
    for name, weight in (weights or {}).items():
        if name not in full:
            raise ValueError(f"No reward term is called {name!r}; the terms are: {', '.join(full)}.")
        full[name] = float(weight)
        if not np.isfinite(full[name]):
            raise ValueError(f"The weight of {name!r} must be finite, not {weight!r}.")
    return full


class Task(ABC):
    """Define a reward over prefixes of tokens. Subclass it for a task of your own, and pass that as `task=`.

    Attributes:
        vocab: the tokens.
        length: the horizon in tokens; a sequence that reaches it is over.
        weights: term name -> weight; its order is the order of the columns of `step_terms`.
        spent: True once nothing more can be scored, a budget of scores being used up: running episodes are then
            truncated.
    """

    vocab: TokenVocab
    length: int
    weights: dict[str, float]
    spent: bool = False

    @abstractmethod
    def step_terms(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute raw terms of the step just taken: a pure function of `tokens[n, : steps[n] + 1]`.

        Args:
            tokens: [N, T]; `tokens[n, steps[n]]` is the token just chosen, what lies beyond is ignored.
            steps: [N], counted from 0.

        Returns:
            [N, K], unweighted.
        """

    def terms(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Compute raw terms of every step: name -> [N, T], zero after a sequence's length."""
        tokens = self.checked(tokens)
        n, horizon = tokens.shape
        table = np.zeros((n, horizon, len(self.weights)))
        for step in range(horizon):
            table[:, step] = self.step_terms(tokens, np.full(n, step))
        if lengths is not None:
            table[np.arange(horizon) >= np.asarray(lengths)[:, None]] = 0.0
        return {name: table[:, :, k] for k, name in enumerate(self.weights)}

    def reward(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Compute r_T(s, a) of every step, [N, T]: the weighted sum of the terms, before division by c."""
        terms = self.terms(tokens, lengths)
        return sum((self.weights[name] * term for name, term in terms.items()), np.zeros(np.shape(tokens)))

    def announce(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Prepare to score finished sequences [N, T], which `terms` will be asked about before long.

        A task whose scores take time in other processes may begin. The default does nothing.
        """

    def metrics(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """Compute a domain's own metrics of finished sequences, beside `judge.evaluate_samples`; default: none."""
        return {}

    def identities(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None
    ) -> list[tuple[str, str]]:
        """Return for each sequence a name that only sequences of the same meaning share, and one for its kind.

        Here the tokens themselves, and no kind. "" is the name of what should never count as seen.
        """
        rows = self.checked(tokens).tolist()
        until = [len(row) for row in rows] if lengths is None else np.asarray(lengths).tolist()
        return [(" ".join(self.vocab.decode(row[:end])), "") for row, end in zip(rows, until)]

    def close(self) -> None:
        """Release what the task holds open, such as processes; it may be asked to score again.

        The default does nothing.
        """

    def checked(self, tokens: Any) -> NDArray[np.int64]:
        """Check tokens and return them as int64 [N, T].

        Raise ValueError where they cannot be sequences of this task.
        """
        array = np.ascontiguousarray(tokens, dtype=np.int64)
        if array.ndim != 2:
            shape = list(array.shape)
            raise ValueError(f"Tokens must have shape [N, T], not {shape}; wrap one sequence as tokens[None].")
        if array.shape[1] > self.length:
            raise ValueError(f"Cannot score {array.shape[1]} tokens: this task's length is {self.length}.")
        if array.size and (array.min() < 0 or array.max() >= len(self.vocab)):
            raise ValueError(f"Tokens must be in 0..{len(self.vocab) - 1}, not {array.min()}..{array.max()}.")
        return array

    def action_mask(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int8] | None:
        """Return 1 for each token allowed next, int8 [N, V]; None (the default): all.

        `steps` [N] tokens are chosen so far.
        """
        return None

    def sequence(self, tokens: NDArray[np.int64]) -> Any:
        """Spell one finished sequence [T] in the domain's own words, never an ndarray: the list of token texts."""
        return self.vocab.decode(tokens)

    def sequences(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[Any]:
        """Return `sequence` of each of tokens [N, T] up to lengths [N]."""
        if type(self).sequence is Task.sequence:
            return self.vocab.decode_rows(tokens, lengths)
        return [self.sequence(row[:length]) for row, length in zip(tokens, lengths.tolist())]

    def render_ansi(self, tokens: NDArray[np.int64]) -> str:
        """Write the tokens so far [t] as text."""
        return " ".join(self.vocab.decode(tokens))

    def render_rgb(self, tokens: NDArray[np.int64], episode_return: float) -> NDArray[np.uint8]:
        """Draw the tokens so far [t] as a picture [height, width, 3], with the sum of environment rewards so far."""
        raise ValueError(f"{type(self).__name__} draws no pictures; use render_mode='ansi'.")
