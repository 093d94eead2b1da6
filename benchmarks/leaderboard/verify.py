"""`python -m benchmarks verify`: recompute what the card of a submitted agent claims."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro
from tabulate import tabulate

from seqtutor_envs.checks import SEED, positive_integer
from seqtutor_envs.command import versions
from seqtutor_envs.files import finite, write_atomically
from seqtutor_envs.files.text import printable

if TYPE_CHECKING:  # torch, which other commands do without
    from benchmarks.leaderboard.entries import Entry

TRIALS = 4.0  # standard errors that a true claim may be off: one of 16,000 is by chance
LEAST, MOST = 1_000, 10_000  # sequences of an entry, unless -n says otherwise
ROUNDING = 1e-6  # relative, of a claim whose standard error is 0


class Check(NamedTuple):
    """Hold a metric as claimed and as recomputed, with the standard error of their difference."""

    name: str
    claimed: float
    found: float
    error: float

    @property
    def holds(self) -> bool:
        """Return whether the claim is within TRIALS standard errors."""
        slack = ROUNDING * max(abs(self.found), 1.0)
        return abs(self.claimed - self.found) <= TRIALS * self.error + slack


def verify(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    env: str | None = None,
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None,
    seed: int = 1,
    page: Path | None = None,
    trust: bool = False,
) -> None:
    """Evaluate submitted agents anew, and compare with what their cards claim. Exit with status 1 if a claim is false.

    A claim is false if it is more than four standard errors from what is found on n other sequences. What was found is
    kept beside the card, in NAME.verified.json.

    Args:
        paths: NAME.safetensors as `agents.save_policy` and `python -m agents export` write it, with its card NAME.json;
            the card of a sampler; or folders of these.
        env: the id that the card must be for; None takes any.
        n: sequences of each agent; None: as many as its card's claims rest on, from 1,000 to 10,000.
        seed: of the sampling. It should not be the card's own.
        page: the leaderboard to write, Markdown; it shows all that was verified here and before in these folders.
        trust: use the programs, modules and paths that a card names.
    """
    from benchmarks.leaderboard.entries import VERIFIED, find_entries, load_entry
    from benchmarks.leaderboard.page import write_page

    if not paths:
        raise ValueError("Give the file of an agent, or a folder of files.")
    found = [path for given in paths for path in (find_entries(given) if given.is_dir() else [given])]
    false = 0
    for path in found:
        entry = load_entry(path, trust)
        if env is not None and entry.recipe["id"] != env:
            raise ValueError(f"{path} is for {entry.recipe['id']}, not for {env}.")
        print(describe(entry))
        checks, kept = recompute(entry, n, SEED.check("--seed", seed))
        rows = [(one.name, one.claimed, one.found, one.error, "holds" if one.holds else "FALSE") for one in checks]
        print(tabulate(rows, ("", "claimed", "found", "error", ""), floatfmt=".4f") if rows else kept["verdict"])
        print()
        false += kept["verdict"] == "false"
        target = entry.path.with_name(entry.path.name + VERIFIED)
        write_atomically(target, (json.dumps(finite(kept), indent=1) + "\n").encode())
    if page is not None:
        write_page(page, sorted({path.parent for path in found}))
    if false:
        print(f"{false} of {len(found)} cards make a false claim", file=sys.stderr)
        raise SystemExit(1)


def describe(entry: Entry) -> str:
    """Say in one line what an entry is."""
    keywords = json.dumps(entry.recipe["kwargs"], ensure_ascii=False)
    return printable(f"{entry.path.name}: {entry.card.get('description', '')} in {entry.recipe['id']} {keywords}")


def recompute(entry: Entry, n: int | None, seed: int) -> tuple[list[Check], dict[str, Any]]:
    """Evaluate an entry anew; return the checks of its claims, and what is kept of them."""
    from agents.envs import make_machine_kwargs
    from agents.policies.saving import measure
    from benchmarks.leaderboard.entries import find_deciding

    # as many as the claims rest on, within limits that no card moves
    number = positive_integer("-n", n) if n is not None else int(min(max(entry.claims.get("n") or MOST, LEAST), MOST))
    env_id = entry.recipe["id"]
    found = measure(entry.agent, env_id, make_machine_kwargs(env_id) | entry.recipe["kwargs"], number, seed)
    checks = list(compare(entry.claims, found))
    verdict = "no claims" if not checks else "holds" if all(one.holds for one in checks) else "false"
    facts = {"verdict": verdict, **found, "false": [one.name for one in checks if not one.holds]}
    return checks, facts | {"card": find_deciding(entry.card), "versions": versions()}


def compare(claims: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Check]:
    """Compare metrics that are claimed with those found. The error is ours, whatever the card says of its own."""
    metrics, n = found["metrics"], found["n"]
    # the variance of a difference, in that of n sequences; no card widens it by a small number of its own
    scale = 1.0 + n / max(claims.get("n") or n, LEAST)
    for name, claimed in claims.get("metrics", {}).items():
        value, error = metrics.get(name), metrics.get(f"{name}_se")
        if name.endswith("_se") or name.startswith("log_z") or claimed is None or value is None:
            continue
        if error is None:  # a share of sequences, which falls with their number
            if claims.get("n") != n:
                continue
            error = math.sqrt(max(value * (1.0 - value), 1.0 / n) / n)
        yield Check(name, float(claimed), float(value), error * math.sqrt(scale))
