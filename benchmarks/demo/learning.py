"""Fine-tune an agent for some seconds, with a progress bar, and record its learning curve."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents import PsiLearning
from agents.sb3.budget import NO_LIMIT, SecondsBudget
from seqtutor_envs.files.progress import make_bar

CURVE_POINTS = 150


def fine_tune(
    agent: PsiLearning,
    seconds: float,
    min_distinct: float = 0.0,
    clock: Callable[[], float] = time.process_time,
    name: str = "",
    callbacks: Sequence[BaseCallback] = (),
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Learn for `seconds` of the clock, until sequences begin to repeat, or until Ctrl-C.

    Args:
        name: of the agent, which the progress bar shows.
        callbacks: that are told of the learning too.

    Returns:
        Facts about the training, and the learning curve.
    """
    budget = SecondsBudget(seconds, clock)
    recorder = LearningCurve(budget, min_distinct, name)
    interrupted = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            # the budget first: the recorder reads its seconds
            agent.learn(NO_LIMIT, callback=[budget, recorder, *callbacks])
        except KeyboardInterrupt:
            interrupted = True
            early = f"Interrupted after {budget.spent:.0f} of {seconds:g} s"
            print(f"{early}; the report is about what was learned so far.", file=sys.stderr)
    messages = [str(warning.message) for warning in caught]
    for message in messages:
        print(f"Note: {message}", file=sys.stderr)
    facts: dict[str, Any] = {"seconds": budget.spent, "timesteps": agent.num_timesteps, "rounds": agent.rounds}
    facts |= {"asked_seconds": seconds, "n_envs": agent.n_envs}
    facts |= {"interrupted": interrupted, "repeating": recorder.repeating, "warnings": messages}
    return facts, recorder.points


class LearningCurve(BaseCallback):
    """Record the training metrics (`SequenceAgent.training_metrics`), with a progress bar in seconds.

    Args:
        budget: ends the learning; listed before this callback, so that its seconds are up to date.
        min_distinct: the learning ends early if a smaller share of the newest sequences is distinct.
        name: of the agent, which the progress bar shows.
    """

    def __init__(self, budget: SecondsBudget, min_distinct: float = 0.0, name: str = "") -> None:
        super().__init__()
        self.budget, self.min_distinct, self.name = budget, min_distinct, name
        self.repeating = False
        self.points: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        self.bar = make_bar(
            total=self.budget.seconds,
            desc=", ".join(filter(None, ("Psi-learning", self.name))),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {n:.0f} of {total:.0f} s{postfix}",
        )

    def _on_step(self) -> bool:
        spent = self.budget.spent
        # at equal times, because the plot has room for so many points
        if spent - (self.points[-1]["seconds"] if self.points else 0.0) >= self.budget.seconds / CURVE_POINTS:
            self._record()
            self.repeating = self.points[-1]["distinct"] < self.min_distinct
        self.bar.update(min(spent, self.budget.seconds) - self.bar.n)
        return not self.repeating

    def _on_training_end(self) -> None:
        if not self.points or self.points[-1]["seconds"] < self.budget.spent:
            self._record()
        self.bar.close()

    def _record(self) -> None:
        agent: Any = self.model
        found = agent.training_metrics()
        self.points.append({"seconds": self.budget.spent, "timesteps": agent.num_timesteps, **found})
        text = f"J {found['j']:.1f}, return {found['task_return']:.3g}, KL {found['kl']:.1f}"
        self.bar.set_postfix_str(text, refresh=False)


def describe_agent(agent: PsiLearning) -> dict[str, Any]:
    """Return an agent's name and settings."""
    return {"name": type(agent).__name__, "n_envs": agent.n_envs, **agent.settings}
