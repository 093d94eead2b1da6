"""Constraints on valid molecules: SMARTS that they must or must not hold, ranges of descriptors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rdkit import Chem, rdBase

from seqtutor_envs.checks import Range
from seqtutor_envs.smiles.chem.descriptors import DESCRIPTORS
from seqtutor_envs.smiles.chem.molecule import too_large


@dataclass(frozen=True)
class Constraints:
    """Hold a molecule's constraints as plain data; each has a name by which it is counted.

    Args:
        require: SMARTS, one or several, each of which must be found.
        forbid: SMARTS, none of which may be found. In both, chirality counts where the SMARTS says it.
        ranges: name of DESCRIPTORS -> (lowest, highest), both allowed values themselves, None where there is no bound:
            mw g/mol (average), logp Crippen's, tpsa square angstrom, hbd and hba donors and acceptors, rotatable_bonds,
            rings (smallest set) and charge (formal, of the whole molecule).

    Raises ValueError that names what is not a SMARTS, an unknown descriptor or an empty range.
    """

    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    ranges: tuple[tuple[str, float | None, float | None], ...] = ()

    # a frozen dataclass with its own constructor: it takes lists, mappings and single strings
    def __init__(
        self,
        require: str | Iterable[str] = (),
        forbid: str | Iterable[str] = (),
        ranges: Mapping[str, Any] | Iterable[tuple[str, float | None, float | None]] | None = None,
    ) -> None:
        # object.__setattr__, since the dataclass is frozen
        object.__setattr__(self, "require", _patterns("require", require))
        object.__setattr__(self, "forbid", _patterns("forbid", forbid))
        items = ranges.items() if isinstance(ranges, Mapping) else ((name, ends) for name, *ends in ranges or ())
        object.__setattr__(self, "ranges", tuple(_range(name, ends) for name, ends in items))
        given = (*self.names, *(name for name, *_ in self.ranges))  # of one descriptor `as_dict` has one range
        twice = [name for at, name in enumerate(given) if name in given[:at]]
        if twice:
            raise ValueError(f"The constraint {twice[0]!r} is given twice; leave one out.")

    @property
    def names(self) -> tuple[str, ...]:
        """Return each constraint's name: 'require c1ccccc1', 'forbid [N+]', 'mw 200..500', 'logp <= 5'."""
        patterns = [f"require {smarts}" for smarts in self.require] + [f"forbid {smarts}" for smarts in self.forbid]
        return (*patterns, *(_range_name(*entry) for entry in self.ranges))

    def __len__(self) -> int:
        return len(self.require) + len(self.forbid) + len(self.ranges)

    def unmet(self, mol: Any) -> tuple[str, ...]:
        """Return the names of the constraints that an RDKit molecule does not meet, in the order of `names`."""
        # chirality counts where a pattern says it
        met = [mol.HasSubstructMatch(_pattern(smarts), useChirality=True) for smarts in self.require]
        met += [not mol.HasSubstructMatch(_pattern(smarts), useChirality=True) for smarts in self.forbid]
        for name, low, high in self.ranges:
            value = DESCRIPTORS[name](mol)
            met.append((low is None or low <= value) and (high is None or value <= high))
        # nearly all molecules meet all: names are made only where one does not
        return tuple(name for name, is_met in zip(self.names, met) if not is_met) if not all(met) else ()

    def as_dict(self) -> dict[str, Any]:
        """Return what `Constraints(**...)` and JSON take."""
        ranges = {name: [low, high] for name, low, high in self.ranges}
        return {"require": list(self.require), "forbid": list(self.forbid), "ranges": ranges}


def _patterns(argument: str, smarts: str | Iterable[str]) -> tuple[str, ...]:
    """Return one SMARTS or several as a tuple. Raise ValueError that names the first that is not one."""
    patterns = (smarts,) if isinstance(smarts, str) else tuple(smarts or ())
    for pattern in patterns:
        read = _pattern(pattern) if isinstance(pattern, str) and not too_large(pattern) else None
        if read is None or not read.GetNumAtoms():
            raise ValueError(f"{argument}: {pattern!r:.80} is no SMARTS; c1ccccc1 or [NX3;H2] are.")
    return patterns


def _range(name: str, ends: Any) -> tuple[str, float | None, float | None]:
    """Return (name, lowest, highest). Raise ValueError where it is not a range."""
    if name not in DESCRIPTORS:
        raise ValueError(f"ranges: {name!r} is no descriptor; the descriptors are: {', '.join(DESCRIPTORS)}.")
    try:
        low, high = (None if end in (None, math.inf, -math.inf) else Range().check(name, end) for end in ends)
    except (TypeError, ValueError):
        message = f"ranges: {name} takes two numbers, lowest and highest, None for no bound; not {ends!r}."
        raise ValueError(message) from None
    if low is None and high is None:
        raise ValueError(f"ranges: {name} has no bound; give a lowest or a highest value or leave it out.")
    # low != low is true for NaN alone
    if not (low is None or high is None or low <= high) or low != low or high != high:
        raise ValueError(f"ranges: {name} has the lowest value {low} and the highest {high}; no value lies between.")
    return name, low, high


def _range_name(name: str, low: float | None, high: float | None) -> str:
    if low is None:
        return f"{name} <= {high:g}"
    return f"{name} >= {low:g}" if high is None else f"{name} {low:g}..{high:g}"


@lru_cache(maxsize=1024)  # a pattern is read once a process, since a Constraints must stay plain data
def _pattern(smarts: str) -> Any:
    with rdBase.BlockLogs():
        return Chem.MolFromSmarts(smarts)
