"""From results to self-contained HTML pages by Jinja2 templates; all text is escaped. Plots as PNG files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.experiment import Experiment
from benchmarks.report import overview
from benchmarks.report.cards import Card, card_groups
from benchmarks.report.data import Results
from benchmarks.report.drawing import render_png, render_svg
from benchmarks.report.piano_rolls import grids, piano_roll
from benchmarks.report.sections import sections
from benchmarks.report.style import assign_styles, css_variables
from benchmarks.report.tables import ARROWS

THREE_COLUMNS = ("terms", "learning")  # sections with three plots a row in their PNG file


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"svg": render_svg, "roll": piano_roll, "json": lambda value: json.dumps(value, ensure_ascii=False)}
    made.globals |= {"arrows": ARROWS, "light": css_variables(False), "dark": css_variables(True)}
    return made


def render_template(name: str, **context: Any) -> str:
    """Render a template of this package."""
    return _environment().get_template(name).render(**context)


def card_grids(cards: Iterable[Card]) -> str:
    """Draw the lines behind all piano rolls of these cards."""
    return grids(len(card.tokens) for card in cards if card.tokens)


def render_page(results: Results) -> str:
    """Render the report of a suite."""
    looks = assign_styles(results.arms)
    groups = card_groups(results.tasks, looks)
    failures = [
        {
            "experiment": Experiment.of(one["experiment"]),
            "reason": one.get("reason") or "No reason is known.",
            "log": one.get("log") or "It printed nothing.",
        }
        for one in results.failures
    ]
    return render_template(
        "suite.html.j2",
        title=f"{results.name}: benchmark suite",
        results=results,
        counts=overview.counts(results),
        notices=overview.notices(results),
        facts=overview.facts(results),
        definitions=overview.DEFINITIONS,
        sections=sections(results, looks),
        styles=looks,
        card_groups=groups,
        grids=card_grids(card for group in groups for row in group.rows for card in row),
        failures=failures,
    )


def render_pictures(results: Results) -> dict[str, bytes]:
    """Draw the plots of each section that has any as a PNG file; returns name -> bytes."""
    looks = assign_styles(results.arms)
    pictures = {}
    for section in sections(results, looks):
        plots = [plot for block in section.blocks for plot in block.plots]
        if plots:
            columns = 3 if section.anchor in THREE_COLUMNS else 2
            pictures[section.anchor] = render_png(plots, looks, columns)
    return pictures
