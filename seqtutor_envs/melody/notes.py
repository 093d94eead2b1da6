"""Melodies as notes: on the grid of sixteenths, and as tokens.

Times are in quarter notes where music is read, in steps (sixteenths) where it is tokens. Pitches are MIDI numbers.
A rest is a note off followed by holds; before the first note it is silent, so a hold there is a rest too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.melody.vocab import HOLD, MELODY_VOCAB, NOTE_OFF, PITCH_OFFSET, STEPS_PER_QUARTER

LOWEST_PITCH, HIGHEST_PITCH = 48, 83  # C3..B5: what the 36 pitch tokens hold
MAX_STEPS = 2**14  # of a melody that is read: 1,024 bars; the rules take 2 s for them, and 8 s for twice as many
CENTRE = (LOWEST_PITCH + HIGHEST_PITCH) / 2
OFF_GRID = 0.25  # steps: sixteenths played by hand are nearer to the grid, triplets (1/3) and shorter notes (1/2) not


class Note(NamedTuple):
    """Hold a note as read, in quarters from the start of the music."""

    onset: float
    duration: float
    pitch: int


class Segment(NamedTuple):
    """Hold a note or, with pitch None, a rest on the grid, in steps from the start of the melody."""

    start: int
    length: int
    pitch: int | None

    @property
    def end(self) -> int:
        return self.start + self.length


def checked(tokens: Any) -> NDArray[np.int64]:
    """Check tokens and return them as int64 [T]. Raise ValueError where they are no melody."""
    array = np.asarray(tokens)
    if array.ndim != 1 or array.size and not np.issubdtype(array.dtype, np.integer):
        found = f"{array.dtype} of shape {list(array.shape)}"
        raise ValueError(f"A melody is one sequence of whole numbers [T], not {found}.")
    if array.size and (array.min() < 0 or array.max() >= len(MELODY_VOCAB)):
        raise ValueError(f"Melody tokens must be in 0..{len(MELODY_VOCAB) - 1}, not {array.min()}..{array.max()}.")
    return array.astype(np.int64)


def segments(tokens: Any) -> list[Segment]:
    """List the notes and rests of a melody [T], end to end; neighbouring rests are one."""
    found: list[Segment] = []
    for step, token in enumerate(checked(tokens).tolist()):
        # a hold before the first note is silent, so it begins a rest
        resting = bool(found) and found[-1].pitch is None
        if found and (token == HOLD or token == NOTE_OFF and resting):
            found[-1] = found[-1]._replace(length=found[-1].length + 1)
        else:
            found.append(Segment(step, 1, token + PITCH_OFFSET if token > HOLD else None))
    return found


def encode_segments(parts: Iterable[Segment], length: int) -> NDArray[np.int64]:
    """Encode segments as tokens [length].

    Segments are on the grid and must not overlap; where there is none, the melody rests.
    """
    # all holds first: only onsets and rests' beginnings are written
    tokens = np.full(length, HOLD, dtype=np.int64)
    rest_from = 0
    for part in sorted(parts):
        if part.pitch is not None:
            if part.start > rest_from:
                tokens[rest_from] = NOTE_OFF
            tokens[part.start] = part.pitch - PITCH_OFFSET
            rest_from = part.end
    if rest_from < length:
        tokens[rest_from] = NOTE_OFF
    return tokens


def canonical(tokens: Any) -> NDArray[np.int64]:
    """Return the one spelling of a melody [T] that sounds the same.

    Every rest, also the first, is a note off and holds.
    """
    tokens = checked(tokens)
    return encode_segments(segments(tokens), len(tokens))


def snap_to_grid(notes: Iterable[Note]) -> list[Segment]:
    """Reduce notes to one melodic line.

    Onsets and ends are rounded to the step (halves up), one note a step, cut where the next begins.

    Of several notes that fall on one step those within OFF_GRID of it come first, and of these the highest: the top
    note of a chord, of two thirty-seconds the one on the beat. A note lasts at least one step; one without
    duration (a grace note) is dropped.
    """
    chosen: dict[int, Note] = {}
    # the best note of each step comes first, so that setdefault keeps it
    for note in sorted(notes, key=lambda note: (is_on_grid(note.onset), note.pitch), reverse=True):
        if note.duration > 0:
            chosen.setdefault(round_to_step(note.onset), note)
    starts = sorted(chosen)
    line = []
    for start, following in zip(starts, [*starts[1:], None]):
        note = chosen[start]
        end = max(start + 1, round_to_step(note.onset + note.duration))
        line.append(Segment(start, (end if following is None else min(end, following)) - start, note.pitch))
    return line


def is_on_grid(onset: float) -> bool:
    """Return whether an onset (in quarters) lies within OFF_GRID steps of a step."""
    return abs(onset * STEPS_PER_QUARTER - round_to_step(onset)) <= OFF_GRID


def round_to_step(quarters: float) -> int:
    """Round to the nearest step.

    Halves go up, so that two equal notes are never rounded apart in different directions.
    """
    return math.floor(quarters * STEPS_PER_QUARTER + 0.5)


def octaves_into_range(pitches: Sequence[int], centred: bool = False) -> int:
    """Find the semitones, whole octaves, that bring all pitches into 48..83.

    Of several, the fewest or, centred, those nearest the middle.

    Raises ValueError where none do.
    """
    low, high = min(pitches), max(pitches)
    # ten octaves either way reach every MIDI pitch
    fitting = [s for s in range(-120, 121, 12) if LOWEST_PITCH <= low + s and high + s <= HIGHEST_PITCH]
    if not fitting:
        raise ValueError(f"its pitches {low} to {high} do not fit into {LOWEST_PITCH}..{HIGHEST_PITCH} by octaves")
    middle = (low + high) / 2
    distance = {s: abs(middle + s - CENTRE) if centred else abs(s) for s in fitting}
    return min(fitting, key=lambda s: (distance[s], -s))  # the higher of two equally near
