"""The leaderboard: a table for each environment and temperature, of what `verify` recomputed."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from agents.evaluate.gaps import LOWER_BOUND, compute_gap, read_log_z
from benchmarks.leaderboard.entries import CARD, SAMPLERS, VERIFIED, find_deciding, find_entries, read_object
from benchmarks.report.render import escape_markdown
from seqtutor_envs.files import reading, write_atomically

HEADER = """# Leaderboard

<!-- Written by `{command}`: change the cards, not this page. -->

Each entry is a file of weights with a card, or the card of a sampler, which learns nothing. `python -m benchmarks
verify` sampled each anew and computed these figures; what a card claims counts for nothing here. J = E[R/c] − KL(π ‖ p)
in nats, ± 1.96 standard errors. Nats left are log Z − J: no policy can have a J above log Z. Tokens are those that the
agent learned from, as its card says. "Distilled" is a network fitted to samples of the agent: the figures are the
network's, and its KL from the agent stands beside it.
[How to submit](leaderboard/README.md).
"""
Z = 1.96
COLUMNS = ("agent", "J", "nats left", "KL", "return", "distinct", "n", "tokens", "file", "claims")


def write_page(page: Path, folders: Sequence[Path]) -> None:
    """Write the leaderboard of all verified entries in the folders, the best J first."""
    tables: dict[str, list[tuple[float, tuple[str, ...]]]] = defaultdict(list)
    for path in (path for folder in folders for path in find_entries(folder)):
        verified = path.with_name(path.name + VERIFIED)
        if not verified.is_file():
            continue
        card, found = read_object(path.with_name(path.name + CARD)), read_object(verified)
        if found.get("card") != find_deciding(card):
            print(f"{path.name} was changed since it was verified: left out; verify it again.", file=sys.stderr)
            continue
        with reading(verified, "holds no figures of `verify`"):
            tables[_title(card["env"])].append((-found["metrics"]["j"], _make_row(path.name, card, found)))
    command = f"python -m benchmarks verify {' '.join(map(str, folders))} --page {page}"
    parts = [HEADER.format(command=command)]
    for title, rows in sorted(tables.items()):
        cells = [row for _, row in sorted(rows)]
        parts.append(f"## {title}\n\n{tabulate(cells, COLUMNS, tablefmt='github', disable_numparse=True)}\n")
    write_atomically(page, "\n".join(parts).encode())


def _title(env: Mapping[str, Any]) -> str:
    """Return the heading of an environment at its c, and a line with its other keywords if there are any."""
    kwargs = dict(env["kwargs"])
    c = kwargs.pop("c", None)
    title = escape_markdown(f"{env['id']}{'' if c is None else f', c = {c:g}'}")
    # a card's own text: what would end the code is written as JSON's escape
    keywords = json.dumps(kwargs, ensure_ascii=False, sort_keys=True).replace("`", r"\u0060")
    return f"{title}\n\nKeywords: `{keywords}`" if kwargs else title


def _make_row(name: str, card: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    metrics, policy = found["metrics"], card.get("policy", {})
    is_bound = getattr(SAMPLERS.get(card.get("sampler", "")), "j_kind", "") == LOWER_BOUND
    log_z, tokens = read_log_z(metrics), card.get("num_timesteps")
    left = "" if log_z is None else compute_gap(metrics["j"], log_z, is_bound).describe("{:.2f}".format)
    file = "sampler" if "sampler" in card else policy["export"]
    if file == "distilled":
        file += "" if policy["kl"] is None else f", {policy['kl']:.2f} nats"
    return (
        escape_markdown(f"{card['name']}" if "name" in card else name),
        f"{'≥ ' if is_bound else ''}{metrics['j']:.2f} ± {Z * metrics['j_se']:.2f}".replace("-", "−"),
        left,
        f"{'≤ ' if is_bound else ''}{metrics['kl']:.2f}",
        f"{metrics['task_return']:.2f}".replace("-", "−"),
        f"{metrics['distinct']:.1%}",
        f"{found['n']:,}",
        "" if tokens is None else f"{tokens / 1e6:.1f} M",
        file,
        found["verdict"],
    )
