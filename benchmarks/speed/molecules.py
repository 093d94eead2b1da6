"""Speed of scoring, sampling and learning of molecules, beside RDKit alone; memory over many of them.

Wall time, since scoring processes share the work. Scored are QED, SA and logP, of what the prior writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import PsiLearning
from agents.networks import Policy
from agents.tutor import Tutor
from benchmarks.domains import SMILES
from benchmarks.speed.chem_alone import AllCores, score
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs.cells import sample_tokens
from seqtutor_envs.command import scoring_processes
from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec
from seqtutor_envs.smiles.vocab import decode

UNIT = "Wall time; microseconds per valid molecule, QED, SA and logP scored"
HEADS = {
    "score": "Scoring alone, one process and all; rdkit: RDKit called directly; above 1: ours is the faster",
    "sampling": "The prior's samples alone, CPU time",
    "loop": "Psi-learning, whole rounds; parts measured alone: sampling, RDKit called directly on all cores, update",
    "memory": "MiB in use while learning, after so many molecules",
}
BATCHES = (64, 256, 1024)
ROUNDS = (64, 256)
SCORED = 128  # molecules in one call of a scorer
KEPT = 1024  # strings that RDKit alone goes through in the loop's section
CHECKS = 10  # of the memory
SEED = 0
WEIGHTS = {"valid": 0.0, "ring": 0.0}  # the other terms are QED, SA and logP
SPEC = ScoreSpec(properties=("qed", "sa", "logp"))
STILL = 1e-12  # learning rate: the policy stays the prior, so that all turns do the same work
Figures = dict[str, float]


def measurements(
    prior: RecurrentPrior, seconds: float, workers: int | None = None, memory: int = 0
) -> Iterator[tuple[str, str, Figures]]:
    """Section, row, figures, one after the other; `memory` is a number of molecules, 0 for none."""
    workers = scoring_processes() if workers is None else workers
    alone = AllCores(max(1, workers))
    try:
        yield "score", str(workers), scoring(prior, alone, workers, seconds)
        for n in BATCHES:
            yield "sampling", str(n), sampling(prior, n, seconds)
        for n in ROUNDS:
            yield "loop", str(n), loop(prior, alone, n, workers, seconds)
    finally:
        alone.close()
    for count, figures in in_use(prior, workers, memory):
        yield "memory", f"{count:,}", figures


def scoring(prior: Prior, alone: AllCores, workers: int, seconds: float) -> Figures:
    """Our scorer without its cache against RDKit called directly, in this process, and in all of them."""
    smiles = strings(prior, SCORED)
    here, there = (Scorer(SPEC, n, cache_size=1) for n in (0, workers))
    sides = {
        "rdkit": lambda: [score(text) for text in smiles],
        "ours": lambda: here(smiles),
        "rdkit_all": lambda: alone(smiles),
        "ours_all": lambda: there(smiles),
    }
    times = in_turns(sides, seconds, time.perf_counter)
    there.close()
    valid = sum(scores is not None for scores in alone(smiles))
    figures = {f"{name}_us": 1e6 * typical(times[name]) / max(1, valid) for name in sides}
    return figures | {
        "ours_to_rdkit": figures["rdkit_us"] / figures["ours_us"],
        "all_to_rdkit_all": figures["rdkit_all_us"] / figures["ours_all_us"],
        "all_to_one": figures["ours_us"] / figures["ours_all_us"],
    }


def sampling(prior: Prior, n: int, seconds: float) -> Figures:
    """n molecules at once, from the start to the last one's end."""
    rng = np.random.default_rng(SEED)
    tokens = prior.sample(KEPT, SEED)[1].mean()
    took = typical(in_turns({"sample": lambda: prior.sample(n, rng)}, seconds)["sample"])
    return {"molecules_per_s": n / took, "us_per_molecule": 1e6 * took / n, "ktokens_per_s": n * tokens / took / 1e3}


def loop(prior: RecurrentPrior, alone: AllCores, n: int, workers: int, seconds: float) -> Figures:
    """Whole rounds of n molecules, and their parts each alone, in turns."""
    learner = tutor(prior, n, workers, learning_rate=STILL)
    policy, rng = learner.current_policy(), np.random.default_rng(SEED)
    sequences, _ = learner.collect()
    smiles = strings(prior, KEPT)
    parts = cycle([smiles[i : i + n] for i in range(0, KEPT, n)])
    sides = {
        "loop": lambda: learner.learn(1, reset_num_timesteps=False),
        "sampling": lambda: written(policy, learner.prior, n, learner.horizon, rng),
        "rdkit": lambda: alone(next(parts)),
        "update": lambda: learner.improve(sequences),
    }
    times = in_turns(sides, seconds, time.perf_counter)
    counts = learner.task.counts  # type: ignore[union-attr]
    valid = max(1, counts["valid"]) / counts.total()
    learner.env.close()
    figures = {f"{name}_us": 1e6 * typical(times[name]) / (n * valid) for name in sides}
    together = sum(figures[f"{name}_us"] for name in sides if name != "loop")
    return figures | {
        "parts_us": together,
        "parts_to_loop": together / figures["loop_us"],
        "valid_per_s": 1e6 / figures["loop_us"],
        "valid": valid,
    }


def in_use(prior: RecurrentPrior, workers: int, molecules: int) -> Iterator[tuple[int, Figures]]:
    """MiB of this process and of its scoring processes while a tutor learns from so many molecules: number, figures.

    Raises ValueError where the system does not tell.
    """
    if not molecules:
        return
    if not Path("/proc/self/statm").is_file():
        raise ValueError("--memory reads /proc/PID/statm, which this system does not have.")
    learner = tutor(prior, max(ROUNDS), workers)
    for check in range(1, CHECKS + 1):
        while learner.rounds * learner.n_envs < molecules * check // CHECKS:
            learner.learn(1, reset_num_timesteps=False)
        processes = [resident(pid) for pid in children(os.getpid())]
        of_workers = {"workers_mib": sum(processes)} if workers else {}
        yield learner.rounds * learner.n_envs, {"this_mib": resident(os.getpid()), **of_workers}
    learner.env.close()


def tutor(prior: RecurrentPrior, n: int, workers: int, **settings: Any) -> Tutor:
    """Psi-learning at its defaults, rounds of n molecules, for QED, SA and logP."""
    kwargs = {"prior": prior, "workers": workers, "term_weights": WEIGHTS}
    return PsiLearning(SMILES, seed=SEED, n_envs=n, env_kwargs=kwargs, **settings)


def written(policy: Policy, prior: Prior, n: int, horizon: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Nothing but the steps of policy and prior along n sequences: the tokens of each step."""
    tokens: list[NDArray[np.int64]] = []
    state, prior_state, last = policy.initial_state(n), prior.initial_state(n), np.full(n, prior.vocab.start)
    while len(last) and len(tokens) < horizon:
        rows, prior_state = prior.step(last, prior_state)
        policy_rows, state = policy.step(last, state, rows)
        last = sample_tokens(policy_rows, rng)
        tokens.append(last)
        going = last != prior.vocab.end
        if not going.all():
            last = last[going]
            state, prior_state = (tuple(part[going] for part in parts) for parts in (state, prior_state))
    return tokens


def strings(prior: Prior, n: int) -> list[str]:
    """What n samples of the prior write."""
    return [decode(prior.vocab, row) for row in prior.sample(n, SEED)[0].tolist()]


def resident(pid: int) -> float:
    """MiB of memory that a process has in use; Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> Sequence[int]:
    """Processes that this one's main thread has started; Linux."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
