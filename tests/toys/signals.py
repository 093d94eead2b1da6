"""Commands in processes of their own that get a signal in the middle of their work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(*words, cwd=ROOT):
    """Start `python -m words...`, its output in pipes."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *map(str, words)], cwd=cwd, env=environ, **pipes)


def send_once(process, there, number, seconds=120):
    """Send a signal once `there()` is true; return the exit status, what was printed and what was said."""
    give_up = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(number)
    printed, said = process.communicate(timeout=seconds)
    return process.returncode, printed, said


def children(pid):
    """Ids of the processes that a process has started."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(one) for one in listed.split()]


def alive(pid):
    """Whether a process is there and is no zombie."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
