"""Melodies: tokens, the nine rules, metrics, MIDI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtutor_envs.melody.task import MelodyTask

__all__ = ["MelodyTask"]


def __getattr__(name: str) -> Any:
    """Import MelodyTask at first use: it imports numba, which the vocabulary, MIDI and every `--help` do without."""
    if name == "MelodyTask":
        from seqtutor_envs.melody.task import MelodyTask

        return MelodyTask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
