"""The user's own objective: its calls and final scores, the function and the count of its calls, transforms."""

from __future__ import annotations

from seqtutor_envs.smiles.objective.objective import BEYOND_BUDGET, SHIPPED_OBJECTIVES, ObjectiveScore, UserObjective

__all__ = ["BEYOND_BUDGET", "SHIPPED_OBJECTIVES", "UserObjective", "ObjectiveScore"]
