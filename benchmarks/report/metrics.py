"""The metrics that reports show: titles and meanings, which direction is better, and how numbers are formatted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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
            digits = self.digits if self.digits is not None else 1 if abs(shown) >= 9.995 else 2
            text = f"{shown:.{digits}f}" + "%" * self.percent
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

    def format_error(self, values: Values) -> str:
        """Format the standard error, "± 0.13"; "" if it is not known or too small for the metric's digits."""
        error, digits = values.get(f"{self.key}_se") or 0.0, 2 if self.digits is None else self.digits
        return f"± {error:.{digits}f}" if error >= 0.5 * 10**-digits else ""

    def is_as_good(self, value: float | None, other: float | None) -> bool:
        """Return whether `value` is at least as good as `other`, or within NEAR_ZERO. False for None and NaN."""
        if value is None or other is None:
            return False
        if self.better == "near 0":
            return abs(value) <= NEAR_ZERO
        return value >= other if self.better == "higher" else value <= other


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

TABLE_1 = (
    Metric("excessively_repeated", "Excessively repeated", "steps that repeat a token too often", "lower", True,
           short="Repeated"),
    Metric("not_in_key", "Not in key", "steps that play a note outside C major", "lower", True),
    Metric("starts_with_tonic", "Starts with tonic", "melodies that begin on middle C", "higher", True,
           short="Tonic start"),
    Metric("leaps_resolved", "Leaps resolved", "of leaps (a fifth or more) resolved or doubled", "higher", True),
    Metric("unique_maximum", "Unique maximum", "melodies that touch their highest note once", "higher", True),
    Metric("unique_minimum", "Unique minimum", "melodies that touch their lowest note once", "higher", True),
    Metric("in_motif", "In a motif", "steps at which the last eight hold three or more pitches", "higher", True),
    Metric("in_repeated_motif", "In a repeated motif", "steps at which such a motif is heard again", "higher", True),
    Metric("autocorrelation_1", "Autocorrelation, lag 1", "similarity of neighbouring steps", "near 0"),
    Metric("autocorrelation_2", "Autocorrelation, lag 2", "similarity of steps two apart", "near 0"),
    Metric("autocorrelation_3", "Autocorrelation, lag 3", "similarity of steps three apart", "near 0"),
)
MELODY_TERMS = (
    Metric("term_key", "Key", "−1 for a note outside C major", "higher"),
    Metric("term_tonic", "Tonic", "+3 for middle C at the start and at the close, and for letting it ring", "higher"),
    Metric("term_repetition", "Repetition", "−100 for a token repeated too often", "higher"),
    Metric("term_autocorrelation", "Autocorrelation", "−3 |r| for each of three lags with |r| above .15", "higher"),
    Metric("term_motif", "Motif", "+3 and more at steps whose last eight hold three or more pitches", "higher"),
    Metric("term_repeated_motif", "Repeated motif", "+4 and more where such a motif is heard again", "higher"),
    Metric("term_interval", "Interval", "rewards steps, thirds, fourths, fifths; punishes over an octave", "higher"),
    Metric("term_leap", "Leap", "+5 for a leap resolved, −5 for one doubled", "higher"),
    Metric("term_unique_extremes", "Unique extremes", "+3 each for a highest and a lowest note heard once", "higher"),
)
MOLECULE_TERMS = (
    Metric("term_valid", "Valid", "RDKit reads it: one piece, carbon, usual elements, no radical", "higher", True),
    Metric("term_qed", "Drug-likeness", "QED: size, polarity, rings … as in oral drugs", "higher", digits=3),
    Metric("term_logp", "logP in range", "1 if logP, oil over water, is 1 to 4, else less", "higher", digits=3),
    Metric("term_sa", "Easy to make", "by SA, hardness of synthesis: 1 up to SA 2, 0 at 6", "higher", digits=3),
    Metric("term_ring", "Small rings", "1 if no ring has more than six atoms", "higher", digits=3),
)
MOLECULE_SETS = (
    Metric("valid", "Valid", "strings that RDKit reads as a molecule", "higher", True),
    Metric("unique", "Unique", "different molecules among the valid ones", "higher", True),
    Metric("novelty", "Novel", "different molecules that are not in the training data", percent=True),
    Metric("internal_diversity_1", "Internal diversity", "1 − mean similarity of two of them", "higher", digits=3,
           short="Diversity"),
    Metric("scaffold_diversity", "Scaffold diversity", "ring systems for each different molecule", "higher", digits=3),
    Metric("filters", "Passes filters", "valid ones without groups that chemists avoid (MCF, PAINS)", "higher", True),
)
PROPERTY_MEANS = (
    Metric("mean_qed", "QED", "drug-likeness, 0 to 1", "higher", digits=3),
    Metric("mean_logp", "logP", "oil over water, as a power of ten", digits=2),
    Metric("mean_sa", "SA", "hardness of synthesis, 1 easy to 10 hard", "lower", digits=2),
    Metric("mean_mw", "MW", "molecular weight, in daltons", digits=1),
    Metric("mean_ring_penalty", "Ring penalty", "atoms beyond six of the largest ring", "lower", digits=3),
)
DISTINCT_MEANS = tuple(
    replace(one, key=f"distinct_{one.key}", title=f"{one.title}, distinct", short=one.title) for one in PROPERTY_MEANS
)
# properties of one molecule: drawn as distributions, and listed under each molecule
PROPERTIES = (
    Metric("logp", "logP", "oil over water", digits=1),
    Metric("sa", "SA", "hardness of synthesis", digits=1),
    Metric("qed", "QED", "drug-likeness", digits=2),
    Metric("mw", "MW", "weight in daltons", digits=0),
)


def pick(metrics: tuple[Metric, ...], *keys: str) -> tuple[Metric, ...]:
    """Return the metrics with these keys, in the order of the keys."""
    known = {one.key: one for one in metrics}
    return tuple(known[key] for key in keys)


TERMS = {"melody": MELODY_TERMS, "molecule": MOLECULE_TERMS}
# what the main table of a suite shows of each domain
HEADLINES = {
    "melody": pick(TABLE_1, "excessively_repeated", "starts_with_tonic", "leaps_resolved", "in_motif"),
    "molecule": pick(
        (*MOLECULE_SETS, *DISTINCT_MEANS), "valid", "unique", "novelty", "distinct_mean_qed", "internal_diversity_1"
    ),
}
