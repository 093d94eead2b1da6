"""All sections in one run: printed row by row as they are measured, and written as JSON, and as Markdown if asked."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed import machine, tables
from benchmarks.speed.lines import Line, profiler_class, step_lines
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Row
from benchmarks.speed.turns import FEWEST_TURNS
from seqtutor_envs.command import set_threads
from seqtutor_envs.files import write_atomically
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import load_prior

SECTIONS = {  # name -> module, imported only when its turn comes
    "prior": "prior",
    "environment": "environment",
    "single": "single",
    "vec-env": "vec_env",
    "rules": "rules",
    "sampling": "sampling",
    "update": "update",
    "molecules": "molecules",
    "memory": "memory",
    "startup": "startup",
    "growth": "growth",
    "peers": "peers",
    "quality": "quality",
}
LONG = ("memory", "quality")  # several minutes each: only where they are asked for


@dataclass
class Report:
    """What was measured so far.

    Attributes:
        settings: of the command.
        facts: of the machine.
        sections, heads: name -> rows, and what they compare.
        lines: of the environment's step.
    """

    settings: dict[str, Any]
    facts: dict[str, Any]
    sections: dict[str, list[Row]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def as_json(self) -> str:
        """All of it; ratios' quartiles are `low` and `high`."""
        sections = {name: [row.as_dict() for row in rows] for name, rows in self.sections.items()}
        content = {"settings": self.settings, "machine": self.facts, "sections": sections}
        lines = {"lines": [asdict(line) for line in self.lines]} if self.lines else {}
        return json.dumps(content | lines, indent=1) + "\n"

    def as_markdown(self) -> str:
        """The tables under a heading each."""
        text = [*machine.lines(self.facts), ""]
        for name, rows in self.sections.items():
            text += [f"## {name}", "", f"{self.heads[name]}.", "", *tables.markdown_table(rows), ""]
        return "\n".join(text)

    def verdict(self) -> str:
        """How many aims are met, and which are not."""
        judged = [(name, row) for name, rows in self.sections.items() for row in rows if row.met() is not None]
        missed = [f"{name}: {row.name}" for name, row in judged if not row.met()]
        if not judged:
            return "No row has an aim."
        summary = f"{len(judged) - len(missed)} of {len(judged)} aims are met"
        return f"{summary}; not met: {'; '.join(missed)}." if missed else f"{summary}."


def measure(
    out: Path,
    options: Options,
    only: Sequence[str] = (),
    threads: int = 1,
    lines: bool = False,
    markdown: Path | None = None,
) -> None:
    """Measures the sections, prints each row at once, and writes what there is at the end, by whatever it comes.

    Raises ValueError, one line, on what cannot be measured, before anything is.
    """
    names = chosen(only)
    check(options, threads, lines, (out,) if markdown is None else (out, markdown))
    set_threads(threads)
    settings = {**asdict(options), "only": list(only), "threads": threads}
    report = Report(settings, machine.described())
    print(*machine.lines(report.facts), sep="\n")
    print(f"{options.seconds:g} s for each comparison; its sides take turns, {FEWEST_TURNS} or more; all are medians.")
    try:
        for i, name in enumerate(names, 1):
            run_section(report, name, f"{i} of {len(names)}", options, threads)
        if lines:
            report.lines = step_lines(load_prior(options.melody_prior))
            print_lines(report.lines)
    except KeyboardInterrupt:
        kept = f"what was measured so far is in {out}." if report.sections else "nothing was measured yet."
        raise KeyboardInterrupt(kept) from None
    finally:
        if report.sections or report.lines:
            write_atomically(out, report.as_json().encode())
            if markdown is not None:
                write_atomically(markdown, report.as_markdown().encode())
    print(f"\n{report.verdict()}\n{out}")


def run_section(report: Report, name: str, place: str, options: Options, threads: int) -> None:
    """Measures and prints one section."""
    section: Any = importlib.import_module(f"benchmarks.speed.{SECTIONS[name]}")
    set_threads(threads)  # of libraries that came with it
    report.heads[name] = section.HEAD
    print("", f"{name} ({place}): {section.HEAD}", tables.line(tables.TITLES), sep="\n", flush=True)
    for row in section.rows(options):
        report.sections.setdefault(name, []).append(row)
        print(tables.line(tables.cells(row)), flush=True)


def print_lines(lines: Sequence[Line]) -> None:
    """Each line's share, under its function."""
    print("\nLines of the environment's step, share of its time (what a line calls is in its own share, too)")
    function = None
    for line in lines:
        if line.function != function:
            function = line.function
            print(function)
        print(f"  {line.number:>4}  {line.share:>6.1%}  {line.source}")


def chosen(only: Sequence[str]) -> list[str]:
    """The sections asked for, in the report's order; without any, all but those of several minutes."""
    unknown = next((name for name in only if name not in SECTIONS), None)
    if unknown is not None:
        raise ValueError(f"There is no section {unknown!r}; the sections are: {', '.join(SECTIONS)}.")
    return [name for name in SECTIONS if (name in only if only else name not in LONG)]


def check(options: Options, threads: int, lines: bool, files: Sequence[Path]) -> None:
    """Raises ValueError on what cannot be measured or written, so that it is known before the work."""
    for name in ("seconds", "minutes"):
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"--{name} must be above 0, not {getattr(options, name):g}.")
    if threads < 1 or options.memory < 1 or (options.workers or 0) < 0:
        raise ValueError("--threads and --memory must be at least 1, and --workers at least 0.")
    if load_prior(options.melody_prior).vocab != MELODY_VOCAB:
        raise ValueError(f"--prior must be a melody prior, and {options.melody_prior} has another vocabulary.")
    if load_prior(options.smiles_prior).vocab.end is None:
        raise ValueError(f"--smiles-prior needs an end token, and {options.smiles_prior} has none.")
    if lines:
        profiler_class()
    for file in files:
        if file.is_dir():
            raise ValueError(f"A file is to be written, and {file} is a folder.")
        file.parent.mkdir(parents=True, exist_ok=True)
