"""Molecules: SMILES tokens, RDKit's scores, one's own objective, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtutor_envs.smiles.task import SmilesTask

__all__ = ["SmilesTask"]


def __getattr__(name: str) -> Any:
    """Import SmilesTask at first use: it imports rdkit, which the vocabulary and every `--help` do without."""
    if name == "SmilesTask":
        from seqtutor_envs.smiles.task import SmilesTask

        return SmilesTask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
