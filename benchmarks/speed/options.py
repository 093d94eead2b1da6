"""What every section of the speed report is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        seconds: for each comparison, of its clock.
        melody_prior, smiles_prior: shipped names, or paths.
        workers: scoring processes of molecules; None: one for each core.
        memory: molecules to learn from while memory is watched.
        minutes: of one core, that "quality" may learn for.
    """

    seconds: float = 1.0
    melody_prior: str = "melody"
    smiles_prior: str = "smiles"
    workers: int | None = None
    memory: int = 20_000
    minutes: float = 10.0
