"""How labels look: a colour, a marker and a dash each, the same in every plot, table and legend.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color), told apart by the colour-blind, without yellow, which white
paper swallows; on dark paper each is lighter. No two of the first 21 labels share colour and dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report.data import Arm

# (on light paper, on dark paper)
COLOURS = (
    ("#0072b2", "#4aa8e8"),
    ("#d55e00", "#ff8b3d"),
    ("#009e73", "#2fd0a0"),
    ("#b4589a", "#e79fd0"),
    ("#e69f00", "#f6c244"),
    ("#56b4e9", "#b5e2ff"),
    ("#3d4450", "#ffffff"),
)
PRIOR = ("#7a8290", "#a4afbc")
INK, SOFT, LINE, PAPER = ("#1c2530", "#e7ebf0"), ("#56616f", "#a4afbc"), ("#dde2e8", "#2e3742"), ("#fffffe", "#1a212a")
DATA = COLOURS[4]  # training data; apart from the grey prior and the first agent's blue for the colour-blind
DASHES = ("", "6 2.5", "1.5 2")  # lengths of line and gap, in points
PRIOR_MARKER = "d"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # matplotlib's names

# outlines of the same markers within -4..4, for legends
SHAPES = {
    "o": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "s": "M-3.5,-3.5h7v7h-7z",
    "^": "M0,-4.2L4.2,3.6H-4.2z",
    "D": "M0,-4.6L4.6,0L0,4.6L-4.6,0z",
    "v": "M0,4.2L4.2,-3.6H-4.2z",
    "P": "M-1.5,-4.2h3v2.7h2.7v3h-2.7v2.7h-3v-2.7h-2.7v-3h2.7z",
    "X": "M-4,-2L-2,-4L0,-2L2,-4L4,-2L2,0L4,2L2,4L0,2L-2,4L-4,2L-2,0z",
    "d": "M0,-4.6L2.8,0L0,4.6L-2.8,0z",
    "p": "M0,-4.3L4.1,-1.3L2.5,3.5H-2.5L-4.1,-1.3z",
}
# the colour in a plot -> the page's variable, which knows light from dark
VARIABLES = {light: f"--arm-{k}" for k, (light, _) in enumerate(COLOURS)} | {
    PRIOR[0]: "--arm-prior",
    INK[0]: "--ink",
    SOFT[0]: "--soft",
    LINE[0]: "--line",
    PAPER[0]: "--card",
}


@dataclass(frozen=True)
class Style:
    """How one label is drawn; `colour` is that on light paper."""

    colour: str
    marker: str
    dash: str

    @property
    def variable(self) -> str:
        """The page's variable of the colour."""
        return f"var({VARIABLES[self.colour]})"

    @property
    def outline(self) -> str:
        """The marker as an SVG path."""
        return SHAPES[self.marker]


def assign_styles(arms: Sequence[Arm]) -> dict[str, Style]:
    """Assign every label a style; agents that do not learn are grey, the prior a slender diamond."""
    priors = {arm.label for arm in arms if arm.is_prior}
    learners = {arm.label for arm in arms if arm.learns}
    made: dict[str, Style] = {}
    for label in dict.fromkeys(arm.label for arm in arms):
        k, fixed = sum(one in learners for one in made), sum(one not in learners for one in made)
        if label in priors:
            made[label] = Style(PRIOR[0], PRIOR_MARKER, "4 3")
        elif label in learners:
            colour = COLOURS[k % len(COLOURS)][0]
            made[label] = Style(colour, MARKERS[k % len(MARKERS)], DASHES[k // len(COLOURS) % len(DASHES)])
        else:
            made[label] = Style(PRIOR[0], MARKERS[-1 - fixed % len(MARKERS)], "1.5 2")
    return made


def css_variables(dark: bool) -> str:
    """Return the labels' colours as CSS variables."""
    entries = [(f"--arm-{k}", pair[dark]) for k, pair in enumerate(COLOURS)] + [("--arm-prior", PRIOR[dark])]
    return " ".join(f"{name}: {colour};" for name, colour in entries)
