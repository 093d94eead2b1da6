"""Evaluate any agent by the paper's objective: ours, stable-baselines3's, or one of your own."""

from __future__ import annotations

from agents.evaluate.evaluation import (
    Samples,
    compute_metrics,
    evaluate,
    evaluate_in_env,
    make_env,
    roll_out,
    sample_sequences,
)

__all__ = [
    "Samples",
    "compute_metrics",
    "evaluate",
    "evaluate_in_env",
    "make_env",
    "roll_out",
    "sample_sequences",
]
