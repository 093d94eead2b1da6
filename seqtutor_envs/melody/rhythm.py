"""Metrics of rhythm and of variety: note lengths, intervals, openings, and how far they are from other melodies'.

N melodies, T steps each. A note lasts from its onset to the next onset, the next off, or the end of the melody.
An interval is the move from one note to the next, in semitones, rests between them or not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files.compiled import njit
from seqtutor_envs.melody.vocab import HOLD, LOWEST_TOKEN, MELODY_VOCAB
from seqtutor_envs.vocab import Tokens

NOTE_LENGTHS = {"sixteenths": 1, "eighths": 2, "dotted_eighths": 3, "quarters": 4}  # steps, which are sixteenths
OPENING = 8  # tokens, which are two quarters; a longer opening is shared by few, a shorter one by many
WIDEST = len(MELODY_VOCAB) - LOWEST_TOKEN - 1  # semitones, either way


class Rhythm(NamedTuple):
    """Count notes and intervals of melodies [N, T].

    Attributes:
        lengths: [T + 1], how many notes last so many steps.
        intervals: [2 WIDEST + 1], how many moves go by -WIDEST .. WIDEST semitones.
        pitches, ranges: [N], different pitches of each melody, and semitones from its lowest to its highest; 0 without
            a note.
    """

    lengths: NDArray[np.int64]
    intervals: NDArray[np.int64]
    pitches: NDArray[np.int64]
    ranges: NDArray[np.int64]


def compute_rows(tokens: NDArray[np.int64]) -> dict[str, float]:
    """Compute the rows on notes and intervals that `metrics.table` describes."""
    found = Rhythm(*count_notes(tokens))
    notes, sounding = int(found.lengths.sum()), found.pitches > 0
    counts = {name: int(found.lengths[steps:steps + 1].sum()) for name, steps in NOTE_LENGTHS.items()}
    counts["longer_notes"] = notes - sum(counts.values())
    return {
        **{name: count / notes if notes else np.nan for name, count in counts.items()},
        "holds": float(np.mean(tokens == HOLD)),
        "notes": notes / len(tokens),
        "pitches": float(found.pitches.mean()),
        "pitch_range": float(found.ranges[sounding].mean()) if sounding.any() else np.nan,
        "length_entropy": entropy(found.lengths),
        "interval_entropy": entropy(found.intervals),
        "commonest_opening": commonest_opening(tokens),
    }


def compute_distances(tokens: NDArray[np.int64], reference: NDArray[np.int64]) -> dict[str, float]:
    """Compute how far the note lengths and the intervals of melodies [N, T] are from those of a reference [M, T']."""
    ours, theirs = (Rhythm(*count_notes(some)) for some in (tokens, reference))
    return {
        "length_distance": total_variation(ours.lengths, theirs.lengths),
        "interval_distance": total_variation(ours.intervals, theirs.intervals),
    }


@njit(cache=True, error_model="numpy")
def count_notes(tokens):  # type: ignore[no-untyped-def]
    """Count notes and intervals of melodies [N, T]: the fields of `Rhythm`."""
    n, horizon = tokens.shape
    lengths, intervals = np.zeros(horizon + 1, np.int64), np.zeros(2 * WIDEST + 1, np.int64)
    pitches, ranges = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        # 38 tokens fit into the bits of one int64: bit k, pitch k was heard
        seen, last, length = 0, -1, 0
        for t in range(horizon):
            token = tokens[i, t]
            if token == HOLD:
                # of a rest, or before the first note, it adds to no note
                length += length > 0
                continue
            lengths[length] += length > 0
            length = 0
            if token >= LOWEST_TOKEN:
                if last >= 0:
                    intervals[token - last + WIDEST] += 1
                seen |= 1 << token
                last, length = token, 1
        lengths[length] += length > 0
        lowest, highest, k = -1, -1, 0
        for token in range(LOWEST_TOKEN, LOWEST_TOKEN + WIDEST + 1):
            if seen >> token & 1:
                lowest = token if lowest < 0 else lowest
                highest, k = token, k + 1
        pitches[i], ranges[i] = k, highest - lowest
    return lengths, intervals, pitches, ranges


def commonest_opening(tokens: Tokens) -> float:
    """Compute the share of melodies [N, T] that begin with the commonest OPENING tokens (all T if there are fewer)."""
    opening = np.asarray(tokens)[:, :OPENING].astype(np.int64)
    # as digits of one number: 38^8 fits into an int64
    codes = opening @ len(MELODY_VOCAB) ** np.arange(opening.shape[1])
    return float(np.unique(codes, return_counts=True)[1].max() / len(codes))


def entropy(counts: NDArray[Any]) -> float:
    """Compute the entropy in nats of a distribution given as counts [K]; NaN if they are all 0."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum()) + 0.0 if len(shares) else np.nan


def total_variation(counts: NDArray[Any], other: NDArray[Any]) -> float:
    """Compute the total variation distance of two distributions given as counts [K] and [K'].

    It is the share, 0 to 1, of one that would have to move to make it the other. NaN if one has no counts.
    """
    if not (counts.any() and other.any()):
        return np.nan
    size = max(len(counts), len(other))
    one, two = (np.pad(some / some.sum(), (0, size - len(some))) for some in (counts, other))
    return float(np.abs(one - two).sum() / 2)
