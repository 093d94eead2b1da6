"""From `python -c` to the first step of each id: wall time of fresh processes, and the memory they took.

Warm: numba finds what it compiled before, in the user's own cache. Cold: its cache is an empty folder, so that it
compiles all that the step needs. Either way Python's bytecode is there, and the files are in the operating system's
cache, as each code has run once unmeasured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.domains import MELODY, SMILES
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, time_row
from benchmarks.speed.turns import typical
from seqtutor_envs.prior import find_prior

HEAD = "From python -c to the first step of each id; imports alone; peak memory (wall time of fresh processes)"
EXACT = "SeqTutor-Exact-v0"
TURNS = 5
ROOT = Path(__file__).parents[2]
LEAST = "import gymnasium, numpy"
OURS = "import gymnasium, seqtutor_envs"
NUMBA = "import gymnasium, numba"
STEP = """
import gymnasium, json, seqtutor_envs
env = gymnasium.make({id!r}, **json.loads({kwargs!r}))
env.reset(seed=0)
env.step(0)
"""
# A peak that getrusage tells of includes that of the process which started this one, on Linux.
PEAK = """
import os, resource, sys
try:
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
except (OSError, StopIteration):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
print(peak, flush=True)
"""
SOON = Aim(1.5, of="value", at_most=True)


def rows(options: Options) -> Iterator[Row]:
    """Imports and warm starts in turns; cold starts, once each; peaks of the warm ones."""
    priors = {MELODY: options.melody_prior, SMILES: options.smiles_prior, EXACT: None}
    kwargs = {id: {} if prior is None else {"prior": str(find_prior(prior))} for id, prior in priors.items()}
    ids = {id: STEP.format(id=id, kwargs=json.dumps(given)) for id, given in kwargs.items()}
    times, peaks = warm({LEAST: LEAST, OURS: OURS, NUMBA: NUMBA, **ids})
    yield time_row(OURS, times, OURS, LEAST, 1, "s", LEAST)
    yield time_row(f"{NUMBA}, to compare", times, NUMBA, LEAST, 1, "s", LEAST)
    for id in ids:
        yield time_row(f"{id}, warm", times, id, LEAST, 1, "s", LEAST, SOON)
    for id, code in ids.items():
        with TemporaryDirectory() as empty:
            cold, took = started(code, empty)[0], typical(times[id])
        note = "numba's cache empty, all else warm; once"
        yield Row(f"{id}, cold", cold, "s", took, "warm", cold / took, note=note)
    for name in (OURS, NUMBA, *ids):
        yield Row(f"{name}, peak", peaks[name], "MiB", peaks[LEAST], LEAST, peaks[name] / peaks[LEAST])


def warm(codes: Mapping[str, str]) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Seconds of each code [TURNS], in turns, and the median of its peak in MiB."""
    for code in codes.values():
        started(code)  # leaves in the caches what the others find there
    found = {name: np.empty((TURNS, 2)) for name in codes}
    for turn in range(TURNS):
        for name, code in codes.items():
            found[name][turn] = started(code)
    times = {name: both[:, 0] for name, both in found.items()}
    return times, {name: typical(both[:, 1]) for name, both in found.items()}


def started(code: str, cache: str | None = None) -> tuple[float, float]:
    """Seconds from the start of a process to the end of `code`, not of the process, and its peak memory in MiB.

    Args:
        cache: numba's folder; None: the user's own.

    Raises RuntimeError with the last line of what went wrong.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    command = [sys.executable, "-c", code + PEAK]
    pipe = subprocess.PIPE
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        peak = process.stdout.readline()
        took = time.perf_counter() - begin
        wrong = process.stderr.read()
    if process.returncode:
        raise RuntimeError(f"A process of the section startup failed: {wrong.strip().splitlines()[-1]}")
    return took, float(peak)
