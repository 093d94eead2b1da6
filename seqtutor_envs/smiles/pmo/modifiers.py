"""What PMO does to numbers of molecules: modifiers of one term, means of several.

A term is a function of n molecules to n numbers. A modifier takes a term and returns another, so that a definition
reads as its formula: `below(logp, mu=4, sigma=1)`. GuacaMol's names (Brown et al. 2019) are in brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.smiles.objective.transforms import gaussian

Floats = NDArray[np.float64]
Term = Callable[[Sequence[Any]], Floats]  # n molecules -> [n]


def gauss(term: Term, mu: float, sigma: float) -> Term:
    """Return exp(-((x - mu) / sigma)^2 / 2) of a term's x (GaussianModifier)."""
    return lambda mols: gaussian(term(mols), mu, sigma)


def above(term: Term, mu: float, sigma: float) -> Term:
    """Return 1 where a term's x is at least `mu`, else `gauss` (MaxGaussianModifier: it rewards a large x)."""
    return lambda mols: gaussian(np.minimum(term(mols), mu), mu, sigma)


def below(term: Term, mu: float, sigma: float) -> Term:
    """Return 1 where a term's x is at most `mu`, else `gauss` (MinGaussianModifier: it rewards a small x)."""
    return lambda mols: gaussian(np.maximum(term(mols), mu), mu, sigma)


def clip(term: Term, upper: float) -> Term:
    """Return x / upper, limited to [0, 1] (ClippedScoreModifier)."""
    return lambda mols: np.clip(term(mols) / upper, 0.0, 1.0)


def arithmetic_mean(terms: Floats) -> Floats:
    """Compute the mean of k terms of n molecules, [k, n] -> [n]."""
    return terms.mean(axis=0)


def geometric_mean(terms: Floats) -> Floats:
    """Compute the geometric mean of k terms of n molecules, [k, n] -> [n]; 0 where any term is 0."""
    # not by logarithms: log 0 would warn
    return np.prod(terms, axis=0) ** (1 / len(terms))
