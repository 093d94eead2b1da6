"""Evaluate any agent by the paper's objective: ours, stable-baselines3's, or one of your own."""

from agents.evaluate.evaluation import Samples, evaluate, evaluate_in_env, make_env

__all__ = ["Samples", "evaluate", "evaluate_in_env", "make_env"]
