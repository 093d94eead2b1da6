"""Metrics of molecule samples: validity, variety, properties, and distances to a reference."""

from __future__ import annotations

from seqtutor_envs.smiles.metrics.molecule_set import MoleculeSet
from seqtutor_envs.smiles.metrics.sample_metrics import (
    MOSES_CHAR_RNN,
    commonest_scaffolds,
    nearest,
    string_log_probs,
    table,
)

__all__ = ["MOSES_CHAR_RNN", "MoleculeSet", "commonest_scaffolds", "nearest", "string_log_probs", "table"]
