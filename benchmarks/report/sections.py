"""Make the sections of a suite's report in order: question, answer, plots, tables. Page and Markdown show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report import answers, metrics, pmo, samples
from benchmarks.report.data import Arm, Results, TaskResults, fronts
from benchmarks.report.drawing import Looks, Plot
from benchmarks.report.gaps import gaps_over_tasks
from benchmarks.report.metrics import Metric, Values
from benchmarks.report.plots import front_plot, gap_plots, learning_plots, pair_plot, term_plot
from benchmarks.report.tables import (
    Table,
    aggregate_table,
    improvement_table,
    log_z_table,
    main_tables,
    metric_table,
)
from seqtutor_envs.melody.paper_table import PAPER_TABLE_1

MANY_AGENTS = 6  # more, and a table of pairs is folded
MOST_TASKS = 8  # of which a section has plots or tables of their own
PAPER: Mapping[str, Values] = {
    f"paper: {title}": PAPER_TABLE_1[name] for title, name in {"prior": "prior", "Q": "Q", "Ψ": "Psi", "G": "G"}.items()
}


@dataclass(frozen=True)
class Block:
    """Plots above tables; a block with a title is folded on the page."""

    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    title: str = ""


@dataclass(frozen=True)
class Section:
    """One question of the report.

    Attributes:
        anchor, link: its id and its title in links.
        question, answer: in words, an answer line for each task.
        blocks: the evidence.
        remarks: how to read it: keys of templates/remarks.j2, or sentences.
        columns: of the page's plots: "", "pairs", "wide".
    """

    anchor: str
    link: str
    question: str
    answer: str
    blocks: Sequence[Block] = ()
    remarks: Sequence[str] = ()
    columns: str = ""


def make_sections(results: Results, looks: Looks) -> list[Section]:
    """Make the sections whose data exist."""
    tasks = results.tasks
    exact, bounded = ([task for task in tasks if task.is_exact], [task for task in tasks if task.bounds])
    # a single point is the start, and no curve
    curved = [task for task in tasks if any(len(curve) > 1 for arm in task.arms for curve in arm.curves)]
    melodies, molecules = ([task for task in tasks if task.domain == name] for name in ("melody", "molecule"))
    rewarded = [task for task in tasks if _known_terms(task)]
    lines = fronts(tasks)
    made = [_compare_agents(results)]
    if exact or bounded:
        made.append(_compare_with_optimum(exact, bounded, looks))
    if curved:
        drawn: list[Plot] = []
        for k, task in enumerate(curved[:MOST_TASKS]):
            drawn += learning_plots(f"learning-{k}", task, looks)
        question, blocks = "How fast do they learn?", [Block(plots=drawn)]
        remarks = ["curves", *_left_out(curved)]
        made.append(Section("learning", "Learning", question, answers.how_fast(curved), blocks, remarks))
    if lines:
        made.append(_compare_temperatures(tasks, lines, looks))
    if rewarded:
        made.append(_compare_terms(rewarded, looks))
    if melodies:
        tables = [metric_table(f"{task.name}: Table 1", task.arms, metrics.TABLE_1, PAPER) for task in melodies]
        answer = _name_first(melodies) + answers.beside_the_paper(melodies[0])
        question, remarks = "How do they compare with the paper’s Table 1?", ["paper", *_left_out(melodies)]
        made.append(Section("table-1", "Table 1", question, answer, _fold_all_but_first(tables), remarks))
    if of_pmo := pmo.collect_arms(tasks):
        made.append(_compare_with_published(tasks, of_pmo, looks))
    if molecules:
        shown = (*metrics.MOLECULE_SETS, *metrics.DISTINCT_MEANS)
        caption = "the samples, and means over distinct molecules"
        tables = [metric_table(f"{task.name}: {caption}", task.arms, shown) for task in molecules]
        question, blocks = "What are the molecules like?", _fold_all_but_first(tables)
        made.append(Section("molecules", "Molecules", question, "repeats", blocks, _left_out(molecules)))
    # without blocks: the cards are made by the templates, which Markdown leaves out
    if sampled := samples.shown_tasks(tasks):
        verbs = {"melody": "sound", "molecule": "look"}
        kinds = [domain for domain in verbs if any(task.domain == domain for task in sampled)]
        question = f"How do they {' and '.join(verbs[kind] for kind in kinds)}?"
        answer = "The first samples of each agent’s lowest seed, the prior’s beside them; none was chosen."
        remarks = samples.left_out(tasks) + (["rolls"] if "melody" in kinds else [])
        made.append(Section("samples", "Samples", question, answer, (), remarks))
    if results.failures:
        count = f"{len(results.failures)} of {len(results.experiments)} experiments failed"
        answer = f"{count}; they are in no table above."
        made.append(Section("failures", "Failures", "What failed?", answer))
    return made


def _left_out(tasks: Sequence[TaskResults], what: str = "Left out here") -> list[str]:
    rest = [task.name for task in tasks[MOST_TASKS:]]
    return [f"{what} for room: {', '.join(rest)}."] if rest else []


def _name_first(tasks: Sequence[TaskResults]) -> str:
    return f"{tasks[0].name}: " if len(tasks) > 1 else ""


def _fold_all_but_first(tables: Sequence[Table]) -> list[Block]:
    return [Block([table], title=table.caption if k else "") for k, table in enumerate(tables[:MOST_TASKS])]


def _compare_agents(results: Results) -> Section:
    """Show the main tables, gaps over tasks, wins over seeds."""
    tasks = results.tasks
    paired = [table for task in tasks[:MOST_TASKS] if (table := improvement_table(task)) is not None]
    # a table of pairs grows with the square of the agents
    folded = len(tasks) > 1 or any(len(task.arms) > MANY_AGENTS for task in tasks)
    blocks: list[Block] = []
    remarks: list[str] = []
    partial = ""
    if tasks:
        over = aggregate_table(tasks)
        blocks.append(Block(main_tables(tasks) + ([over] if over else [])))
        remarks.append("marked")
        if any(arm.j_is_bound for arm in results.arms):
            remarks.append("bound")
        if any(arm.samples_optimum for arm in results.arms):
            remarks.append("exact")
        partial = "Of those that have finished: " if results.failures or results.missing else ""
    if paired:
        blocks += [Block([table], title=table.caption if folded else "") for table in paired]
        remarks += ["paired", *_left_out(tasks)]
    return Section("wins", "Who wins", "Who wins?", partial + answers.who_wins(tasks), blocks, remarks)


def _compare_with_optimum(exact: Sequence[TaskResults], bounded: Sequence[TaskResults], looks: Looks) -> Section:
    """Show exact gaps, and what bounds of log Z say where the optimum is not known."""
    said, blocks, remarks = list[str](), list[Block](), list[str]()
    if exact:
        said.append(answers.how_far(exact))
        blocks.append(Block(plots=gap_plots(exact, looks)))
        remarks.append("gaps")
        if absent := gaps_over_tasks(exact)[1]:
            remarks.append(f"Without an exact gap in every exact task, so not compared: {', '.join(absent)}.")
    if bounded:
        said.append(answers.what_is_left(bounded))
        blocks.append(Block([log_z_table(bounded)]))
        remarks.append("log_z")
        # such as that an estimate is doubtful
        remarks += [f"{one.name}: {' '.join(one.bounds.notes)}" for one in bounded if one.bounds and one.bounds.notes]
    question = "How far from the optimum do they stay?"
    return Section("gap", "Gap", question, "\n".join(said), blocks, remarks, "pairs")


def _compare_temperatures(
    tasks: Sequence[TaskResults], lines: Mapping[str, Mapping[str, list[Arm]]], looks: Looks
) -> Section:
    """Show return against KL over temperatures."""
    returns = {task.name: task.return_metric for task in tasks}
    found = [(where, some, returns[next(iter(some.values()))[0].task]) for where, some in lines.items()]
    answer = " ".join(answers.what_return_costs(some, metric) for _, some, metric in found)
    plots = [front_plot(f"frontier-{k}", where, some, metric, looks) for k, (where, some, metric) in enumerate(found)]
    question, blocks = "What does return cost in KL?", [Block(plots=plots)]
    is_bound = any(arm.j_is_bound for _, some, _ in found for arms in some.values() for arm in arms)
    remarks = ["fronts"] + ["front_bounds"] * is_bound
    return Section("frontier", "Return against KL", question, answer, blocks, remarks, "wide")


def _compare_with_published(
    tasks: Sequence[TaskResults], arms: Mapping[str, Mapping[str, Arm]], looks: Looks
) -> Section:
    """Show PMO's tables, and what the area under the curve costs in diversity."""
    diverse = [task for task in tasks if pmo.find_pmo_name(task) and task.has(metrics.DIVERSITY.key)]
    plots = [
        pair_plot(f"diversity-{k}", task, metrics.DIVERSITY, metrics.AUC, looks)
        for k, task in enumerate(diverse[:MOST_TASKS])
    ]
    blocks = [Block(pmo.make_tables(arms))] + ([Block(plots=plots)] if plots else [])
    beside = "pmo_published" if pmo.find_published(arms) else "pmo_other_budgets"
    remarks = ["pmo", beside, *_left_out(diverse, "Plots left out")]
    question = "How do they compare with what is published on PMO?"
    return Section("pmo", "PMO", question, pmo.describe_sums(arms), blocks, remarks)


def _known_terms(task: TaskResults) -> list[Metric]:
    """List the reward's terms that the domain's tables know and any run has."""
    return [one for one in metrics.TERMS.get(task.domain, ()) if task.has(one.key)]


def _compare_terms(tasks: Sequence[TaskResults], looks: Looks) -> Section:
    """Show what each term of the reward pays."""
    blocks = []
    for k, task in enumerate(tasks[:MOST_TASKS]):
        shown = _known_terms(task)
        names = [f"terms-{k}-{one.key.removeprefix('term_').replace('_', '-')}" for one in shown]
        plots = [term_plot(name, task, one, looks) for name, one in zip(names, shown)]
        table = metric_table(f"{task.name}: what each term pays", task.arms, shown)
        # the first task's plots are open
        blocks += [Block([table], plots, task.name)] if k else [Block(plots=plots), Block([table], title=table.caption)]
    answer = _name_first(tasks) + answers.which_terms(tasks[0], _known_terms(tasks[0]))
    return Section("terms", "Terms", "Which terms of the reward pay?", answer, blocks, _left_out(tasks))
