"""Pictures of the demonstration, drawn by matplotlib's Agg canvas alone: no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqtutor_envs.melody.render import piano_roll

ROLL_SIZE = (5.0, 2.5)  # inches: 340 pixels on a phone and 520 on a desk leave the note names legible
ROLL_AXES = (0.065, 0.1, 0.922, 0.875)  # left, bottom, width, height as shares of the picture, for the page's playhead
DPI = 140  # at more, piano_roll would name every white key, too small to read
PRIOR, TUTOR, INK, GRID, PAPER = "#6b7280", "#0f766e", "#1c2530", "#dfe4ea", "#ffffff"
Figures = Mapping[str, float]
CURVES = {"j": "J (nats)", "task_return": "Return R", "kl": "KL from the prior (nats)"}


def roll_png(tokens: NDArray[Any]) -> bytes:
    """The piano roll of a melody [T]."""
    figure = Figure(figsize=ROLL_SIZE, dpi=DPI, facecolor=PAPER)
    piano_roll(figure.add_axes(ROLL_AXES), tokens)
    return png(figure)


def curves_png(curve: Sequence[Figures], prior: Figures, tutor: Figures) -> bytes:
    """J, return and KL side by side."""
    figure = _roomy((11, 3.2))
    for ax, name in zip(figure.subplots(1, len(CURVES)), CURVES):
        draw_curve(ax, name, curve, prior, tutor)
    return png(figure)


def curve_png(name: str, curve: Sequence[Figures], prior: Figures, tutor: Figures) -> bytes:
    """One of CURVES alone, for narrow screens."""
    figure = _roomy((4, 2.9))
    draw_curve(figure.subplots(), name, curve, prior, tutor)
    return png(figure)


def _roomy(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, dpi=DPI, facecolor=PAPER, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]  # inches
    return figure


def draw_curve(ax: Axes, name: str, curve: Sequence[Figures], prior: Figures, tutor: Figures) -> None:
    """What was seen while learning (line), and what the judge found before (dashes) and after it (dot)."""
    seconds = [point["seconds"] for point in curve]
    ax.axhline(prior[name], color=PRIOR, linewidth=1.4, linestyle=(0, (5, 3)), label="prior")
    ax.plot(seconds, [point[name] for point in curve], color=TUTOR, linewidth=1.8, label="while learning")
    ax.plot(seconds[-1:], [tutor[name]], "o", color=TUTOR, markersize=6, clip_on=False, label="tutor, judged")
    ax.set_title(CURVES[name], fontsize=11, color=INK, loc="left", weight="bold")
    ax.set_xlabel("CPU seconds of fine-tuning", fontsize=9, color=INK)
    ax.set_xlim(0, None)
    ax.grid(color=GRID, linewidth=0.8)
    ax.tick_params(length=0, labelsize=9, labelcolor=INK)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
