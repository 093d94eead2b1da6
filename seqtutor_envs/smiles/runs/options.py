"""Options of `python -m agents` for molecules: to train, to sample and to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from seqtutor_envs.command import scoring_processes
from seqtutor_envs.smiles.metrics import MoleculeSet, commonest_scaffolds, nearest, table
from seqtutor_envs.smiles.objective import SHIPPED_OBJECTIVES
from seqtutor_envs.smiles.runs.export import describe_samples, format_csv, format_sdf
from seqtutor_envs.task import EvaluateOptions, FurtherResults, SampleOptions, TrainOptions

COMPARED = ("snn", "frag", "scaf", "wasserstein")  # how the metrics begin that a reference makes known
Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class MoleculeTrainOptions(TrainOptions):
    """Describe the task of a run. An option that is left out keeps the environment's default.

    Args:
        objective: package.module:function, which scores a list of SMILES; higher is better.
        minimize: lower is better.
        clip: limits of raw scores, LOW HIGH; None is no limit.
        transform: of raw scores, such as sigmoid:low=2,high=5.
        invalid_score: final score of an invalid molecule.
        oracle_budget: the most molecules that the objective may score; learning ends with it.
        require: a SMARTS that must be found; may be given again.
        forbid: a SMARTS that must not be found; may be given again.
        range: NAME=LOW:HIGH of mw, logp, tpsa, hbd, hba, rotatable_bonds, rings or charge, an end may be left out; may
            be given again.
        constraints: what fails one is invalid (hard), or loses a share of a term (soft).
        shaping: "prefix" is the dense reward of the paper's authors.
        workers: scoring processes; by default as many as cores, 0 for none besides this one.
    """

    objective: str | None = None
    minimize: bool = False
    clip: tuple[float | None, float | None] | None = None
    transform: str | None = None
    invalid_score: float | None = None
    oracle_budget: int | None = None
    require: Repeated = ()
    forbid: Repeated = ()
    range: Repeated = ()
    constraints: Literal["hard", "soft"] | None = None
    shaping: Literal["prefix"] | None = None
    workers: int | None = None

    def env_kwargs(self) -> dict[str, Any]:
        """Return the environment's keywords. Raise ValueError if a --range cannot be read."""
        kwargs = self.given()
        if kwargs.pop("range", None):
            kwargs["ranges"] = dict(parse_range(text) for text in self.range)
            if len(kwargs["ranges"]) < len(self.range):
                raise ValueError("--range is given twice for one descriptor; give both ends at once, NAME=LOW:HIGH.")
        return kwargs

    @classmethod
    def machine_kwargs(cls) -> dict[str, Any]:
        """Ask for as many scoring processes as there are cores."""
        return {"workers": scoring_processes()}

    @classmethod
    def evaluation_kwargs(cls) -> dict[str, Any]:
        """Lift the budget of the objective's calls, which was to learn with."""
        return cls.machine_kwargs() | {"oracle_budget": None}


@dataclass(frozen=True)
class MoleculeSampleOptions(SampleOptions):
    """Choose how molecules are exported.

    Args:
        format: text; smi is a line "SMILES number" each; csv has validity, raw terms, log p and log pi besides; sdf the
            valid ones with 2D coordinates and the same values.
    """

    formats: ClassVar[tuple[str, ...]] = ("text", "smi", "csv", "sdf")
    format: Literal["text", "smi", "csv", "sdf"] = "text"

    @classmethod
    def unscored_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out the objective, all that belongs to it, and the weights, which may name it."""
        if saved.get("objective") in (None, *SHIPPED_OBJECTIVES):
            return {}
        without = dict(objective=None, invalid_score=0.0, minimize=False, clip=None, transform=None)
        return without | {"oracle_budget": None, "term_weights": None}

    def export(self, agent: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[str, int]:
        """Return sequences [n, T] of an agent as `format`, and how many of them it cannot hold.

        `smi`: every non-empty string, valid or not, one `SMILES number` per line. `csv`: one row per sequence. `sdf`:
        valid molecules only.
        """
        if self.format == "text":
            return super().export(agent, tokens, lengths)
        if self.format == "smi":
            lines = [f"{text} {n}\n" for n, text in enumerate(agent.task.smiles(tokens, lengths), start=1) if text]
            return "".join(lines), len(tokens) - len(lines)
        rows = describe_samples(agent, tokens, lengths)
        if self.format == "csv":
            return format_csv(rows), 0
        valid = [row for row in rows if row["valid"]]
        return format_sdf(valid), len(rows) - len(valid)


@dataclass(frozen=True)
class MoleculeEvaluateOptions(EvaluateOptions):
    """Choose what molecules are compared with.

    Args:
        reference: a file of SMILES, such as known actives, to compare with.
        column: of a reference that is a table (.csv, .tsv); without it, that called "smiles" in any case.
        objective: package.module:function, in place of the agent's own objective, which a file may only name.
    """

    reference: Path | None = None
    column: str | None = None
    objective: str | None = None

    def env_kwargs(self) -> dict[str, Any]:
        """Return the objective, if one is given."""
        return {} if self.objective is None else {"objective": self.objective}

    def evaluator(self) -> Callable[[Any, NDArray[np.int64], NDArray[np.int64]], FurtherResults]:
        """Read the reference, and return a function that compares samples with it and lists their scaffolds.

        Raise FileNotFoundError or ValueError, one line, if the file holds no molecules.
        """
        if self.column is not None and self.reference is None:
            raise ValueError("--column is of a table of molecules: add --reference FILE.")
        reference = None if self.reference is None else MoleculeSet.from_file(self.reference, self.column)

        def evaluate(task: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> FurtherResults:
            samples = MoleculeSet(task.smiles(tokens, lengths))
            scaffolds = commonest_scaffolds(samples)
            facts: dict[str, Any] = {"commonest_scaffolds": scaffolds} if scaffolds else {}
            lines = tuple(f"{'scaffold':28} {count:12,} {scaffold}" for scaffold, count in scaffolds)
            if reference is None:
                return FurtherResults({}, facts, lines)
            compared = {name: value for name, value in table(samples, reference).items() if name.startswith(COMPARED)}
            compared |= nearest(samples, reference)
            named = {"reference": str(self.reference)} | ({"column": self.column} if self.column else {})
            return FurtherResults(compared, {**named, **facts}, lines)

        return evaluate


def parse_range(text: str) -> tuple[str, list[float | None]]:
    """Parse mw=200:500 as ("mw", [200.0, 500.0])."""
    name, _, ends = text.partition("=")
    low, colon, high = ends.partition(":")
    try:
        if not colon:
            raise ValueError
        return name.strip(), [float(end) if end.strip() else None for end in (low, high)]
    except ValueError:
        raise ValueError(f"--range must be NAME=LOW:HIGH, such as mw=200:500 or logp=:5, not {text!r}.") from None
