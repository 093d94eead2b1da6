"""The user's function: import it by name, check what it returns, and count the molecules that it scores."""

from __future__ import annotations

import functools
import hashlib
import heapq
import inspect
import json
import tokenize
from array import array
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import Range, positive_integer
from seqtutor_envs.files import hash64, import_by_name

EXAMPLE = "my_objective:score for the function score of my_objective.py"
BEST, EVERY = 10, 100  # PMO's AUC top-10, one point every 100 calls
SUMMARIZED = (1, 10, 100)  # molecules, whose mean score and AUC stand in the results
MOST_CALLS = 10**7  # of a budget, each of which is kept: 1.6 GB
EARLY = 1_000  # calls, of a second AUC: what somebody has who can afford no more


class UnusableObjective(TypeError, AttributeError, ValueError):
    """Say in one line why a user's function cannot be an objective; commands report it as any ValueError."""


class WrongReturn(TypeError):
    """Say that a function returned something else than one float for each SMILES."""


def find_function(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return a user's function, imported if it is a name; modules of the current directory are found too.

    Raises ValueError, ImportError or UnusableObjective, one line each.
    """
    try:
        found = import_by_name(function, EXAMPLE, search_here=True) if isinstance(function, str) else function
    except AttributeError as error:
        raise UnusableObjective(str(error)) from None
    if not callable(found):
        kind = type(found).__name__
        wanted = f"objective must be a function of a list of SMILES or its name, such as {EXAMPLE}"
        raise UnusableObjective(f"{wanted}; {f'{function} is' if isinstance(function, str) else 'not'} {kind}.")
    if isinstance(found, type):
        raise UnusableObjective(f"objective must be a function; {found.__name__} is a class, pass an instance of it.")
    return found


def name_function(function: Callable[..., Any]) -> str:
    """Return a function's "package.module:name"; of a callable object, its class's."""
    definition = _find_definition(function)
    return f"{definition.__module__}:{definition.__qualname__}"


def hash_source(function: Callable[..., Any]) -> str | None:
    """Hash the file that a function comes from, else its own source (SHA-256); None where neither can be read."""
    # unwrapped: a decorator's file says nothing about the score
    definition = inspect.unwrap(_find_definition(function))
    # the whole file first, since a score may depend on constants beside the function
    for read in (_read_file, inspect.getsource):
        try:
            return hashlib.sha256(read(definition).encode()).hexdigest()
        except (OSError, TypeError, ValueError, SyntaxError):
            continue  # TypeError: it is written in C; the last two: no text, or none in the encoding that it declares
    return None


def convert_scores(result: Any, n: int) -> NDArray[np.float64]:
    """Convert what a function returned to float64 [n]; None is NaN. Raise WrongReturn where it is not n numbers."""
    if hasattr(result, "detach"):  # a torch tensor, which may lie on a GPU and want a gradient
        result = result.detach().cpu()
        result = result.double() if result.is_floating_point() else result  # numpy has no bfloat16
    wanted = f"must return {n} float{'s' * (n != 1)}, one for each SMILES of its list"
    try:
        values = np.asarray(result)
    except ValueError:  # ragged lists
        values = np.array("?")
    # object: lists with None, or Python numbers of mixed types
    if values.dtype.kind == "O" and all(value is None or isinstance(value, Real) for value in values.flat):
        values = values.astype(np.float64)
    if n == 1 and not values.ndim and not isinstance(result, Real):
        values = values.reshape(1)  # a model's squeezed output; a plain number is that of a function of one SMILES
    if values.dtype.kind not in "biuf" or values.ndim == 0:
        text = " ".join(repr(result).split())
        text = text if len(text) < 60 else text[:57] + "..."
        raise WrongReturn(f"{wanted}, not {type(result).__name__}: {text}.")
    if values.shape not in ((n,), (n, 1)):  # a model's output of one column is as clear
        raise WrongReturn(f"{wanted}, not {type(result).__name__} of shape {list(values.shape)}.")
    return values.reshape(n).astype(np.float64)


class OracleCounter:
    """Count the distinct molecules that an objective scores, keep to a budget of them, and rank their final scores.

    Args:
        budget: number of distinct molecules after which no new one is scored, at most MOST_CALLS; None: no limit.

    Memory is 70 bytes a molecule: a hash of 64 bits, so that of a million molecules one is mistaken for another with a
    probability of 3e-8, and its score; with a budget some 90 more, for its SMILES.

    Attributes:
        molecules: with a budget, those scored, in the order of the calls; else empty.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget: int | None = Range(1, MOST_CALLS, whole=True, optional=True).check("oracle_budget", budget)
        # array("d"), 8 bytes each: a list of floats takes four times as much
        self._scores = array("d")  # of each distinct molecule, in the order of the calls
        self._seen: set[int] = set()  # their hashes
        self.molecules: list[str] = []

    @property
    def calls(self) -> int:
        """Count the distinct molecules scored so far."""
        return len(self._scores)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Return the score of each call, [calls]."""
        return np.array(self._scores)

    @property
    def spent(self) -> bool:
        """Return whether the budget is used up."""
        return self.budget is not None and self.calls >= self.budget

    def admit(self, smiles: Sequence[str]) -> list[bool]:
        """Return whether each of some distinct molecules may be scored.

        It may if it is known, or if the budget has room for it; first come, first served.
        """
        room = len(smiles) if self.budget is None else self.budget - self.calls
        answers = []
        for known in (hash64(text) in self._seen for text in smiles):
            answers.append(known or room > 0)
            room -= not known
        return answers

    def record(self, smiles: Sequence[str], scores: Sequence[float]) -> None:
        """Count those of the molecules that are new, with their scores."""
        for text, value in zip(smiles, scores, strict=True):
            if (key := hash64(text)) not in self._seen:
                self._seen.add(key)
                self._scores.append(value)
                if self.budget is not None:
                    self.molecules.append(text)

    def top(self, k: int) -> float:
        """Return the mean score of the best k molecules, or of all where there are fewer; NaN where there are none."""
        positive_integer("k", k)
        best = heapq.nlargest(k, self._scores)
        return sum(best) / len(best) if best else float("nan")

    def auc(self, k: int = BEST, every: int = EVERY, within: int | None = None) -> float:
        """Compute the area under the curve of the mean of the best k molecules over calls; NaN before the first call.

        It is divided by the calls that count: those `within` so many, by default the budget or, without one, all.

        As PMO's `top_auc` (Gao et al., "Sample Efficiency Matters", 2022; wenhao-gao/mol_opt): trapezoids from 0 at 0
        calls, one point every `every` calls and one at the last. The curve stays where it is up to the budget.
        """
        positive_integer("k", k)
        positive_integer("every", every)
        if not self._scores:
            return float("nan")
        end = within or self.budget or self.calls
        last = min(end, self.calls)
        # a heap of k: sorting all scores at each point would grow with the run
        heap: list[float] = []  # the best k so far, the smallest first
        area, before, at = 0.0, 0.0, 0
        for calls, value in enumerate(self._scores[:last], start=1):
            if len(heap) < k:
                heapq.heappush(heap, value)
            else:
                heapq.heappushpop(heap, value)
            if calls % every == 0 or calls == last:
                mean = sum(heap) / len(heap)
                area += (calls - at) * (mean + before) / 2
                before, at = mean, calls
        area += (end - at) * before
        return area / end

    def summarize(self) -> dict[str, float | None]:
        """Return the calls, the budget, and the mean score and AUC of the best 1, 10 and 100 molecules.

        With a budget above EARLY there is the AUC within so few calls, too, as `auc_top_10_within_1000`.
        """
        best = {f"top_{k}": self.top(k) for k in SUMMARIZED}
        best |= {f"auc_top_{k}": self.auc(k) for k in SUMMARIZED}
        if self.budget is not None and self.budget > EARLY:
            best |= {f"auc_top_{k}_within_{EARLY}": self.auc(k, within=EARLY) for k in SUMMARIZED}
        return {"calls": self.calls, "budget": self.budget, **best}

    def read_calls(self, begin: int = 0) -> list[tuple[str, float]]:
        """Return SMILES and score of the calls after the first `begin`, in their order; none without a budget."""
        return list(zip(self.molecules[begin:], self._scores[begin:]))

    def best(self, k: int) -> list[tuple[str, float, int]]:
        """Return SMILES, score and number of the k best calls, the best first; none without a budget."""
        order = np.argsort(-self.scores, kind="stable")[:k].tolist() if self.molecules else []
        return [(self.molecules[n], self._scores[n], n + 1) for n in order]

    def format_calls(self) -> str:
        """Write each call as a line of YAML, "SMILES": [score, number] as in mol_opt; "" without a budget."""
        rows = enumerate(self.read_calls(), start=1)
        return "".join(f"{json.dumps(smiles)}: [{_yaml_number(score)}, {n}]\n" for n, (smiles, score) in rows)


def _yaml_number(value: float) -> str:
    """Write a finite number so that YAML reads it as one: without a point, 1e-21 would be a text."""
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"


def _find_definition(function: Callable[..., Any]) -> Any:
    """Return the function behind partial ones; of a callable object, its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function)


def _read_file(definition: Any) -> str:
    with tokenize.open(inspect.getsourcefile(definition) or "") as file:  # by the encoding that it declares
        return file.read()
