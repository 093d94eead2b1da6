"""Pieces of the page that melodies and molecules share: functions from figures to HTML."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.report.figures import curve_png, distribution_png
from benchmarks.report.rows import Metrics, Row, known, shown, shown_error

FOLDER = Path(__file__).parent
ARROWS = {"higher": "↑", "lower": "↓", "near 0": "→ 0"}


def filled(template: str, **fields: Any) -> str:
    """A template of this folder with its $fields."""
    return Template((FOLDER / template).read_text(encoding="utf-8")).substitute(fields)


def notices(texts: Sequence[str]) -> str:
    """What a reader must know first."""
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)


def early_end(training: Mapping[str, Any]) -> list[str]:
    """Whether Ctrl-C ended the learning, in a sentence."""
    early = f"Ctrl-C ended the fine-tuning after {training['seconds']:.0f} of {training['asked_seconds']:g} seconds."
    return [early] * training["interrupted"]


def tiles(rows: Sequence[Row], prior: Metrics, tutor: Metrics) -> str:
    """Headline figures, before and after."""
    return "".join(
        f'<div class="tile"><dt>{row.title}</dt>'
        f'<dd><span class="from">{shown(row, prior[row.key])}</span><span class="arrow" aria-label="to">→</span>'
        f'<span class="to">{shown(row, tutor[row.key])}</span></dd></div>'
        for row in rows
    )


def curves(titles: Mapping[str, str], results: Mapping[str, Any], clock: str) -> str:
    """A part's learning curves, one picture for each of `titles` (figure -> title)."""
    metrics, pictures = results["metrics"], []
    for name, title in titles.items():
        before, after = metrics["prior"][name], metrics["tutor"][name]
        content = curve_png(name, title, results["curve"], metrics["prior"], metrics["tutor"], clock)
        words = f"{title} while learning: from {before:.3g} (the prior) to {after:.3g} (the tutor)"
        pictures.append(picture(content, words))
    return "".join(pictures)


def distributions(rows: Sequence[Row], histograms: Mapping[str, Any]) -> str:
    """One picture of shares for each property."""
    return "".join(
        picture(
            distribution_png(f"{row.title}: {row.meaning}", histograms[row.key]),
            f"Distribution of {row.title}: training data, prior and tutor",
        )
        for row in rows
    )


def table(
    rows: Sequence[Row], columns: Mapping[str, Metrics], under: Callable[[Row, Metrics], str] = shown_error
) -> str:
    """Known rows by columns; `under` says what stands under a figure, by default its standard error."""
    heads = "".join(f'<th scope="col" class="{_class(name)}">{name}</th>' for name in columns)
    body = "".join(f"<tr>{_head(row)}{_cells(row, columns, under)}</tr>" for row in known(rows, columns))
    return f'<div class="scroll"><table><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _head(row: Row) -> str:
    arrow = ARROWS.get(row.better)
    mark = f'&nbsp;<span class="better" title="{row.better} is better">{arrow}</span>' if arrow else ""
    return f'<th scope="row"><b>{row.title}</b>{mark}<small>{escape(row.meaning)}</small></th>'


def _cells(row: Row, columns: Mapping[str, Metrics], under: Callable[[Row, Metrics], str]) -> str:
    return "".join(
        f'<td class="{_class(name)}">{shown(row, metrics.get(row.key))}{_small(under(row, metrics))}</td>'
        for name, metrics in columns.items()
    )


def _small(text: str) -> str:
    return f"<small>{text}</small>" if text else ""


def _class(column: str) -> str:
    return column if column in ("prior", "tutor") else "paper"


def definitions(entries: Mapping[str, str]) -> str:
    """Entries of a definition list; what they say is HTML already."""
    return "".join(f"<dt>{what}</dt><dd>{said}</dd>" for what, said in entries.items())


def settings_line(agent: Mapping[str, Any]) -> str:
    """An agent's settings in a line."""
    return ", ".join(f"{key} {value}" for key, value in agent.items() if key != "name" and value is not None)


def picture(content: bytes, words: str, media_type: str = "image/png") -> str:
    """An image that is in the page; `words` stand for it where it cannot be seen."""
    return f'<img src="{data_uri(content, media_type)}" alt="{escape(words)}">'


def embedded(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return data_uri(path.read_bytes(), media_type)


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
