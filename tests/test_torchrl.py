"""TorchRL takes our environments as they are; torchrl_checks.py has the tests.

They run in a process of their own: importing torchrl changes multiprocessing's start method to spawn for all of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MISSING = "torchrl is not installed: pip install -e '.[third-party]'"


@pytest.mark.skipif(find_spec("torchrl") is None, reason=MISSING)
def test_torchrl_in_a_process_of_its_own():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, TESTS / "torchrl_checks.py"], capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed( in|, \d+ warnings? in)", done.stdout, re.MULTILINE), done.stdout  # and none skipped
