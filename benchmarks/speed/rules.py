"""The nine rules of the melody reward by themselves, and the figures of whole sets of melodies.

A rule reads the whole prefix anew at every step, so its cost depends on what is written: samples of the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.speed import bare
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row, time_row
from benchmarks.speed.turns import in_turns
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.melody.metrics import table
from seqtutor_envs.melody.rules import RULE_NAMES, RULES, melody_rules, step_rules
from seqtutor_envs.prior import Prior, load_prior

HEAD = "The nine rules, together and each alone, and metrics.table of many melodies"
BATCH = 256
TABLE = 100_000  # melodies
TABLE_WITH_PRIOR = 2_000  # the prior reads every token
TABLE_AIM = Aim(1.0, of="value", at_most=True)


def rows(options: Options) -> Iterator[Row]:
    """Together, each alone, the table."""
    prior = load_prior(options.melody_prior)
    tokens = np.stack(bare.sampled(prior, BATCH, LENGTH), axis=1)
    yield from together(prior, tokens, options.seconds)
    yield from alone(tokens, options.seconds)
    yield from tables(prior, options.seconds)


def together(prior: Prior, tokens: NDArray[np.int64], seconds: float) -> Iterator[Row]:
    """All nine: of one step of each melody, as the environment asks, and of whole melodies, beside the bare prior."""
    n, length = tokens.shape
    columns = list(np.ascontiguousarray(tokens.T))
    at = [np.full(n, step) for step in range(length)]

    def step_by_step() -> None:
        for steps in at:
            step_rules(tokens, steps, length)

    sides: dict[str, Callable[[], Any]] = {
        "step_rules": step_by_step,
        "melody_rules": lambda: melody_rules(tokens, length),
        "prior": lambda: bare.written(prior, columns),
    }
    times = in_turns(sides, seconds)
    for side, how in (("step_rules", "step by step"), ("melody_rules", "whole melodies")):
        yield rate_row(f"nine rules, {how}", times, side, "prior", n * length / 1e6, "Msteps/s", f"bare prior, {n:,}")


def alone(tokens: NDArray[np.int64], seconds: float) -> Iterator[Row]:
    """Nanoseconds of each rule at one step, in a compiled loop over all steps; the ratio is its share of the nine."""
    n, length = tokens.shape
    sides: dict[str, Callable[[], Any]] = {
        name: partial(rule_everywhere, rule, tokens, length) for name, rule in zip(RULE_NAMES, RULES)
    }
    times = in_turns({**sides, "nine": lambda: melody_rules(tokens, length)}, seconds)
    for name in RULE_NAMES:
        yield time_row(f"rule {name}", times, name, "nine", n * length, "ns", "a step of the nine")


@njit
def rule_everywhere(rule, tokens, length):  # type: ignore[no-untyped-def]
    """The sum of a rule over all steps of all melodies; compiled anew for each rule."""
    total = 0.0
    for n in range(len(tokens)):
        melody = tokens[n]
        for t in range(length):
            total += rule(melody, t, length)
    return total


def tables(prior: Prior, seconds: float) -> Iterator[Row]:
    """Seconds of metrics.table, beside what it cannot do without: the rules, and the prior's steps along the tokens."""
    tokens = np.tile(np.stack(bare.sampled(prior, TABLE_WITH_PRIOR, LENGTH), axis=1), (TABLE // TABLE_WITH_PRIOR, 1))
    sides: dict[str, Callable[[], Any]] = {
        "table": lambda: table(tokens),
        "rules": lambda: melody_rules(tokens, LENGTH),
    }
    times = in_turns(sides, seconds)
    name = f"metrics.table of {len(tokens):,} melodies"
    yield time_row(name, times, "table", "rules", 1, "s", "melody_rules", TABLE_AIM)
    few = tokens[:TABLE_WITH_PRIOR]
    parts = [list(np.ascontiguousarray(few[i : i + BATCH].T)) for i in range(0, len(few), BATCH)]

    def bare_prior() -> None:
        for columns in parts:
            bare.written(prior, columns)

    sides = {
        "table": lambda: table(few, prior),
        "prior": bare_prior,
    }
    times = in_turns(sides, seconds)
    name = f"metrics.table of {len(few):,}, with the prior"
    yield time_row(name, times, "table", "prior", 1, "s", f"bare prior, {BATCH:,}")
