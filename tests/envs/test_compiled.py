"""Compiled functions where numba can keep none on disk, as in a read-only container without a home folder."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import pytest

from seqtutor_envs.files import compiled

# numba asks these classes, in turn, for a folder; without any it raises, as it does where none can be written
SCRIPT = """
import numba.core.caching as caching
caching.FunctionCache._impl_class._locator_classes = []
import warnings
import gymnasium as gym
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("default")
    env = gym.make("seqtutor_envs:SeqTutor-Exact-v0", prior="lstm")
    print(env.reset(seed=0)[0], env.step(1)[0])
print(sum("NUMBA_CACHE_DIR" in str(one.message) for one in caught))
"""


def test_functions_are_compiled_without_a_cache_and_it_is_said_once():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["3", "1", "1"]


def test_another_error_of_numba_is_not_hidden(monkeypatch):
    def refuse(**options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(numba, "njit", refuse)
    with pytest.raises(RuntimeError, match="no compiler"):
        compiled.njit(error_model="numpy")(abs)
