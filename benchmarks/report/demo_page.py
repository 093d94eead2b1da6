"""Make the demonstration's tables and page: the prior beside the tutor, in the look of the suites' reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.report import metrics
from benchmarks.report.data import Results, TaskResults
from benchmarks.report.drawing import Looks, assign_styles, render_png
from benchmarks.report.metrics import NEAR_ZERO, TABLE_1, Values, pick
from benchmarks.report.plots import distribution_plot, learning_plots
from benchmarks.report.render import render_template
from benchmarks.report.samples import Card, card_groups, molecule_card
from benchmarks.report.tables import Table, column_table

Part = Mapping[str, Any]  # what results.json holds of the melodies or of the molecules
SHOWN = 8  # samples of each kind

MELODY_OBJECTIVE = (metrics.J, metrics.RETURN, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP, metrics.DISTINCT)
MOLECULE_OBJECTIVE = (metrics.J, metrics.SCORE, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP)
MOLECULE_MEANS = (*metrics.PROPERTY_MEANS, *metrics.DISTINCT_MEANS)
SUMMARIES = {
    "melodies": (*MELODY_OBJECTIVE, *TABLE_1[:8]),
    "molecules": (*MOLECULE_OBJECTIVE, *metrics.MOLECULE_SETS, *MOLECULE_MEANS),
}
TILES = {
    "melodies": pick(SUMMARIES["melodies"], "j", "task_return", "starts_with_tonic", "in_motif"),
    "molecules": pick(SUMMARIES["molecules"], "task_return", "distinct_mean_qed", "valid", "unique"),
}


def summary_table(name: str, part: Part) -> Table:
    """Make the table for the terminal."""
    training = part["training"]
    learned = f"{training['timesteps']:,} tokens in {training['seconds']:.0f} s"
    shown = [one for one in SUMMARIES[name] if one is not metrics.LOG_P]
    return column_table(f"{part['n']:,} {name} each; Psi-learning on {learned}", shown, _columns(part))


def _columns(part: Part) -> dict[str, Values]:
    found = part["metrics"]
    paper = {"paper’s Psi": found["paper_psi"]} if "paper_psi" in found else {}
    return {"prior": found["prior"], "tutor": found["tutor"], **paper}


def part_tables(name: str, part: Part) -> dict[str, Table]:
    """Make all tables of a part, by what they are about."""
    columns = _columns(part)
    ours = {writer: columns[writer] for writer in ("prior", "tutor")}
    objective = f"The objective (means over {part['n']:,} {name}, ± standard error; nats)"
    if name == "melodies":
        return {
            "objective": column_table(objective, MELODY_OBJECTIVE, ours),
            "table_1": column_table("Table 1 of the paper", TABLE_1, columns),
            "terms": column_table("What each rule pays a melody on average", metrics.MELODY_TERMS, ours),
        }
    training_data: dict[str, Values] = {"training data": part["distributions"]["means"]}
    return {
        "objective": column_table(objective, MOLECULE_OBJECTIVE, ours),
        "terms": column_table("What each term pays a molecule on average", metrics.MOLECULE_TERMS, ours),
        "sets": column_table("The samples as sets", metrics.MOLECULE_SETS, ours),
        "means": column_table("Means over molecules, and over distinct ones", MOLECULE_MEANS, training_data | ours),
    }


def compare(name: str, part: Part) -> tuple[TaskResults, Looks]:
    """Turn a part's prior and tutor into the arms of a task, with their styles."""
    # as experiments, so that the suites' plots and cards serve here too
    learns = {"agent": "agents:PsiLearning", "seconds": part["training"]["asked_seconds"], "label": "tutor"}
    fixed = {"agent": "agents.baselines:FixedPolicy", "label": "prior"}
    experiments = tuple(Experiment(env="", group=name, n=part["n"], **one) for one in (fixed, learns))
    results = [
        {
            "id": one.id,
            "experiment": asdict(one),
            "metrics": part["metrics"][one.label],
            "samples": part.get("samples", {}).get(one.label),
            "curve": part["curve"] if one.label == "tutor" else [],
        }
        for one in experiments
    ]
    found = Results(name, "", experiments, results)
    return found.tasks[0], assign_styles(found.arms)


def learning_curve_png(name: str, part: Part) -> bytes:
    """Draw a part's learning curves as a PNG file."""
    task, looks = compare(name, part)
    return render_png(learning_plots(name, task, looks), looks, 3)


def render_demo(results: Mapping[str, Any]) -> str:
    """Render the page about the content of results.json."""
    parts = {name: results[name] for name in SUMMARIES if name in results}
    context: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        task, looks = compare(name, part)
        found = [part["metrics"][writer] for writer in ("prior", "tutor")]
        context[name] = {
            "part": part,
            "styles": looks,
            "tables": part_tables(name, part),
            "tiles": [(one.title, *(one.format(values[one.key]) for values in found)) for one in TILES[name]],
            "curves": learning_plots(name, task, looks),
        }
        if name == "melodies":
            short = [row.title.lower() for row in TABLE_1 if not _is_reached(row, part)]
            context[name] |= {"groups": card_groups([task], looks, SHOWN), "short": short, "rows": len(TABLE_1)}
        else:
            shown = {kind: _molecule_cards(kind, some, looks) for kind, some in part["shown"].items()}
            histograms = part["distributions"]["properties"]
            plots = [distribution_plot(one, histograms[one.key], looks) for one in metrics.PROPERTIES]
            context[name] |= {"cards": shown, "distributions": plots}
    title = "Melodies and molecules" if len(parts) > 1 else next(iter(parts)).capitalize()
    facts = {"title": f"{title}, before and after Psi-learning", "near": NEAR_ZERO}
    return render_template("demo.html.j2", results=results, parts=parts, **facts, **context)


def _is_reached(row: metrics.Metric, part: Part) -> bool:
    return row.is_as_good(*(part["metrics"][writer][row.key] for writer in ("tutor", "paper_psi")))


def _molecule_cards(kind: str, molecules: Sequence[Mapping[str, Any]], looks: Looks) -> list[Card]:
    """Make cards of molecules: return and log p, then the properties unless the string is no molecule."""
    cards = []
    for one in molecules:
        lines = [f"R {metrics.SCORE.format(one['task_return'])} · log p {metrics.LOG_P.format(one['log_p'])}"]
        texts = [f"{metric.title} {metric.format(one.get(metric.key))}" for metric in metrics.PROPERTIES]
        lines += [] if one["reason"] else [" · ".join(texts[2:]), " · ".join(texts[:2])]
        style = looks["prior" if kind == "prior" else "tutor"]
        cards.append(molecule_card("", style, one["smiles"], lines, one["reason"]))
    return cards
