"""The user's own objective: a function from SMILES to scores, its calls, and its transforms."""

from __future__ import annotations

from seqtutor_envs.smiles.objective.objective import BEYOND_BUDGET, Objective, ObjectiveScore, UnusableObjective

__all__ = [
    "BEYOND_BUDGET",
    "Objective",
    "ObjectiveScore",
    "UnusableObjective",
]
