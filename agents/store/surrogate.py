"""Surrogate: predicts what sequences return from those that were scored, so that the most promising are scored next.

n sequences, d features, k descriptors. A return is R / c in nats. Rows of features are counts, [n, d]; one of zeros
alone says that nothing can be predicted, as of a string that is no molecule. Descriptors are numbers, [n, k].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array, vstack
from scipy.spatial.distance import cdist

from agents.store.store import mark_new
from seqtutor_envs.files.expected import expect_array, expect_names, expect_range
from seqtutor_envs.vocab import Floats

BEST, OTHERS = 700, 300  # sequences that a prediction rests on: the best, and others evenly over the ranks below
CAPACITY = 16_384  # sequences kept; of more, half remain in the same proportion
NOISE = 0.01  # variance of what features leave open, over that of the returns
MOST = 8  # counts above this are taken for it
LENGTH = 0.7  # of the kernel of descriptors, in standard deviations of each


class Surrogate:
    """Predict returns by the mean of a Gaussian process over features and descriptors.

    The kernel of features is MinMax, sum min(x, z) / sum max(x, z), the similarity of Tanimoto for counts (Ralaivola et
    al. 2005; for molecules see Griffiths et al. 2023, GAUCHE). Where there are descriptors, the kernel is the mean of
    that and of exp(-|x - z|^2 / (2 k LENGTH^2)) of these, in standard deviations of what the prediction rests on. Of
    what is like nothing that was scored the mean return is expected.

    Attributes:
        features: of what is kept, [n, d], or None.
        descriptors: [n, k]; k is 0 if there are none.
        returns: [n].
    """

    def __init__(self) -> None:
        self.features: csr_array | None = None
        self.descriptors = np.zeros((0, 0))
        self.returns = np.zeros(0)
        self._known: set[bytes] = set()  # `_find_keys` of what is kept

    @property
    def size(self) -> int:
        """Return how many sequences are kept."""
        return len(self.returns)

    def add(self, features: csr_array, returns: Floats, descriptors: Floats | None = None) -> None:
        """Keep those of n sequences that are new by their features [n, d], and not all zero, with their returns [n].

        Descriptors [n, k] are ignored if there were none at first, as in checkpoints of before there were any.
        """
        rows = np.flatnonzero(self.find_new(features) & ~_are_zeros(features))
        if not len(rows):
            return
        self._known.update(_find_keys(features[rows]))
        features, returns, descriptors = features[rows], returns[rows], self._fit(descriptors, features)[rows]
        if self.features is not None:
            features = csr_array(vstack([self.features, features], "csr"))
            returns = np.concatenate([self.returns, returns])
            descriptors = np.concatenate([self.descriptors, descriptors])
        self.features, self.returns, self.descriptors = features, returns, descriptors
        if self.size > CAPACITY:
            kept = np.sort(self._choose(CAPACITY // 2))
            self.features, self.returns, self.descriptors = features[kept], returns[kept], descriptors[kept]
            self._known = set(_find_keys(self.features))

    def find_new(self, features: csr_array) -> NDArray[np.bool_]:
        """Return which of n sequences differ in features [n, d] from all that is kept, [n]; of equal ones the first.

        Those of zeros alone are new, as nothing is known of them.
        """
        return mark_new(_find_keys(features), self._known) | _are_zeros(features)

    def predict(self, features: csr_array, descriptors: Floats | None = None) -> Floats:
        """Predict the returns of n sequences by features [n, d] and descriptors [n, k]: [n], -inf where d are all zero.

        Raises ValueError where nothing is kept yet.
        """
        if self.features is None:
            raise ValueError("There is nothing to predict from: add sequences first.")
        rows = self._choose(BEST + OTHERS)
        known, returns = _spread(self.features[rows]), self.returns[rows]
        unit = _find_unit(self.descriptors[rows])
        described = self.descriptors[rows] / unit
        mean, scale = returns.mean(), returns.std()
        similar = _compare(known, described, known, described)
        similar[np.diag_indices(len(rows))] += NOISE
        # a scale of 0: all returns alike, of which any weight makes the mean
        weights = cho_solve(cho_factor(similar, lower=True), (returns - mean) / (scale or 1.0))
        asked = _compare(_spread(features), self._fit(descriptors, features) / unit, known, described)
        predicted = mean + scale * (asked @ weights)
        return np.where(_are_zeros(features), -np.inf, predicted)

    def _fit(self, descriptors: Floats | None, features: csr_array) -> Floats:
        """Return as many descriptors of each row as those that are kept have; all of them if nothing is kept yet."""
        given = np.zeros((features.shape[0], 0)) if descriptors is None else descriptors
        return given if self.features is None else given[:, : self.descriptors.shape[1]]

    def _choose(self, n: int) -> NDArray[np.int64]:
        """Choose n sequences, or all if there are fewer: the best, and others evenly over the ranks below."""
        order = np.argsort(-self.returns, kind="stable")
        if self.size <= n:
            return order
        best = n * BEST // (BEST + OTHERS)
        others = np.linspace(best, self.size - 1, n - best).astype(np.int64)
        return np.concatenate([order[:best], order[others]])

    def rescale(self, factor: float) -> None:
        """Multiply all returns, which are R / c, as where c has changed."""
        self.returns *= factor

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is kept, for a checkpoint."""
        if self.features is None:
            return {"returns": self.returns}
        counts = {"counts": self.features.data, "columns": self.features.indices, "ends": self.features.indptr}
        counts |= {name: counts[name].astype(np.int32) for name in ("columns", "ends")}
        counts |= {"descriptors": self.descriptors} if self.descriptors.shape[1] else {}
        return {"returns": self.returns, **counts, "width": np.array([self.features.shape[1]])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if it cannot be features and returns."""
        size = np.size(arrays.get("returns", ()))
        if not size:
            expect_names(arrays, {"returns"})
            self.features, self.returns, self._known = None, np.zeros(0), set()
            self.descriptors = np.zeros((0, 0))
            return
        described = {"descriptors"} & set(arrays)
        expect_names(arrays, {"returns", "counts", "columns", "ends", "width"} | described)
        if size > CAPACITY:
            raise ValueError(f"the surrogate holds {size:,} sequences, more than {CAPACITY:,}")
        returns = expect_array(arrays, "returns", (size,), np.float64)
        (width,) = expect_array(arrays, "width", (1,), np.int64).tolist()
        ends = expect_array(arrays, "ends", (size + 1,), np.int32)
        entries = int(ends[-1])
        counts = expect_array(arrays, "counts", (entries,), np.float32)
        columns = expect_array(arrays, "columns", (entries,), np.int32)
        expect_range("columns", columns, 0, width - 1)
        expect_range("counts", counts, 1, 2**24)
        if ends[0] != 0 or (np.diff(ends) < 1).any():
            raise ValueError("the surrogate's rows of features do not follow each other")
        found = {"descriptors": np.zeros((size, 0))} | {name: arrays[name] for name in described}
        shape = size, found["descriptors"].size // size
        self.descriptors = np.array(expect_array(found, "descriptors", shape, np.float64))
        self.features, self.returns = csr_array((counts, columns, ends), shape=(size, width)), np.array(returns)
        self._known = set(_find_keys(self.features))


def _are_zeros(features: csr_array) -> NDArray[np.bool_]:
    """Return which of n rows are of zeros alone, [n]."""
    return np.asarray(np.diff(features.indptr) == 0)


def _find_keys(features: csr_array) -> list[bytes]:
    """Return for each of n rows the bytes that only equal rows have."""
    parts = zip(features.indptr[:-1].tolist(), features.indptr[1:].tolist())
    return [features.indices[a:b].tobytes() + features.data[a:b].tobytes() for a, b in parts]


def _spread(features: csr_array) -> csr_array:
    """Spread counts [n, d] over columns [n, d * MOST], as many ones as each counts: products are sums of minima."""
    counts = np.minimum(features.data, MOST).astype(np.int64)
    first = np.repeat(features.indices.astype(np.int64) * MOST, counts)
    ones = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    ends = np.concatenate([[0], np.cumsum(counts)])[features.indptr]
    shape = (features.shape[0], features.shape[1] * MOST)
    return csr_array((np.ones(len(first), np.float32), first + ones, ends), shape=shape)


def _find_unit(descriptors: Floats) -> Floats:
    """Return what each of k descriptors [n, k] is divided by, [k]. One that is alike in all rows counts as it is."""
    deviations = descriptors.std(axis=0)
    return np.where(deviations > 0, deviations, 1.0) * LENGTH * np.sqrt(2 * max(1, descriptors.shape[1]))


def _compare(left: csr_array, left_described: Floats, right: csr_array, right_described: Floats) -> Floats:
    """Compute the kernel of n sequences with m others, [n, m], by spread rows and descriptors in their units."""
    shared = _min_max(left, right)
    if not right_described.shape[1]:
        return shared
    return (shared + np.exp(-cdist(left_described, right_described, "sqeuclidean"))) / 2


def _min_max(left: csr_array, right: csr_array) -> Floats:
    """Compute the MinMax kernel of n spread rows with m others, [n, m]; 0 for two of zeros alone."""
    columns = np.unique(right.indices)  # a tenth of all; with a dense matrix of these it takes less than half the time
    shared = (left[:, columns] @ right[:, columns].toarray().T).astype(np.float64)
    either = np.asarray(left.sum(axis=1))[:, None] + np.asarray(right.sum(axis=1))[None] - shared
    return np.asarray(shared / np.maximum(either, 1.0))
