"""The two kinds of classifiers behind PMO's drd2, gsk3b and jnk3, evaluated with numpy.

The originals are pickles of old versions of scikit-learn. `data/pmo/` holds all their numbers as plain arrays, not
rounded; `data/pmo/LICENSES.txt` says whose they are. Features are SIZE numbers of a molecule: `chem_terms.py` has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files import load_npz

Floats = NDArray[np.float64]

SIZE = 2048  # features; in a forest a node below it asks for a feature, others are leaves
FOLDER = Path(__file__).parents[2] / "data" / "pmo"
# libsvm's constants of its pairwise coupling (multiclass_probability), for two classes
LEAST_PROBABILITY = 1e-7
COUPLING_STEPS = 100
COUPLING_EPSILON = 0.005 / 2


@dataclass(frozen=True)
class Forest:
    """Hold a random forest of T trees on bits, all nodes of all trees in preorder, one tree after the other.

    Attributes:
        node: int64 [N], the feature that a node asks for; of a leaf SIZE + its place in `leaf_value`.
        right: int64 [N], how many places on the child for a set bit is; the other child is the next place.
        roots: int64 [T], where the trees begin.
        leaf_value: float64, probabilities of class 1.
    """

    node: NDArray[np.int64]
    right: NDArray[np.int64]
    roots: NDArray[np.int64]
    leaf_value: Floats

    def __call__(self, bits: NDArray[np.uint8]) -> Floats:
        """Return the mean probability of the trees for each of n molecules, bits [n, SIZE] -> [n]."""
        n, trees = len(bits), len(self.roots)
        at = np.tile(self.roots, n)  # [n T], every tree of every molecule goes down at the same time
        molecule = np.repeat(np.arange(n), trees)
        going = np.flatnonzero(self.node[at] < SIZE)
        while len(going):
            here = at[going]
            is_set = bits[molecule[going], self.node[here]] != 0
            at[going] = here + np.where(is_set, self.right[here], 1)
            going = going[self.node[at[going]] < SIZE]
        return self.leaf_value[self.node[at] - SIZE].reshape(n, trees).sum(axis=1) / trees


@dataclass(frozen=True)
class SupportVectorMachine:
    """Hold a support vector machine with a Gaussian kernel and S support vectors, on counts.

    Attributes:
        support: uint8 [SIZE, S], the support vectors, transposed: a molecule has few features, which are rows here.
        dual_coef: float64 [S]; positive ones speak for class 1.
        intercept, gamma: of the decision f = sum dual_coef exp(-gamma |x - support|^2) + intercept.
        slope, offset: Platt's; 1 / (1 + exp(-slope f + offset)) is the probability of class 0.
    """

    support: NDArray[np.uint8]
    dual_coef: Floats
    intercept: float
    gamma: float
    slope: float
    offset: float

    def __call__(self, counts: NDArray[np.uint32]) -> Floats:
        """Return the probability of class 1 for each of n molecules, counts [n, SIZE] -> [n]."""
        decision = np.array([self._decide(row) for row in counts.astype(np.float64)])
        return couple(1 / (1 + np.exp(-self.slope * decision + self.offset)))

    def _decide(self, row: Floats) -> float:
        # one molecule at a time, so that its score does not depend on the others of the batch by a last bit
        features = np.flatnonzero(row)
        product = row[features] @ self.support[features].astype(np.float64)  # [S]
        # sums of integers, so exact
        distance = row @ row + self._squares - 2 * product
        return float(np.exp(-self.gamma * distance) @ self.dual_coef + self.intercept)

    @cached_property
    def _squares(self) -> Floats:
        """Compute the squared length of each support vector, [S]."""
        return np.square(self.support, dtype=np.float64).sum(axis=0)


def couple(inactive: Floats) -> Floats:
    """Return libsvm's probability of class 1, [n], given Platt's probability of class 0.

    libsvm solves Wu, Lin & Weng 2004 (their second approach) by iteration even for two classes, where the solution is
    1 - inactive, and stops early: what it returns differs from that by up to .005.
    """
    first = np.clip(inactive, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    second = 1 - first
    # the quadratic form that the probabilities p minimise, and Qp
    q00, q01, q11 = second * second, -second * first, first * first
    p0, p1 = np.full_like(first, 0.5), np.full_like(first, 0.5)
    for _ in range(COUPLING_STEPS):
        qp0, qp1 = q00 * p0 + q01 * p1, q01 * p0 + q11 * p1
        form = p0 * qp0 + p1 * qp1
        going = np.maximum(np.abs(qp0 - form), np.abs(qp1 - form)) >= COUPLING_EPSILON
        if not going.any():
            break
        # one step of coordinate descent for each class; a step of 0 changes nothing
        step = np.where(going, (form - qp0) / q00, 0.0)
        form = (form + step * (step * q00 + 2 * qp0)) / (1 + step) / (1 + step)
        qp1 = (qp1 + step * q01) / (1 + step)
        p0, p1 = (p0 + step) / (1 + step), p1 / (1 + step)
        step = np.where(going, (form - qp1) / q11, 0.0)
        p0, p1 = p0 / (1 + step), (p1 + step) / (1 + step)
    return p1


@lru_cache(maxsize=None)
def load_forest(name: str) -> Forest:
    """Read a shipped forest, "gsk3b" or "jnk3"."""
    arrays = load_npz(FOLDER / f"{name}.npz")
    sizes = arrays["tree_size"].astype(np.int64)
    # int64: adding to a uint16 overflows
    node, right = arrays["node"].astype(np.int64), arrays["right"].astype(np.int64)
    return Forest(node, right, np.cumsum(sizes) - sizes, arrays["leaf_value"])


@lru_cache(maxsize=None)
def load_svm(name: str) -> SupportVectorMachine:
    """Read a shipped support vector machine, "drd2"."""
    arrays = load_npz(FOLDER / f"{name}.npz")
    return SupportVectorMachine(arrays["svT"], arrays["dual_coef"], *arrays["params"].tolist())
