"""Compare our scoring of molecules with RDKit called directly, as a script of a few lines would call it.

Scored are QED, SA and logP of what the prior samples. Wall time, because scoring processes share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen
from rdkit.Contrib.SA_Score import sascorer

from benchmarks.speed.measure import SEED, Aim, Comparison, Options, Sides
from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec
from seqtutor_envs.smiles.vocab import decode

MOLECULES = 128  # in one call of a scorer
SPEC = ScoreSpec(properties=("qed", "sa", "logp"))
UNIT = "valid molecules/s"
Scores = tuple[float, float, float]  # QED, SA, logP


def score(smiles: str) -> Scores | None:
    """Return QED, SA and logP; None for a string that RDKit cannot read."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return None
    return QED.qed(molecule), sascorer.calculateScore(molecule), Crippen.MolLogP(molecule)  # type: ignore[attr-defined]


class DirectRDKit:
    """Score strings with RDKit called directly: in this process, or in `workers` that each take an equal share."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # spawn, not fork: torch and numba have threads by now
        self._pool = ProcessPoolExecutor(workers, get_context("spawn")) if workers else None

    def __call__(self, smiles: Sequence[str]) -> list[Scores | None]:
        """Return the scores in order."""
        if self._pool is None:
            return [score(text) for text in smiles]
        return list(self._pool.map(score, smiles, chunksize=-(-len(smiles) // self.workers)))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown()


def sample_smiles(options: Options, n: int) -> list[str]:
    """Return n samples of the prior as SMILES, valid or not."""
    prior = load_prior(options.smiles_prior)
    return [decode(prior.vocab, row) for row in prior.sample(n, SEED)[0].tolist()]


def scorer_and_rdkit(options: Options, all_cores: bool) -> Sides:
    """Compare our scorer, which keeps no scores here, with RDKit: in this process or in `options.workers`."""
    workers = options.workers if all_cores else 0
    smiles = sample_smiles(options, MOLECULES)
    # a cache of one: each call must score anew
    ours, rdkit = Scorer(SPEC, workers, cache_size=1), DirectRDKit(workers)

    def close() -> None:
        ours.close()
        rdkit.close()

    valid = sum(scores is not None for scores in map(score, smiles))
    return Sides(lambda: ours(smiles), {"RDKit called directly": lambda: rdkit(smiles)}, valid, close)


COMPARISONS = (
    Comparison("molecules", "scoring, one process", UNIT, partial(scorer_and_rdkit, all_cores=False), Aim(0.95), True),
    Comparison("molecules", "scoring, all workers", UNIT, partial(scorer_and_rdkit, all_cores=True), Aim(0.95), True),
)
