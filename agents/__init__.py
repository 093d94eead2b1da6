"""Recurrent Q-, Psi- and G-learning agents that fine-tune sequence models with a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly

__all__ = ["GLearning", "PsiLearning", "QLearning", "RLOnly"]


def __getattr__(name: str) -> Any:
    """Import torch only once an agent is asked for, so that a command can report Ctrl-C during its imports."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agents import tutor

    return getattr(tutor, name)
