"""The agents that have a short name in suites and on the command line."""

from __future__ import annotations

from typing import Any

OTHERS = "benchmarks.contestants"
DOES_NOT_LEARN: dict[str, Any] = {"steps": None, "seconds": None, "seed": 0}
# The agents that have a short name: their factory, their label in tables, and settings that differ from the suite's
AGENTS: dict[str, dict[str, Any]] = {
    "prior": {"agent": f"{OTHERS}:prior", "label": "prior", **DOES_NOT_LEARN},
    "uniform": {"agent": f"{OTHERS}:uniform", "label": "uniform", **DOES_NOT_LEARN},
    "best_of_prior": {"agent": f"{OTHERS}:best_of_prior", "label": "best of the prior's samples", **DOES_NOT_LEARN},
    "smc": {"agent": "agents.samplers:SMCSampler", "label": "SMC", **DOES_NOT_LEARN},
    "rejection": {"agent": "agents.samplers:RejectionSampler", "label": "rejection", **DOES_NOT_LEARN},
    "best_of_n": {"agent": "agents.samplers:BestOfN", "label": "best of n", **DOES_NOT_LEARN}
    | {"agent_kwargs": {"n": 64}},
    "twisted_smc": {"agent": f"{OTHERS}:twisted_smc", "label": "SMC guided by Ψ", "n": 1_000},
    "psi": {"agent": "agents:PsiLearning", "label": "Ψ"},
    "g": {"agent": "agents:GLearning", "label": "G"},
    "q": {"agent": "agents:QLearning", "label": "Q"},
    "rl": {"agent": "agents:RLOnly", "label": "RL only"},
    "pg": {"agent": "agents.baselines:PolicyGradient", "label": "policy gradient"},
    "reinvent": {"agent": "agents:Reinvent", "label": "REINVENT"},
    "ahc": {"agent": "agents:AugmentedHillClimb", "label": "Augmented Hill-Climb"},
    "tb": {"agent": "agents:TrajectoryBalance", "label": "trajectory balance"},
    "kl_ppo": {"agent": "agents:KLPPO", "label": "KL-PPO"},
    "ppo": {"agent": f"{OTHERS}:ppo", "label": "PPO"},
    "maskable_ppo": {"agent": f"{OTHERS}:maskable_ppo", "label": "MaskablePPO"},
    "recurrent_ppo": {"agent": f"{OTHERS}:recurrent_ppo", "label": "RecurrentPPO"},
    "recurrent_ppo_prior": {"agent": f"{OTHERS}:recurrent_ppo_prior", "label": "RecurrentPPO from the prior"},
}


def variants(*names: str, **settings: Any) -> tuple[dict[str, Any], ...]:
    """Return the variants of these agents for `expand`, each with further keywords of its constructor."""
    keywords = {f"agent_kwargs.{name}": value for name, value in settings.items()}
    return tuple({**AGENTS[name], **keywords} for name in names)
