"""Collect the provenance of a result: versions, machine, time and commit."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seqtutor_envs.command import installed, usable_cores, versions

MORE = ("numba", "sb3-contrib")  # packages that results may depend on besides those of every command


def collect_provenance() -> dict[str, Any]:
    """Collect versions, machine and time, for a result's file."""
    machine = {"host": socket.gethostname(), "cpu": read_cpu(), "cores": usable_cores(), "memory_gib": read_memory()}
    return {
        "versions": versions() | {name: installed(name) for name in MORE},
        "machine": {**machine, "os": platform.platform()},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_cpu() -> str:
    """Read the processor's name."""
    # platform.processor() is empty, or only "x86_64", on Linux
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_memory() -> float | None:
    """Read the machine's memory in GiB. Return None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def read_git_state() -> dict[str, Any] | None:
    """Read the commit of this code, and whether it was changed since. Return None without a checkout."""
    # not the current folder, which may be a checkout of something else
    here = Path(__file__).parents[1]
    try:
        # untracked files are left out: results written into the checkout would make it dirty
        asked = [("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "..")]
        commit, changes = (
            subprocess.run(["git", "-C", str(here), *one], capture_output=True, text=True, check=True).stdout.strip()
            for one in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}
