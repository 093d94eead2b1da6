"""Define the metrics that reports show: title and meaning, which direction is better, how numbers are formatted."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report.statistics import Interval

NEAR_ZERO = 0.12  # autocorrelations up to here count as good: the paper's largest is .10
MOST_DIGITS = 5  # after the point, of a number with two significant digits
Values = Mapping[str, float | None]


def two_significant_digits(value: float) -> str:
    """Format with two significant digits and without an exponent: 0.0021."""
    if value == 0:
        return "0"
    digits = max(1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{min(digits, MOST_DIGITS)}f}"


def seconds(value: float) -> str:
    """Format seconds: 14.1 s; 1,234 s."""
    return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"


@dataclass(frozen=True)
class Metric:
    """One metric of a result.

    Attributes:
        key: its name in a result's `metrics`; "term_" + a name is what a term of the reward pays on average.
        title, meaning: in words.
        better: "higher", "lower", "near 0", or "" where no direction is better by itself.
        percent: whether it is a share.
        digits: after the point; None: two, or one from 10 on.
        short: the title in tables with many columns; "": `title`.
        style: formats a number in place of `percent` and `digits`.
    """

    key: str
    title: str
    meaning: str = ""
    better: str = ""
    percent: bool = False
    digits: int | None = None
    short: str = ""
    style: Callable[[float], str] | None = None

    def format(self, value: float | None) -> str:
        """Format a value with a true minus sign; "–" for None and NaN."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.style is not None:
            text = self.style(value)
        else:
            shown = 100 * value if self.percent else value
            # 9.995 is where two digits after the point would round to 10.00
            digits = self.digits if self.digits is not None else 1 if abs(shown) >= 9.995 else 2
            text = f"{shown:.{digits}f}" + ("%" if self.percent else "")
        # a rounded -0.00 is 0.00
        is_zero = not any(digit in text for digit in "123456789")
        return text.removeprefix("-") if is_zero else text.replace("-", "−")

    def format_bounds(self, found: Interval) -> str:
        """Format the ends of an interval, "[1.2, 1.4]"; "" if they are not known."""
        if not (math.isfinite(found.low) and math.isfinite(found.high)):
            return ""
        low, high = (self.format(end).rstrip("% s") for end in (found.low, found.high))
        return f"[{low}, {high}]"

    def format_interval(self, found: Interval) -> str:
        """Format a mean with its interval for a sentence: "61.4 [61.3, 61.5]"; "61.4 (one run)"."""
        return f"{self.format(found.value)} {self.format_bounds(found) or '(one run)'}"

    def compare(self, values: Values, others: Values, n: int) -> str:
        """Say whether `values` are "better" or "worse" than `others`, or the "same"; "" if no direction is better.

        The same is what is written alike, what lies within two standard errors (of a share without one: those of n
        independent sequences), and two values near 0 where 0 is the aim.
        """
        value, other = values.get(self.key), others.get(self.key)
        if not self.better or value is None or other is None or not math.isfinite(value - other):
            return ""
        error = math.hypot(self._error(values, n), self._error(others, n))
        both_near = self.better == "near 0" and max(abs(value), abs(other)) <= NEAR_ZERO
        if both_near or self.format(value) == self.format(other) or abs(value - other) <= 2 * error:
            return "same"
        return "better" if self.rate(value) > self.rate(other) else "worse"

    def _error(self, values: Values, n: int) -> float:
        share, known = values.get(self.key) or 0.0, values.get(f"{self.key}_se")
        return known or (math.sqrt(max(share * (1 - share), 0.0) / n) if self.percent else 0.0)

    def format_error(self, values: Values) -> str:
        """Format the standard error, "± 0.13"; "" if it is not known or too small for the metric's digits."""
        error, digits = values.get(f"{self.key}_se") or 0.0, 2 if self.digits is None else self.digits
        return f"± {error:.{digits}f}" if error >= 0.5 * 10**-digits else ""

    def rate(self, value: float) -> float:
        """Return a number that is higher for a better value."""
        return -abs(value) if self.better == "near 0" else -value if self.better == "lower" else value

    def is_as_good(self, value: float | None, other: float | None) -> bool:
        """Return whether `value` is at least as good as `other`, or within NEAR_ZERO. False for None and NaN."""
        if value is None or other is None:
            return False
        if self.better == "near 0":
            return abs(value) <= NEAR_ZERO
        return self.rate(value) >= self.rate(other)


J = Metric("j", "J", "the objective: E[R / c] − KL, in nats", "higher")
EXACT_J = replace(J, digits=4)  # gaps are small beside J
KL = Metric("kl", "KL", "KL(π ‖ p): distance from the prior, in nats a sequence")
GAP = Metric("gap", "Gap", "log Z − J = KL(π ‖ optimum), in nats", "lower", style=two_significant_digits)
CLOSED = Metric("closed", "Closed", "share of log Z − J(prior) that is closed", "higher", True)
RETURN = Metric("task_return", "Return R", "sum of the task's rewards over a sequence", "higher")
SCORE = Metric("task_return", "Score R", "mean score of a string, 0 to 1; invalid ones count as 0", "higher", digits=3)
LOG_P = Metric("log_p", "log p", "log probability of a sequence under the prior, in nats")
LOG_P_STEP = Metric("log_p_per_step", "log p per token", "the same for each token")
DISTINCT = Metric("distinct", "Distinct", "share of different sequences; a collapsed policy has few", "higher", True)
TOKENS = Metric("timesteps", "Tokens", "learned from", style=lambda value: f"{value:,.0f}")
CPU = Metric("learning_cpu", "CPU", "seconds of learning, this process", style=seconds)
WALL = Metric("learning_wall", "Clock", "seconds of learning, wall clock", style=seconds)
COSTS = (TOKENS, CPU, WALL)
WINS = Metric("", "Wins", percent=True, digits=0)

_groups = tomllib.loads(Path(__file__).with_name("metrics.toml").read_text(encoding="utf-8"))
TABLE_1, RHYTHM, MELODY_TERMS, MOLECULE_TERMS, MOLECULE_SETS, SEARCH, BUDGET, DESIGN, PROPERTY_MEANS, PROPERTIES = (
    tuple(Metric(**row) for row in _groups[name])
    for name in (
        "table_1", "rhythm", "melody_terms", "molecule_terms", "molecule_sets", "search", "budget", "design",
        "property_means", "properties",
    )
)
SEARCH = (replace(SEARCH[0], style=TOKENS.style), *SEARCH[1:])  # a count
BUDGET = (*BUDGET[:-1], replace(BUDGET[-1], style=TOKENS.style))  # the calls are a count
AUC = BUDGET[0]
DISTINCT_MEANS = tuple(
    replace(one, key=f"distinct_{one.key}", title=f"{one.title}, distinct", short=one.title) for one in PROPERTY_MEANS
)


def pick(metrics: tuple[Metric, ...], *keys: str) -> tuple[Metric, ...]:
    """Return the metrics with these keys, in the order of the keys."""
    known = {one.key: one for one in metrics}
    return tuple(known[key] for key in keys)


(DIVERSITY,) = pick(DESIGN, "diversity_top_100")
TERMS = {"melody": MELODY_TERMS, "molecule": MOLECULE_TERMS}
# what the main table of a suite shows of each domain
HEADLINES = {
    "melody": pick(TABLE_1, "excessively_repeated", "starts_with_tonic", "leaps_resolved", "in_motif"),
    "molecule": pick(
        (*MOLECULE_SETS, *DISTINCT_MEANS), "valid", "unique", "novelty", "distinct_mean_qed", "internal_diversity_1"
    ),
}
