"""Recurrent Q-, Psi- and G-learning agents that fine-tune sequence models with a prior; samplers that do not learn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.samplers import BestOfN, RejectionSampler, SMCSampler
    from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly

__all__ = ["BestOfN", "GLearning", "PsiLearning", "QLearning", "RLOnly", "RejectionSampler", "SMCSampler"]
SAMPLERS = ("BestOfN", "RejectionSampler", "SMCSampler")


def __getattr__(name: str) -> Any:
    """Import torch only once an agent is asked for, so that a command can report Ctrl-C during its imports."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("agents.samplers" if name in SAMPLERS else "agents.tutor"), name)
