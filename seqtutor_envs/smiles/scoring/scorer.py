"""Score a SMILES as it is written: validity, properties and unmet constraints.

`score` is a pure function of one string and a spec. `Scorer` puts a bounded cache and, where asked, worker processes in
front of it; any number of workers gives the same scores in the same order. Its workers also compute a task of PMO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cachetools import LRUCache

from seqtutor_envs.checks import Range, one_of, positive_integer
from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import checks as chem_checks
from seqtutor_envs.smiles.chem import descriptors
from seqtutor_envs.smiles.chem.constraints import Constraints
from seqtutor_envs.smiles.scoring.pool import OBJECTIVE, Ahead, WorkerPool

CACHE_SIZE = 50_000  # scores; 30 MB


class Score(NamedTuple):
    """Hold what is known of one string.

    Attributes:
        reason: "" for a valid molecule; else why it is none: "syntax", a name of `chem_checks.CHECKS`, "constraint:
            NAME" (the first unmet one, where constraints are hard), "timeout" or "worker died".
        canonical: RDKit's canonical SMILES; None where `reason` is not "".
        values: the spec's properties, in its order; () where `reason` is not "".
        unmet: names of the constraints not met, hard or soft.
    """

    reason: str
    canonical: str | None = None
    values: tuple[float, ...] = ()
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreSpec:
    """Hold the properties, checks and constraints to compute for each string, as plain data.

    `as_dict` gives JSON's types, and `ScoreSpec(**...)` takes them back.

    Args:
        properties: names of `chem.PROPERTIES`; only these are computed (QED takes 1 ms).
        checks: names of `chem_checks.CHECKS` that a valid molecule passes.
        elements: symbols that the check "elements" allows.
        constraints: what else a molecule must meet.
        hard: whether a molecule with an unmet constraint counts as invalid, its properties left out.

    Raises ValueError on unknown names.
    """

    properties: tuple[str, ...] = chem.PROPERTIES
    checks: tuple[str, ...] = chem_checks.CHECKS
    elements: tuple[str, ...] = chem_checks.ELEMENTS
    constraints: Constraints = Constraints()
    hard: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.constraints, Mapping):
            object.__setattr__(self, "constraints", Constraints(**self.constraints))
        checks, elements = chem_checks.check_names(self.checks, self.elements)
        object.__setattr__(self, "checks", checks)
        object.__setattr__(self, "elements", elements)
        object.__setattr__(self, "properties", tuple(self.properties))
        for name in self.properties:
            one_of("A property", name, chem.PROPERTIES)

    def as_dict(self) -> dict[str, Any]:
        """Return what `ScoreSpec(**...)` and JSON take."""
        lists = {field: list(getattr(self, field)) for field in ("properties", "checks", "elements")}
        return {**lists, "constraints": self.constraints.as_dict(), "hard": self.hard}


def score(smiles: str, spec: ScoreSpec) -> Score:
    """Score one string: a pure function of it as it is written."""
    mol = chem.parse(smiles)
    if mol is None:
        return Score("syntax")
    failed = chem_checks.find_failed_check(mol, spec.checks, spec.elements)
    if failed:
        return Score(failed)
    unmet = spec.constraints.unmet(mol)
    if unmet and spec.hard:
        return Score(f"constraint: {unmet[0]}", unmet=unmet)
    return Score("", chem.canonical_of(mol), descriptors.values(mol, spec.properties), unmet)


def score_from_json(answer: list[Any]) -> Score:
    """Convert a score that came as JSON, which has no tuples."""
    reason, canonical, values, unmet = answer
    return Score(reason, canonical, tuple(values), tuple(unmet))


class Scorer:
    """Score strings; repeated ones, in one call or over calls, once.

    Args:
        spec: what is asked of each string.
        workers: scoring processes; 0: in this one.
        score_timeout: seconds that one molecule may take, None: no limit. Its worker is then ended and replaced, and
            the molecule's reason is "timeout".
        cache_size: how many scores are kept, those used last.
        pmo_task: a task of PMO, which `compute_objective` asks the workers for.

    Pickled or copied, it starts with an empty cache and workers of its own. Not for two threads at once.

    Raises ValueError on a number of workers below 0, and on a timeout without workers: nothing can stop RDKit within
    its own process.
    """

    def __init__(
        self, spec: ScoreSpec, workers: int = 0, score_timeout: float | None = None, cache_size: int = CACHE_SIZE,
        pmo_task: str | None = None,
    ) -> None:  # fmt: skip
        self.spec, self.score_timeout, self.pmo_task = spec, score_timeout, pmo_task
        self.workers: int = Range(0, 2**10, whole=True).check("workers", workers)
        self.cache_size = positive_integer("cache_size", cache_size)
        Range(0.0, 1e6, above=True, optional=True).check("score_timeout", score_timeout)
        if score_timeout is not None and not self.workers:
            raise ValueError("score_timeout needs workers=1 or more: RDKit is only stopped in a process of its own.")
        self._cache: LRUCache[str, Score] = LRUCache(self.cache_size)
        self._pool = None
        if self.workers:
            self._pool = WorkerPool(spec.as_dict(), self.workers, score_timeout, pmo_task=pmo_task)
        self._ahead = Ahead(self._pool) if self._pool else None

    def begin(self, smiles: Iterable[str]) -> None:
        """Let workers that are running score these strings meanwhile; the next call waits for them all."""
        if self._ahead and self._pool and self._pool.running:
            self._ahead.give([text for text in smiles if text not in self._cache])

    def __call__(self, smiles: Iterable[str]) -> list[Score]:
        """Return one score for each string, in their order."""
        smiles = list(smiles)
        # taken first: a pool serves one caller at a time
        begun = self._ahead.take() if self._ahead else {}
        found = {text: score_from_json(answer) for text, answer in begun.items()}
        missing = []
        for text in dict.fromkeys(smiles):
            if text not in found:
                try:  # a look-up in Python code: asking whether it is there would double its time
                    found[text] = self._cache[text]
                except KeyError:
                    missing.append(text)
        found.update(zip(missing, self._score(missing)))
        # all answers are cached, also those begun ahead that nobody has asked for yet
        for text in (*begun, *missing):
            self._cache[text] = found[text]
        return [found[text] for text in smiles]

    def uses_processes(self, n: int) -> bool:
        """Return whether n strings go to processes: a few are not worth starting them, unless one may be stopped."""
        return self._pool is not None and bool(self._pool.running or self.score_timeout or n >= 2 * self.workers)

    def compute_objective(self, smiles: Sequence[str]) -> list[float | None]:
        """Let the workers compute the scores of the task of PMO; None where a molecule is lost."""
        assert self._pool is not None and self._ahead is not None and self.pmo_task is not None
        for text, answer in self._ahead.take().items():  # a pool serves one caller at a time
            self._cache[text] = score_from_json(answer)
        return self._pool(smiles, OBJECTIVE)

    def _score(self, smiles: list[str]) -> list[Score]:
        """Score distinct strings that are not in the cache."""
        if self._pool and self.uses_processes(len(smiles)):
            return [score_from_json(answer) for answer in self._pool(smiles)]
        return [score(text, self.spec) for text in smiles]

    def close(self) -> None:
        """End the workers; a later call starts them again."""
        if self._pool and self._ahead:
            self._ahead.take()
            self._pool.close()

    def __reduce__(self) -> tuple[type[Scorer], tuple[Any, ...]]:
        # the cache and the processes are left behind: neither can be pickled
        return Scorer, (self.spec, self.workers, self.score_timeout, self.cache_size, self.pmo_task)
