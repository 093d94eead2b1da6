"""The report's tables in Markdown, for a README."""

from __future__ import annotations

import re

from benchmarks.report.suite.data import Findings, arms
from benchmarks.report.suite.definitions import definitions
from benchmarks.report.suite.head import counts, facts, notices
from benchmarks.report.suite.parts import Part, parts
from benchmarks.report.suite.tables import Cell, Table


def markdown(findings: Findings) -> str:
    """Questions, answers and tables, with n and intervals; pictures and sound are the page's."""
    found = arms(findings)
    told = ", ".join(f"{n} {what}" for what, n in counts(findings).items())
    blocks = [f"# {plain(findings.name)}", plain(findings.question), f"Experiments: {told}."]
    blocks += [f"> {plain(text)}" for text in notices(findings)]
    blocks += ["\n".join(f"- {name}: {plain(text)}" for name, text in facts(findings, found).items())]
    for part in parts(findings, found):
        blocks += _part(part)
    blocks += _failures(findings)
    blocks += ["## Definitions", "\n".join(f"- {name}: {plain(text)}" for name, text in definitions().items())]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _part(part: Part) -> list[str]:
    if part.anchor == "samples":  # there is nothing of them but sound and pictures
        return []
    written = [block for table in part.tables for block in (f"**{plain(table.caption)}**", written_table(table))]
    answers = [plain(line) for line in part.answer.splitlines()]
    return [f"## {part.question}", *answers, *written, *map(plain, part.remarks)]


def _failures(findings: Findings) -> list[str]:
    lines = [f"- `{one['id']}`: {plain(one.get('reason') or 'no reason is known')}" for one in findings.failures]
    return ["\n".join(lines)] if lines else []


def written_table(table: Table) -> str:
    """Names to the left, figures to the right; the best are bold, and the better direction stands in the head."""
    arrows = {"higher": " ↑", "lower": " ↓", "near 0": " → 0"}
    heads = [plain(head.title) + arrows.get(head.better, "") for head in table.heads]
    rule = ["---" if k < table.names else "---:" for k in range(len(heads))]
    lines = [heads, rule, *([_cell(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    text = f"**{plain(cell.text)}**" if cell.best else plain(cell.text)
    under = plain(cell.under)
    return f"{text} {under if under.startswith(chr(92) + '[') else f'({under})'}" if under else text


def plain(text: str) -> str:
    """Text that Markdown takes for itself, on one line."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
