"""`python -m benchmarks speed`: measure the comparisons, print a table a section, write JSON and Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro
from tabulate import tabulate
from threadpoolctl import threadpool_info

from benchmarks.runner.provenance import collect_provenance
from benchmarks.speed.measure import FEWEST_TURNS, Comparison, Options, Result, measure
from seqtutor_envs.checks import COUNT, Range
from seqtutor_envs.command import set_threads
from seqtutor_envs.files import write_atomically
from seqtutor_envs.files.progress import make_bar

HEADERS = ("", "value", "unit", "limit", "ratio [quartiles]", "aim", "met", "what the limit is; notes")
ALIGN = ("left", "right", "left", "right", "left", "left", "left", "left")
Results = dict[str, list[Result]]  # by section


def speed(
    options: Annotated[Options, tyro.conf.arg(name="")] = Options(),
    out: Path = Path("speed.json"),
    only: tuple[str, ...] = (),
    markdown: Path | None = None,
) -> None:
    """Measure the speed of every part, each beside its limit or its rival in the same run: about four minutes.

    What is compared takes turns, so that a busy machine slows both sides. Values are medians of CPU time, or of wall
    time where processes share the work. Ctrl-C writes what was measured so far.

    Args:
        options: how to measure.
        out: the JSON file to write.
        only: sections: environment, single, vec-env, rules, sampling, startup, molecules, update, peers,
            threads.
        markdown: a file for the tables in Markdown.
    """
    # mistakes in the options are found before anything is measured
    chosen = choose(load_comparisons(), only)
    check(options, [out] if markdown is None else [out, markdown])
    set_threads(options.threads)
    facts, results = describe_machine(), Results()
    print(format_machine(facts))
    try:
        measure_all(chosen, options, results)
    except KeyboardInterrupt:
        kept = f"what was measured so far is in {out}." if results else "nothing was measured yet."
        raise KeyboardInterrupt(kept) from None
    finally:
        if results:
            write(out, markdown, {"settings": {**asdict(options), "only": list(only)}, **facts}, results)
    print(f"\n{summarise_aims(results)}\n{out}")


def load_comparisons() -> list[Comparison]:
    """Return all comparisons in the report's order."""
    from benchmarks.speed import agents, chemistry, environments, threads  # they import torch and RDKit

    return [*environments.COMPARISONS, *chemistry.COMPARISONS, *agents.COMPARISONS, *threads.COMPARISONS]


def choose(known: Sequence[Comparison], only: Sequence[str]) -> list[Comparison]:
    """Return the comparisons of the sections in `only`, or all. Raises ValueError on an unknown section."""
    sections = dict.fromkeys(comparison.section for comparison in known)
    for name in only:
        if name not in sections:
            raise ValueError(f"There is no section {name!r}; the sections are: {', '.join(sections)}.")
    return [comparison for comparison in known if not only or comparison.section in only]


def check(options: Options, files: Sequence[Path]) -> None:
    """Raise ValueError on options and files that cannot be used, before anything is measured."""
    from seqtutor_envs.melody.vocab import MELODY_VOCAB
    from seqtutor_envs.prior import load_prior

    Range(0.0, above=True).check("--seconds", options.seconds)
    COUNT.check("--threads", options.threads)
    Range(0, whole=True).check("--workers", options.workers)
    if load_prior(options.melody_prior).vocab != MELODY_VOCAB:
        raise ValueError(f"--prior must be a melody prior, and {options.melody_prior} has another vocabulary.")
    if load_prior(options.smiles_prior).vocab.end is None:
        raise ValueError(f"--smiles-prior needs an end token, and {options.smiles_prior} has none.")
    for file in files:
        if file.is_dir():
            raise ValueError(f"{file} is a folder; name a file to write.")
        file.parent.mkdir(parents=True, exist_ok=True)


def measure_all(chosen: Sequence[Comparison], options: Options, results: Results) -> None:
    """Measure the comparisons, add each to `results` at once, and print a section's table when it is complete."""
    with make_bar(chosen, desc="comparisons", leave=False) as bar:
        for i, comparison in enumerate(bar):
            bar.set_postfix_str(comparison.name)
            result = measure(comparison, options)
            results.setdefault(comparison.section, []).append(result)
            # tables as soon as they are complete: the whole takes minutes
            if i + 1 == len(chosen) or chosen[i + 1].section != comparison.section:
                bar.write(f"\n{comparison.section}\n{format_table(results[comparison.section], 'simple')}")


def format_table(rows: Sequence[Result], style: str) -> str:
    """Return results as a table in one of tabulate's styles."""
    return tabulate([format_cells(row) for row in rows], HEADERS, style, colalign=ALIGN, disable_numparse=True)


def format_cells(row: Result) -> list[str]:
    """Return one text for each of HEADERS."""
    value, limit, ratio = (format_number(each) for each in (row.value, row.limit, row.ratio))
    quartiles = "" if row.ratio is None else f" [{format_number(row.low)}-{format_number(row.high)}]"
    met = {None: "", True: "yes", False: "no"}[row.met]
    return [row.name, value, row.unit, limit, ratio + quartiles, row.aim, met, row.limit_name or row.note]


def format_number(value: float | None) -> str:
    """Return a number in three digits, or whole with separators: 431,234; 12.3; 0.0457."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def summarise_aims(results: Results) -> str:
    """Say how many aims are met, which are not, and what was not measured."""
    rows = [(section, row) for section, rows in results.items() for row in rows]
    aimed = [row.met for _, row in rows if row.met is not None]
    missed = "; ".join(f"{section}: {row.name}" for section, row in rows if row.met is False)
    left_out = "; ".join(f"{section}: {row.name}" for section, row in rows if row.value is None)
    text = f"{sum(aimed)} of {len(aimed)} aims are met"
    return text + (f"; not met: {missed}" if missed else "") + (f"; not measured: {left_out}" if left_out else "") + "."


def describe_machine() -> dict[str, Any]:
    """Return machine, versions, load and the threads of each library, which every number depends on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    threads = {f"{pool['internal_api']} {pool['version']}": pool["num_threads"] for pool in threadpool_info()}
    return {**collect_provenance(), "load_before": load, "threads": threads}


def format_machine(facts: dict[str, Any]) -> str:
    """Return the facts as one line each."""
    lines = [f"Load before, average of one minute: {facts['load_before']}."]
    for name in ("machine", "versions", "threads"):
        lines.append(f"{name.capitalize()}: {', '.join(f'{key} {value}' for key, value in facts[name].items())}.")
    return "\n".join([*lines, f"Sides take {FEWEST_TURNS} turns or more; all numbers are medians."])


def write(out: Path, markdown: Path | None, facts: dict[str, Any], results: Results) -> None:
    """Write the JSON file and, where asked, the tables in Markdown."""
    sections = {name: [row.as_dict() for row in rows] for name, rows in results.items()}
    write_atomically(out, (json.dumps({**facts, "sections": sections}, indent=1) + "\n").encode())
    if markdown is not None:
        tables = [f"## {name}\n\n{format_table(rows, 'github')}\n" for name, rows in results.items()]
        write_atomically(markdown, "\n".join([format_machine(facts) + "\n", *tables]).encode())
