"""Prove upper bounds on the return R of a molecule task, before division by c.

Each term is bounded by itself, as if one molecule could have the best of all. For QED and for the mean of the five
terms that is close: molecules are known whose return is less than 5e-5 below the bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from seqtutor_envs.smiles import rewards
from seqtutor_envs.smiles.chem.descriptors import UNPENALISED_RING
from seqtutor_envs.smiles.chem.max_qed import max_qed
from seqtutor_envs.smiles.vocab import tokenize
from seqtutor_envs.vocab import Floats

# Crippen's logP is a sum over atoms, hydrogens included: the least and greatest contributions of RDKit's Crippen.txt
LOGP_OF_ATOM, LOGP_OF_HYDROGEN = (-2.996, 0.8857), (-0.2677, 0.298)
SA_RANGE = (1.0, 10.0)
MOST_HYDROGENS = 4  # that RDKit adds to an atom written without brackets, C


def bound_mean_return(weights: Mapping[str, float], max_score: float = 0.0, invalid_score: float = 0.0) -> float:
    """Return an upper bound on the weighted mean of a molecule's terms.

    Args:
        weights: name -> weight, each above 0.
        max_score: the objective's greatest score of a valid molecule; infinity where it is not known.
        invalid_score: its score of an invalid one.
    """
    best = {"qed": max_qed(), "objective": max_score}  # the other terms are at most 1
    # summed in the order of `Task.reward`: as no term can be larger, the sum is a bound after rounding as well
    mean = sum((weight * best.get(name, 1.0) for name, weight in weights.items()), 0.0)
    return max(mean, weights.get("objective", 0.0) * invalid_score)


def bound_dense_return(weights: Mapping[str, float], tokens: Sequence[str], length: int) -> float:
    """Return an upper bound on the sum of the authors' dense rewards, `rewards.prefix_terms`.

    It is loose: it grows with the square of `length`, since each token may add to the logP of all later prefixes.

    Args:
        weights: PREFIX_TERMS -> weight, of either sign.
        tokens: the vocabulary's but the end token. Infinity is returned where one of them is only a part of an atom.
        length: the horizon in tokens.
    """
    try:
        atoms, hydrogens, characters = np.array([_count(text) for text in tokens]).max(axis=0)
    except ValueError:
        return math.inf
    written = np.arange(length + 1)  # tokens other than the end token, [length + 1]
    most = atoms * written
    ends = [most * low + hydrogens * written * of_h for low, of_h in zip(LOGP_OF_ATOM, LOGP_OF_HYDROGEN)]
    largest_ring = np.maximum(most - UNPENALISED_RING, 0)
    quality = (
        _times(weights["logp"] * rewards.LOGP_WEIGHT, *ends)
        + _times(weights["sa"] * rewards.SA_WEIGHT, *SA_RANGE)
        + _times(weights["ring"] * -rewards.RING_WEIGHT, 0.0, largest_ring)
        + _times(weights["qed"] * rewards.QED_WEIGHT, 0.0, max_qed())
    )
    run = _times(weights["carbon_run"], rewards.CARBON_PENALTY, 0.0)
    of_prefix = run + np.maximum(
        weights["prefix"] * rewards.VALID_PREFIX + quality, weights["prefix"] * rewards.INVALID_PREFIX
    )
    of_finished = (
        run
        + np.maximum(weights["valid"] * rewards.FINISHED_VALID + rewards.FINISHED_QUALITY * quality, 0.0)
        + _times(weights["length"] * rewards.LENGTH_WEIGHT, 0.0, characters * written)
        + _times(weights["short"], rewards.SHORT_PENALTY, 0.0)
    )
    # the prefixes of 1 to k tokens, k from 0; then the end token, or the last token in place of the last prefix
    before = np.concatenate([[0.0], np.cumsum(of_prefix[1:])])
    ended, full = before[:-1] + of_finished[:-1], before[-2] + of_finished[-1]
    return float(max(ended.max(), full))


def _times(factor: float, low: float | Floats, high: float | Floats) -> Floats:
    """Return the greatest product of a factor and a value between `low` and `high`."""
    return np.maximum(factor * np.asarray(low), factor * np.asarray(high))


def _count(text: str) -> tuple[int, int, int]:
    """Count the atoms, their hydrogens at most, and the characters that a token writes.

    Raise ValueError where it is not made of whole atoms and bonds.
    """
    pieces = [piece for piece in tokenize(text) if piece[0] == "[" or piece[0].isalpha() or piece == "*"]
    # in brackets RDKit adds none: [nH] and [NH3+] say how many. "Hg" counts as one too many, which does no harm
    named = [re.search(r"H(\d*)", piece) for piece in pieces if piece[0] == "["]
    bracketed = sum(int(found[1] or 1) for found in named if found)
    free = sum(piece[0] != "[" for piece in pieces)
    return len(pieces), bracketed + MOST_HYDROGENS * free, len(text)
