"""Scoring: from a SMILES to validity and properties, in this process or in worker processes."""

from __future__ import annotations

from seqtutor_envs.smiles.scoring.scorer import Score, Scorer, ScoreSpec, score, score_from_json

__all__ = ["Score", "ScoreSpec", "Scorer", "score", "score_from_json"]
