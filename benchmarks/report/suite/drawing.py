"""From a plot that is drawn into axes to SVG whose colours follow the page, or to a PNG file.

matplotlib writes the SVG; then its colours become the page's variables, its names get the plot's in front (a page has
many plots), and what an inline picture needs not is dropped.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from benchmarks.report.suite.theme import INK, LINE, SOFT, VARIABLES, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
ONE = (3.9, 2.7)  # inches; on a phone of 390 pixels letters are a little larger than here, 9 points
RULES: Any = {  # of matplotlib
    "svg.fonttype": "none",
    "svg.hashsalt": "seqtutor",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
}


@dataclass(frozen=True)
class Plot:
    """One picture that is not drawn yet.

    Attributes:
        name: within the page; letters, digits and dashes.
        title, words: for those who see it, and for those who do not.
        draw: draws it into axes.
        size: inches.
        labels: whose figures it shows.
        points: what stands at each mark that can be pointed at, by the mark's gid.
    """

    name: str
    title: str
    words: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = ONE
    labels: tuple[str, ...] = ()
    points: Mapping[str, str] = field(default_factory=dict)


def svg(plot: Plot) -> str:
    """The plot as inline SVG, described in words."""
    text = io.StringIO()
    with _rules():
        figure = _figure(plot.size)
        plot.draw(figure.subplots())
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _inlined(text.getvalue(), plot)


def png(plots: Sequence[Plot], looks: Mapping[str, Style], columns: int = 2) -> bytes:
    """Several plots on one light sheet, with a legend, as a PNG file's bytes."""
    from matplotlib.lines import Line2D

    content = io.BytesIO()
    columns = min(columns, len(plots))
    rows = -(-len(plots) // columns)
    width, height = max(plot.size[0] for plot in plots), max(plot.size[1] for plot in plots)
    with _rules():
        figure = _figure((columns * width, rows * height + 0.4))
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for ax, plot in zip(axes, plots):
            plot.draw(ax)
            ax.set_title(plot.title, loc="left", fontsize=10, weight="bold", color=INK[0])
        for ax in list(figure.axes)[len(plots) :]:
            ax.set_axis_off()
        drawn = {label for plot in plots for label in plot.labels}
        shown = {label: look for label, look in looks.items() if label in drawn}
        handles = [Line2D([], [], color=one.colour, linestyle=line(one), marker=one.marker) for one in shown.values()]
        if shown:
            room: Any = {"loc": "outside lower center", "ncols": min(len(shown), 3 * columns)}
            figure.legend(handles, list(shown), frameon=False, labelcolor=INK[0], **room)
        figure.savefig(content, format="png", dpi=DPI, facecolor="#ffffff")
    return content.getvalue()


@contextmanager
def _rules() -> Iterator[None]:
    """matplotlib's settings while it draws. Labels may hold letters that its font lacks; the reader's has them."""
    import matplotlib

    with matplotlib.rc_context(RULES), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def line(style: Style) -> Any:
    """The dash as matplotlib has it."""
    return (0, tuple(map(float, style.dash.split()))) if style.dash else "-"


def dress(ax: Axes, below: str = "", left: str = "", grid: str = "both") -> None:
    """Quiet axes: light lines, no frame."""
    ax.set_xlabel(below, color=SOFT[0])
    ax.set_ylabel(left, color=SOFT[0])
    ax.grid(axis=grid, color=LINE[0], linewidth=0.8)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.tick_params(which="both", length=0, labelcolor=INK[0])
    for side in ax.spines.values():
        side.set_visible(False)


def _inlined(source: str, plot: Plot) -> str:
    """An SVG file's text as part of a page."""
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
        told = escape(words)
        body = body.replace(
            f'<g id="{plot.name}-{gid}">',
            f'<g class="point" tabindex="0" role="img" aria-label="{told}"><title>{told}</title>',
        )
    role, key = ("group" if plot.points else "img"), f"{plot.name}-plot"
    return (
        f'<svg viewBox="{view[1] if view else ""}" role="{role}" aria-labelledby="{key}-title {key}-words">'
        f'<title id="{key}-title">{escape(plot.title)}</title><desc id="{key}-words">{escape(plot.words)}</desc>'
        + re.sub(r">\s+<", "><", body).strip()
    )


def figures(plots: Sequence[Plot], kind: str = "") -> str:
    """Plots side by side, each beneath its title; what a mark says when pointed at stands beneath it."""
    entries = "".join(
        f'<figure class="plot"><figcaption>{escape(plot.title)}</figcaption>{svg(plot)}{_told(plot)}</figure>'
        for plot in plots
    )
    return f'<div class="plots {kind}">{entries}</div>'


def _told(plot: Plot) -> str:
    return '<p class="told" aria-live="polite">Point at a mark, or tap it, for its figures.</p>' if plot.points else ""
