"""The demonstration as one self-contained HTML page: pictures and sound are in it, nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import markup, melodies, molecules

TITLES = {
    ("melodies", "molecules"): "Melodies and molecules, before and after Psi-learning",
    ("melodies",): "A note RNN, before and after Psi-learning",
    ("molecules",): "A molecule RNN, before and after Psi-learning",
}
PLACES = {
    "melodies": "the melodies as MIDI, WAV and PNG (<code>melodies/</code>), their <code>learning_curve.png</code> and "
    "their tutor (<code>agent.safetensors</code>)",
    "molecules": "all judged molecules as a table and the best as 2D structures (<code>molecules/molecules.csv</code>, "
    "<code>molecules/top.sdf</code>) and their tutor (<code>molecules/agent.safetensors</code>)",
}


def page(results: Mapping[str, Any], folder: Path) -> str:
    """The page about `results`, as results.json holds them; pictures and sound are read from `folder`."""
    parts = tuple(name for name in PLACES if name in results)
    made = {"melodies": melodies.section, "molecules": molecules.section}
    links = "".join(f'<a href="#{name}">{name.capitalize()}</a>' for name in (*parts, "again")) if parts[1:] else ""
    lines = {what: f"<code>{escape(line)}</code>" for what, line in results["commands"].items()}
    return markup.filled(
        "template.html",
        title=TITLES[parts],
        links=f"<nav>{links.replace('>Again<', '>Do it again<')}</nav>" if links else "",
        parts="\n".join(made[name](results, folder) for name in parts),
        commands=markup.definitions(lines),
        facts=markup.definitions({what: escape(fact) for what, fact in facts(results, parts).items()}),
        places="; ".join(PLACES[name] for name in parts),
    )


def facts(results: Mapping[str, Any], parts: tuple[str, ...]) -> dict[str, str]:
    """Seed, seconds, versions and settings."""
    told = {"melodies": melodies.facts, "molecules": molecules.facts}
    lines = {
        "Seed": str(results["settings"]["seed"]),
        "All in all": f"{results['wall_seconds']:.0f} seconds by the clock, before this page was written",
    }
    for name in parts:
        lines |= told[name](results[name])
    return lines | {"Versions": ", ".join(f"{key} {value}" for key, value in results["versions"].items())}
