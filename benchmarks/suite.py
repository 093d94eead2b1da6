"""What a suite is: experiments that answer a question together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.domains import choose_clock
from benchmarks.experiment import Experiment

RESULTS = Path("results")
OURS = {"seqtutor_envs", "agents", "benchmarks"}  # packages that are installed on every node of a cluster


@dataclass(frozen=True)
class Suite:
    """Hold experiments that answer a question together.

    Attributes:
        name: of its folder of results.
        question: in a sentence.
        path: the file it was read from; None for a shipped or an inline suite.
    """

    name: str
    question: str
    experiments: tuple[Experiment, ...]
    path: Path | None = None

    @property
    def source(self) -> Path | None:
        """Return the folder whose Python files the experiments may import; None if they need only this library."""
        if self.path is not None and self.path.suffix == ".py":
            return self.path.resolve().parent
        named = {one.agent for one in self.experiments} | {one.env for one in self.experiments if ":" in one.env}
        # only a user's own code must travel to the nodes of a cluster
        packages = {name.partition(":")[0].partition(".")[0] for name in named}
        return None if packages <= OURS else Path.cwd()

    def folder(self, out: Path | None = None) -> Path:
        """Return the folder of the results: `out`, or the folder of a saved suite, or results/NAME."""
        if out is None and self.path is not None and self.path.suffix == ".json":
            return self.path.parent
        return out or RESULTS / self.name

    def chosen(self, patterns: Sequence[str]) -> tuple[Experiment, ...]:
        """Return the experiments that match a pattern, or all without patterns. Raises ValueError if none does."""
        if not patterns:
            return self.experiments
        found = tuple(one for one in self.experiments if any(one.matches(pattern) for pattern in patterns))
        if not found:
            some = ", ".join(dict.fromkeys(one.name for one in self.experiments))
            raise ValueError(f"No experiment of {self.name} matches {' or '.join(patterns)}; labels are {some}.")
        return found


def total_budget(experiments: Iterable[Experiment]) -> str:
    """Add up what experiments learn for: "1.2 M tokens", "35 CPU minutes", both, or "nothing".

    Tokens and minutes are not converted into each other: how long a token takes depends on the machine.
    """
    tokens, seconds = 0, {"cpu": 0.0, "wall": 0.0}
    for one in experiments:
        tokens += one.steps or 0
        seconds[choose_clock(one.env)] += one.seconds or 0.0
    amounts = {"M tokens": tokens / 1e6, "CPU minutes": seconds["cpu"] / 60, "wall-clock minutes": seconds["wall"] / 60}
    # two digits at least below 1, so that a short run is not 0.0
    texts = [f"{amount:,.1f}".removesuffix(".0") if amount >= 1 else f"{amount:.2g}" for amount in amounts.values()]
    return ", ".join(f"{text} {unit}" for text, unit in zip(texts, amounts) if amounts[unit]) or "nothing"
