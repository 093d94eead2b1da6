"""Assign styles to agents; render plots as inline SVG whose colours follow the page, or as PNG.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color), told apart by the colour-blind, without yellow, which white
paper swallows; templates/base.html.j2 has the lighter ones for dark paper. No two of the first 21 labels share colour
and dash.
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

from benchmarks.report.data import Arm

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b4589a", "#e69f00", "#56b4e9", "#3d4450")
PRIOR, INK, SOFT, LINE, PAPER = "#7a8290", "#1c2530", "#56616f", "#dde2e8", "#fffffe"
DATA = COLOURS[4]  # training data; apart from the grey prior and the first agent's blue for the colour-blind
# the colour in a plot -> the page's variable, which knows light from dark
VARIABLES = {light: f"--arm-{k}" for k, light in enumerate(COLOURS)} | {PRIOR: "--arm-prior"}
VARIABLES |= {INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--card"}
DASHES = ("", "6 2.5", "1.5 2")  # lengths of line and gap, in points
PRIOR_MARKER = "d"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # matplotlib's names; macros.html.j2 has their outlines
DPI = 160
SIZE = (3.9, 2.7)  # inches; on a phone of 390 pixels letters are a little larger than here, 9 points
SETTINGS: Any = {
    # text stays text: it can be searched, read aloud, and set in the page's font
    "svg.fonttype": "none",
    # ids would else differ each time, and with them the bytes of the page
    "svg.hashsalt": "seqtutor",
    # a label is no formula: "$" in it is a dollar
    "text.parse_math": False,
    "font.size": 9,
    "font.family": ["DejaVu Sans"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")},
    **{f"{axis}tick.labelcolor": INK for axis in "xy"},
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Style:
    """Describe how one label is drawn; `colour` is the one on light paper."""

    colour: str
    marker: str
    dash: str

    @property
    def variable(self) -> str:
        """Return the page's CSS variable of the colour."""
        return f"var({VARIABLES[self.colour]})"

    @property
    def line(self) -> dict[str, Any]:
        """Return colour and dash as matplotlib takes them."""
        dash = (0, tuple(map(float, self.dash.split()))) if self.dash else "-"
        return {"color": self.colour, "linestyle": dash}


Looks = Mapping[str, Style]


@dataclass(frozen=True)
class Plot:
    """Describe a plot that is not drawn yet.

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


def assign_styles(arms: Sequence[Arm]) -> dict[str, Style]:
    """Assign every label a style; agents that do not learn are grey, the prior a slender diamond."""
    priors, learners = {arm.label for arm in arms if arm.is_prior}, {arm.label for arm in arms if arm.learns}
    made: dict[str, Style] = {}
    for label in dict.fromkeys(arm.label for arm in arms):
        k, fixed = sum(one in learners for one in made), sum(one not in learners for one in made)
        if label in priors:
            made[label] = Style(PRIOR, PRIOR_MARKER, "4 3")
        elif label in learners:
            dash = DASHES[k // len(COLOURS) % len(DASHES)]
            made[label] = Style(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], dash)
        else:
            made[label] = Style(PRIOR, MARKERS[-1 - fixed % len(MARKERS)], "1.5 2")
    return made


@contextmanager
def _settings() -> Iterator[None]:
    """Apply matplotlib's settings. Labels may hold letters that its font lacks; the reader's font has them."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def render_png(plots: Sequence[Plot], looks: Looks, columns: int = 2) -> bytes:
    """Draw several plots on one light sheet with a legend; returns a PNG file's bytes."""
    content, columns = io.BytesIO(), min(columns, len(plots))
    rows = -(-len(plots) // columns)
    width, height = (max(plot.size[k] for plot in plots) for k in range(2))
    with _settings():
        figure = Figure(figsize=(columns * width, rows * height + 0.4), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, plot in zip(axes, plots):
            plot.draw(ax)
            ax.set_title(plot.title)
        for ax in axes[len(plots) :]:
            ax.set_axis_off()
        drawn = {label for plot in plots for label in plot.labels}
        handles = [
            Line2D([], [], marker=look.marker, label=label, **look.line)
            for label, look in looks.items() if label in drawn
        ]
        if handles:
            room: Any = {"loc": "outside lower center", "ncols": min(len(handles), 3 * columns), "fontsize": 9}
            figure.legend(handles=handles, **room)
        figure.savefig(content, format="png", dpi=DPI, facecolor="#ffffff")
    return content.getvalue()


def render_svg(plot: Plot) -> Markup:
    """Draw a plot as inline SVG with a description in words."""
    text = io.StringIO()
    with _settings():
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.draw(figure.subplots())
        # no date and no version: the same results give the same bytes
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    _, head, body = re.split(r"(<svg[^>]*>)", text.getvalue(), maxsplit=1)
    view = head.partition('viewBox="')[2].partition('"')[0]
    # matplotlib's style sheet would apply to the whole page
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.S)
    # a page has many plots: ids get the plot's name in front
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{plot.name}-", body).replace("xlink:href", "href")
    # two decimals of a pixel are enough, and the page is smaller
    body = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\d\.\d\d)\d+", r"\1", found[0]), body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)  # the page's font
    # the page changes between light and dark; a fixed colour would not
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    for gid, words in plot.points.items():
        mark, told = f'<g id="{plot.name}-{gid}"', escape(words)
        focus = f'{mark} class="point" tabindex="0" role="img" aria-label="{told}"><title>{told}</title>'
        body = body.replace(f"{mark}>", focus)
    role, key = ("group" if plot.points else "img"), f"{plot.name}-plot"
    return Markup(
        f'<svg viewBox="{view}" role="{role}" aria-labelledby="{key}-title {key}-words">'
        f'<title id="{key}-title">{escape(plot.title)}</title><desc id="{key}-words">{escape(plot.words)}</desc>'
        + re.sub(r">\s+<", "><", body).strip()
    )
