"""Rhythm and variety of melodies: counted by hand, and by the parts that a melody is rendered from."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from seqtutor_envs.melody.metrics import table
from seqtutor_envs.melody.notes import segments
from seqtutor_envs.prior import load_prior

LENGTHS = ("sixteenths", "eighths", "dotted_eighths", "quarters", "longer_notes")


def test_notes_counted_by_hand() -> None:
    row = table(
        [
            [14, 1, 18, 21, 1, 1, 0, 1, 21, 1],  # C4 1/8, E4 1/16, G4 3/16, rest, G4 1/8 to the end: up 4, up 3, 0
            [1, 1, 26, 1, 1, 1, 14, 1, 1, 1],  # two silent holds, C5 1/4, C4 1/4 to the end: down 12
            [14, 1, 1, 1, 1, 1, 1, 0, 0, 16],  # C4 7/16, rest, D4 1/16: up 2
        ]
    )
    assert [row[name] for name in LENGTHS] == [2 / 8, 2 / 8, 1 / 8, 2 / 8, 1 / 8]
    assert row["holds"] == (5 + 8 + 6) / 30
    assert row["notes"] == 8 / 3 and row["pitches"] == (3 + 2 + 2) / 3 and row["pitch_range"] == (7 + 12 + 2) / 3
    assert row["commonest_opening"] == 1 / 3
    # lengths 1, 2, 3, 4, 7 with 2, 2, 1, 2, 1 of 8; five intervals, each once
    assert row["length_entropy"] == pytest.approx(3 * 0.25 * math.log(4) + 2 * 0.125 * math.log(8))
    assert row["interval_entropy"] == pytest.approx(math.log(5))


def test_a_melody_without_a_note_has_no_shares() -> None:
    row = table([[0, 1, 1, 1]])
    assert all(math.isnan(row[name]) for name in (*LENGTHS, "length_entropy", "interval_entropy", "pitch_range"))
    assert (row["notes"], row["pitches"], row["holds"], row["commonest_opening"]) == (0, 0, 0.75, 1)


def test_one_kind_of_note_and_one_interval_have_no_entropy() -> None:
    row = table([[14, 16, 18, 20]])
    assert (row["sixteenths"], row["length_entropy"], row["interval_entropy"]) == (1, 0, 0)


def test_a_longer_range_of_intervals_than_any_is_counted() -> None:
    row = table([[2, 37, 2, 37]])  # C3 B5 C3 B5: up 35 twice, down 35 once
    assert row["interval_entropy"] == pytest.approx(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert row["pitch_range"] == 35


def test_openings_are_the_first_eight_tokens() -> None:
    opening = [14, 1, 16, 1, 18, 1, 19, 1]
    melodies = [[*opening, 21, 1], [*opening, 14, 1], [*opening[:7], 0, 21, 1], [*opening[::-1], 21, 1]]
    assert table(melodies)["commonest_opening"] == 2 / 4
    assert table([row[:5] for row in melodies])["commonest_opening"] == 3 / 4  # of shorter melodies, all tokens


def test_distances_by_hand() -> None:
    ours = [[14, 16, 18, 20]]  # four sixteenths; up 2 three times
    theirs = [[14, 1, 16, 14], [14, 16, 1, 1]]  # 1/8, two sixteenths, a sixteenth, 3/16; up 2, down 2, up 2
    row = table(ours, reference=theirs)
    assert row["length_distance"] == pytest.approx(2 / 5) and row["interval_distance"] == pytest.approx(1 / 3)
    assert table(theirs, reference=ours)["length_distance"] == pytest.approx(2 / 5)
    same = table(ours, reference=ours)
    assert (same["length_distance"], same["interval_distance"]) == (0, 0)
    silent = table(ours, reference=[[0, 1]])
    assert math.isnan(silent["length_distance"]) and math.isnan(silent["interval_distance"])
    assert "length_distance" not in table(ours)


def test_a_reference_that_is_no_melodies_is_one_line() -> None:
    with pytest.raises(ValueError, match="38|0..37"):
        table([[14, 1]], reference=[[14, 38]])
    with pytest.raises(ValueError, match="shape"):
        table([[14, 1]], reference=[14, 1])


def entropy(found: Counter[Any]) -> float:
    return -sum(k / found.total() * math.log(k / found.total()) for k in found.values())


def test_random_melodies_equal_their_rendered_parts() -> None:
    rng = np.random.default_rng(0)
    melodies = rng.choice([0, 1, 1, 1, 5, 14, 16, 30], size=(200, 24))
    row = table(melodies)
    parts = [[part for part in segments(melody) if part.pitch is not None] for melody in melodies]
    lengths = Counter(part.length for some in parts for part in some)
    pairs = [(a.pitch or 0, b.pitch or 0) for some in parts for a, b in zip(some, some[1:])]
    pitches = [{part.pitch or 0 for part in some} for some in parts]
    notes = lengths.total()
    expected = {name: lengths[k + 1] / notes for k, name in enumerate(LENGTHS[:4])}
    expected |= {"longer_notes": sum(count for steps, count in lengths.items() if steps > 4) / notes}
    expected |= {"length_entropy": entropy(lengths), "interval_entropy": entropy(Counter(b - a for a, b in pairs))}
    expected |= {"notes": notes / 200, "pitches": np.mean([len(some) for some in pitches])}
    expected |= {"pitch_range": np.mean([max(some) - min(some) for some in pitches if some])}
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_the_shipped_prior_has_the_rhythm_of_its_tunes() -> None:
    tokens = load_prior("melody").sample(1_000, seed=0)[0]
    row = table(tokens, reference=load_prior("melody").sample(1_000, seed=1)[0])
    assert row["eighths"] > row["sixteenths"] > row["quarters"]  # reels and jigs are written in eighths
    # two samples of one distribution; a tune's notes are alike in length, so that 1,000 tunes are few
    assert row["length_distance"] < 0.1 and row["interval_distance"] < 0.05
