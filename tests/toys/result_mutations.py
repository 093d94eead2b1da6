"""Result files of our suites, and copies with a few entries changed at random: wrong types, sizes, names and bytes."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.experiment import Experiment

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert('&')</script> \x1b[31m | `q` </script>"
NESTED = object()  # stands for lists and mappings within each other
NUMBERS = (-1, 0, 1, 2**63, 10**50, 10**120, 0.5, -1e99, 1e99, 1e308, 1e-320, -0.0, float("nan"), float("inf"))
TEXTS = ("", "x", EVIL, "\ud800", "\x00\x07", "=1+1", "a\nb", "Ψ" * 5_000, "$x^", "1e5", "2026")
TEXTS += ("C1CC", "c1ccccc1" * 40, "[Xx]")
POOL = (*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], {"": {}}, [None], [1, 2], ["x"], {"x": 1}, NESTED)
KEYS = ("kl", "j", "gap", "id", "seed", "label", "experiment", "", EVIL, "metrics.j", "mean_qed", "autocorrelation_1")
# few files of each suite: enough for every section of a report
FILES = {
    "exact": "tests/fixtures/results/exact/*.json",
    "melody": "tests/fixtures/results/paper-melody/*.json",
    "smiles": "tests/fixtures/results/paper-smiles/*.json",
    "frontier": "docs/results/frontier-melody/psilearning-seed[01]-*.json",
    "third-party": "docs/results/third-party/*-seed[01]-*.json",
}


@cache
def originals(name):
    """File name -> content of a few results and one failure."""
    paths = sorted(ROOT.glob(FILES[name]))[:6]
    found = {path.name: json.loads(path.read_bytes()) for path in paths}
    first = next(iter(found.values()))
    failed = {**first["experiment"], "seed": 77}
    known = {name: first[name] for name in ("versions", "machine", "git", "finished") if name in first}
    made = {"id": Experiment.of(failed).id, "experiment": failed, "reason": "it broke", "log": "a\nb", "seconds": 1.0}
    return found | {f"{made['id']}.failed.json": made | known}


def place(rng, content):
    """A random entry: what holds it, and its name or place in that."""
    holder, key = content, str(rng.choice(list(content)))
    while isinstance(inner := holder[key], (dict, list)) and len(inner) and rng.random() < 0.8:
        holder, key = inner, str(rng.choice(list(inner))) if isinstance(inner, dict) else int(rng.integers(len(inner)))
    return holder, key


def nested(levels):
    value = []
    for k in range(levels):
        value = [value] if k % 2 else {"x": value}
    return value


def mutate(rng, content):
    """Change one entry."""
    holder, key = place(rng, content)
    was, kind = holder[key], rng.integers(10)
    number = isinstance(was, (int, float)) and not isinstance(was, bool)
    if kind < 3:
        new = POOL[rng.integers(len(POOL))]
        # a copy: what is changed in it later must not change the pool, or other cases
        holder[key] = nested(int(rng.choice([5, 19, 25, 90, 400]))) if new is NESTED else copy.deepcopy(new)
    elif kind == 3:
        del holder[key]
    elif kind == 4 and number:  # another unit, another sign
        holder[key] = was * float(rng.choice([-1, 1e-9, 1e-3, 1e3, 1e9, 1e30, 1e80]))
    elif kind == 4 or kind == 5:
        holder[key] = str(was) if number else [was] if rng.random() < 0.5 else {"x": was}
    elif kind == 6 and isinstance(was, list):
        holder[key] = was * int(rng.choice([0, 2, 50])) if len(was) < 100 else was[: len(was) // 2]
    elif kind == 6 and isinstance(was, str):
        holder[key] = was * int(rng.choice([2, 100])) + EVIL
    elif kind == 7 and isinstance(holder, dict):
        holder[str(rng.choice(KEYS))] = holder.pop(key)
    elif kind == 8:
        other, name = place(rng, content)  # two entries change places
        if other is not holder:
            other[name], holder[key] = copy.deepcopy(was), copy.deepcopy(other[name])
    else:
        holder[key] = None


def write_mutated(name, seed, folder, copies):
    """Write the files of a suite, and changed copies of them under seeds of their own."""
    rng = np.random.default_rng(seed)
    files = originals(name)
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content))
    for k in range(copies):
        content = copy.deepcopy(files[str(rng.choice(list(files)))])
        ending = ".failed.json" if "reason" in content else ".json"
        content["experiment"]["seed"] = 100 + k
        plain = content["id"] = Experiment.of(content["experiment"]).id
        for _ in range(rng.integers(1, 4)):
            if content:
                mutate(rng, content)
        try:  # the id of what is there now, so that not every change of an experiment ends at its id
            if rng.random() < 0.8:
                content["id"] = Experiment.of(content["experiment"]).id
        except Exception:
            pass
        text = json.dumps(content).encode()
        if rng.random() < 0.03:  # bytes that are lost or others
            at = int(rng.integers(len(text)))
            text = text[:at] + (b"" if rng.random() < 0.5 else rng.bytes(3)) + text[at + 3 :]
        stem = content["id"] if re.fullmatch(r"\w+-seed\d{1,9}-\w+", str(content.get("id"))) else plain
        # under the name of its id, as a run would write it
        (folder / f"{stem}{ending}").write_bytes(text)
