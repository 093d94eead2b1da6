"""Rows as lines of a table: on a terminal, one by one in columns of fixed width, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.speed.rows import Row

TITLES = ("", "figure", "unit", "limit", "ratio [quartiles]", "aim", "met", "what the limit is; notes")
# a name that is longer shifts its own line; the last column has no end
WIDTHS = (45, 11, 13, 11, 20, 16, 3, 0)
RIGHT = (1, 3)


def cells(row: Row) -> tuple[str, ...]:
    """One text for each of TITLES."""
    ratio = "" if row.ratio is None else ratio_text(row.ratio)
    if row.low is not None and row.high is not None:
        ratio += f" [{ratio_text(row.low)}-{ratio_text(row.high)}]"
    limit = "" if row.limit is None else number(row.limit)
    aim = "" if row.aim is None else str(row.aim).replace("(value)", row.unit)
    met = {None: "", True: "yes", False: "no"}[row.met()]
    about = "; ".join(text for text in (row.limit_name, row.note) if text)
    return row.name, number(row.value), row.unit, limit, ratio, aim, met, about


def line(texts: Iterable[str]) -> str:
    """One line of the terminal's table."""
    padded = (
        f"{text:>{width}}" if i in RIGHT else f"{text:<{width}}" for i, (text, width) in enumerate(zip(texts, WIDTHS))
    )
    return "  ".join(padded).rstrip()


def markdown_table(rows: Iterable[Row]) -> list[str]:
    """The lines of a table."""
    alignment = ("--:" if i in RIGHT else "---" for i in range(len(TITLES)))
    head = ["| " + " | ".join(TITLES) + " |", "|" + "|".join(alignment) + "|"]
    return head + ["| " + " | ".join(text.replace("|", "\\|") for text in cells(row)) + " |" for row in rows]


def number(value: float) -> str:
    """Three digits at least, with separators of thousands: 431,234; 12.3; 0.0457."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 4
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.{digits}f}"


def ratio_text(ratio: float) -> str:
    """Two decimals; fewer of large ones, more of small ones."""
    if ratio >= 10:
        return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}"
    return f"{ratio:.3f}" if ratio < 0.1 else f"{ratio:.2f}"
