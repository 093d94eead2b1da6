"""From a plot to inline SVG whose colours follow the page, or to a PNG file.

matplotlib writes the SVG; then its colours become the page's variables, its ids get the plot's name in front (a page
has many plots), and what an inline picture does not need is dropped.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.report.style import INK, LINE, SOFT, VARIABLES, Style

DPI = 160
SIZE = (3.9, 2.7)  # inches; on a phone of 390 pixels letters are a little larger than here, 9 points
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seqtutor",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
}


@dataclass(frozen=True)
class Plot:
    """A plot that is not drawn yet.

    Attributes:
        name: unique within the page; letters, digits and dashes.
        title, words: for readers who see it, and for readers who do not.
        draw: draws it into axes.
        size: inches.
        labels: the labels it shows, for the legend.
        points: the text of each mark that can be pointed at, by the mark's gid.
    """

    name: str
    title: str
    words: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = SIZE
    labels: tuple[str, ...] = ()
    points: Mapping[str, str] = field(default_factory=dict)


def render_svg(plot: Plot) -> Markup:
    """Draw a plot as inline SVG with a description in words."""
    text = io.StringIO()
    with _settings():
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.draw(figure.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _inline(text.getvalue(), plot)


def render_png(plots: Sequence[Plot], looks: Mapping[str, Style], columns: int = 2) -> bytes:
    """Draw several plots on one light sheet with a legend; returns a PNG file's bytes."""
    content, columns = io.BytesIO(), min(columns, len(plots))
    rows = -(-len(plots) // columns)
    width, height = max(plot.size[0] for plot in plots), max(plot.size[1] for plot in plots)
    with _settings():
        figure = Figure(figsize=(columns * width, rows * height + 0.4), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, plot in zip(axes, plots):
            plot.draw(ax)
            ax.set_title(plot.title, loc="left", fontsize=10, weight="bold", color=INK[0])
        for ax in axes[len(plots) :]:
            ax.set_axis_off()
        drawn = {label for plot in plots for label in plot.labels}
        shown = {label: look for label, look in looks.items() if label in drawn}
        if shown:
            looks_of = [{"color": one.colour, "linestyle": line(one), "marker": one.marker} for one in shown.values()]
            handles = [Line2D([], [], **look) for look in looks_of]
            room: Any = {"loc": "outside lower center", "ncols": min(len(shown), 3 * columns)}
            figure.legend(handles, list(shown), frameon=False, labelcolor=INK[0], **room)
        figure.savefig(content, format="png", dpi=DPI, facecolor="#ffffff")
    return content.getvalue()


@contextmanager
def _settings() -> Iterator[None]:
    """Apply matplotlib's settings. Labels may hold letters that its font lacks; the reader's font has them."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def line(style: Style) -> Any:
    """Return the dash in matplotlib's form."""
    return (0, tuple(map(float, style.dash.split()))) if style.dash else "-"


def dress(ax: Axes, below: str = "", left: str = "", grid: str = "both") -> None:
    """Label the axes, with light grid lines and no frame."""
    ax.set_xlabel(below, color=SOFT[0])
    ax.set_ylabel(left, color=SOFT[0])
    ax.grid(axis=grid, color=LINE[0], linewidth=0.8)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.tick_params(which="both", length=0, labelcolor=INK[0])
    for side in ax.spines.values():
        side.set_visible(False)


def _inline(source: str, plot: Plot) -> Markup:
    inner = source[source.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', inner)
    body = inner[inner.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{plot.name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{plot.name}-', body).replace("url(#", f"url(#{plot.name}-")
    body = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\d\.\d\d)\d+", r"\1", found[0]), body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    for gid, words in plot.points.items():
        text = escape(words)
        body = body.replace(
            f'<g id="{plot.name}-{gid}">',
            f'<g class="point" tabindex="0" role="img" aria-label="{text}"><title>{text}</title>',
        )
    role, key = ("group" if plot.points else "img"), f"{plot.name}-plot"
    head = (
        f'<svg viewBox="{view[1] if view else ""}" role="{role}" aria-labelledby="{key}-title {key}-words">'
        f'<title id="{key}-title">{escape(plot.title)}</title><desc id="{key}-words">{escape(plot.words)}</desc>'
    )
    return Markup(head + re.sub(r">\s+<", "><", body).strip())
