"""Agents that fine-tune sequence models with a prior: the paper's, the field's, and samplers that do not learn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.evaluate.load import load
    from agents.policies.saving import save_policy
    from agents.rivals.kl_ppo import KLPPO
    from agents.rivals.sequence_losses import AugmentedHillClimb, Reinvent, TrajectoryBalance
    from agents.samplers import BestOfN, RejectionSampler, SMCSampler
    from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly

__all__ = [
    "AugmentedHillClimb", "BestOfN", "GLearning", "KLPPO", "PsiLearning", "QLearning", "RLOnly", "Reinvent",
    "RejectionSampler", "SMCSampler", "TrajectoryBalance", "load", "save_policy",
]  # fmt: skip
MODULES = {
    "agents.evaluate.load": ("load",),
    "agents.policies.saving": ("save_policy",),
    "agents.samplers": ("BestOfN", "RejectionSampler", "SMCSampler"),
    "agents.rivals.kl_ppo": ("KLPPO",),
    "agents.rivals.sequence_losses": ("AugmentedHillClimb", "Reinvent", "TrajectoryBalance"),
    "agents.tutor": ("GLearning", "PsiLearning", "QLearning", "RLOnly"),
}


def __getattr__(name: str) -> Any:
    """Import torch only once an agent is asked for, so that a command can report Ctrl-C during its imports."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
