"""Piano rolls as inline SVG. The page's script plays their tokens and moves the playhead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from seqtutor_envs.melody.notes import HIGHEST_PITCH, LOWEST_PITCH, segments
from seqtutor_envs.melody.render import C_MAJOR, render_ansi
from seqtutor_envs.melody.vocab import STEPS_PER_BAR, STEPS_PER_QUARTER

STEP, SEMITONE = 10, 4  # units of the drawing; the script in base.html.j2 knows STEP
GAP = 1  # units between notes, so that repeated ones are seen as two
PITCHES = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
HEIGHT = SEMITONE * len(PITCHES)


def piano_roll(tokens: Sequence[int]) -> Markup:
    """Draw a melody [T]: time to the right, C3 to B5 upwards; notes of C major are blue, others orange."""
    boxes = "".join(
        f'<rect class="{"in" if part.pitch % 12 in C_MAJOR else "out"}" x="{STEP * part.start}" y="{_top(part.pitch)}" '
        f'width="{STEP * part.length - GAP}" height="{SEMITONE}" rx="1"/>'
        for part in segments(tokens)
        if part.pitch is not None
    )
    return Markup(
        f'<svg class="roll" viewBox="0 0 {STEP * len(tokens)} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"Piano roll: {render_ansi(tokens)}")}">'
        f'<use href="#grid-{len(tokens)}"/>{boxes}<path class="playhead" d="M0,0V{HEIGHT}"/></svg>'
    )


def grids(lengths: Iterable[int]) -> Markup:
    """Draw rows of black keys and lines at every C, beat and bar, once for all melodies of a length."""
    symbols = "".join(f'<g id="grid-{length}">{_grid(STEP * length)}</g>' for length in sorted(set(lengths)))
    return Markup(
        f'<svg width="0" height="0" class="hidden" aria-hidden="true"><defs>{symbols}</defs></svg>' if symbols else ""
    )


def _top(pitch: int) -> int:
    return SEMITONE * (HIGHEST_PITCH - pitch)


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
