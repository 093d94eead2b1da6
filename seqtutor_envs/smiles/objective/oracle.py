"""How many molecules an objective has scored, and how good the best ones were by then."""

from __future__ import annotations

import copy
import heapq
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import positive_integer
from seqtutor_envs.files import hash64
from seqtutor_envs.smiles.objective.user_function import floats

BEST, EVERY = 10, 100  # PMO's AUC top-10, one point every 100 calls


class OracleCounter:
    """Counts the distinct molecules that an objective function scores, and keeps to a budget of them.

    Passed as `objective=`, it sees the scores as the agent does: after `minimize`, `clip` and `transform`. Called by
    itself, it passes the strings on to the function.

    Args:
        function: list of canonical SMILES -> one float each, higher is better.
        budget: number of distinct molecules after which no new one is scored; None: no limit.
        invalid_score: where the counter is called by itself, what a molecule beyond the budget gets.

    Memory is 70 bytes a molecule: a hash of 64 bits, so that of a million molecules one is mistaken for another with a
    probability of 3e-8, and its score.
    """

    def __init__(
        self, function: Callable[[list[str]], Any], budget: int | None = None, invalid_score: float = 0.0
    ) -> None:
        if not callable(function):
            raise TypeError(f"OracleCounter wraps a function of a list of SMILES, not {function!r}.")
        self.function = function
        self.budget = None if budget is None else positive_integer("budget", budget)
        self.invalid_score = float(invalid_score)
        self._scores = array("d")  # of each distinct molecule, in the order of the calls
        self._seen: set[int] = set()  # their hashes

    @property
    def calls(self) -> int:
        """Number of distinct molecules scored so far."""
        return len(self._scores)

    @property
    def spent(self) -> bool:
        """Return whether the budget is used up."""
        return self.budget is not None and self.calls >= self.budget

    def admit(self, smiles: Sequence[str]) -> list[bool]:
        """Return whether each molecule may be scored.

        It may if it is known, or if the budget has room for it; first come, first served.
        """
        room = None if self.budget is None else self.budget - self.calls
        new: set[int] = set()
        answers = []
        for key in map(hash64, smiles):
            known = key in self._seen or key in new
            answers.append(known or room is None or len(new) < room)
            if answers[-1] and not known:
                new.add(key)
        return answers

    def record(self, smiles: Sequence[str], scores: Sequence[float]) -> None:
        """Count those of the molecules that are new, with their scores."""
        for key, value in zip(map(hash64, smiles), scores, strict=True):
            if key not in self._seen:
                self._seen.add(key)
                self._scores.append(value)

    def __call__(self, smiles: Sequence[str]) -> NDArray[np.float64]:
        """Ask the function for the scores [n] of the molecules within the budget, distinct ones asked for once.

        The others, and those whose score is not finite, get `invalid_score`.
        """
        scores = dict.fromkeys(smiles, self.invalid_score)
        admitted = [text for text, may in zip(scores, self.admit(list(scores))) if may]
        if admitted:
            values = floats(self.function(admitted), len(admitted))
            finite = np.where(np.isfinite(values), values, self.invalid_score).tolist()
            self.record(admitted, finite)
            scores.update(zip(admitted, finite))
        return np.array([scores[text] for text in smiles], dtype=np.float64)

    def with_function(self, function: Any) -> OracleCounter:
        """Return a copy of its counts around another function."""
        other = copy.copy(self)
        other.function = function
        return other

    def top(self, k: int) -> float:
        """Return the mean score of the best k molecules, or of all where there are fewer; NaN where there are none."""
        best = heapq.nlargest(positive_integer("k", k), self._scores)
        return sum(best) / len(best) if best else float("nan")

    def auc(self, k: int = BEST, every: int = EVERY, finish: bool = True) -> float:
        """Compute the area under the curve of the mean of the best k molecules over calls; NaN before the first call.

        It is divided by the budget or, without one, by the calls.

        As PMO's `top_auc` (Gao et al., "Sample Efficiency Matters", 2022; wenhao-gao/mol_opt): trapezoids from 0 at 0
        calls, one point every `every` calls and one at the last. With `finish` the curve stays where it is up to the
        budget; without, calls not made count 0.
        """
        if not self._scores:
            return float("nan")
        heap: list[float] = []  # the best k so far, the smallest first
        area, before, at = 0.0, 0.0, 0
        for calls, value in enumerate(self._scores, start=1):
            if len(heap) < k:
                heapq.heappush(heap, value)
            else:
                heapq.heappushpop(heap, value)
            if calls % every == 0 or calls == self.calls:
                mean = sum(heap) / len(heap)
                area += (calls - at) * (mean + before) / 2
                before, at = mean, calls
        if self.budget is not None and finish:
            area += (self.budget - at) * before
        return area / (self.budget or at)
