"""Learning curves: J, KL and return over the tokens learned from, as means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.report.rows import Row
from benchmarks.report.suite import columns
from benchmarks.report.suite.data import Arm, Scores, interval_of, prior_among
from benchmarks.report.suite.drawing import Plot, dress, line
from benchmarks.report.suite.theme import PAPER, PRIOR, SOFT, Style
from benchmarks.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 30  # of a curve, at most
MANY = 8  # agents, more of which need fainter bands
MARKED = 5  # points of a curve that have its marker
DEEP = 1.5  # times the height of what follows; a start that lies further below would flatten all else


class Curve(NamedTuple):
    """Means over runs [K], NaN ends where there is one run; `places` are tokens or seconds."""

    places: Scores
    values: Scores
    low: Scores
    high: Scores


def clock_of(arms: Sequence[Arm]) -> str:
    """What curves are drawn over: seconds where every budget of learning is one of seconds, else timesteps."""
    budgets = [run.experiment.seconds for arm in arms if arm.learns for run in arm.runs]
    return "seconds" if budgets and all(budgets) else "timesteps"


def curve_of(arm: Arm, key: str, clock: str = "timesteps") -> Curve | None:
    """A figure's curve over the tokens or seconds that all runs have seen, linear between what was judged; None without
    one."""
    known = [line_ for run in arm.runs if len(line_ := points(run.result.get("curve") or (), key, clock))]
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
    means = [interval_of(tuple(column.tolist())) for column in runs.T]
    return Curve(grid, *(np.array([one[k] for one in means]) for k in range(3)))


def points(curve: Sequence[Mapping[str, float | None]], key: str, clock: str) -> NDArray[np.float64]:
    """What is known of a figure [k, 2]: tokens or seconds, and value."""
    known = [(point[clock], point[key]) for point in curve if point.get(key) is not None]
    return np.array(known, dtype=np.float64).reshape(-1, 2)


def curve_plots(name: str, task: str, found: Sequence[Arm], looks: Mapping[str, Style]) -> list[Plot]:
    """J, KL and return of one task, those that are known."""
    every = (columns.J, columns.KL, columns.return_row(list(found)))
    rows = [row for row in every if any(curve_of(arm, row.key) for arm in found)]
    return [_plot(f"{name}-{row.key.replace('_', '-')}", task, row, found, looks) for row in rows]


def _plot(name: str, task: str, row: Row, found: Sequence[Arm], looks: Mapping[str, Style]) -> Plot:
    known = [arm for arm in found if arm.interval(row.key).n]
    ends = "; ".join(f"{arm.label} {columns.with_bounds(row, arm.interval(row.key))}" for arm in known)
    words = f"{row.meaning}, while learning. At the end: {ends}"
    shown = tuple(arm.label for arm in found if curve_of(arm, row.key) or arm.is_prior)
    return Plot(name, f"{row.title.split()[-1]}: {task}", words, _drawn(row, found, looks), labels=shown)


def _drawn(row: Row, found: Sequence[Arm], looks: Mapping[str, Style]) -> Callable[[Axes], None]:
    def draw(ax: Axes) -> None:
        prior, seen, clock = prior_among(found), [], clock_of(found)
        if prior is not None and len(prior.values(row.key)):
            ax.axhline(prior.interval(row.key).value, color=PRIOR[0], linewidth=1.4, linestyle=(0, (4, 3)))
        for arm in found:
            curve = curve_of(arm, row.key, clock)
            if curve is not None:
                seen.append(curve)
                _line(ax, curve, looks[arm.label], faint=len(found) > MANY)
            if curve is not None and arm.interval(row.key).n:
                end = float(np.mean(arm.values("timesteps"))) if clock == "timesteps" else float(curve.places[-1])
                _end(ax, end, arm.interval(row.key), looks[arm.label])
        _cut(ax, seen, prior.interval(row.key).value if prior is not None else math.nan)
        ax.set_xlim(0, None)
        ax.locator_params(axis="x", nbins=5)
        ax.xaxis.set_major_formatter(lambda value, _: amount(value))
        dress(
            ax,
            "tokens learned from" if clock == "timesteps" else "seconds of learning",
            f"{row.title}, nats" if row.key in ("j", "kl") else row.title,
        )

    return draw


def _line(ax: Axes, curve: Curve, look: Style, faint: bool) -> None:
    if np.isfinite(curve.low).all():
        ax.fill_between(
            curve.places, curve.low, curve.high, color=look.colour, alpha=0.07 if faint else 0.17, linewidth=0
        )
    every = max(1, len(curve.places) // MARKED)  # colours alone do not tell lines apart for everybody
    ax.plot(
        curve.places,
        curve.values,
        color=look.colour,
        linestyle=line(look),
        linewidth=1.8,
        marker=look.marker,
        markersize=4,
        markevery=(every // 2, every),
        markeredgewidth=0,
    )


def _end(ax: Axes, place: float, found: Interval, look: Style) -> None:
    """What the judge found at the end."""
    if math.isfinite(found.low):
        ax.plot([place] * 2, [found.low, found.high], color=look.colour, linewidth=1.6)
    ax.plot(
        [place],
        [found.value],
        look.marker,
        color=look.colour,
        markersize=7,
        markeredgecolor=PAPER[0],
        clip_on=False,
        zorder=5,
    )


def _cut(ax: Axes, curves: Sequence[Curve], level: float) -> None:
    """Leaves out a start that lies far below all that follows and the prior's level, and says how far."""
    if not curves:
        return
    late = np.concatenate([one.values[len(one.values) // 3 :] for one in curves])
    start, low, high = (
        min(float(one.values.min()) for one in curves),
        float(np.fmin(late.min(), level)),
        float(late.max()),
    )
    if high > low and start < low - DEEP * (high - low):
        ax.set_ylim(low - 0.6 * (high - low), None)
        text = f"begins at {start:,.0f}".replace("-", "−")
        ax.annotate(f"↓ {text}", (0.02, 0.03), xycoords="axes fraction", fontsize=8, color=SOFT[0])


def amount(value: float) -> str:
    """250k, 1.5M."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
