"""The report's plots: learning curves, gaps, return against KL, reward terms, distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.report import metrics
from benchmarks.report.answers import curve_points
from benchmarks.report.data import Arm, Gaps, Task, gaps_over_tasks, mean_interval
from benchmarks.report.drawing import Plot, dress, line
from benchmarks.report.metrics import Metric
from benchmarks.report.style import DATA, INK, PAPER, PRIOR, PRIOR_MARKER, SOFT, Style
from benchmarks.report.statistics import Interval, interval, mean, performance_profile

Looks = Mapping[str, Style]
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
    first, last = max(one[0, 0] for one in known), min(one[-1, 0] for one in known)
    places = np.unique(np.concatenate([one[:, 0] for one in known]))
    grid = places[(places >= first) & (places <= last)]
    if len(grid) > POINTS:
        grid = np.linspace(first, last, POINTS)
    if not len(grid):
        return None
    runs = np.array([np.interp(grid, one[:, 0], one[:, 1]) for one in known])  # [runs, K]
    means = [mean_interval(tuple(column.tolist())) for column in runs.T]
    return Curve(grid, *(np.array([one[k] for one in means]) for k in range(3)))


def learning_plots(name: str, task: Task, looks: Looks) -> list[Plot]:
    """Plot J, KL and return of one task while learning, as far as they are known."""
    shown = (metrics.J, metrics.KL, task.return_metric)
    return [
        _learning_plot(f"{name}-{one.key.replace('_', '-')}", task, one, looks)
        for one in shown
        if any(mean_curve(arm, one.key, task.clock) for arm in task.arms)
    ]


def _learning_plot(name: str, task: Task, metric: Metric, looks: Looks) -> Plot:
    known = [arm for arm in task.arms if arm.interval(metric.key).n]
    ends = "; ".join(f"{arm.label} {metric.format_interval(arm.interval(metric.key))}" for arm in known)
    curves = {arm.label: mean_curve(arm, metric.key, task.clock) for arm in task.arms}

    def draw(ax: Axes) -> None:
        level = task.prior.interval(metric.key).value if task.prior is not None else math.nan
        if math.isfinite(level):
            ax.axhline(level, color=PRIOR[0], linewidth=1.4, linestyle=(0, (4, 3)))
        for arm in task.arms:
            curve, look, end = curves[arm.label], looks[arm.label], arm.interval(metric.key)
            if curve is not None:
                _draw_curve(ax, curve, look, faint=len(task.arms) > MANY)
            if curve is not None and end.n:
                by_tokens = task.clock == "timesteps"
                place = float(arm.values("timesteps").mean()) if by_tokens else float(curve.places[-1])
                _draw_end(ax, place, end, look)
        _cut_start(ax, [curve for curve in curves.values() if curve is not None], level)
        ax.set_xlim(0, None)
        ax.locator_params(axis="x", nbins=5)
        ax.xaxis.set_major_formatter(lambda value, _: short_number(value))
        below = "tokens learned from" if task.clock == "timesteps" else "seconds of learning"
        dress(ax, below, f"{metric.title}, nats" if metric.key in ("j", "kl") else metric.title)

    labels = tuple(arm.label for arm in task.arms if curves[arm.label] or arm.is_prior)
    words = f"{metric.meaning}, while learning. At the end: {ends}"
    return Plot(name, f"{metric.title.split()[-1]}: {task.name}", words, draw, labels=labels)


def _draw_curve(ax: Axes, curve: Curve, look: Style, faint: bool) -> None:
    if np.isfinite(curve.low).all():
        alpha = 0.07 if faint else 0.17
        ax.fill_between(curve.places, curve.low, curve.high, color=look.colour, alpha=alpha, linewidth=0)
    every = max(1, len(curve.places) // MARKED)  # colours alone do not tell lines apart for everybody
    kind: dict[str, Any] = {"color": look.colour, "linestyle": line(look), "linewidth": 1.8, "marker": look.marker}
    ax.plot(curve.places, curve.values, markersize=4, markevery=(every // 2, every), markeredgewidth=0, **kind)


def _draw_end(ax: Axes, place: float, found: Interval, look: Style) -> None:
    """Draw what the evaluation at the end found."""
    if math.isfinite(found.low):
        ax.plot([place] * 2, [found.low, found.high], color=look.colour, linewidth=1.6)
    kind: dict[str, Any] = {"color": look.colour, "markersize": 7, "markeredgecolor": PAPER[0]}
    ax.plot([place], [found.value], look.marker, clip_on=False, zorder=5, **kind)


def _cut_start(ax: Axes, curves: Sequence[Curve], level: float) -> None:
    """Leave out a start far below all that follows and the prior's level, and say how far below it is."""
    if not curves:
        return
    late = np.concatenate([one.values[len(one.values) // 3 :] for one in curves])
    start = min(float(one.values.min()) for one in curves)
    low, high = float(np.fmin(late.min(), level)), float(late.max())
    if high > low and start < low - DEEP * (high - low):
        ax.set_ylim(low - 0.6 * (high - low), None)
        text = f"begins at {start:,.0f}".replace("-", "−")
        ax.annotate(f"↓ {text}", (0.02, 0.03), xycoords="axes fraction", fontsize=8, color=SOFT[0])


def short_number(value: float) -> str:
    """Format a number as 250k or 1.5M."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def gap_plots(tasks: Sequence[Task], looks: Looks) -> list[Plot]:
    """Plot every run's gap by label, and the share of runs within each gap."""
    members = [one for one in gaps_over_tasks(tasks)[0] if looks[one.label].marker != PRIOR_MARKER]
    if not members:
        return []
    means = "; ".join(f"{one.label} {metrics.GAP.format_interval(interval(mean, one.gaps))}" for one in members)
    size, labels = (3.9, max(0.8 + 0.4 * len(members), 2.7)), tuple(one.label for one in members)
    drawn = {
        "runs": ("Gap of every run, and the mean with its interval", "", _draw_gaps),
        "profile": ("Share of runs within a gap", "Performance profiles of the gap. ", _draw_profile),
    }
    return [
        Plot(
            f"gap-{name}",
            title,
            f"{words}Mean gaps in nats: {means}",
            partial(draw, members=members, looks=looks),
            size,
            labels,
        )
        for name, (title, words, draw) in drawn.items()
    ]


def _gap_axis(ax: Axes, members: Sequence[Gaps]) -> tuple[float, float]:
    """Make the x axis logarithmic, over whole decades, and return its ends."""
    every = np.concatenate([gap for one in members for gap in one.gaps])
    known = every[every > LEAST_GAP]
    least, most = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
    low, high = math.floor(math.log10(least) - 0.05), math.ceil(math.log10(most) + 0.05)
    ax.set_xscale("log")
    ax.set_xlim(10.0**low, 10.0**high)
    decades = [10.0**k for k in range(low, high + 1)]
    ax.set_xticks(decades, [f"{decade:g}" if decade >= 1e-4 else "0.00001" for decade in decades])
    ax.set_xticks([], minor=True)
    return 10.0**low, 10.0**high


def _draw_gaps(ax: Axes, members: Sequence[Gaps], looks: Looks) -> None:
    low, high = _gap_axis(ax, members)
    for k, one in enumerate(members):
        look, every = looks[one.label], np.concatenate(one.gaps)
        beside = k + 0.22 + 0.10 * (np.arange(len(every)) % 3 - 1)  # so that equal ones are seen
        seen = np.clip(every, low * 1.04, high)
        ax.plot(seen, beside, look.marker, color=look.colour, markersize=4, alpha=0.55, markeredgewidth=0)
        found, place = interval(mean, one.gaps), k - 0.15
        if math.isfinite(found.low):
            ax.plot(np.clip([found.low, found.high], low, high), [place] * 2, color=look.colour, linewidth=2.2)
        kind: dict[str, Any] = {"color": look.colour, "markersize": 7, "markeredgecolor": PAPER[0]}
        ax.plot([max(found.value, low)], [place], look.marker, **kind)
    ax.set_ylim(len(members) - 0.5, -0.6)
    ax.set_yticks(range(len(members)), [short_label(one.label) for one in members])
    dress(ax, "gap to the optimum, nats (left is better)", grid="x")


def _draw_profile(ax: Axes, members: Sequence[Gaps], looks: Looks) -> None:
    thresholds = np.geomspace(*_gap_axis(ax, members), THRESHOLDS)
    for one in members:
        look = looks[one.label]
        found = performance_profile([-gap for gap in one.gaps], -thresholds)
        if np.isfinite(found.low).all():
            ax.fill_between(thresholds, found.low, found.high, color=look.colour, alpha=0.15, linewidth=0)
        ax.plot(thresholds, found.values, color=look.colour, linestyle=line(look), linewidth=1.8)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    dress(ax, "gap to the optimum, nats", "runs with a smaller gap")


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
            ax.plot(x, y, color=looks[label].colour, linestyle=line(looks[label]))
        for gid, arm in points.items():
            _draw_point(ax, arm, looks[arm.label], gid)
        _write_temperatures(ax, list(points.values()), looks)
        dress(ax, f"KL(π ‖ p), nats a sequence{', log scale' * is_wide}", metric.title)

    title = f"{where}: return against KL"
    return Plot(name, title, "; ".join(words.values()), draw, (4.4, 3.3), tuple(lines), words)


def _point_words(arm: Arm, metric: Metric) -> str:
    earned, kl, j = (one.format_interval(arm.interval(one.key)) for one in (metric, metrics.KL, metrics.J))
    return f"{arm.label}, c = {arm.c:g}: {metric.title} {earned}, KL {kl}, J {j}, n = {len(arm.runs)}"


def _draw_point(ax: Axes, arm: Arm, look: Style, gid: str) -> None:
    x, y = arm.interval("kl"), arm.interval("task_return")
    if math.isfinite(x.low) and math.isfinite(y.low):
        ax.plot([x.low, x.high], [y.value] * 2, color=look.colour, linewidth=1.2)
        ax.plot([x.value] * 2, [y.low, y.high], color=look.colour, linewidth=1.2)
    kind: dict[str, Any] = {"color": look.colour, "markersize": 8, "markeredgecolor": PAPER[0]}
    ax.plot([x.value], [y.value], look.marker, gid=gid, zorder=5, **kind)


def _write_temperatures(ax: Axes, arms: Sequence[Arm], looks: Looks) -> None:
    """Write each c beside its mark, where no other mark or word is in the way."""
    marks = [(arm.interval("kl").value, arm.interval("task_return").value) for arm in arms]
    ax.get_xlim(), ax.get_ylim()  # settles them, so that places are known
    taken = [tuple(place) for place in ax.transData.transform(marks)]
    half = HALF * max(len(f"{arm.c:g}") for arm in arms)
    for arm, mark, (x, y) in zip(arms, marks, list(taken)):
        for across, up in ((9, -10), (-9, 9), (9, 9), (-9, -10)):
            place = (x + (across + math.copysign(half, across)) * PIXELS, y + (up + 3) * PIXELS)
            if all(abs(place[0] - a) > 1.2 * half * PIXELS or abs(place[1] - b) > 9 * PIXELS for a, b in taken):
                taken.append(place)
                box = {"facecolor": PAPER[0], "edgecolor": "none", "pad": 0.5}  # lines end before the word
                text = ax.annotate(f"c = {arm.c:g}", mark, (across, up), textcoords="offset points", bbox=box, zorder=4)
                text.set(fontsize=8, color=looks[arm.label].colour, ha="left" if across > 0 else "right")
                break


def term_plot(name: str, task: Task, metric: Metric, looks: Looks) -> Plot:
    """Plot what one term of the reward pays, a bar for each agent."""
    means = [arm.interval(metric.key) for arm in task.arms]
    words = "; ".join(f"{arm.label} {metric.format_interval(one)}" for arm, one in zip(task.arms, means))

    def draw(ax: Axes) -> None:
        for place, (arm, one) in enumerate(zip(task.arms, means)):
            if one.n:
                ax.barh(place, one.value, 0.66, color=looks[arm.label].colour, linewidth=0, alpha=0.8)
            if math.isfinite(one.low):
                ax.plot([one.low, one.high], [place] * 2, color=INK[0], linewidth=1.3)
        ax.axvline(0, color=SOFT[0], linewidth=0.9)
        ax.set_yticks(range(len(means)), [short_label(arm.label) for arm in task.arms])
        ax.set_ylim(len(means) - 0.4, -0.6)
        ax.locator_params(axis="x", nbins=4)
        dress(ax, grid="x")

    size = (3.6, 0.55 + 0.26 * len(means))
    return Plot(name, metric.title, f"{task.name}, {metric.meaning}. Means: {words}", draw, size)


def short_label(label: str) -> str:
    """Shorten a label so that it leaves room for the plot."""
    return label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…"


def distribution_plot(metric: Metric, histogram: Mapping[str, Sequence[float]], looks: Looks) -> Plot:
    """Plot shares of molecules: training data as an area, the labels of `looks` as lines.

    `histogram` holds `edges` [B + 1] and, of `data` and each label, shares [B].
    """
    edges = np.asarray(histogram["edges"])
    shares = {name: 100 * np.asarray(values) for name, values in histogram.items() if name != "edges"}

    def draw(ax: Axes) -> None:
        ax.stairs(shares["data"], edges, fill=True, color=DATA[0], alpha=0.6, label="training data")
        for label, look in looks.items():
            ax.stairs(shares[label], edges, color=look.colour, linewidth=1.8, linestyle=line(look), label=label)
        filled = np.flatnonzero(np.max(list(shares.values()), axis=0) > SEEN)
        ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
        ax.legend(fontsize=8, frameon=False, labelcolor=INK[0])
        dress(ax, metric.meaning, "% of molecules")

    words = f"Distribution of {metric.title}: training data, {', '.join(looks)}"
    return Plot(f"distribution-{metric.key}", metric.title, words, draw)
