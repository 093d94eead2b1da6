"""The user's objective: score canonical SMILES by the user's function, and survive the errors of that function.

A raw score goes through, in this order: `clip`, which limits it on its own scale; then `transform`, which maps it, or
`minimize`, which turns its sign. An invalid or failed molecule has `invalid_score`, to which none of these is applied.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from seqtutor_envs.checks import MAX_REWARD, SCORE, Range
from seqtutor_envs.files import one_line
from seqtutor_envs.smiles.objective import oracle
from seqtutor_envs.smiles.objective.transforms import Transform
from seqtutor_envs.smiles.pmo import PMO_NAMES
from seqtutor_envs.smiles.scoring import Scorer

CACHE_SIZE = 50_000  # scores
NAMED_FAILURES = 3  # failures that are named one by one; later ones are only counted
FIRST_LOOK = 200  # molecules after which the objective is examined
MANY_FAILED = 0.3  # share of failures that is worth a warning
# by name, which an agent's file may give: other names within this library could run programs
SHIPPED_OBJECTIVES = (
    "seqtutor_envs.smiles.chem.rediscovery:celecoxib", *(f"seqtutor_envs.smiles.pmo:{name}" for name in PMO_NAMES)
)  # fmt: skip
FAILED, BEYOND_BUDGET = "objective failed", "oracle budget"


class ObjectiveScore(NamedTuple):
    """Hold a molecule's final score, and "" or why it is `invalid_score`: "objective failed" or "oracle budget"."""

    value: float
    reason: str = ""


class UserObjective:
    """Score molecules by a user's function, higher is better, called once for all new molecules of a batch.

    Args:
        function: list of canonical SMILES -> as many floats (list, array or tensor; NaN and None where it failed), in
            the calling process; or its name, "package.module:function".
        invalid_score: final score of an invalid molecule and of one whose score failed.
        minimize: whether lower is better: the sign is turned.
        clip: (lowest, highest) to which raw scores are limited, None for no bound.
        transform: a desirability of raw scores, "sigmoid:low=2,high=5" or {"name": "sigmoid", "low": 2, "high": 5}; see
            transforms.py.
        oracle_budget: number of distinct molecules after which no new one is scored.

    An exception in the function is answered by asking for its molecules one by one; those that fail are named in a
    warning (the first few), score as invalid and are counted. So are NaN, infinity and final scores beyond 1e9, from
    which nothing can be learned. What it returns being no list of
    as many floats is an error at the first call, since no molecule explains it. The last CACHE_SIZE scores are kept.

    Attributes:
        path: "package.module:function" of the function.
        source_hash: SHA-256 of its source file; None where it has none.
        oracle: the OracleCounter, which counts final scores.
        scorer: whose processes compute the function, a task of PMO; None: it is called in this process.
        scored, failed: number of molecules that the function was asked for, and of those that failed.

    Raises ValueError or ImportError, of one line, where an argument cannot be.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Any] | str,
        *,
        invalid_score: float = 0.0,
        minimize: bool = False,
        clip: tuple[float | None, float | None] | None = None,
        transform: str | Mapping[str, Any] | None = None,
        oracle_budget: int | None = None,
    ) -> None:
        self.named = function if isinstance(function, str) else None
        self.function: Callable[[list[str]], Any] = oracle.find_function(function)
        self.path = self.named or oracle.name_function(self.function)
        self.source_hash = oracle.hash_source(self.function)
        self.oracle = oracle.OracleCounter(oracle_budget)
        self.scorer: Scorer | None = None
        self.invalid_score = SCORE.check("invalid_score", invalid_score)
        self.minimize, self.clip = bool(minimize), _check_clip(clip)
        self.transform = None if transform is None else Transform.of(transform)
        if self.minimize and self.transform is not None:
            message = "minimize turns the sign of a score, which a transform has no longer: use reverse_sigmoid instead"
            raise ValueError(f"{message} of minimize=True with transform {self.transform.name!r}.")
        self._cache: LRUCache[str, ObjectiveScore] = LRUCache(CACHE_SIZE)
        self.scored = self.failed = 0
        self._returned = False  # whether the function has once returned what it must
        self._range = (math.inf, -math.inf)  # of the final scores so far
        self._warned_below = False

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of it; JSON's types."""
        return {
            "path": self.path,
            "source_hash": self.source_hash,
            "invalid_score": self.invalid_score,
            "minimize": self.minimize,
            "clip": None if self.clip is None else list(self.clip),
            "transform": None if self.transform is None else self.transform.as_dict(),
            "oracle_budget": self.oracle.budget,
        }

    def max_score(self) -> float:
        """Return a number that no final score but `invalid_score` exceeds; infinity where none is known."""
        if self.transform is not None:
            return 1.0
        low, high = self.clip or (-math.inf, math.inf)
        return -low if self.minimize else high

    def __call__(self, smiles: Sequence[str]) -> list[ObjectiveScore]:
        """Return the score of each canonical SMILES, in their order; those not in the cache are asked for once."""
        # dict.fromkeys: distinct, in order; a molecule repeated in a batch is scored once
        found = {text: self._cache.get(text) for text in dict.fromkeys(smiles)}
        missing = [text for text, known in found.items() if known is None]
        admitted = self.oracle.admit(missing)
        new = [text for text, may in zip(missing, admitted) if may]
        for text, result in zip(new, self._scores(new)):
            found[text] = self._cache[text] = result
        beyond = ObjectiveScore(self.invalid_score, BEYOND_BUDGET)
        return [found[text] or beyond for text in smiles]

    def restore(self, smiles: str, score: float, failed: bool) -> None:
        """Take over the final score of a molecule from an earlier session, so that it is not asked for again."""
        self._cache[smiles] = ObjectiveScore(score, FAILED if failed else "")
        self.oracle.record([smiles], [score])

    def _scores(self, smiles: list[str]) -> list[ObjectiveScore]:
        """Compute the final scores of distinct new molecules, which the counter then knows."""
        if not smiles:
            return []
        raw = self._raw(smiles)
        # asked only while the function has never returned what it must: a call costs the user's time
        if not self._returned and _takes_one(self.function, smiles[0]):
            fix = f"pass lambda batch: [{self.path.rpartition(':')[2]}(smiles) for smiles in batch] or the like"
            error = f"takes one SMILES, but is called with a list of them; {fix}"
            raise oracle.UnusableObjective(f"The objective {self.path} {error}.")
        final = self._final(smiles, raw)
        scores = [
            ObjectiveScore(self.invalid_score, FAILED) if math.isnan(value) else ObjectiveScore(value)
            for value in final.tolist()
        ]
        self.oracle.record(smiles, [score.value for score in scores])
        self._warn_of_hard_objective(final)
        return scores

    def _final(self, smiles: list[str], raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clip raw scores [n], then transform or, to be minimised, negate them; NaN stays NaN.

        A final score beyond MAX_REWARD is a failure, counted and warned of, and NaN here.
        """
        final = raw if self.clip is None else np.clip(raw, *self.clip)
        if self.transform is not None:
            return np.where(np.isnan(final), np.nan, self.transform(final))
        too_large = np.abs(final) > MAX_REWARD
        for n in np.flatnonzero(too_large):
            self._failure(smiles[n], f"returned {raw[n]:g}, beyond {MAX_REWARD:g}, the most that can be learned from,")
        return np.where(too_large, np.nan, -final if self.minimize else final)

    def _raw(self, smiles: list[str]) -> NDArray[np.float64]:
        """Ask the function for the scores [n] of a batch; NaN where it failed. Failures are counted and warned of.

        A batch that fails as a whole is asked for molecule by molecule.
        """
        try:
            raw = oracle.convert_scores(self._compute(list(smiles)), len(smiles))
        except Exception as error:
            if isinstance(error, oracle.WrongReturn) and not self._returned:
                raise oracle.UnusableObjective(f"The objective {self.path} {error}") from None
            # one by one: a single bad molecule must not cost the whole batch its scores
            if len(smiles) > 1:
                return np.concatenate([self._raw([text]) for text in smiles])
            self._failure(smiles[0], f"failed ({one_line(error)})")
            return np.array([np.nan])
        self._returned = True
        for n in np.flatnonzero(~np.isfinite(raw)):
            self._failure(smiles[n], f"returned {raw[n]}")
        return np.where(np.isfinite(raw), raw, np.nan)

    def _compute(self, smiles: list[str]) -> Any:
        if self.scorer is not None and self.scorer.uses_processes(len(smiles)):
            return self.scorer.compute_objective(smiles)
        return self.function(smiles)

    def _failure(self, smiles: str, what: str) -> None:
        """Count one failed molecule; the first few are named."""
        self.failed += 1
        if self.failed <= NAMED_FAILURES:
            last = "; further failures are counted, not named" if self.failed == NAMED_FAILURES else ""
            scores = f"which scores as invalid ({self.invalid_score:g})"
            _warn(f"The objective {self.path} {what} for {smiles}, {scores}{last}.")

    def _warn_of_hard_objective(self, final: NDArray[np.float64]) -> None:
        """Warn once of each sign, in the first scores, that an objective is hard to learn."""
        before, self.scored = self.scored, self.scored + len(final)
        if before >= FIRST_LOOK:
            return
        good = final[~np.isnan(final)]
        low, high = self._range = (min([self._range[0], *good]), max([self._range[1], *good]))
        if low < self.invalid_score and not self._warned_below:
            self._warned_below = True
            message = f"The objective's scores go down to {low:g}, below invalid_score={self.invalid_score:g}"
            fix = "pass an invalid_score below all scores, or a transform to [0, 1]"
            _warn(f"{message}: an invalid molecule is then worth more than a valid one; {fix}.")
        if self.scored >= FIRST_LOOK:
            if self.failed >= MANY_FAILED * self.scored:
                _warn(f"The objective {self.path} failed for {self.failed} of the first {self.scored} molecules.")
            if low == high:
                message = f"All {self.scored - self.failed} scores of the objective {self.path} are {low:g} so far"
                _warn(f"{message}: there is nothing to learn; look at the function, clip and transform.")

    def __getstate__(self) -> dict[str, Any]:
        """Pickle a function given by name as its name; any other one as Python does it."""
        # the cache stays behind: a copy in another process fills its own
        state = self.__dict__ | {"_cache": LRUCache(CACHE_SIZE)}
        return state | {"function": None} if self.named else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.named:
            self.function = oracle.find_function(self.named)


def _check_clip(clip: Any) -> tuple[float, float] | None:
    """Raise ValueError unless `clip` is None or (lowest, highest)."""
    if clip is None:
        return None
    try:
        ends = zip(clip, (-math.inf, math.inf), strict=True)
        low, high = (inf if end is None or end == inf else Range().check("clip", end) for end, inf in ends)
    except (TypeError, ValueError):
        raise ValueError(f"clip must be (lowest, highest), None for no bound; not {clip!r}.") from None
    if not low < high:
        raise ValueError(f"clip must be (lowest, highest) with lowest below highest, not {clip!r}.")
    return low, high


def _takes_one(function: Callable[..., Any], smiles: str) -> bool:
    """Return whether a function that fails for lists gives a number for one SMILES."""
    try:
        return isinstance(function(smiles), Real)
    except Exception:
        return False


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)
