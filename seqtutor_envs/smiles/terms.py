"""The task's own terms: what a valid molecule's properties are worth, each in [0, 1].

Pure functions of arrays [n] of finite properties; an invalid molecule is worth 0 in every term and never comes here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LOGP_FREE, LOGP_ZERO = (1.0, 4.0), (-1.0, 6.0)  # the drug-like range, and where nothing is left; ours
SA_HARD, SA_RANGE = 6.0, 4.0  # an SA score of 6 is worth nothing, one of 2 everything; ours


def logp_term(logp: Values) -> Values:
    """1 for logP within [1, 4], falling linearly to 0 at -1 and at 6."""
    rises = (logp - LOGP_ZERO[0]) / (LOGP_FREE[0] - LOGP_ZERO[0])
    falls = (LOGP_ZERO[1] - logp) / (LOGP_ZERO[1] - LOGP_FREE[1])
    return np.clip(np.minimum(rises, falls), 0.0, 1.0)


def sa_term(sa: Values) -> Values:
    """clip((6 - SA) / 4, 0, 1): an easy synthesis is worth more."""
    return np.clip((SA_HARD - sa) / SA_RANGE, 0.0, 1.0)


def ring_term(ring_penalty: Values) -> Values:
    """1 / (1 + ring_penalty): 1 if no ring has more than six atoms."""
    return 1.0 / (1.0 + ring_penalty)


def qed_term(qed: Values) -> Values:
    """QED itself."""
    return qed


# term -> the property that it needs, and what that is worth; `valid` needs none
FROM_PROPERTY: dict[str, tuple[str, Callable[[Values], Values]]] = {
    "qed": ("qed", qed_term),
    "logp": ("logp", logp_term),
    "sa": ("sa", sa_term),
    "ring": ("ring_penalty", ring_term),
}
MOLECULE_TERMS = ("valid", *FROM_PROPERTY)
