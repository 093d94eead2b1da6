"""Pictures of the demonstration, drawn by matplotlib's Agg canvas alone: no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqtutor_envs.melody.render import piano_roll

ROLL_SIZE = (5.0, 2.5)  # inches: 340 pixels on a phone and 520 on a desk leave the note names legible
ROLL_AXES = (0.065, 0.1, 0.922, 0.875)  # left, bottom, width, height as shares of the picture, for the page's playhead
SEEN = 0.05  # per cent of molecules; a property's axis ends with the last bins that hold as many
DPI = 140  # at more, piano_roll would name every white key, too small to read
PRIOR, TUTOR, INK, GRID, PAPER = "#6b7280", "#0f766e", "#1c2530", "#dfe4ea", "#ffffff"
# the training data's orange stays apart from grey and teal for every kind of colour blindness
DATA = "#e9b872"
Figures = Mapping[str, float]
MELODY_CURVES = {"j": "J (nats)", "task_return": "Return R", "kl": "KL from the prior (nats)"}
MOLECULE_CURVES = {**MELODY_CURVES, "task_return": "Return R (0 to 1)"}


def roll_png(tokens: NDArray[Any]) -> bytes:
    """The piano roll of a melody [T]."""
    figure = Figure(figsize=ROLL_SIZE, dpi=DPI, facecolor=PAPER)
    piano_roll(figure.add_axes(ROLL_AXES), tokens)
    return png(figure)


def curves_png(
    titles: Mapping[str, str], curve: Sequence[Figures], prior: Figures, tutor: Figures, clock: str
) -> bytes:
    """The curves of `titles` (figure -> title) side by side."""
    figure = _roomy((11, 3.2))
    for ax, (name, title) in zip(figure.subplots(1, len(titles)), titles.items()):
        draw_curve(ax, name, title, curve, prior, tutor, clock)
    return png(figure)


def curve_png(
    name: str, title: str, curve: Sequence[Figures], prior: Figures, tutor: Figures, clock: str
) -> bytes:
    """One of them alone, for narrow screens."""
    figure = _roomy((4, 2.9))
    draw_curve(figure.subplots(), name, title, curve, prior, tutor, clock)
    return png(figure)


def _roomy(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=DPI, facecolor=PAPER, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]  # inches
    return figure


def draw_curve(
    ax: Axes, name: str, title: str, curve: Sequence[Figures], prior: Figures, tutor: Figures, clock: str
) -> None:
    """What was seen while learning (line), and what the judge found before (dashes) and after it (dot).

    `clock` says what the seconds are: "CPU seconds", "seconds".
    """
    seconds = [point["seconds"] for point in curve]
    ax.axhline(prior[name], color=PRIOR, linewidth=1.4, linestyle=(0, (5, 3)), label="prior")
    ax.plot(seconds, [point[name] for point in curve], color=TUTOR, linewidth=1.8, label="while learning")
    ax.plot(seconds[-1:], [tutor[name]], "o", color=TUTOR, markersize=6, clip_on=False, label="tutor, judged")
    ax.set_xlim(0, None)
    _dress(ax, title, f"{clock[0].upper()}{clock[1:]} of fine-tuning")


def distribution_png(title: str, histogram: Mapping[str, Sequence[float]]) -> bytes:
    """Shares of molecules in bins: training data as an area, prior as dashes, tutor as a line.

    `histogram` holds `edges` [B + 1] and, of each of `data`, `prior` and `tutor`, shares [B].
    """
    figure = _roomy((4.6, 2.9))
    ax = figure.subplots()
    edges = np.asarray(histogram["edges"])
    shares = {name: 100 * np.asarray(histogram[name]) for name in ("data", "prior", "tutor")}
    ax.stairs(shares["data"], edges, fill=True, color=DATA, label="training data")
    ax.stairs(shares["prior"], edges, color=PRIOR, linewidth=1.5, linestyle=(0, (3, 1.5)), label="prior")
    ax.stairs(shares["tutor"], edges, color=TUTOR, linewidth=2.0, label="tutor")
    filled = np.flatnonzero(np.max(list(shares.values()), axis=0) > SEEN)
    ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
    ax.set_ylabel("% of molecules", fontsize=9, color=INK)
    _dress(ax, title)
    return png(figure)


def _dress(ax: Axes, title: str, below: str = "") -> None:
    ax.set_title(title, fontsize=11, color=INK, loc="left", weight="bold")
    ax.set_xlabel(below, fontsize=9, color=INK)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
