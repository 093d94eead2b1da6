"""Priors: frozen sequence models learned from data, their fast step, and how they are trained."""

from __future__ import annotations

from seqtutor_envs.prior.prior import (
    Prior,
    RecurrentPrior,
    State,
    TablePrior,
    draw_sequences,
    find_prior,
    load_prior,
    padded,
    shipped_priors,
    token_log_probs,
    weights_sha256,
)

__all__ = [
    "Prior", "RecurrentPrior", "State", "TablePrior", "draw_sequences", "find_prior", "load_prior", "padded",
    "shipped_priors", "token_log_probs", "weights_sha256",
]
