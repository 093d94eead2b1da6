"""Melodies to see and hear: piano rolls as inline SVG, each with a button that plays its tokens in the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from seqtutor_envs.melody.notes import HIGHEST_PITCH, LOWEST_PITCH, Segment, segments
from seqtutor_envs.melody.render import C_MAJOR, render_ansi
from seqtutor_envs.melody.vocab import STEPS_PER_BAR, STEPS_PER_QUARTER

STEP, SEMITONE = 10, 4  # units of the drawing
GAP = 1  # units between notes, so that repeated ones are seen as two
PITCHES = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
HEIGHT = SEMITONE * len(PITCHES)


def roll(tokens: Sequence[int]) -> str:
    """A melody [T]: time to the right, C3 to B5 upwards; notes of C major are blue, others orange."""
    words = escape(f"Piano roll: {render_ansi(tokens)}")
    boxes = "".join(_box(part, part.pitch) for part in segments(tokens) if part.pitch is not None)
    return (
        f'<svg class="roll" viewBox="0 0 {STEP * len(tokens)} {HEIGHT}" role="img" aria-label="{words}">'
        f'<use href="#{grid_name(len(tokens))}"/>{boxes}<path class="playhead" d="M0,0V{HEIGHT}"/></svg>'
    )


def _box(part: Segment, pitch: int) -> str:
    where = "in" if pitch % 12 in C_MAJOR else "out"
    return (
        f'<rect class="{where}" x="{STEP * part.start}" y="{_top(pitch)}" width="{STEP * part.length - GAP}" '
        f'height="{SEMITONE}" rx="1"/>'
    )


def _top(pitch: int) -> int:
    return SEMITONE * (HIGHEST_PITCH - pitch)


def grid_name(length: int) -> str:
    """What the lines behind melodies of so many steps are called."""
    return f"grid-{length}"


def grids(lengths: Sequence[int]) -> str:
    """Rows of black keys, lines at every C, beats and bars: once for all melodies of a length."""
    symbols = "".join(f'<g id="{grid_name(length)}">{_grid(STEP * length)}</g>' for length in sorted(set(lengths)))
    return (
        f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{symbols}</defs></svg>' if symbols else ""
    )


def _grid(width: int) -> str:
    black = "".join(f"M0,{_top(p)}h{width}v{SEMITONE}h-{width}z" for p in PITCHES if p % 12 not in C_MAJOR)
    octaves = "".join(f"M0,{_top(p) + SEMITONE}h{width}" for p in PITCHES if p % 12 == 0)
    beat, bar = STEP * STEPS_PER_QUARTER, STEP * STEPS_PER_BAR
    beats = "".join(f"M{x},0V{HEIGHT}" for x in range(beat, width, beat) if x % bar)
    bars = "".join(f"M{x},0V{HEIGHT}" for x in range(bar, width, bar))
    return (
        f'<path d="{black}" fill="var(--black-key)"/><path d="{beats}{octaves}" stroke="var(--beat)" fill="none"/>'
        f'<path d="{bars}" stroke="var(--bar)" stroke-width="1.5"/>'
    )


def play_button(tokens: Sequence[int], whose: str) -> str:
    """What plays it, and stops it."""
    text = " ".join(map(str, tokens))
    return f'<button type="button" class="play" data-tokens="{text}" aria-label="Play {escape(whose)}">▶ Play</button>'
