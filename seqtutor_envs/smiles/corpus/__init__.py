"""Molecules to train a prior on: file readers, tokens and splits, and the Bloom filter."""

from __future__ import annotations

from seqtutor_envs.smiles.corpus.corpus import MoleculeCorpus, Rules, format_counts, read_corpus

__all__ = ["MoleculeCorpus", "Rules", "format_counts", "read_corpus"]
