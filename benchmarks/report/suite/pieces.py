"""Pieces of the page: functions from tables and texts to HTML. All text of users is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from benchmarks.report.markup import ARROWS
from benchmarks.report.suite.tables import Cell, Head, Table
from benchmarks.report.suite.theme import Style, swatch

Styles = Mapping[str, Style]
SORTED = '<span class="sorted" aria-hidden="true"></span>'


def html_table(table: Table, styles: Styles) -> str:
    """In a box that scrolls by itself, with the mouse or the keyboard."""
    heads = "".join(_head(k, head, table) for k, head in enumerate(table.heads))
    body = "".join(f"<tr>{_row(row, table.names, styles)}</tr>" for row in table.rows)
    caption, kind = escape(table.caption), "sorts" if table.sorts else "figures"
    return (
        f'<div class="scroll {kind}-box" tabindex="0" role="region" aria-label="{caption}"><table class="{kind}">'
        f"<caption><span>{caption}</span></caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def html_tables(tables: Sequence[Table], styles: Styles) -> str:
    """Tables one after the other, what their columns mean, and then those that are folded."""
    open_ones = [table for table in tables if not table.folded]
    meanings = {head.title: head.meaning for table in open_ones if table.sorts for head in table.heads if head.meaning}
    told = folded("What the columns mean", f'<dl class="facts">{described(meanings)}</dl>') if meanings else ""
    rest = "".join(folded(escape(table.caption), html_table(table, styles)) for table in tables if table.folded)
    return "".join(html_table(table, styles) for table in open_ones) + told + rest


def _head(k: int, head: Head, table: Table) -> str:
    arrow = ARROWS.get(head.better, "")
    mark = f'<span class="better"><span class="hidden">{head.better} is </span>{arrow} better</span>' if arrow else ""
    name = ' class="name"' if k < table.names else ""
    if not table.sorts:
        small = f"<small>{escape(head.meaning)}</small>" if head.meaning else ""
        return f'<th scope="col"{name}>{escape(head.title)}{mark}{small}</th>'
    first = "ascending" if k < table.names or head.better == "lower" else "descending"
    state = first if k == table.sorted_by else "none"
    button = f'<button type="button" data-first="{first}" title="{escape(head.meaning)}">'
    return f'<th scope="col"{name} aria-sort="{state}">{button}{escape(head.title)}{SORTED}{mark}</button></th>'


def _row(row: Sequence[Cell], names: int, styles: Styles) -> str:
    heads = [_name(row[0], styles, row[1].text if names > 1 else ""), *(_name(cell, styles) for cell in row[1:names])]
    return "".join([*heads, *map(_cell, row[names:])])


def _name(cell: Cell, styles: Styles, besides: str = "") -> str:
    """A cell that names its row; `besides` stands beneath it where the screen is narrow."""
    mark = swatch(styles[cell.arm]) + " " if cell.arm in styles else ""
    small = f"<small>{escape(cell.under)}</small>" if cell.under else ""
    small += f'<small class="narrow">{escape(besides)}</small>' if besides else ""
    return f'<th scope="row"{_order(cell)}>{mark}<b>{escape(cell.text)}</b>{small}</th>'


def _order(cell: Cell) -> str:
    return "" if cell.order is None else f' data-order="{escape(str(cell.order))}"'


def _cell(cell: Cell) -> str:
    small, order = f"<small>{escape(cell.under)}</small>" if cell.under else "", _order(cell)
    if cell.best:
        told = '<span class="hidden"> (best, apart from all others)</span>'
        return f'<td class="best"{order}><b>{escape(cell.text)}</b>{told}{small}</td>'
    return f"<td{order}>{escape(cell.text)}{small}</td>"


def legend(styles: Styles, labels: Iterable[str], line: bool = True) -> str:
    """Which colour, marker and dash is whose."""
    entries = "".join(f"<li>{swatch(styles[label], line)} {escape(label)}</li>" for label in labels)
    return f'<ul class="legend" aria-label="Legend">{entries}</ul>'


def section(anchor: str, question: str, answer: str, inner: str) -> str:
    """One part of the page."""
    kind = "answers" if "\n" in answer else "answer"
    said = "".join(f'<p class="{kind}">{escape(line)}</p>' for line in answer.splitlines())
    head = f'<h2 id="{anchor}-head">{escape(question)}</h2>'
    return f'<section id="{anchor}" aria-labelledby="{anchor}-head">{head}{said}{inner}</section>'


def remarks(texts: Iterable[str]) -> str:
    """How to read what stands above."""
    return "".join(f'<p class="remark">{escape(text)}</p>' for text in texts)


def described(entries: Mapping[str, str]) -> str:
    """Texts as a definition list."""
    return "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(said)}</dd></div>" for what, said in entries.items())


def folded(summary: str, inner: str) -> str:
    """What opens at a click; both are HTML already."""
    return f"<details><summary>{summary}</summary>{inner}</details>"
