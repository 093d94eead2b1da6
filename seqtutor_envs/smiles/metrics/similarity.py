"""Tanimoto similarities of many fingerprints at once: |a and b| / |a or b|, 1 where both are empty.

n and m fingerprints, packed as uint8 [n, bytes]. In blocks of matrix products, so that memory is bounded: 10,000
against 176,000 of 1,024 bits take about a minute of one core.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Packed = NDArray[np.uint8]

BLOCK = 1024  # rows of a block of similarities: 4 MB, which stays in the cache


def nearest(ours: Packed, theirs: Packed) -> NDArray[np.float64]:
    """Compute the similarity of each of ours to the most similar of theirs, [n]; NaN where there are none."""
    best = np.full(len(ours), -np.inf)
    for rows, _, block in _blocks(ours, theirs):
        np.maximum(best[rows], block.max(axis=1), out=best[rows])
    return np.where(np.isfinite(best), best, np.nan)


def internal_diversity(fingerprints: Packed, counts: NDArray[np.int64], p: int = 1) -> float:
    """Return one minus the mean over molecules of (mean over molecules of T^p)^(1/p), T the similarity of the two.

    That of MOSES' code: over all ordered pairs, a molecule with itself included. (Its paper takes the root of the mean
    over all pairs, which for p = 2 is about .001 lower.)

    Args:
        counts: how often each molecule is there, [n].
        p: 1 or more.
    """
    if not len(fingerprints):
        return np.nan
    weights = counts / counts.sum()
    means = np.zeros(len(fingerprints))
    for rows, columns, block in _blocks(fingerprints, fingerprints):
        means[rows] += np.power(block, p, out=block) @ weights[columns].astype(np.float32)
    return float(1 - weights @ means ** (1 / p))


def _blocks(ours: Packed, theirs: Packed) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Yield similarities [n', m'] of some of ours with some of theirs, until all pairs were there.

    Each is the caller's.
    """
    # ours are unpacked once, theirs block by block: memory for one side only
    left = [(part, *_unpacked(ours[part])) for part in _parts(len(ours))]
    for columns in _parts(len(theirs)):
        bits, sizes = _unpacked(theirs[columns])
        for rows, our_bits, our_sizes in left:
            # a matrix product counts common bits: BLAS is faster than popcounts in numpy
            both = our_bits @ bits.T
            either = our_sizes[:, None] + sizes
            either -= both
            # both empty: 0 / 0, which counts as equal
            both[either == 0], either[either == 0] = 1, 1
            both /= either
            yield rows, columns, both


def _unpacked(packed: Packed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unpack bits as 0.0 and 1.0, [n, bits], and how many are set, [n]."""
    bits = np.unpackbits(packed, axis=1).astype(np.float32)
    return bits, bits.sum(axis=1)


def _parts(n: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
