"""Recurrent Q-, Psi- and G-learning agents that fine-tune sequence models with a prior."""

from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly

__all__ = ["GLearning", "PsiLearning", "QLearning", "RLOnly"]
