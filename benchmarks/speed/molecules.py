"""Scoring of molecules beside RDKit called directly, and Psi-learning from them beside its parts, each alone.

Wall time, since scoring processes share the work. Scored are QED, SA and logP, of what the prior writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

from agents import PsiLearning
from agents.tutor import Tutor
from benchmarks.domains import SMILES
from benchmarks.speed.chem_alone import AllCores, score
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, rate_row, time_row
from benchmarks.speed.turns import STILL, in_turns, typical
from benchmarks.speed.writing import written
from seqtutor_envs.command import scoring_processes
from seqtutor_envs.network import supports_bfloat16
from seqtutor_envs.prior import Prior, load_prior
from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec
from seqtutor_envs.smiles.vocab import decode

HEAD = "Scoring beside RDKit called directly; Psi-learning from molecules beside the sum of its parts (wall time)"
ROUNDS = (64, 256)
PRECISIONS = ("float32", "bfloat16")
SCORED = 128  # molecules in one call of a scorer
KEPT = 1024  # strings that RDKit alone goes through in turns beside the loop
SEED = 0
WEIGHTS = {"valid": 0.0, "ring": 0.0}  # the other terms are QED, SA and logP
SPEC = ScoreSpec(properties=("qed", "sa", "logp"))
UNIT = "valid molecules/s"
AS_RDKIT, OF_PARTS, ENOUGH = Aim(0.95), Aim(0.75), Aim(600, of="value")
PARTS = {"writing": "policy and prior alone", "rdkit": "RDKit called directly", "update": "improve()"}


def rows(options: Options) -> Iterator[Row]:
    """Scoring by one process and by all, then the whole loop."""
    prior = load_prior(options.smiles_prior)
    workers = scoring_processes() if options.workers is None else options.workers
    alone = AllCores(max(1, workers))
    try:
        yield from scoring(prior, alone, workers, options.seconds)
        for n in ROUNDS:
            for precision in PRECISIONS if supports_bfloat16() else ("float32",):
                yield from loop(prior, alone, n, workers, precision, options.seconds)
    finally:
        alone.close()


def scoring(prior: Prior, alone: AllCores, workers: int, seconds: float) -> Iterator[Row]:
    """Our scorer, which gets to know nothing it has scored before, and RDKit: in this process, and in `workers`."""
    smiles = strings(prior, SCORED)
    here, there = (Scorer(SPEC, n, cache_size=1) for n in (0, workers))
    sides = {"rdkit": lambda: [score(text) for text in smiles], "ours": lambda: here(smiles)}
    if workers:
        sides |= {"rdkit_all": lambda: alone(smiles), "ours_all": lambda: there(smiles)}
    times = in_turns(sides, seconds, time.perf_counter)
    there.close()
    valid = sum(scores is not None for scores in alone(smiles))
    yield rate_row("scoring, one process", times, "ours", "rdkit", valid, UNIT, "RDKit called directly", AS_RDKIT)
    if workers:
        name, bound = f"scoring, {workers} processes", f"RDKit called directly, {workers} processes"
        yield rate_row(name, times, "ours_all", "rdkit_all", valid, UNIT, bound, AS_RDKIT)
        yield rate_row(f"{name} to one", times, "ours_all", "ours", valid, UNIT, "our scorer, one process")


def loop(prior: Prior, alone: AllCores, n: int, workers: int, precision: str, seconds: float) -> Iterator[Row]:
    """Whole rounds of n molecules beside their parts, each alone, in turns: writing and update in this process, RDKit
    in as many as the loop has.

    The sum is no bound: the loop's processes score while this one waits, as RDKit's do alone.
    """
    learner = tutor(prior, n, workers, learning_rate=STILL, precision=precision)
    policy, rng = learner.current_policy(), np.random.default_rng(SEED)
    sequences, _ = learner.collect()
    smiles = strings(prior, KEPT)
    batches = cycle([smiles[i : i + n] for i in range(0, KEPT, n)])
    sides = {
        "loop": lambda: learner.learn(1, reset_num_timesteps=False),
        "writing": lambda: written(policy, learner.prior, n, learner.horizon, rng),
        "rdkit": lambda: alone(next(batches)),
        "update": lambda: learner.improve(sequences),
    }
    times = in_turns(sides, seconds, time.perf_counter)
    times["parts"] = sum((times[part] for part in PARTS), np.zeros(1))
    counts = learner.task.counts  # type: ignore[union-attr]
    learner.env.close()
    valid = n * max(1, counts["valid"]) / counts.total()
    name = f"{n} a round, {precision}"
    bound = "its parts, one after the other"
    whole = rate_row(f"{name}, learn()", times, "loop", "parts", valid, UNIT, bound, OF_PARTS)
    took = {side: 1e6 * typical(times[side]) / valid for side in ("loop", "parts")}
    note = f"{took['loop']:.0f} us a valid molecule; its parts {took['parts']:.0f}"
    yield replace(whole, note=note)
    yield Row(f"{name}, learn(), molecules", whole.value, UNIT, aim=ENOUGH, note=f"{max(1, workers)} scoring processes")
    for part, what in PARTS.items():
        row = time_row(f"{name}, {what}", times, part, "loop", valid, "us", "learn()")
        yield replace(row, note="for each valid molecule; share of a round")


def tutor(prior: Prior, n: int, workers: int, **settings: Any) -> Tutor:
    """Psi-learning at its defaults, rounds of n molecules, for QED, SA and logP."""
    kwargs = {"prior": prior, "workers": workers, "term_weights": WEIGHTS}
    return PsiLearning(SMILES, seed=SEED, n_envs=n, env_kwargs=kwargs, **settings)


def strings(prior: Prior, n: int) -> list[str]:
    """What n samples of the prior write."""
    return [decode(prior.vocab, row) for row in prior.sample(n, SEED)[0].tolist()]
