"""Molecules to train a prior on: file readers, tokens and splits, and the Bloom filter."""

from __future__ import annotations

from seqtutor_envs.smiles.corpus.corpus import Corpus, Rules, counted, read, sha256_of

__all__ = [
    "Corpus",
    "Rules",
    "counted",
    "read",
    "sha256_of",
]
