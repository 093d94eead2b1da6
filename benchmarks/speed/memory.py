"""Memory in use while a tutor learns: it must not grow with what has been learned from. Linux.

This process holds what other sections left; what is said is how it grows from the first check on. A cache of scores
fills up to its bound meanwhile (seqtutor_envs/smiles/scoring.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents import PsiLearning
from agents.tutor import Tutor
from benchmarks.domains import MELODY
from benchmarks.speed.molecules import tutor
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Row
from seqtutor_envs.command import scoring_processes
from seqtutor_envs.prior import load_prior

HEAD = "MiB in use by this process while Psi-learning goes on; the ratio is its growth"
CHECKS = 5  # at equal distances
MOLECULES = 256  # in a round
SEED = 0


def rows(options: Options) -> Iterator[Row]:
    """As many melodies as molecules: `options.memory`."""
    if not Path("/proc/self/statm").is_file():
        yield Row("memory", 0.0, "MiB", note="not measured: this system has no /proc/PID/statm")
        return
    melodies, molecules = load_prior(options.melody_prior), load_prior(options.smiles_prior)
    yield from growth("melodies", PsiLearning(MELODY, seed=SEED, env_kwargs={"prior": melodies}), options.memory)
    workers = scoring_processes() if options.workers is None else options.workers
    yield from growth("molecules", tutor(molecules, MOLECULES, workers), options.memory)


def growth(what: str, learner: Tutor, total: int) -> Iterator[Row]:
    """Rows at equal distances, the last after `total` sequences; in whole rounds, at least one each."""
    first = None
    for check in range(1, CHECKS + 1):
        goal = max(check, total * check // CHECKS // learner.n_envs)
        while learner.rounds < goal:
            learner.learn(1, reset_num_timesteps=False)
        here = resident(os.getpid())
        first = here if first is None else first
        others = [resident(pid) for pid in children(os.getpid())]
        note = f"scoring processes besides: {len(others)}, {sum(others):.0f} MiB together" if others else ""
        name = f"{learner.rounds * learner.n_envs:,} {what}"
        yield Row(name, here, "MiB", first, "at the first check", here / first, note=note)
    learner.env.close()


def resident(pid: int) -> float:
    """MiB of memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> Sequence[int]:
    """Processes that this one's main thread has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
