"""The dense reward of the paper's authors: their constants, as in their public code, before "all times .35" (1 / c).

quality = 3 logP - 2 SA + 5 ring + 50 QED, where ring = -(atoms of the largest ring beyond six). Every prefix that is
a molecule earns 5 + quality, every other one -5; a finished molecule 600 + 10 quality + its length, any other finished
string its length alone; a finished string that is short -200 or -25, by the characters that it has; a C after more than
11 in a row -150, at each such step.

What their code and the paper leave open is decided here: a prefix holds the token just chosen; the last step's reward
is the finished string's, which takes the place of the prefix's; the two penalties for shortness exclude each other; a
valid molecule is one that RDKit reads; rings are RDKit's (theirs came from a cycle basis, which may hold longer ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SCALE = 0.35  # of all that follows: their 1 / c
LOGP_WEIGHT, SA_WEIGHT, RING_WEIGHT, QED_WEIGHT = 3.0, -2.0, 5.0, 50.0  # of the quality
VALID_PREFIX, INVALID_PREFIX = 5.0, -5.0
FINISHED_VALID = 600.0
FINISHED_QUALITY = 10.0  # how much more the quality of a finished molecule counts than that of a prefix
LENGTH_WEIGHT = 1.0  # for each character of a finished string
SHORTEST, SHORT_PENALTY = 19, -200.0  # characters; the shortest of their training set
SHORTISH, SHORTISH_PENALTY = 27, -25.0  # two standard deviations below their training set's mean
CARBONS, CARBON_PENALTY = 11, -150.0  # a further C after more than so many in a row

PROPERTIES = ("logp", "sa", "ring_penalty", "qed")
PREFIX_TERMS = ("prefix", "logp", "sa", "ring", "qed", "valid", "length", "short", "carbon_run")


def prefix_terms(
    smiles: Sequence[str],
    valid: NDArray[np.bool_],
    properties: Mapping[str, NDArray[np.float64]],
    finished: NDArray[np.bool_],
    more: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Contributions of one step each, constants included: [n, 9], the columns PREFIX_TERMS; their sum is r_T.

    Args:
        smiles: n strings so far, the token just chosen included, the end token not.
        valid: [n], whether the string is a molecule.
        properties: PROPERTIES of the strings, each [n]; read where they are valid.
        finished: [n], whether the string is over.
        more: [n], whether the token just chosen wrote something: all but the end token.
    """
    times = np.where(finished, FINISHED_QUALITY, 1.0)[valid]
    terms = {name: np.zeros(len(smiles)) for name in PREFIX_TERMS}
    terms["prefix"] = np.where(finished, 0.0, np.where(valid, VALID_PREFIX, INVALID_PREFIX))
    terms["logp"][valid] = times * LOGP_WEIGHT * properties["logp"][valid]
    terms["sa"][valid] = times * SA_WEIGHT * properties["sa"][valid]
    terms["ring"][valid] = times * RING_WEIGHT * -properties["ring_penalty"][valid]
    terms["qed"][valid] = times * QED_WEIGHT * properties["qed"][valid]
    terms["valid"][valid & finished] = FINISHED_VALID
    characters = np.array([len(string) for string in smiles])
    terms["length"] = np.where(finished, LENGTH_WEIGHT * characters, 0.0)
    short = np.where(characters < SHORTEST, SHORT_PENALTY, np.where(characters < SHORTISH, SHORTISH_PENALTY, 0.0))
    terms["short"] = np.where(finished, short, 0.0)
    run = "C" * (CARBONS + 2)  # the C just written, and more than CARBONS before it; no other token ends with a C
    terms["carbon_run"] = np.array([CARBON_PENALTY if string.endswith(run) else 0.0 for string in smiles]) * more
    return np.stack([terms[name] for name in PREFIX_TERMS], axis=1)
