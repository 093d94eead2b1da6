"""Plot learning curves, gaps, return against KL, reward terms and distributions, for reports and the demonstration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.report import metrics
from benchmarks.report.data import Arm, TaskResults, curve_points, mean_interval
from benchmarks.report.drawing import DATA, INK, PAPER, PRIOR, PRIOR_MARKER, SOFT, Looks, Plot, Style
from benchmarks.report.gaps import Gaps, gaps_over_tasks
from benchmarks.report.metrics import Metric
from benchmarks.report.statistics import Interval, interval, mean, performance_profile

POINTS = 30  # of a curve, at most
MANY = 8  # agents, more of which need fainter bands
MARKED = 5  # points of a curve that have its marker
DEEP = 1.5  # times the height of what follows; a start that lies further below would flatten all else
LOG_FROM = 20  # times the smallest KL, from which on its axis is logarithmic
PIXELS = 100 / 72  # of the canvas that a plot is drawn on, for each point
HALF = 4.5  # points of a written c's half width, for each digit of the longest
LEAST_GAP = 1e-5  # nats; smaller estimates, and those below 0, stand at the left edge
THRESHOLDS = 120  # of a performance profile
MOST_LETTERS = 20  # of a label beside an axis
SEEN = 0.05  # per cent of molecules; a property's axis ends with the last bins that hold as many


class Curve(NamedTuple):
    """Means over runs [K], NaN ends for a single run; `places` are tokens or seconds."""

    places: NDArray[np.float64]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def mean_curve(arm: Arm, key: str, clock: str = "timesteps") -> Curve | None:
    """Average a metric's curve where all runs have it, linear between its points; None if no run has it."""
    known = [points for curve in arm.curves if len(points := curve_points(curve, key, clock))]
    if not known:
        return None
    # where all runs have points: beyond it the mean would jump as runs drop out
    first, last = max(one[0, 0] for one in known), min(one[-1, 0] for one in known)
    places = np.unique(np.concatenate([one[:, 0] for one in known]))
    grid = places[(places >= first) & (places <= last)]
    # runs under a budget of seconds have points at different places each
    if len(grid) > POINTS:
        grid = np.linspace(first, last, POINTS)
    if not len(grid):
        return None
    runs = np.array([np.interp(grid, one[:, 0], one[:, 1]) for one in known])  # [runs, K]
    means = np.array([mean_interval(tuple(column.tolist())) for column in runs.T])
    return Curve(grid, *means.T[:3])


def _mark(ax: Axes, x: float, y: float, look: Style, size: float = 7, **more: Any) -> None:
    """Draw one mark with an edge, so that marks on top of each other are told apart."""
    kind: dict[str, Any] = {"color": look.colour, "markersize": size, "markeredgecolor": PAPER, **more}
    ax.plot([x], [y], look.marker, **kind)


def _band(ax: Axes, x: NDArray[np.float64], low: Any, high: Any, look: Style, alpha: float) -> None:
    """Shade between two lines, unless an end is not known."""
    # a single run has no interval
    if np.isfinite(low).all():
        ax.fill_between(x, low, high, color=look.colour, alpha=alpha, linewidth=0)


def learning_plots(name: str, task: TaskResults, looks: Looks) -> list[Plot]:
    """Plot J, KL and return of one task while learning, as far as they are known."""
    plots = []
    for metric in (metrics.J, metrics.KL, task.return_metric):
        found = {arm.label: mean_curve(arm, metric.key, task.clock) for arm in task.arms}
        if curves := {label: curve for label, curve in found.items() if curve is not None}:
            plots.append(_learning_plot(f"{name}-{metric.key.replace('_', '-')}", task, metric, curves, looks))
    return plots


def _learning_plot(name: str, task: TaskResults, metric: Metric, curves: Mapping[str, Curve], looks: Looks) -> Plot:
    ends = {arm.label: arm.interval(metric.key) for arm in task.arms if arm.interval(metric.key).n}
    level = task.prior.interval(metric.key).value if task.prior is not None else math.nan
    by_tokens = task.clock == "timesteps"

    def draw(ax: Axes) -> None:
        if math.isfinite(level):
            ax.axhline(level, color=PRIOR, linewidth=1.4, linestyle=(0, (4, 3)))
        for arm in task.arms:
            if arm.label not in curves:
                continue
            curve, look = curves[arm.label], looks[arm.label]
            _band(ax, curve.places, curve.low, curve.high, look, 0.07 if len(task.arms) > MANY else 0.17)
            every = max(1, len(curve.places) // MARKED)  # colours alone do not tell lines apart for everybody
            marks: Any = {"marker": look.marker, "markersize": 4, "markevery": (every // 2, every)}
            ax.plot(curve.places, curve.values, markeredgewidth=0, **marks, **look.line)
            if arm.label in ends:  # what the evaluation at the end found
                place, end = float(curve.places[-1]), ends[arm.label]
                place = float(arm.values("timesteps").mean()) if by_tokens else place
                ax.plot([place] * 2, [end.low, end.high], color=look.colour, linewidth=1.6)
                _mark(ax, place, end.value, look, clip_on=False, zorder=5)
        # after all lines are drawn, because it sets the limits of the axis
        _cut_start(ax, list(curves.values()), level)
        ax.set_xlim(0, None)
        ax.locator_params(axis="x", nbins=5)
        ax.xaxis.set_major_formatter(lambda value, _: short_number(value))
        ax.set_xlabel("tokens learned from" if by_tokens else "seconds of learning")
        ax.set_ylabel(f"{metric.title}, nats" if metric.key in ("j", "kl") else metric.title)

    labels = tuple(arm.label for arm in task.arms if arm.label in curves or arm.is_prior)
    texts = "; ".join(f"{label} {metric.format_interval(end)}" for label, end in ends.items())
    words = f"{metric.meaning}, while learning. At the end: {texts}"
    return Plot(name, f"{metric.title.split()[-1]}: {task.name}", words, draw, labels=labels)


def _cut_start(ax: Axes, curves: Sequence[Curve], level: float) -> None:
    """Leave out a start far below all that follows and the prior's level, and say how far below it is."""
    late = np.concatenate([one.values[len(one.values) // 3 :] for one in curves])
    start = min(float(one.values.min()) for one in curves)
    low, high = float(np.fmin(late.min(), level)), float(late.max())
    if high > low and start < low - DEEP * (high - low):
        ax.set_ylim(low - 0.6 * (high - low), None)
        text = f"↓ begins at {start:,.0f}".replace("-", "−")
        ax.annotate(text, (0.02, 0.03), xycoords="axes fraction", fontsize=8, color=SOFT)


def short_number(value: float) -> str:
    """Format a number as 250k or 1.5M."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def gap_plots(tasks: Sequence[TaskResults], looks: Looks) -> list[Plot]:
    """Plot every run's gap by label, and the share of runs within each gap."""
    members = [one for one in gaps_over_tasks(tasks)[0] if looks[one.label].marker != PRIOR_MARKER]
    if not members:
        return []
    means = {one.label: interval(mean, one.gaps) for one in members}
    words = "Mean gaps in nats: " + "; ".join(f"{k} {metrics.GAP.format_interval(one)}" for k, one in means.items())

    def draw_runs(ax: Axes) -> None:
        low, high = _gap_axis(ax, members)
        for k, one in enumerate(members):
            look, every = looks[one.label], np.concatenate(one.gaps)
            beside = k + 0.22 + 0.10 * (np.arange(len(every)) % 3 - 1)  # so that equal ones are seen
            dots: Any = {"color": look.colour, "markersize": 4, "alpha": 0.55, "markeredgewidth": 0}
            # 1.04 keeps a dot at the edge within the axes
            ax.plot(np.clip(every, low * 1.04, high), beside, look.marker, **dots)
            found, place = means[one.label], k - 0.15
            ax.plot(np.clip([found.low, found.high], low, high), [place] * 2, color=look.colour, linewidth=2.2)
            _mark(ax, max(found.value, low), place, look)
        # downwards, so that the first agent stands on top
        ax.set_ylim(len(members) - 0.5, -0.6)
        ax.set_yticks(range(len(members)), [short_label(one.label) for one in members])
        ax.set_xlabel("gap to the optimum, nats (left is better)")
        ax.grid(False, axis="y")

    def draw_profile(ax: Axes) -> None:
        thresholds = np.geomspace(*_gap_axis(ax, members), THRESHOLDS)
        for one in members:
            # negated: a profile counts scores above a threshold, and a small gap is good
            found = performance_profile([-gap for gap in one.gaps], -thresholds)
            _band(ax, thresholds, found.low, found.high, looks[one.label], 0.15)
            ax.plot(thresholds, found.values, **looks[one.label].line)
        ax.set_ylim(-0.03, 1.03)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set(yticks=[0, 0.25, 0.5, 0.75, 1], xlabel="gap to the optimum, nats", ylabel="runs with a smaller gap")

    size, labels = (3.9, max(0.8 + 0.4 * len(members), 2.7)), tuple(means)
    title, profile = "Gap of every run, and the mean with its interval", "Performance profiles of the gap. "
    return [
        Plot("gap-runs", title, words, draw_runs, size, labels),
        Plot("gap-profile", "Share of runs within a gap", profile + words, draw_profile, size, labels),
    ]


def _gap_axis(ax: Axes, members: Sequence[Gaps]) -> tuple[float, float]:
    """Make the x axis logarithmic, over whole decades, and return its ends."""
    every = np.concatenate([gap for one in members for gap in one.gaps])
    known = every[every > LEAST_GAP]
    least, most = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    low, high = math.floor(math.log10(least) - 0.05), math.ceil(math.log10(most) + 0.05)
    decades = [10.0**k for k in range(low, high + 1)]
    ax.set_xscale("log")
    ax.set_xlim(decades[0], decades[-1])
    labels = [f"{decade:.5f}".rstrip("0").rstrip(".") for decade in decades]
    # labels of six decades would run into each other
    ax.set_xticks(decades, [text if len(labels) < 6 or k % 2 == 0 else "" for k, text in enumerate(labels)])
    ax.set_xticks([], minor=True)
    return decades[0], decades[-1]


def front_plot(name: str, where: str, lines: Mapping[str, list[Arm]], metric: Metric, looks: Looks) -> Plot:
    """Plot return against KL over several temperatures, a line for each label."""
    points = {f"point-{i}-{j}": arm for i, arms in enumerate(lines.values()) for j, arm in enumerate(arms)}
    words = {gid: _point_words(arm, metric) for gid, arm in points.items()}
    kl = [arm.interval("kl").value for arm in points.values()]
    is_wide = min(kl) > 0 and max(kl) > LOG_FROM * min(kl)

    def draw(ax: Axes) -> None:
        if is_wide:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.xaxis.set_minor_formatter(lambda value, _: "")
        ax.margins(0.12)
        for label, arms in lines.items():
            x, y = ([arm.interval(key).value for arm in arms] for key in ("kl", "task_return"))
            ax.plot(x, y, linewidth=1.5, **looks[label].line)
        for gid, arm in points.items():
            _cross(ax, arm.interval("kl"), arm.interval("task_return"), looks[arm.label], gid)
        _write_temperatures(ax, list(points.values()), looks)
        scale = ", log scale" if is_wide else ""
        ax.set(xlabel=f"KL(π ‖ p), nats a sequence{scale}", ylabel=metric.title)

    title = f"{where}: return against KL"
    return Plot(name, title, "; ".join(words.values()), draw, (4.4, 3.3), tuple(lines), words)


def pair_plot(name: str, task: TaskResults, across: Metric, up: Metric, looks: Looks) -> Plot:
    """Plot one metric against another, a mark for each agent that has both."""
    arms = [arm for arm in task.arms if all(len(arm.values(one.key)) for one in (across, up))]
    points = {f"{name}-{k}": arm for k, arm in enumerate(arms)}
    words = {gid: f"{arm.label}, {_write_means(arm, up, across)}" for gid, arm in points.items()}

    def draw(ax: Axes) -> None:
        ax.margins(0.12)
        for gid, arm in points.items():
            _cross(ax, arm.interval(across.key), arm.interval(up.key), looks[arm.label], gid)
        ax.set(xlabel=across.title, ylabel=up.title)

    title = f"{task.name}: {up.short or up.title} against {(across.short or across.title).lower()}"
    return Plot(name, title, "; ".join(words.values()), draw, labels=tuple(arm.label for arm in arms), points=words)


def _cross(ax: Axes, across: Interval, up: Interval, look: Style, gid: str) -> None:
    """Mark a pair of means, with their intervals if both are known."""
    if math.isfinite(across.low) and math.isfinite(up.low):
        ax.plot([across.low, across.high], [up.value] * 2, color=look.colour, linewidth=1.2)
        ax.plot([across.value] * 2, [up.low, up.high], color=look.colour, linewidth=1.2)
    _mark(ax, across.value, up.value, look, 8, gid=gid, zorder=5)


def _point_words(arm: Arm, metric: Metric) -> str:
    return f"{arm.label}, c = {arm.c:g}: {_write_means(arm, metric, metrics.KL, metrics.J)}, n = {len(arm.runs)}"


def _write_means(arm: Arm, *shown: Metric) -> str:
    return ", ".join(f"{one.title} {one.format_interval(arm.interval(one.key))}" for one in shown)


def _write_temperatures(ax: Axes, arms: Sequence[Arm], looks: Looks) -> None:
    """Write each c beside its mark, where no other mark or word is in the way."""
    marks = [(arm.interval("kl").value, arm.interval("task_return").value) for arm in arms]
    ax.get_xlim(), ax.get_ylim()  # settles them, so that places are known
    taken = [tuple(place) for place in ax.transData.transform(marks)]
    half = HALF * max(len(f"{arm.c:g}") for arm in arms)
    for arm, mark, (x, y) in zip(arms, marks, list(taken)):
        # corners in the order of preference; if all are taken the mark stays without its c
        for across, up in ((9, -10), (-9, 9), (9, 9), (-9, -10)):
            place = (x + (across + math.copysign(half, across)) * PIXELS, y + (up + 3) * PIXELS)
            if all(abs(place[0] - a) > 1.2 * half * PIXELS or abs(place[1] - b) > 9 * PIXELS for a, b in taken):
                taken.append(place)
                box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # lines end before the word
                text = ax.annotate(f"c = {arm.c:g}", mark, (across, up), textcoords="offset points", bbox=box, zorder=4)
                text.set(fontsize=8, color=looks[arm.label].colour, ha="left" if across > 0 else "right")
                break


def term_plot(name: str, task: TaskResults, metric: Metric, looks: Looks) -> Plot:
    """Plot what one term of the reward pays, a bar for each agent."""
    means = [arm.interval(metric.key) for arm in task.arms]
    words = "; ".join(f"{arm.label} {metric.format_interval(one)}" for arm, one in zip(task.arms, means))

    def draw(ax: Axes) -> None:
        places = range(len(means))
        colours = [looks[arm.label].colour for arm in task.arms]
        ax.barh(places, [one.value for one in means], 0.66, color=colours, linewidth=0, alpha=0.8)
        ax.hlines(places, [one.low for one in means], [one.high for one in means], color=INK, linewidth=1.3)
        ax.axvline(0, color=SOFT, linewidth=0.9)
        ax.set_yticks(places, [short_label(arm.label) for arm in task.arms])
        # downwards, in the order of the tables
        ax.set_ylim(len(means) - 0.4, -0.6)
        ax.locator_params(axis="x", nbins=4)
        ax.grid(False, axis="y")

    size = (3.6, 0.55 + 0.26 * len(means))
    return Plot(name, metric.title, f"{task.name}, {metric.meaning}. Means: {words}", draw, size)


def short_label(label: str) -> str:
    """Shorten a label so that it leaves room for the plot."""
    return label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…"


def distribution_plot(metric: Metric, histogram: Mapping[str, Sequence[float]], looks: Looks) -> Plot:
    """Plot shares of molecules: training data, if known, as an area, the labels of `looks` as lines.

    `histogram` holds `edges` [B + 1] and, of each label and perhaps of `data`, shares [B].
    """
    edges = np.asarray(histogram["edges"])
    shares = {name: 100 * np.asarray(values) for name, values in histogram.items() if name != "edges"}

    def draw(ax: Axes) -> None:
        if "data" in shares:
            ax.stairs(shares["data"], edges, fill=True, color=DATA, alpha=0.6, label="training data")
        for label, look in looks.items():
            ax.stairs(shares[label], edges, linewidth=1.8, label=label, **look.line)
        # long empty tails would squeeze the rest
        filled = np.flatnonzero(np.max(list(shares.values()), axis=0) > SEEN)
        ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
        ax.legend()
        ax.set(xlabel=metric.meaning, ylabel="% of molecules")

    words = f"Distribution of {metric.title}: {', '.join(['training data'] * ('data' in shares) + list(looks))}"
    return Plot(f"distribution-{metric.key.replace('_', '-')}", metric.title, words, draw)
