"""Time to quality: how long Psi-learning takes until melodies pass the paper's Psi column, and until J is near its end.

CPU seconds of one core, of learning alone: the clock stands still while SAMPLES melodies of the present policy are
judged, every 2 s at first, later less often. A row is passed by figures of one and the same judgement.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents import PsiLearning
from agents.evaluate import evaluate
from benchmarks.domains import MELODY
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

HEAD = "CPU seconds of learning until six rows of the paper's Psi column are passed at once; J in the meantime"
AT_MOST = ("excessively_repeated", "not_in_key")
AT_LEAST = ("starts_with_tonic", "leaps_resolved", "in_motif", "in_repeated_motif")
PAPER = PAPER_TABLE_1["Psi"]
SAMPLES = 5_000
STEPS = ((20.0, 2.0), (60.0, 5.0), (float("inf"), 30.0))  # until so many seconds, a judgement each so many
SHOWN = (2.0, 10.0, 20.0, 60.0, 300.0)  # seconds of the curve that the table shows, the first judgement after each
ROUNDS = 4  # learned between two looks at the clock
NEAR = 0.05  # of J's last value
LIMIT = 60.0  # seconds, the aim
PATIENCE = 120.0  # seconds until a set-up has not reached it
SEED = 0
JUDGES_SEED = 1


@dataclass(frozen=True)
class SetUp:
    """Psi-learning with keywords of the environment and of the agent."""

    name: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


DEFAULTS = SetUp("defaults, c = 2")
SET_UPS = (
    DEFAULTS,
    SetUp("c = 2, README's weights", {"term_weights": {"unique_extremes": 3.0, "repeated_motif": 0.5}}),
    SetUp("c = gamma = .5, huber 100", {"c": 0.5}, {"gamma": 0.5, "huber": 100.0}),
)
Judgement = tuple[float, dict[str, float]]  # CPU seconds of learning, figures of the judge


def rows(options: Options) -> Iterator[Row]:
    """The six rows in each set-up; of the defaults, which go on for `options.minutes`, J besides."""
    minutes = 60 * options.minutes
    for set_up in SET_UPS:
        budget = minutes if set_up is DEFAULTS else min(minutes, PATIENCE)
        judgements = []
        for judgement in judged(set_up, options.melody_prior, budget):
            judgements.append(judgement)
            if set_up is not DEFAULTS and not missed(judgement[1]):
                break
        yield six_rows(set_up.name, judgements)
        if set_up is DEFAULTS:
            yield from curve(judgements)


def judged(set_up: SetUp, prior: str, budget: float) -> Iterator[Judgement]:
    """Learns for `budget` seconds, and yields a judgement at each mark, the last one when they are spent."""
    kwargs = {"prior": prior, **set_up.env_kwargs}
    agent = PsiLearning(MELODY, seed=SEED, env_kwargs=kwargs, **set_up.settings)
    spent, mark = 0.0, next_mark(0.0)
    while spent < budget:
        begin = time.process_time()
        agent.learn(ROUNDS * agent.n_envs * agent.horizon, reset_num_timesteps=False)
        spent += time.process_time() - begin
        if spent >= min(mark, budget):
            yield spent, evaluate(agent, MELODY, SAMPLES, JUDGES_SEED, kwargs)
            while mark <= spent:
                mark = next_mark(mark)


def next_mark(mark: float) -> float:
    """Seconds of the judgement after the one at `mark`."""
    return mark + next(step for until, step in STEPS if mark < until)


def missed(figures: Mapping[str, float]) -> list[str]:
    """Which of the six rows do not pass."""
    above = [name for name in AT_MOST if not figures[name] <= PAPER[name]]
    return above + [name for name in AT_LEAST if not figures[name] >= PAPER[name]]


def six_rows(name: str, judgements: list[Judgement]) -> Row:
    """Seconds until all six pass; where they never do, the seconds that were tried, and what was missing at the end."""
    seconds, figures = next((entry for entry in judgements if not missed(entry[1])), judgements[-1])
    aim: Aim | None = Aim(LIMIT, of="value", at_most=True)
    note = f"J {figures['j']:.1f} nats, {figures['distinct']:.1%} distinct"
    if missing := missed(figures):
        note = "not reached: " + ", ".join(f"{row} {figures[row]:.4f} ({PAPER[row]:g})" for row in missing)
        aim = aim if seconds > LIMIT else None  # too short a try says nothing about the aim
    return Row(f"six rows of Table 1, {name}", seconds, "s", aim=aim, note=note)


def curve(judgements: list[Judgement]) -> Iterator[Row]:
    """When J is first within NEAR of its last value, and J after some of the times."""
    end, last = judgements[-1][0], judgements[-1][1]["j"]
    near = next(seconds for seconds, figures in judgements if abs(figures["j"] - last) <= NEAR * abs(last))
    name = f"J within {NEAR:.0%} of its value after {end:.0f} s"
    yield Row(name, near, "s", end, "seconds learned", near / end, note=f"J is {last:.2f} nats then")
    after = [[entry for entry in judgements if entry[0] >= mark] for mark in SHOWN]
    for seconds, figures in {id(entries[0]): entries[0] for entries in after if entries}.values():  # each once
        note = f"KL {figures['kl']:.1f} nats, {figures['distinct']:.1%} distinct"
        yield Row(f"J after {seconds:.1f} s", figures["j"], "nats", last, f"after {end:.0f} s", note=note)
