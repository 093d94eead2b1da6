"""A suite's report in Markdown, for a README: questions, answers and tables; plots and sound are the page's."""

from __future__ import annotations

import re

from benchmarks.report.data import Results
from benchmarks.report.overview import DEFINITIONS, counts, facts, notices
from benchmarks.report.sections import Section, sections
from benchmarks.report.style import assign_styles
from benchmarks.report.tables import ARROWS, Cell, Table


def render_markdown(results: Results) -> str:
    """Render the report's text and tables, with n and intervals."""
    status = ", ".join(f"{n} {what}" for what, n in counts(results).items())
    blocks = [f"# {escape(results.name)}", escape(results.question), f"Experiments: {status}."]
    blocks += [f"> {escape(text)}" for text in notices(results)]
    blocks += ["\n".join(f"- {name}: {escape(text)}" for name, text in facts(results).items())]
    for section in sections(results, assign_styles(results.arms)):
        blocks += _render_section(section)
    blocks += ["\n".join(f"- `{one['id']}`: {escape(one.get('reason') or 'unknown')}" for one in results.failures)]
    blocks += ["## Definitions", "\n".join(f"- {name}: {escape(text)}" for name, text in DEFINITIONS.items())]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _render_section(section: Section) -> list[str]:
    if section.anchor == "samples":  # nothing but sound and pictures
        return []
    tables = [table for block in section.blocks for table in block.tables]
    rendered = [text for table in tables for text in (f"**{escape(table.caption)}**", render_table(table))]
    answer, remarks = map(escape, section.answer.splitlines()), map(escape, section.remarks)
    return [f"## {section.question}", *answer, *rendered, *remarks]


def render_table(table: Table) -> str:
    """Render names to the left and numbers to the right, the best ones bold, with the better direction in the head."""
    heads = [f"{escape(head.title)} {ARROWS.get(head.better, '')}".rstrip() for head in table.heads]
    rule = ["---" if k < table.names else "---:" for k in range(len(heads))]
    rows = [map(_render_cell, row) for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))


def _render_cell(cell: Cell) -> str:
    text, under = escape(cell.text), escape(cell.under)
    text = f"**{text}**" if cell.best else f"{text} {ARROWS.get(cell.better, '')}".rstrip()
    return f"{text} {under if under.startswith(chr(92) + '[') else f'({under})'}" if under else text


def escape(text: str) -> str:
    """Escape what Markdown would interpret, and put the text on one line."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
