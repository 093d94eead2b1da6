"""Reward terms of molecules: the task's own, each in [0, 1], and the dense reward of the paper's authors.

Pure functions of arrays [n] of finite properties; an invalid molecule has 0 in every term of the first kind and
is never passed to these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LOGP_FREE, LOGP_ZERO = (1.0, 4.0), (-1.0, 6.0)  # the drug-like range, and where nothing is left; ours
SA_HARD, SA_RANGE = 6.0, 4.0  # an SA score of 6 is worth nothing, one of 2 everything; ours


def logp_term(logp: Values) -> Values:
    """Return 1 for logP within [1, 4], falling linearly to 0 at -1 and at 6."""
    rises = (logp - LOGP_ZERO[0]) / (LOGP_FREE[0] - LOGP_ZERO[0])
    falls = (LOGP_ZERO[1] - logp) / (LOGP_ZERO[1] - LOGP_FREE[1])
    return np.clip(np.minimum(rises, falls), 0.0, 1.0)


def sa_term(sa: Values) -> Values:
    """Return clip((6 - SA) / 4, 0, 1): an easy synthesis is worth more."""
    return np.clip((SA_HARD - sa) / SA_RANGE, 0.0, 1.0)


def ring_term(ring_penalty: Values) -> Values:
    """Return 1 / (1 + ring_penalty): 1 if no ring has more than six atoms."""
    return 1.0 / (1.0 + ring_penalty)


# term -> the property that it needs, and what that is worth; QED is a term as it is; `valid` needs none
FROM_PROPERTY: dict[str, tuple[str, Callable[[Values], Values]]] = {
    "qed": ("qed", lambda qed: qed),
    "logp": ("logp", logp_term),
    "sa": ("sa", sa_term),
    "ring": ("ring_penalty", ring_term),
}
MOLECULE_TERMS = ("valid", *FROM_PROPERTY)

# ---------------------------------------------------------------- the authors' dense reward

SCALE = 0.35  # of all that follows: their 1 / c
LOGP_WEIGHT, SA_WEIGHT, RING_WEIGHT, QED_WEIGHT = 3.0, -2.0, 5.0, 50.0  # of the quality
VALID_PREFIX, INVALID_PREFIX = 5.0, -5.0
FINISHED_VALID = 600.0
FINISHED_QUALITY = 10.0  # how much more the quality of a finished molecule counts than that of a prefix
LENGTH_WEIGHT = 1.0  # for each character of a finished string
SHORTEST, SHORT_PENALTY = 19, -200.0  # characters; the shortest of their training set
SHORTISH, SHORTISH_PENALTY = 27, -25.0  # two standard deviations below their training set's mean
CARBONS, CARBON_PENALTY = 11, -150.0  # a further C after more than so many in a row

DENSE_PROPERTIES = ("logp", "sa", "ring_penalty", "qed")
PREFIX_TERMS = ("prefix", "logp", "sa", "ring", "qed", "valid", "length", "short", "carbon_run")


def prefix_terms(
    smiles: Sequence[str],
    valid: NDArray[np.bool_],
    properties: Mapping[str, NDArray[np.float64]],
    finished: NDArray[np.bool_],
    more: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Compute the terms of one step each, constants included: [n, 9], the columns PREFIX_TERMS; their sum is r_T.

    The authors' constants, as in their public code, before "all times .35" (1 / c). quality = 3 logP - 2 SA + 5 ring
    + 50 QED, where ring = -(atoms of the largest ring beyond six).

    - A prefix that is a molecule earns 5 + quality, any other prefix -5.
    - A finished molecule earns 600 + 10 quality + its length in characters, any other finished string its length.
    - A finished string that is short loses 200 or 25, by its length.
    - A C after more than 11 in a row loses 150, at each such step.

    What their code and the paper leave open is decided here: a prefix holds the token just chosen; the last step earns
    the finished string's reward, not the prefix's; the two penalties for shortness exclude each other; a valid molecule
    is one that RDKit reads; rings are RDKit's (theirs came from a cycle basis, which may hold longer ones).

    Args:
        smiles: n strings so far, the token just chosen included, the end token not.
        valid: [n], whether the string is a molecule.
        properties: DENSE_PROPERTIES of the strings, each [n]; read where they are valid.
        finished: [n], whether the string is over.
        more: [n], whether the token just chosen wrote something: all but the end token.
    """
    # [valid]: the terms below are written for valid strings only
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
    # times `more`: the end token writes no C, though the string still ends with the run
    terms["carbon_run"] = np.array([CARBON_PENALTY if string.endswith(run) else 0.0 for string in smiles]) * more
    return np.stack([terms[name] for name in PREFIX_TERMS], axis=1)
