"""What a user asks of molecules on the command line, as keywords of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from agents.envs import get_vector_class

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class MoleculeOptions:
    """For environments that write molecules; what is not given is the environment's own.

    Args:
        objective: package.module:function, which scores a list of SMILES; higher is better.
        minimize: lower is better.
        clip: limits of raw scores, LOW HIGH; None is no limit.
        transform: of raw scores, such as sigmoid:low=2,high=5.
        invalid_score: final score of an invalid molecule.
        oracle_budget: the most molecules that the objective may score; learning ends with it.
        require: a SMARTS that must be found; may be given again.
        forbid: a SMARTS that must not be found; may be given again.
        ranges: NAME=LOW:HIGH of mw, logp, tpsa, hbd, hba, rotatable_bonds, rings or charge, an end may be left out; may
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
    ranges: Annotated[Repeated, tyro.conf.arg(name="range")] = ()
    constraints: Literal["hard", "soft"] | None = None
    shaping: Literal["prefix"] | None = None
    workers: int | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not left out, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    def env_kwargs(self) -> dict[str, Any]:
        """Keywords of the environment, of JSON's types. Raises ValueError where one cannot be read."""
        kwargs = self.given()
        if self.ranges:
            kwargs["ranges"] = dict(_range(text) for text in self.ranges)
            if len(kwargs["ranges"]) < len(self.ranges):
                raise ValueError("--range is given twice for one descriptor; give both ends at once, NAME=LOW:HIGH.")
        return kwargs

    def refuse(self, why: str, but: tuple[str, ...] = ()) -> None:
        """Raises ValueError where any is given, or any but those."""
        for name in self.given():
            if name not in but:
                raise ValueError(f"--{'range' if name == 'ranges' else name.replace('_', '-')} {why}")


def writes_molecules(env_id: str) -> bool:
    """Whether an id is of a SMILES environment. Raises gymnasium's error where there is no such id."""
    # by name, since importing it brings RDKit
    return any(kind.__module__ == "seqtutor_envs.smiles.env" for kind in get_vector_class(env_id).__mro__)


def objective_exists(kwargs: Mapping[str, Any]) -> None:
    """Raises ValueError or ImportError, one line, unless the objective that is named there, if any, can be had."""
    from seqtutor_envs.smiles import functions

    try:
        if isinstance(kwargs.get("objective"), str):
            functions.load(kwargs["objective"])
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def _range(text: str) -> tuple[str, list[float | None]]:
    """mw=200:500 as ("mw", [200.0, 500.0])."""
    name, _, ends = text.partition("=")
    low, colon, high = ends.partition(":")
    try:
        if not colon:
            raise ValueError
        return name.strip(), [float(end) if end.strip() else None for end in (low, high)]
    except ValueError:
        raise ValueError(f"--range must be NAME=LOW:HIGH, such as mw=200:500 or logp=:5, not {text!r}.") from None
