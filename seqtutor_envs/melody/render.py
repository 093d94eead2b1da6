"""A melody as text and as a piano roll. matplotlib is imported when a picture is asked for, and only its Agg canvas."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.melody.notes import HIGHEST_PITCH, LOWEST_PITCH, segments
from seqtutor_envs.melody.vocab import MAJOR_SCALE, MELODY_VOCAB, PITCH_OFFSET, STEPS_PER_BAR, STEPS_PER_QUARTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_WIDTH, FRAME_HEIGHT = 960, 480  # pixels, multiples of 16 as video codecs want them; the same for every melody
DPI = 100
LABEL_ROOM = 9  # pixels a semitone; with less, only C and G get their names
MOST_BEATS_DRAWN = 64  # beyond, beat lines and note names would run together: only bars are drawn

IN_KEY, OUT_OF_KEY = "#1f6fb2", "#d1571f"  # told apart by the colour-blind too, white text legible on both
PAPER, BLACK_KEY, BEAT, BAR, INK = "#ffffff", "#eef1f5", "#d5dbe3", "#8793a3", "#1c2530"
UNWRITTEN, MARKER = "#c3ccd7", "#c2185b"


def render_ansi(tokens: Any) -> str:
    """Spell a melody [T] in note names and durations in whole notes, bars between "|"; C4:1/4 is a quarter.

    "C4:1/4 D4:1/8 rest:1/8 E4:1/2~ | ~E4:1/4"; the "~" ties a note over the bar line.
    """
    # by bar: a note that goes over a bar line is written in both, with ties
    bars: dict[int, list[str]] = {}
    for part in segments(tokens):
        name = "rest" if part.pitch is None else MELODY_VOCAB.tokens[part.pitch - PITCH_OFFSET]
        for bar in range(part.start // STEPS_PER_BAR, (part.end - 1) // STEPS_PER_BAR + 1):
            begin, end = max(part.start, bar * STEPS_PER_BAR), min(part.end, (bar + 1) * STEPS_PER_BAR)
            before, after = ("~" if tied and part.pitch else "" for tied in (begin > part.start, end < part.end))
            bars.setdefault(bar, []).append(f"{before}{name}:{Fraction(end - begin, STEPS_PER_BAR)}{after}")
    return " | ".join(" ".join(parts) for parts in bars.values()) or "(no notes yet)"


def render_rgb(tokens: Any, episode_return: float, length: int = 32) -> NDArray[np.uint8]:
    """Draw a melody so far [t] of `length` steps as a piano roll, with the sum of environment rewards (nats).

    Returns:
        [480, 960, 3], whatever the melody, as a video needs it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # no pyplot: its global state and windows have no place in a library
    figure = Figure(figsize=(FRAME_WIDTH / DPI, FRAME_HEIGHT / DPI), dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    piano_roll(figure.add_axes((0.06, 0.115, 0.92, 0.78)), tokens, length)
    step = len(tokens)
    figure.text(0.06, 0.93, f"step {step} of {length}", fontsize=13, color=INK, weight="bold")
    reward = f"reward so far  {episode_return:+.2f} nats".replace("-", "\u2212")  # a true minus sign
    figure.text(0.98, 0.93, reward, fontsize=13, color=INK, ha="right")
    figure.text(0.98, 0.02, "blue: in C major   orange: not", fontsize=8, color=INK, ha="right")
    canvas.draw()
    # [:, :, :3]: Gymnasium's frames have no alpha; a copy, as the buffer is the canvas's
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def piano_roll(ax: Axes, tokens: Any, length: int | None = None) -> None:
    """Draw a melody [t] into `ax`: pitch upwards, C3 to B5, time to the right, with bars and beats.

    Notes of C major are blue, others orange. If the melody is to have more steps than it has (`length`), the place
    it has reached is marked and what lies beyond is grey.
    """
    parts = segments(tokens)
    reached = parts[-1].end if parts else 0
    length = max(reached, length or 0, 1)
    _grid(ax, length)
    notes = [(part, part.pitch) for part in parts if part.pitch is not None]
    fine = length <= MOST_BEATS_DRAWN * STEPS_PER_QUARTER
    gap = 0.08 if fine else 0.0  # of a step, so that repeated notes are seen as two
    colours = [IN_KEY if pitch % 12 in MAJOR_SCALE else OUT_OF_KEY for _, pitch in notes]
    _boxes(ax, [(part.start, part.end - gap, pitch - 0.46, pitch + 0.46) for part, pitch in notes], colours, zorder=3)
    if length <= 2 * STEPS_PER_BAR:
        for part, pitch in notes:
            name = MELODY_VOCAB.tokens[pitch - PITCH_OFFSET]
            ax.text(part.start + 0.5, pitch + 0.7, name, fontsize=8, color=INK, ha="center", va="bottom", zorder=4)
    if reached < length:
        ax.axvspan(reached, length, facecolor=UNWRITTEN, alpha=0.55, linewidth=0, zorder=2)
        ax.axvline(reached, color=MARKER, linewidth=2.5, zorder=5, clip_on=False)


def _grid(ax: Axes, length: int) -> None:
    """Draw the axes of the roll: names of the natural pitches, rows of the black keys, bars and beats."""
    pitches = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
    naturals = [pitch for pitch in pitches if pitch % 12 in MAJOR_SCALE]
    ax.set(xlim=(0, length), ylim=(LOWEST_PITCH - 0.5, HIGHEST_PITCH + 2.5), facecolor=PAPER)
    roomy = ax.get_window_extent().height / len(pitches) >= LABEL_ROOM
    named = naturals if roomy else [pitch for pitch in naturals if pitch % 12 in (0, 7)]
    ax.set_yticks(named, [MELODY_VOCAB.tokens[pitch - PITCH_OFFSET] for pitch in named], fontsize=7.5, color=INK)
    _boxes(ax, [(0, length, p - 0.5, p + 0.5) for p in pitches if p not in naturals], BLACK_KEY, zorder=0)
    ax.hlines([pitch - 0.5 for pitch in pitches if pitch % 12 == 0], 0, length, color=BAR, linewidth=0.8, zorder=1)
    if length <= MOST_BEATS_DRAWN * STEPS_PER_QUARTER:
        ax.vlines(np.arange(0, length, STEPS_PER_QUARTER), *ax.get_ylim(), color=BEAT, linewidth=0.8, zorder=1)
    bars = np.arange(0, length, STEPS_PER_BAR)
    ax.vlines(bars, *ax.get_ylim(), color=BAR, linewidth=1.6 if len(bars) <= 16 else 0.8, zorder=1)
    shown = max(1, len(bars) // 16)  # at most about 16 labels
    beats = np.arange(0, length, STEPS_PER_QUARTER) if length <= 4 * STEPS_PER_BAR else bars[::shown]
    ax.set_xticks(beats, [_place(step) for step in beats], fontsize=9, color=INK)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_color(BAR)


def _boxes(ax: Axes, sides: list[tuple[float, float, float, float]], colours: str | list[str], zorder: int) -> None:
    """Draw filled boxes (left, right, bottom, top), as one artist.

    A patch each would double the time of a long melody.
    """
    from matplotlib.collections import PolyCollection

    corners = [((left, bottom), (right, bottom), (right, top), (left, top)) for left, right, bottom, top in sides]
    ax.add_collection(PolyCollection(corners, facecolors=colours, edgecolors="none", zorder=zorder), autolim=False)


def _place(step: int) -> str:
    bar, beat = step // STEPS_PER_BAR + 1, step % STEPS_PER_BAR // STEPS_PER_QUARTER + 1
    return f"bar {bar}" if beat == 1 else str(beat)
