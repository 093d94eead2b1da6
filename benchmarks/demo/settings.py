"""The options of `python -m benchmarks demo`. Importing them is quick: every command of benchmarks does."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PARTS = ("melodies", "molecules")  # in the order in which they are shown
MOLECULE_COST = 5  # melodies that are evaluated in the time of one molecule: RDKit takes 1.5 ms a molecule


@dataclass(frozen=True)
class DemoSettings:
    """Hold the options of `python -m benchmarks demo`. Raises ValueError in one line on bad values.

    Args:
        out: the folder to write; files of an earlier demo in it are replaced.
        seconds: CPU seconds of fine-tuning on melodies, on one core, shared by the temperatures c = 50, 20 and 5.
        paper: the paper's c = 0.5, gamma = 0.5, lam = 0 (one-step targets) for melodies, instead of these temperatures
            and the agent's defaults.
        seed: of learning and sampling.
        n: melodies of each evaluation.
        prior: a shipped note RNN's name, or the path of one.
        min_distinct: fine-tuning ends early once fewer of the newest melodies are distinct; 0 goes on into the loop.
        only: one part alone.
        molecule_seconds: wall-clock seconds of fine-tuning on molecules. Default: as --seconds.
        n_molecules: molecules of each evaluation. Default: a fifth of --n, because RDKit takes time.
        molecule_prior: a shipped SMILES prior's name, or the path of one.
        workers: processes that score molecules. Default: one for each core that this process may use.
    """

    out: Path = Path("demo")
    seconds: float = 60.0
    paper: bool = False
    seed: int = 0
    n: int = 10_000
    prior: str = "melody"
    min_distinct: float = 0.995
    only: Literal["melodies", "molecules"] | None = None
    molecule_seconds: float | None = None
    n_molecules: int | None = None
    molecule_prior: str = "smiles"
    workers: int | None = None

    def __post_init__(self) -> None:
        for option, seconds in (("--seconds", self.seconds), ("--molecule-seconds", self.molecule_seconds)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{option} must be above 0, not {seconds:g}.")
        least = {"n": 2, "n_molecules": 2, "seed": 0, "workers": 0}  # two, so that there are standard errors
        for name, value in ((name, getattr(self, name)) for name in least):
            if value is not None and value < least[name]:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least[name]}, not {value}.")
        if not 0 <= self.min_distinct <= 1:
            raise ValueError(f"--min-distinct is a share, 0 to 1, not {self.min_distinct:g}.")

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the PARTS that are wanted."""
        return PARTS if self.only is None else (self.only,)

    @property
    def seconds_of_molecules(self) -> float:
        """Return the seconds of fine-tuning on molecules: as many as on melodies, unless given."""
        return self.seconds if self.molecule_seconds is None else self.molecule_seconds

    @property
    def evaluated_molecules(self) -> int:
        """Return the molecules of an evaluation: fewer than melodies, unless given."""
        return max(2, self.n // MOLECULE_COST) if self.n_molecules is None else self.n_molecules

    @property
    def command(self) -> str:
        """Return the command line that gives these settings."""
        words = ["python", "-m", "benchmarks", "demo", "--out", str(self.out), "--seed", str(self.seed)]
        words += [] if self.only is None else ["--only", self.only]
        if "melodies" in self.parts:
            words += ["--seconds", f"{self.seconds:g}", "--n", str(self.n), "--prior", self.prior]
            words += ["--min-distinct", f"{self.min_distinct:g}"]
            words += ["--paper"] if self.paper else []
        if "molecules" in self.parts:
            words += ["--molecule-seconds", f"{self.seconds_of_molecules:g}"]
            words += ["--n-molecules", str(self.evaluated_molecules), "--molecule-prior", self.molecule_prior]
        return shlex.join(words)
