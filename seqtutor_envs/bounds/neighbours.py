"""Add to a certified sum what lies near its best sequences: where a few have most of the mass, samples miss the rest.

At c = 5 the melodies of docs/results certify log Z >= 15.72, and with 65,536 neighbours 17.95. Both are certain: any
set of distinct sequences gives a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.bounds.certified import CertifiedSum, score_known
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Tokens

PARENTS = 8  # whose neighbours are scored together
NEAR = 3.0  # nats: where known sequences have less than a twentieth of Z, their neighbours add nothing that counts


def worth_it(known: CertifiedSum, bound: float) -> bool:
    """Return whether the known sequences have a twentieth of a lower bound on Z."""
    return known.log_sum() > bound - NEAR


def add_neighbours(
    known: CertifiedSum, task: Task, prior: Prior, scores: int, is_late: Callable[[], bool] = lambda: False
) -> int:
    """Score what differs in one token from the best known sequences, the best one's first; return how many were scored.

    Args:
        known: holds some sequences; gets the others.
        scores: sequences to score, about; fewer if all known ones have had their turn, or a budget of scores is spent.
        is_late: asked before each turn; True ends.
    """
    done: set[bytes] = set()
    scored = 0
    while scored < scores and not is_late():
        # in order of mass: those that came in the last turn may be the best now
        best = known.best(len(done) + PARENTS)
        parents = np.array([row for row in best if row.tobytes() not in done][:PARENTS])
        if not len(parents):
            break
        done.update(row.tobytes() for row in parents)
        tokens, lengths = make_neighbours(parents, task)
        found = score_known(task, prior, tokens, lengths)
        if task.spent:  # then these returns are none
            break
        known.add(found.tokens, found.lengths, found.log_p, found.returns)
        scored += len(tokens)
    return scored


def make_neighbours(rows: NDArray[np.int32], task: Task) -> tuple[Tokens, Tokens]:
    """Return every sequence that differs from one of rows [n, T] in one token: tokens [m, T] and lengths [m].

    Rows have -1 after their end. The end token stays and comes nowhere else, so that lengths stay.
    """
    found = []
    tokens = [token for token in range(len(task.vocab)) if token != task.vocab.end]
    for step in range(rows.shape[1]):
        # what has ended by now has nothing to change
        going = rows[(rows[:, step] >= 0) & (rows[:, step] != (-2 if task.vocab.end is None else task.vocab.end))]
        changed = np.repeat(going, len(tokens), axis=0)
        changed[:, step] = np.tile(tokens, len(going))
        found.append(changed[changed[:, step] != np.repeat(going[:, step], len(tokens))])
    all_of_them = np.concatenate(found)
    return all_of_them.astype(np.int64), (all_of_them >= 0).sum(axis=1)
