"""What the server does before workers are forked from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys, threading
import benchmarks.runner.warm
before = set(sys.modules)
from benchmarks.experiment import Experiment
from benchmarks.runner.perform import perform
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1  # elsewhere only Python's own
print(tasks, threading.active_count())
perform(Experiment("SeqTutor-Exact-v0", "agents:PsiLearning", {"length": 2}, {"n_envs": 4}, steps=32, n=4))
print(len(set(sys.modules) - before))
"""


def test_the_server_has_one_thread_and_leaves_little_to_import():
    """A process with a second thread cannot be forked; a worker that imports sympy, say, loses seconds."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True)
    threads, imported = done.stdout.splitlines()
    assert threads == "1 1"
    assert int(imported) < 100, "made, judged and sampled before; learning's own are left"
