"""Make the demonstration's tables and page: the prior beside the tutors, in the look of the suites' reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from agents.evaluate.gaps import compute_gap, read_log_z
from benchmarks.experiment import Experiment
from benchmarks.report import metrics
from benchmarks.report.data import Results, TaskResults
from benchmarks.report.drawing import Looks, Plot, Style, assign_styles, render_png
from benchmarks.report.metrics import RHYTHM, TABLE_1, Metric, Values, pick
from benchmarks.report.plots import distribution_plot, learning_plots
from benchmarks.report.render import render_template
from benchmarks.report.samples import Card, card_groups, molecule_card
from benchmarks.report.tables import Cell, Table, column_table

Part = Mapping[str, Any]  # what results.json holds of the melodies or of the molecules
SHOWN = 8  # samples of each kind
PRIOR, TUTOR = "prior", "tutor"

MELODY_OBJECTIVE = (metrics.J, metrics.RETURN, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP, metrics.DISTINCT)
# not J: at another temperature it is another objective
TEMPERATURES = (metrics.KL, metrics.RETURN, metrics.DISTINCT, *RHYTHM)
MOLECULE_OBJECTIVE = (metrics.J, metrics.SCORE, metrics.KL, metrics.LOG_P, metrics.LOG_P_STEP)
MOLECULE_MEANS = (*metrics.PROPERTY_MEANS, *metrics.DISTINCT_MEANS)
SUMMARIES = {
    "melodies": (*MELODY_OBJECTIVE, *TABLE_1[:8], *RHYTHM),
    "molecules": (*MOLECULE_OBJECTIVE, *metrics.MOLECULE_SETS, *MOLECULE_MEANS),
}
TILES = {
    "melodies": pick(SUMMARIES["melodies"], "task_return", "excessively_repeated", "in_motif", "sixteenths"),
    "molecules": pick((*metrics.SEARCH, *SUMMARIES["molecules"]), "task_return", "top_1", "valid", "unique"),
}


def trainings(part: Part) -> dict[str, Mapping[str, Any]]:
    """Return what is known of each learning of a part, by the label of its tutor."""
    return {label: one["training"] for label, one in part.get("tutors", {TUTOR: part}).items()}


def summary_table(name: str, part: Part) -> Table:
    """Make the table for the terminal."""
    found = trainings(part).values()
    learned = f"{sum(one['timesteps'] for one in found):,} tokens in {sum(one['seconds'] for one in found):.0f} s"
    caption = f"{part['n']:,} {name} each; Psi-learning on {learned}"
    if name == "melodies":
        return _temperature_table(caption, part)
    return _compare(caption, [one for one in SUMMARIES[name] if one is not metrics.LOG_P], part)


def _compare(
    caption: str,
    shown: Sequence[Metric],
    part: Part,
    tutors: Mapping[str, Values] = {},
    beside: Mapping[str, Values] = {},
) -> Table:
    """Make a table of the prior, the tutors compared with it, and columns `beside` that are not compared.

    Without `tutors` it is the part's own tutor.
    """
    tutors = tutors or {TUTOR: part["metrics"][TUTOR]}
    columns = {PRIOR: part["metrics"][PRIOR], **tutors, **beside}
    return column_table(caption, shown, columns, PRIOR, tutors, part["n"])


def _temperature_table(caption: str, part: Part) -> Table:
    """Compare the tutors of all temperatures with the prior; the first row says what each leaves of its own log Z."""
    tutors = _tutors(part)
    table = _compare(caption, TEMPERATURES, part, tutors)
    left = [_say_left(values) for values in tutors.values()]
    if not any(left):
        return table
    row = [Cell("Nats left", "log Z − J, each at its own c", better="lower"), Cell(""), *map(Cell, left)]
    return replace(table, rows=[row, *table.rows])


def _say_left(values: Values) -> str:
    log_z, j = read_log_z(values), values.get("j")
    return "" if log_z is None or j is None else compute_gap(j, log_z).describe(metrics.J.format)


def _tutors(part: Part) -> dict[str, Values]:
    return {label: one["metrics"] for label, one in part["tutors"].items()}


def part_tables(name: str, part: Part) -> dict[str, Table]:
    """Make all tables of a part, by what they are about."""
    objective = f"The objective (means over {part['n']:,} {name}, ± standard error; nats)"
    if name == "melodies":
        # its prior learned from other music, so it is beside the tutor, not in a race with it
        paper = {"paper’s Psi": part["metrics"]["paper_psi"]}
        return {
            "temperatures": _temperature_table("The prior, and a tutor at each temperature", part),
            "objective": _compare(objective, MELODY_OBJECTIVE, part),
            "table_1": _compare("Table 1 of the paper", TABLE_1, part, beside=paper),
            "terms": _compare("What each rule pays a melody on average", metrics.MELODY_TERMS, part),
        }
    search, n = part["search"], part["search"][TUTOR]["scored"]
    searches = column_table(f"The best of {n:,} molecules each", metrics.SEARCH, search, PRIOR, (TUTOR,))
    training_data = {"training data": part["distributions"]["means"]}
    means = "Means over molecules, and over distinct ones"
    return {
        "search": searches,
        "objective": _compare(objective, MOLECULE_OBJECTIVE, part),
        "sets": _compare("The samples as sets", metrics.MOLECULE_SETS, part),
        "means": _compare(means, MOLECULE_MEANS, part, beside=training_data),
    }


def compare(name: str, part: Part) -> tuple[TaskResults, Looks]:
    """Turn a part's prior and tutors into the arms of a task, with their styles."""
    # as experiments, so that the suites' plots and cards serve here too
    learned = part.get("tutors") or {TUTOR: {**part, "metrics": part["metrics"][TUTOR]}}
    results = []
    for label, one in {PRIOR: {"metrics": part["metrics"][PRIOR]}, **learned}.items():
        training = one.get("training")
        kind: dict[str, Any] = {"agent": "agents.baselines:FixedPolicy"}
        if training:
            # c, or tutors of several temperatures would be one experiment
            kind = {"agent": "agents:PsiLearning", "seconds": training["asked_seconds"], "env_kwargs": {"c": one["c"]}}
        experiment = Experiment(env="", group=name, n=part["n"], label=label, **kind)
        samples = part.get("samples", {}).get(PRIOR) if label == PRIOR else one.get("samples")
        results.append({
            "id": experiment.id,
            "experiment": asdict(experiment),
            "metrics": one["metrics"],
            "samples": samples if name == "melodies" else None,
            "curve": one.get("curve", []),
        })
    found = Results(name, "", tuple(Experiment.of(one["experiment"]) for one in results), results)
    return found.tasks[0], assign_styles(found.arms)


def _learning_plots(name: str, task: TaskResults, looks: Looks) -> list[Plot]:
    """Plot what tutors of several temperatures have in common: J is another objective at each."""
    plots = learning_plots(name, task, looks)
    return plots if len(task.arms) == 2 else [one for one in plots if not one.name.endswith("-j")]


def learning_curve_png(name: str, part: Part) -> bytes:
    """Draw a part's learning curves as a PNG file."""
    task, looks = compare(name, part)
    plots = _learning_plots(name, task, looks)
    return render_png(plots, looks, len(plots))


def render_demo(results: Mapping[str, Any]) -> str:
    """Render the page about the content of results.json."""
    parts = {name: results[name] for name in SUMMARIES if name in results}
    context: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        task, looks = compare(name, part)
        context[name] = {
            "part": part,
            "styles": looks,
            "tables": part_tables(name, part),
            "tiles": [_tile(one, part) for one in TILES[name]],
            "curves": _learning_plots(name, task, looks),
        }
        if name == "melodies":
            context[name] |= {"groups": card_groups([task], looks, SHOWN), "heard": _heard(part)}
        else:
            histograms = part["distributions"]["properties"]
            target = part["objective"]
            similarity = replace(metrics.SCORE, title=f"Similarity to {target['name']}", meaning="similarity, 0 to 1")
            context[name] |= {
                "target": molecule_card("", looks[TUTOR], target["smiles"], [target["name"]]),
                "best": {writer: _molecule_cards(some, looks[writer]) for writer, some in part["best"].items()},
                "median": _molecule_cards(part["shown"]["median"], looks[TUTOR]),
                "first": {
                    PRIOR: _molecule_cards(part["shown"]["prior"], looks[PRIOR]),
                    TUTOR: _molecule_cards(part["shown"]["random"], looks[TUTOR]),
                },
                "distributions": [
                    distribution_plot(one, histograms[one.key], looks) for one in (similarity, *metrics.PROPERTIES)
                ],
            }
    title = "Melodies and molecules" if len(parts) > 1 else next(iter(parts)).capitalize()
    facts = {"title": f"{title}, before and after Psi-learning", "parts": parts, "results": results}
    learned = {name: trainings(part) for name, part in parts.items()}
    return render_template("demo.html.j2", trainings=learned, **facts, **context)


def _tile(metric: Metric, part: Part) -> tuple[str, str, str, str]:
    """Make a tile: title, the prior's value, the tutor's, and whether that is better."""
    before, after = ({**part["metrics"][who], **part.get("search", {}).get(who, {})} for who in (PRIOR, TUTOR))
    was, now = (metric.format(one.get(metric.key)) for one in (before, after))
    return metric.title, was, now, metric.compare(after, before, part["n"])


def _heard(part: Part) -> dict[str, str]:
    """Say what KL and return each network has whose melodies are played."""
    shown = (metrics.KL, metrics.RETURN)
    networks = {PRIOR: part["metrics"][PRIOR], **_tutors(part)}
    return {
        label: ", ".join(f"{one.title} {one.format(values[one.key])}" for one in shown)
        for label, values in networks.items()
    }


def _molecule_cards(molecules: Sequence[Mapping[str, Any]], look: Style) -> list[Card]:
    """Make cards of molecules: similarity, then the properties unless the string is no molecule."""
    cards = []
    for one in molecules:
        texts = [f"{metric.title} {metric.format(one.get(metric.key))}" for metric in metrics.PROPERTIES]
        lines = [f"similarity {metrics.SCORE.format(one['task_return'])}"]
        lines += [] if one["reason"] else [" · ".join(texts[2:]), " · ".join(texts[:2])]
        cards.append(molecule_card("", look, one["smiles"], lines, one["reason"]))
    return cards
