"""What the command line asks of the demonstration."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from seqtutor_envs.command import scoring_processes

PARTS = ("melodies", "molecules")  # in the order in which they are shown
DEAR = 5  # melodies judged for one molecule: RDKit takes 1.5 ms a molecule


@dataclass(frozen=True)
class Settings:
    """What the command line says; see `benchmarks.__main__.demo`. Raises ValueError in one line on what cannot be."""

    out: Path
    seconds: float = 60.0
    paper: bool = False
    seed: int = 0
    n: int = 10_000
    prior: str = "melody"
    min_distinct: float = 0.995
    only: str | None = None
    molecule_seconds: float | None = None
    n_molecules: int | None = None
    molecule_prior: str = "smiles"
    workers: int | None = None

    def __post_init__(self) -> None:
        for option, seconds in (("--seconds", self.seconds), ("--molecule-seconds", self.molecule_seconds)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{option} must be above 0, not {seconds:g}.")
        for option, n in (("--n", self.n), ("--n-molecules", self.n_molecules)):
            if n is not None and n < 2:
                raise ValueError(f"{option} must be at least 2, so that there are standard errors, not {n}.")
        for option, value in (("--seed", self.seed), ("--workers", self.workers)):
            if value is not None and value < 0:
                raise ValueError(f"{option} must not be negative, as {value} is.")
        if not 0 <= self.min_distinct <= 1:
            raise ValueError(f"--min-distinct is a share, 0 to 1, not {self.min_distinct:g}.")
        if self.only not in (None, *PARTS):
            raise ValueError(f"--only must be {' or '.join(PARTS)}, not {self.only!r}.")

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of PARTS are wanted."""
        return PARTS if self.only is None else (self.only,)

    @property
    def c(self) -> float:
        """Temperature of the melodies: the environment's default, or the paper's."""
        return 0.5 if self.paper else 2.0

    @property
    def gamma(self) -> float:
        """Discount of the melodies: the agents' default, or the paper's."""
        return 0.5 if self.paper else 1.0

    @property
    def lam(self) -> float | None:
        """None, the agent's default, or the paper's one-step targets: with the default, c = .5 ends in one loop."""
        return 0.0 if self.paper else None

    @property
    def seconds_of_molecules(self) -> float:
        """As many as of melodies, unless said otherwise."""
        return self.seconds if self.molecule_seconds is None else self.molecule_seconds

    @property
    def judged_molecules(self) -> int:
        """Fewer than melodies, unless said otherwise."""
        return max(2, self.n // DEAR) if self.n_molecules is None else self.n_molecules

    @property
    def scoring_workers(self) -> int:
        """A process for each core that this one may use; none on a single core, which this process fills itself."""
        return scoring_processes() if self.workers is None else self.workers

    @property
    def command(self) -> str:
        """The command line that gives these settings."""
        words = ["python", "-m", "benchmarks", "demo", "--out", str(self.out), "--seed", str(self.seed)]
        words += [] if self.only is None else ["--only", self.only]
        if "melodies" in self.parts:
            words += ["--seconds", f"{self.seconds:g}", "--n", str(self.n), "--prior", self.prior]
            words += ["--min-distinct", f"{self.min_distinct:g}"] + ["--paper"] * self.paper
        if "molecules" in self.parts:
            words += ["--molecule-seconds", f"{self.seconds_of_molecules:g}"]
            words += ["--n-molecules", str(self.judged_molecules), "--molecule-prior", self.molecule_prior]
        return shlex.join(words)
