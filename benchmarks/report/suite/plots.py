"""The report's plots: functions from arms to pictures that are not drawn yet. `pictures` draws them as PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report.rows import Row
from benchmarks.report.suite import columns, exact, frontier, parts
from benchmarks.report.suite.curves import curve_plots
from benchmarks.report.suite.data import Arm, Findings, arms, by_task
from benchmarks.report.suite.drawing import Plot, dress, line, png
from benchmarks.report.suite.theme import INK, PAPER, PRIOR_MARKER, SOFT, Style, styles
from benchmarks.statistics import Interval, interval, mean, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Looks = Mapping[str, Style]
WIDE = 20  # times the smallest KL, from which on its axis is logarithmic
POINT = 100 / 72  # pixels of the canvas that a plot is drawn on
HALF = 4.5  # points of a written c's half width, for each digit of the longest
LEAST_GAP = 1e-5  # nats; what is estimated to be smaller, or below 0, stands at the left edge
THRESHOLDS = 120  # of a performance profile
MOST_LETTERS = 20  # of a label beside an axis


def learning(found: Sequence[Arm], looks: Looks) -> list[Plot]:
    """J, KL and return over tokens, three plots a task."""
    return [
        plot
        for k, (task, members) in enumerate(parts.shown_tasks(found).items())
        for plot in curve_plots(f"learning-{k}", task, members, looks)
    ]


def gaps(found: Sequence[Arm], looks: Looks) -> list[Plot]:
    """Every run's gap by label, and how many runs are within each gap."""
    members = [one for one in exact.over_tasks(found) if looks[one.label].marker != PRIOR_MARKER]
    if not members:
        return []
    told = "; ".join(f"{one.label} {columns.with_bounds(columns.GAP, interval(mean, one.gaps))}" for one in members)
    size, whose = (3.9, max(0.8 + 0.4 * len(members), 2.7)), tuple(one.label for one in members)
    return [
        Plot(
            "gap-runs",
            "Gap of every run, and the mean with its interval",
            f"Mean gaps in nats: {told}",
            lambda ax: _strip(ax, members, looks),
            size,
            whose,
        ),
        Plot(
            "gap-profile",
            "Share of runs within a gap",
            f"Performance profiles of the gap. Mean gaps in nats: {told}",
            lambda ax: _profile(ax, members, looks),
            size,
            whose,
        ),
    ]


def _range(members: Sequence[exact.Exact]) -> tuple[float, float]:
    """The axis of gaps, whole decades."""
    every = np.concatenate([gap for one in members for gap in one.gaps])
    known = every[every > LEAST_GAP]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    return 10 ** math.floor(math.log10(low) - 0.05), 10 ** math.ceil(math.log10(high) + 0.05)


def _log_axis(ax: Axes, low: float, high: float) -> None:
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    decades = [10.0**k for k in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    ax.set_xticks(decades, [f"{decade:g}" if decade >= 1e-4 else "0.00001" for decade in decades])
    ax.set_xticks([], minor=True)


def _strip(ax: Axes, members: Sequence[exact.Exact], looks: Looks) -> None:
    low, high = _range(members)
    for k, one in enumerate(members):
        look, every = looks[one.label], np.concatenate(one.gaps)
        seen = np.clip(every, low * 1.04, high)
        beside = k + 0.22 + 0.10 * (np.arange(len(every)) % 3 - 1)  # so that equal ones are seen
        ax.plot(seen, beside, look.marker, color=look.colour, markersize=4, alpha=0.55, markeredgewidth=0)
        found = interval(mean, one.gaps)
        if math.isfinite(found.low):
            ax.plot(np.clip([found.low, found.high], low, high), [k - 0.15] * 2, color=look.colour, linewidth=2.2)
        ax.plot(
            [max(found.value, low)], [k - 0.15], look.marker, color=look.colour, markersize=7, markeredgecolor=PAPER[0]
        )
    _log_axis(ax, low, high)
    ax.set_ylim(len(members) - 0.5, -0.6)
    ax.set_yticks(range(len(members)), [short(one.label) for one in members])
    dress(ax, "gap to the optimum, nats (left is better)", grid="x")


def _profile(ax: Axes, members: Sequence[exact.Exact], looks: Looks) -> None:
    low, high = _range(members)
    thresholds = np.geomspace(low, high, THRESHOLDS)
    for one in members:
        look = looks[one.label]
        found = performance_profile([-gap for gap in one.gaps], -thresholds)
        if np.isfinite(found.low).all():
            ax.fill_between(thresholds, found.low, found.high, color=look.colour, alpha=0.15, linewidth=0)
        ax.plot(thresholds, found.values, color=look.colour, linestyle=line(look), linewidth=1.8)
    _log_axis(ax, low, high)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    dress(ax, "gap to the optimum, nats", "runs with a smaller gap")


def fronts(found: Sequence[Arm], looks: Looks) -> list[Plot]:
    """Return against KL, one plot for each environment that occurs with several temperatures."""
    made = []
    for k, (where, lines) in enumerate(frontier.fronts(found).items()):
        told = {
            f"point-{i}-{j}": _of_point(arm)
            for i, arms_of in enumerate(lines.values())
            for j, arm in enumerate(arms_of)
        }
        made.append(
            Plot(
                f"frontier-{k}",
                f"{where}: return against KL",
                "; ".join(told.values()),
                _front(lines, looks),
                (4.4, 3.3),
                tuple(lines),
                told,
            )
        )
    return made


def _of_point(arm: Arm) -> str:
    row = columns.return_row([arm])
    earned, kl, j = (columns.with_bounds(r, arm.interval(r.key)) for r in (row, columns.KL, columns.J))
    return f"{arm.label}, c = {frontier.temperature(arm):g}: {row.title} {earned}, KL {kl}, J {j}, n = {len(arm.runs)}"


def _front(lines: Mapping[str, list[Arm]], looks: Looks) -> Callable[[Axes], None]:
    members = [arm for found in lines.values() for arm in found]
    wide = _wide([arm.interval("kl").value for arm in members])

    def draw(ax: Axes) -> None:
        if wide:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.xaxis.set_minor_formatter(lambda value, _: "")
        ax.margins(0.12)
        for i, (label, found) in enumerate(lines.items()):
            look = looks[label]
            kl, earned = ([arm.interval(key) for arm in found] for key in ("kl", "task_return"))
            ax.plot([one.value for one in kl], [one.value for one in earned], color=look.colour, linestyle=line(look))
            for j, (x, y) in enumerate(zip(kl, earned)):
                _cross(ax, x, y, look)
                ax.plot(
                    [x.value],
                    [y.value],
                    look.marker,
                    color=look.colour,
                    markersize=8,
                    markeredgecolor=PAPER[0],
                    gid=f"point-{i}-{j}",
                    zorder=5,
                )
        _temperatures(ax, lines, looks)
        dress(ax, f"KL(π ‖ p), nats a sequence{', log scale' * wide}", columns.return_row(members).title)

    return draw


def _wide(values: Sequence[float]) -> bool:
    """Whether they need a logarithmic axis."""
    return min(values) > 0 and max(values) > WIDE * min(values)


def _temperatures(ax: Axes, lines: Mapping[str, list[Arm]], looks: Looks) -> None:
    """Writes each c beside its mark, where no other mark or word is in the way."""
    members = [arm for found in lines.values() for arm in found]
    marks = [(arm.interval("kl").value, arm.interval("task_return").value) for arm in members]
    ax.get_xlim(), ax.get_ylim()  # settles them, so that places are known
    taken = [tuple(place) for place in ax.transData.transform(marks)]
    half = HALF * max(len(f"{frontier.temperature(arm):g}") for arm in members)
    for arm, mark, (x, y) in zip(members, marks, list(taken)):
        for across, up in ((9, -10), (-9, 9), (9, 9), (-9, -10)):
            place = (x + (across + math.copysign(half, across)) * POINT, y + (up + 3) * POINT)
            if all(abs(place[0] - a) > 1.2 * half * POINT or abs(place[1] - b) > 9 * POINT for a, b in taken):
                taken.append(place)
                side = "left" if across > 0 else "right"
                words, look = f"c = {frontier.temperature(arm):g}", looks[arm.label]
                ax.annotate(
                    words,
                    mark,
                    (across, up),
                    textcoords="offset points",
                    fontsize=8,
                    color=look.colour,
                    ha=side,
                    bbox={"facecolor": PAPER[0], "edgecolor": "none", "pad": 0.5},  # lines end before the word
                    zorder=4,
                )
                break


def _cross(ax: Axes, x: Interval, y: Interval, look: Style) -> None:
    """Both intervals of a point."""
    if math.isfinite(x.low) and math.isfinite(y.low):
        ax.plot([x.low, x.high], [y.value] * 2, color=look.colour, linewidth=1.2)
        ax.plot([x.value] * 2, [y.low, y.high], color=look.colour, linewidth=1.2)


def terms(task: str, k: int, found: Sequence[Arm], looks: Looks) -> list[Plot]:
    """What each term of the reward pays: one plot a term, a bar for each agent."""
    return [
        _term(f"terms-{k}-{row.key.removeprefix('term_').replace('_', '-')}", task, row, found, looks)
        for row in parts.known_terms(found)
    ]


def _term(name: str, task: str, row: Row, found: Sequence[Arm], looks: Looks) -> Plot:
    means = [arm.interval(row.key) for arm in found]
    told = "; ".join(f"{arm.label} {columns.with_bounds(row, one)}" for arm, one in zip(found, means))

    def draw(ax: Axes) -> None:
        for place, (arm, one) in enumerate(zip(found, means)):
            if one.n:
                ax.barh(place, one.value, 0.66, color=looks[arm.label].colour, linewidth=0, alpha=0.8)
            if math.isfinite(one.low):
                ax.plot([one.low, one.high], [place] * 2, color=INK[0], linewidth=1.3)
        ax.axvline(0, color=SOFT[0], linewidth=0.9)
        ax.set_yticks(range(len(found)), [short(arm.label) for arm in found])
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.locator_params(axis="x", nbins=4)
        dress(ax, grid="x")

    return Plot(name, row.title, f"{task}, {row.meaning}. Means: {told}", draw, (3.6, 0.55 + 0.26 * len(found)))


def short(label: str) -> str:
    """A label that leaves room for the plot."""
    return label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…"


def of_terms(found: Sequence[Arm], looks: Looks) -> dict[str, list[Plot]]:
    """Task -> the plots of its terms."""
    rewarded = [arm for members in by_task(found).values() if parts.known_terms(members) for arm in members]
    return {
        task: terms(task, k, members, looks) for k, (task, members) in enumerate(parts.shown_tasks(rewarded).items())
    }


PLOTS: dict[str, Callable[[Sequence[Arm], Looks], list[Plot]]] = {
    "gap": gaps,
    "learning": learning,
    "frontier": fronts,
    "terms": lambda found, looks: [plot for plots in of_terms(found, looks).values() for plot in plots],
}


def pictures(findings: Findings) -> dict[str, bytes]:
    """Name -> a PNG file's bytes, of those plots whose data are there."""
    found = arms(findings)
    looks = styles(found)
    drawn = {name: plots for name, make in PLOTS.items() if (plots := make(found, looks))}
    return {name: png(plots, looks, 3 if name in ("terms", "learning") else 2) for name, plots in drawn.items()}
