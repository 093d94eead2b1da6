"""The page's molecule part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import markup
from benchmarks.report.figures import MOLECULE_CURVES, SEEN
from benchmarks.report.molecule_rows import DISTINCT, LIKES, OBJECTIVE, PROPERTIES, TERMS, WRITES
from benchmarks.report.rows import Metrics, Row, shown
from seqtutor_envs.smiles import chem_draw

TILES = ("task_return", "distinct_mean_qed", "valid", "unique")
REASONS = {"syntax": "RDKit cannot read it", "fragments": "more than one fragment", "radical": "a radical"}


def section(results: Mapping[str, Any], folder: Path) -> str:
    """The part about all `results`; nothing is read from `folder`."""
    part, settings = results["molecules"], results["settings"]
    metrics, picked = part["metrics"], part["shown"]
    prior, tutor = metrics["prior"], metrics["tutor"]
    rows = [row for row in (*OBJECTIVE, *WRITES, *DISTINCT) if row.key in TILES]
    return markup.filled(
        "molecules.html",
        lede=lede(part),
        notices=markup.notices(markup.early_end(part["training"]) + part["training"]["warnings"]),
        tiles=markup.tiles(rows, prior, tutor),
        num_terms=len(TERMS),
        terms=markup.table(TERMS, metrics),
        shown=len(picked["random"]),
        distinct=f"{part['distinct']:,}",
        n=f"{part['n']:,}",
        seed=settings["seed"],
        c=f"{part['c']:g}",
        top=cards(picked["top"], "tutor"),
        median=cards(picked["median"], "tutor"),
        random=cards(picked["random"], "tutor"),
        before=cards(picked["prior"], "prior"),
        data=escape(part["distributions"]["source"]),
        rare=f"{100 / SEEN:,.0f}",
        distributions=markup.distributions(PROPERTIES, part["distributions"]["properties"]),
        curves=markup.curves(MOLECULE_CURVES, part, "seconds"),
        objective=markup.table(OBJECTIVE, metrics),
        writes=markup.table(WRITES, metrics),
        likes=markup.table(LIKES, {"training data": part["distributions"]["means"], **metrics}, distinct_mean),
    )


def lede(part: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    training, agent, workers = part["training"], part["agent"], part["workers"]
    processes = f", with {said_of(workers)}" if workers else ""
    return (
        f"This took <b>{training['seconds']:.0f} seconds</b> of Psi-learning{processes}: {training['rounds']:,} rounds "
        f"of {agent['n_envs']} molecules, at temperature c&nbsp;=&nbsp;{part['c']:g}."
    )


def said_of(workers: int) -> str:
    """A number of scoring processes."""
    return f"{workers} scoring process" + ("" if workers == 1 else "es")


def facts(part: Mapping[str, Any]) -> dict[str, str]:
    """What the molecules were made with."""
    training, agent = part["training"], part["agent"]
    learned = f"{training['timesteps']:,} tokens, {training['rounds']:,} rounds, {said_of(part['workers'])}"
    failed = {
        f"Not a molecule, of {part['n']:,} strings of the {writer}": _listed(reasons)
        for writer, reasons in part["not_valid"].items()
    }
    return {
        "Molecules, fine-tuning": f"{training['seconds']:.1f} seconds by the clock, {learned}",
        f"Molecules, {agent['name']}": markup.settings_line(agent),
        **failed,
    }


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items()) or "none"


def distinct_mean(row: Row, metrics: Metrics) -> str:
    """A property's mean over distinct molecules, for those of which it is known."""
    value = metrics.get(f"distinct_{row.key}")
    return "" if value is None else f"distinct {shown(row, value)}"


def cards(molecules: Sequence[Mapping[str, Any]], writer: str) -> str:
    """A grid's cards."""
    return "".join(card(molecule, writer) for molecule in molecules) or "<p>No molecule was written.</p>"


def card(molecule: Mapping[str, Any], writer: str) -> str:
    """A molecule drawn, with its figures; or its string, and why it is none."""
    smiles = molecule["smiles"]
    if molecule["reason"]:
        why = REASONS.get(molecule["reason"], molecule["reason"])
        drawing, figures = f"<p>Not a molecule: {escape(why)}</p>", ""
    else:
        drawing = markup.picture(chem_draw.grid([smiles]).encode(), f"Molecule {smiles}", "image/svg+xml")
        told = [f"{row.title} {shown(row, molecule[row.key])}" for row in PROPERTIES]
        figures = f"<span>{' · '.join(told[2:])}</span><span>{' · '.join(told[:2])}</span>"
    paid = f"R {shown(OBJECTIVE[1], molecule['task_return'])} · log p {shown(OBJECTIVE[3], molecule['log_p'])}"
    return (
        f'<figure class="mol {writer}">{drawing}<figcaption><b>{paid}</b>{figures}'
        f"<code>{escape(smiles)}</code></figcaption></figure>"
    )
