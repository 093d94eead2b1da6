"""The demonstration's tables and its page: the prior beside the tutor, by the templates of the suites' page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.report import metrics
from benchmarks.report.cards import Card, card_groups, molecule_card
from benchmarks.report.data import Results, Task
from benchmarks.report.drawing import render_png
from benchmarks.report.metrics import NEAR_ZERO, TABLE_1, Values, pick
from benchmarks.report.plots import Looks, distribution_plot, learning_plots
from benchmarks.report.render import card_grids, render_template
from benchmarks.report.style import assign_styles
from benchmarks.report.tables import Table, column_table

Part = Mapping[str, Any]  # what results.json holds of the melodies or of the molecules
SHOWN = 8  # samples of each kind

MELODY_OBJECTIVE = (metrics.J, metrics.RETURN, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP, metrics.DISTINCT)
MOLECULE_OBJECTIVE = (metrics.J, metrics.SCORE, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP)
MOLECULE_MEANS = (*metrics.PROPERTY_MEANS, *metrics.DISTINCT_MEANS)
SUMMARIES = {
    "melodies": (*(one for one in MELODY_OBJECTIVE if one is not metrics.LOG_P), *TABLE_1[:8]),
    "molecules": (
        *(one for one in MOLECULE_OBJECTIVE if one is not metrics.LOG_P), *metrics.MOLECULE_SETS, *MOLECULE_MEANS
    ),
}
TILES = {
    "melodies": pick((*MELODY_OBJECTIVE, *TABLE_1), "j", "task_return", "starts_with_tonic", "in_motif"),
    "molecules": pick(
        (*MOLECULE_OBJECTIVE, *metrics.MOLECULE_SETS, *metrics.DISTINCT_MEANS),
        "task_return", "distinct_mean_qed", "valid", "unique",
    ),
}
CLOCKS = {"melodies": "CPU seconds on one thread", "molecules": "seconds, wall clock"}


def summary_table(name: str, part: Part) -> Table:
    """Make the table for the terminal."""
    training = part["training"]
    learned = f"{training['timesteps']:,} tokens in {training['seconds']:.0f} s"
    return column_table(f"{part['n']:,} {name} each; Psi-learning on {learned}", SUMMARIES[name], _columns(part))


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


def compare(name: str, part: Part) -> tuple[Task, Looks]:
    """Turn a part's prior and tutor into the arms of a task, with their styles."""
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
    compared = {name: compare(name, part) for name, part in parts.items()}
    context = {
        name: {
            "part": part,
            "styles": compared[name][1],
            "tables": part_tables(name, part),
            "tiles": [(one.title, *(one.format(part["metrics"][who][one.key]) for who in ("prior", "tutor")))
                      for one in TILES[name]],
            "notices": _notices(part, results["settings"]["min_distinct"]),
            "curves": learning_plots(name, *compared[name]),
        }
        for name, part in parts.items()
    }
    if "melodies" in parts:
        task, looks = compared["melodies"]
        (group,) = card_groups([task], looks, SHOWN)
        context["melodies"] |= {"group": group, "grids": card_grids(card for row in group.rows for card in row)}
        context["melodies"]["reached"] = rows_reached(parts["melodies"], results["settings"]["paper"])
    if "molecules" in parts:
        looks = compared["molecules"][1]
        shown = {kind: _molecule_cards(kind, some, looks) for kind, some in parts["molecules"]["shown"].items()}
        histograms = parts["molecules"]["distributions"]["properties"]
        plots = [distribution_plot(one, histograms[one.key], looks) for one in metrics.PROPERTIES]
        context["molecules"] |= {"cards": shown, "distributions": plots}
    title = f"{'Melodies and molecules' if parts.keys() == SUMMARIES.keys() else next(iter(parts)).capitalize()}, "
    return render_template(
        "demo.html.j2", title=f"{title}before and after Psi-learning", results=results, facts=facts(results), **context
    )


def _molecule_cards(kind: str, molecules: Sequence[Mapping[str, Any]], looks: Looks) -> list[Card]:
    style = looks["prior" if kind == "prior" else "tutor"]
    return [molecule_card("", style, one["smiles"], _molecule_lines(one), one["reason"]) for one in molecules]


def _molecule_lines(one: Mapping[str, Any]) -> list[str]:
    first = f"R {metrics.SCORE.format(one['task_return'])} · log p {metrics.LOG_P.format(one['log_p'])}"
    if one["reason"]:
        return [first]
    texts = [f"{metric.title} {metric.format(one[metric.key])}" for metric in metrics.PROPERTIES]
    return [first, " · ".join(texts[2:]), " · ".join(texts[:2])]


def _notices(part: Part, min_distinct: float) -> list[str]:
    training = part["training"]
    seconds = f"after {training['seconds']:.0f} of {training['asked_seconds']:g} seconds"
    repeating = (
        f"Fine-tuning stopped {seconds}, as melodies began to repeat: fewer than {min_distinct:.1%} of the newest were "
        "distinct. The rules pay most for one endless loop of eight steps, so at this temperature the best policy is "
        "that loop, and J would rise further. --min-distinct 0 goes on and lets you hear it; a larger c keeps variety."
    )
    interrupted = [f"Ctrl-C ended the fine-tuning {seconds}."] * training["interrupted"]
    return [*interrupted, *([repeating] * training["repeating"]), *training["warnings"]]


def rows_reached(part: Part, as_paper: bool) -> str:
    """Say in how many rows of Table 1 the tutor is at least as good as the paper's Psi, and in which not."""
    tutor, paper = part["metrics"]["tutor"], part["metrics"]["paper_psi"]
    short = [row.title.lower() for row in TABLE_1 if not row.is_as_good(tutor[row.key], paper[row.key])]
    count = f"In {len(TABLE_1) - len(short)} of these {len(TABLE_1)} rows the tutor is at least as good as the paper’s"
    rest = f"; not in: {', '.join(short)}." if short else "."
    option = " --paper takes the paper’s c = 0.5, γ = 0.5 and one-step targets: the rules weigh four times as much."
    return f"{count} (autocorrelations: within ±{NEAR_ZERO:g}){rest}{'' if as_paper else option}"


def facts(results: Mapping[str, Any]) -> dict[str, str]:
    """Describe seed, seconds, settings and versions."""
    lines = {
        "Seed": str(results["settings"]["seed"]),
        "Total time": f"{results['wall_seconds']:.0f} seconds, wall clock, before this page was written",
    }
    for name in (name for name in SUMMARIES if name in results):
        part, title = results[name], name.capitalize()
        training, agent = part["training"], part["agent"]
        learned = f"{training['timesteps']:,} tokens, {training['rounds']:,} rollouts"
        workers = f", {part['workers']} scoring processes" if part.get("workers") else ""
        lines[f"{title}, fine-tuning"] = f"{training['seconds']:.1f} {CLOCKS[name]}, {learned}{workers}"
        settings = {key: value for key, value in agent.items() if key != "name" and value is not None}
        lines[f"{title}, {agent['name']}"] = ", ".join(f"{key} {value}" for key, value in settings.items())
        for writer, reasons in part.get("not_valid", {}).items():
            counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items()) or "none"
            lines[f"Not a molecule, of {part['n']:,} strings of the {writer}"] = counts
    return lines | {"Versions": ", ".join(f"{key} {value}" for key, value in results["versions"].items())}
