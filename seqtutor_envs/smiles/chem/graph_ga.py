"""Children of molecules by a graph-based genetic algorithm (Jensen 2019), that of the library mol-ga (extra `ga`)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rdkit import rdBase

from seqtutor_envs.smiles.chem.molecule import parse

PARENTS_PER_CHILD = 2  # drawn for a generation, as mol_ga.default_ga does


def children(smiles: Sequence[str], scores: Sequence[float], n: int, rng: np.random.Generator) -> list[str]:
    """Return at most n children of molecules: distinct canonical SMILES, in random order.

    Parents are drawn with mol-ga's weights, the better the more often; nine in ten are crossed, the others mutated.
    Same arguments and same generator, same children. What is no molecule is no parent; a child may equal a parent.

    Args:
        smiles, scores: of N molecules; a higher score is better.
        n: crossings and mutations that are tried; some fail, and some give the same child.
        rng: every random number follows from one number that is drawn from it.

    Raises:
        ImportError: mol-ga is not installed; the message says how to.
        ValueError: there are not as many scores as molecules, or a score is not finite.
    """
    if len(smiles) != len(scores) or not np.isfinite(scores).all():
        given = f"{len(scores)} for {len(smiles)} molecules" if len(smiles) != len(scores) else "some are not"
        raise ValueError(f"Parents need one finite score each: {given}.")
    # mol-ga turns RDKit's logs off, by its import alone; the block turns on again those that were on
    with rdBase.BlockLogs():
        try:
            from mol_ga.graph_ga.gen_candidates import graph_ga_blended_generation
            from mol_ga.sample_population import uniform_quantile_sampling
        except ImportError as error:
            raise ImportError("Children of molecules need the extra 'ga': pip install 'seqtutor[ga]'") from error
        population = [(float(score), text) for score, text in zip(scores, smiles) if _is_molecule(text)]
        # mol-ga takes a generator of Python's, of its own: no global one is touched
        generator = random.Random(int(rng.integers(2**63)))
        if not population or n < 1:
            return []
        parents = uniform_quantile_sampling(population, PARENTS_PER_CHILD * n, generator)
        # sorted: the order of a set of strings differs between processes
        found = sorted(graph_ga_blended_generation(parents, n, generator))
    generator.shuffle(found)  # whoever takes the first of them takes no alphabetical ones
    return found


@lru_cache(maxsize=16_384)  # the best of a store stay nearly the same from round to round
def _is_molecule(smiles: str) -> bool:
    return parse(smiles) is not None
