"""Mutate valid files, and run a reader on them in a process that may die: all but its one error is told.

A case is decided by the reader's name, the seed and its number, so that any of them can be run again alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SECONDS = 10.0  # of one case on a busy core; the system ends the process then, whatever code it is in
MEGABYTES = 300  # by which one case may raise the process's peak: ten million ticks of MIDI take most of it
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 65_536, 10**9, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "\x00", "x" * 5_000, "\ud800", "NaN", [], {}, [[]], [1], [None], ["a", "a"], {"a": 1},
)  # fmt: skip
DTYPES = ("BF16", "F8_E4M3", "F8_E5M2", "F16", "F64", "I32", "U32", "BOOL", "I64", "U8", "C64", "X")
BRACKETS = (b"(", b"[", b'"', b"{", b"<", b"!")


class Reader(NamedTuple):
    """Name what is fuzzed: valid contents, what reads a file, and mutations that know the format."""

    contents: Sequence[bytes]
    read: Callable[[Path], Any]
    suffix: str = ""
    mutate: Callable[[bytes, random.Random], bytes] | None = None


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage a content in one to four places: flips, cuts, splices, repetitions, numbers at their limits."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        span = min(len(data) - at, 2 ** rng.randint(0, 8))
        kind = rng.randrange(9)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + span]
        elif kind == 4:
            data[at:at] = rng.randbytes(span)
        elif kind == 5:  # a piece of it, elsewhere and several times
            data[at:at] = data[rng.randrange(len(data) + 1) :][:span] * rng.choice((1, 2, 50))
        elif kind == 6:
            number = rng.choice((0, 1, 2**15 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            size = rng.choice((2, 4, 8))
            data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big")))
        elif kind == 7:
            data[at:at] = rng.choice(BRACKETS) * rng.choice((1, 3, 300, 20_000))
        else:
            data[at:at] = rng.choice((b"\x00", b"\r", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 12, b"-1", b"%"))
    return bytes(data)


def mutate_json(value: Any, rng: random.Random) -> Any:
    """Replace, remove or add one value somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        kind = rng.randrange(6)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[rng.choice(("", "x", key + " "))] = changed.pop(key)
        else:
            changed[key] = mutate_json(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        inside = [mutate_json(value[at], rng)] if rng.random() < 0.7 else value[at : at + 1] * rng.choice((0, 2, 300))
        return [*value[:at], *inside, *value[at + 1 :]]
    return rng.choice(ODD_VALUES)


def dump(value: Any, rng: random.Random) -> bytes:
    """Write JSON; one in twenty is nested too deeply for a parser, or names a key twice."""
    text = json.dumps(value)
    if rng.random() < 0.05:
        deep = rng.choice((500, 5_000, 100_000))
        nested = "[" * deep + "]" * deep
        text = rng.choice((nested.replace("[]", f"[{text}]"), f'{text[:-1]}, "x": {nested}{text[-1:]}'))
    return text.encode("utf-8", "surrogatepass")


def mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Change names, dtypes, shapes, offsets, numbers or the facts, and keep all around them valid."""
    (size,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
    names = [name for name in header if name != "__metadata__"]
    kind = rng.randrange(5)
    if kind < 2:
        facts = json.loads(header["__metadata__"]["facts"])
        header["__metadata__"]["facts"] = dump(mutate_json(facts, rng), rng).decode("utf-8", "replace")
    elif kind == 2:
        entry = header[rng.choice(names)]
        entry["dtype"] = rng.choice(DTYPES)
        if rng.random() < 0.5:
            shape = entry["shape"]
            entry["shape"] = rng.choice(([], [0], [len(body)], [1, *shape], shape[::-1], [2**40, 2**40]))
    elif kind == 3:
        header = mutate_json(header, rng)
    elif body:
        at = rng.randrange(len(body))
        body[at : at + 4] = struct.pack("<f", rng.choice((float("nan"), float("inf"), -1.0, 3e38)))
    text = dump(header, rng) if kind == 3 else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def make_case(name: str, reader: Reader, seed: int, case: int) -> bytes:
    """Return the content of a case: every other one by the format's own mutations, where there are such."""
    rng = random.Random(f"{name} {seed} {case}")
    content = rng.choice(reader.contents)
    if reader.mutate is not None and case % 2:
        return reader.mutate(content, rng)
    return mutate_bytes(content, rng)


def read_peak() -> int:
    """Return the most memory that this process has had, in kB. getrusage would begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def run_cases(name: str, reader: Reader, allowed: type[Exception], seed: int, cases: range, place: Path) -> None:
    """Run cases in this process: the number of each goes to `place`/case before it, findings to stdout."""
    for content in reader.contents:
        path = place / f"valid{reader.suffix}"
        path.write_bytes(content)
        # a valid file is read; and what is loaded once is loaded before memory is compared
        reader.read(path)
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # beyond this the machine itself is in danger; what takes less is told by the peak
    resource.setrlimit(resource.RLIMIT_AS, (space + 2**32, space + 2**32))
    counts = {"read": 0, "refused": 0}
    peak = read_peak()
    path = place / f"case{reader.suffix}"
    for case in cases:
        path.write_bytes(make_case(name, reader, seed, case))
        (place / "case").write_text(str(case))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # no handler: native code cannot outlast it either
        finding, begun = "", time.perf_counter()
        try:
            reader.read(path)
            counts["read"] += 1
        except allowed as error:
            counts["refused"] += 1
            if "\n" in str(error):
                finding = f"an error of several lines: {error!r:.200}"
            if isinstance(error.__cause__, MemoryError):
                finding = f"memory: {error!r:.200}"
        except BaseException as error:  # KeyboardInterrupt too: none is meant
            finding = f"{type(error).__name__}: {error!s:.200}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        before, peak = peak, read_peak()
        if peak - before > MEGABYTES * 1024:
            finding = f"{(peak - before) // 1024} MB more than before, in {time.perf_counter() - begun:.1f} s"
        if finding:
            print(json.dumps({"finding": f"{name} case {case}: {finding}"}), flush=True)
    print(json.dumps(counts), flush=True)


def fuzz(command: Sequence[str], name: str, seed: int, cases: range, place: Path) -> tuple[dict[str, int], list[str]]:
    """Run cases in processes of their own; one that dies is a finding, and the next goes on behind its case.

    Args:
        command: starts a process that calls `run_cases`; the arguments NAME SEED FROM TO PLACE follow.

    Returns:
        how many cases were read, refused and killed; the findings.
    """
    totals, findings, start = {"read": 0, "refused": 0, "killed": 0}, [], cases.start
    place.mkdir(parents=True, exist_ok=True)
    while start < cases.stop:
        words = [*command, name, str(seed), str(start), str(cases.stop), str(place)]
        (place / "case").unlink(missing_ok=True)  # else a process that dies before its first case would begin for ever
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT)
        for line in done.stdout.splitlines():
            told: Mapping[str, Any] = json.loads(line)
            findings += [told["finding"]] if "finding" in told else []
            totals |= {key: totals[key] + told[key] for key in ("read", "refused") if key in told}
        if done.returncode == 0:
            break
        if done.returncode > 0 or not (place / "case").exists():
            raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
        died = int((place / "case").read_text())
        signum = signal.Signals(-done.returncode)
        why = f"more than {SECONDS:.0f} s" if signum == signal.SIGALRM else signum.name
        findings.append(f"{name} case {died}: {why}")
        totals["killed"] += 1
        start = died + 1
    return totals, findings
