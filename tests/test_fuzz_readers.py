"""Every reader of a data file, on a hundred damaged files each: the short form of `python -m tests.fuzz_readers`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from fuzz_readers import READERS, fuzz_readers
from toys import fuzzing

CASES = 120  # of each reader: half a minute of one core in all
SEED = 1  # the long form begins with 0


def test_only_the_documented_error_comes_out_of_a_reader(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz_readers(tuple(READERS), CASES, SEED) == []
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(READERS) and all(" 0 killed, 0 findings" in line for line in lines)


CHILD = """
import os, sys, time
from pathlib import Path
from toys import fuzzing
from seqtutor_envs.files import FileError

def read(path):
    case = int((path.parent / "case").read_text()) if (path.parent / "case").exists() else -1
    if case == 1: raise KeyError("not documented")
    if case == 2: os.kill(os.getpid(), 11)
    if case == 3: raise FileError(path, "is damaged")
    if case == 4: time.sleep(60)
    if case == 5: b"x" * 2**26
    if case == 6: raise FileError("two\\nlines", "is damaged")

fuzzing.SECONDS, fuzzing.MEGABYTES = 4.0, 20
name, seed, start, stop, place = sys.argv[1:]
fuzzing.run_cases(name, fuzzing.Reader([b"x"], read), FileError, int(seed), range(int(start), int(stop)), Path(place))
"""


def test_a_crash_a_hang_much_memory_and_another_error_are_told_with_their_case(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # toys lie on pytest's path
        child = [sys.executable, str(tmp_path / "child.py")]
        totals, findings = fuzzing.fuzz(child, "toy", 0, range(8), tmp_path / "cases")
    expected = [
        "toy case 1: KeyError", "toy case 2: SIGSEGV", "toy case 4: more than", "toy case 5: 6",
        "toy case 6: an error of several",
    ]  # fmt: skip
    assert [found.startswith(start) for found, start in zip(findings, expected)] == [True] * 5 and len(findings) == 5
    assert totals["killed"] == 2 and signal.SIGSEGV == 11


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    reader = fuzzing.Reader([b"abc" * 50, json.dumps({"a": [1, 2]}).encode()], Path.read_bytes)
    cases = [fuzzing.make_case("x", reader, 0, case) for case in range(100)]
    assert cases == [fuzzing.make_case("x", reader, 0, case) for case in range(100)]
    assert len(set(cases)) > 80
