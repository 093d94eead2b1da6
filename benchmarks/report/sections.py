"""The sections of a suite's report in order: question, answer, plots, tables. Page and Markdown are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.report import answers, cards, metrics
from benchmarks.report.data import Results, Task, fronts, gaps_over_tasks
from benchmarks.report.drawing import Plot
from benchmarks.report.metrics import Metric, Values
from benchmarks.report.plots import Looks, front_plot, gap_plots, learning_plots, term_plot
from benchmarks.report.tables import SIGN_TEST, Table, aggregate_table, improvement_table, main_tables, metric_table
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

MANY_AGENTS = 6  # more, and a table of pairs is folded
MOST_TASKS = 8  # of which a section has plots or tables of their own
PAPER: Mapping[str, Values] = {
    f"paper: {title}": PAPER_TABLE_1[name] for title, name in {"prior": "prior", "Q": "Q", "Ψ": "Psi", "G": "G"}.items()
}
MARKED = (
    "Beneath each mean stands its 95% interval over seeds. A number is marked as best only if its interval is apart "
    "from that of every other agent that has the metric; an agent that does not learn and ran once has no spread over "
    "seeds and counts as a point. Where a learner ran once nothing is marked. “Apart” is no test: with three to five "
    "seeds intervals are too short (see the definitions), and a table has many columns."
)
PAIRED = (
    "For two agents at the same seed in the same task: how often the row’s J is the higher one, ties counted half. "
    f"Marked where the interval lies above 50% and there are {SIGN_TEST} pairs or more: with fewer even a clean sweep "
    "may be luck (a two-sided sign test has p > .05). Where all pairs agree a bootstrap has no width to show. A single "
    "run of an agent that does not learn is paired with every seed."
)
GAPS = (
    "log Z − J = KL(π ‖ optimum), estimated from the sequences of the evaluation: it may be below 0, and is then drawn "
    "at the left edge."
)
CURVES = (
    "Lines: means over seeds; bands: 95% intervals; dashes: the prior. While learning a point is evaluated on fewer "
    "sequences than the marker at the line’s end."
)
FRONTS = (
    "A line for each agent, a point for each c, with 95% intervals both ways. Up and to the left is better. Point at a "
    "mark for all its numbers."
)
FROM_THE_PAPER = (
    "Marked: the best of our agents, if its interval is apart from all others’. The paper’s columns are as printed: "
    "another prior, other music, no intervals; its prior’s “not in key” and “starts with tonic” have changed places."
)
REPEATS = "An agent may score well by writing one good molecule again and again; these metrics would show it."
ROLLS = (
    "Time runs to the right, two bars of four quarters where a melody has 32 steps; pitch upwards, C3 to B5, a line "
    "below each C. Notes of C major are blue, others orange. R is the melody’s return. One plays at a time, at 80 "
    "quarters a minute; Escape stops it."
)


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
        remarks: how to read it.
        columns: of the page's plots: "", "pairs", "wide".
    """

    anchor: str
    link: str
    question: str
    answer: str
    blocks: Sequence[Block] = ()
    remarks: Sequence[str] = field(default=())
    columns: str = ""


def sections(results: Results, looks: Looks) -> list[Section]:
    """Make the sections whose data exist."""
    tasks = results.tasks
    made = [
        wins(results),
        gaps(tasks, looks),
        learning(tasks, looks),
        frontier(tasks, looks),
        terms(tasks, looks),
        table_1(tasks),
        molecules(tasks),
        samples(tasks),
        failures(results),
    ]
    return [section for section in made if section is not None]


def _left_out(tasks: Sequence[Task]) -> tuple[str, ...]:
    rest = [task.name for task in tasks[MOST_TASKS:]]
    return (f"Left out here for room: {', '.join(rest)}.",) if rest else ()


def _fold_all_but_first(tables: Sequence[Table]) -> list[Block]:
    return [Block((table,), title=table.caption if k else "") for k, table in enumerate(tables)]


def wins(results: Results) -> Section:
    """Compare agents: the main tables, gaps over tasks, wins over seeds."""
    tasks = results.tasks
    question = ("wins", "Who wins", "Who wins?")
    if not tasks:
        return Section(*question, answers.who_wins(tasks))
    over = aggregate_table(tasks)
    tables = [*main_tables(tasks), *([over] if over else [])]
    paired = [(task, table) for task in tasks[:MOST_TASKS] if (table := improvement_table(task)) is not None]
    blocks = [Block(tables)] + [
        Block((table,), title=table.caption if len(tasks) > 1 or len(task.arms) > MANY_AGENTS else "")
        for task, table in paired
    ]
    partial = "Of those that have finished: " if results.failures or results.missing else ""
    remarks = (MARKED, *((PAIRED, *_left_out(tasks)) if paired else ()))
    return Section(*question, partial + answers.who_wins(tasks), blocks, remarks)


def gaps(tasks: Sequence[Task], looks: Looks) -> Section | None:
    """Show how far agents stay from a known optimum."""
    exact = [task for task in tasks if task.is_exact]
    if not exact:
        return None
    absent = gaps_over_tasks(exact)[1]
    rest = (f"Not in every exact task, so not compared: {', '.join(absent)}.",) if absent else ()
    blocks = [Block(plots=gap_plots(exact, looks))]
    question = "How far from the optimum do they stay?"
    return Section("gap", "Gap", question, answers.how_far(exact), blocks, (GAPS, *rest), "pairs")


def learning(tasks: Sequence[Task], looks: Looks) -> Section | None:
    """Show learning curves."""
    curved = [task for task in tasks if any(len(curve) > 1 for arm in task.arms for curve in arm.curves)]
    if not curved:
        return None
    shown = enumerate(curved[:MOST_TASKS])
    plots = [plot for k, task in shown for plot in learning_plots(f"learning-{k}", task, looks)]
    remarks = (CURVES, *_left_out(curved))
    answer = answers.how_fast(curved)
    return Section("learning", "Learning", "How fast do they learn?", answer, [Block(plots=plots)], remarks)


def frontier(tasks: Sequence[Task], looks: Looks) -> Section | None:
    """Show return against KL over temperatures."""
    found = fronts(tasks)
    if not found:
        return None
    returns = {task.name: task.return_metric for task in tasks}
    of_front = {where: returns[next(iter(lines.values()))[0].task] for where, lines in found.items()}
    answer = " ".join(answers.what_return_costs(lines, of_front[where]) for where, lines in found.items())
    plots = [
        front_plot(f"frontier-{k}", where, lines, of_front[where], looks)
        for k, (where, lines) in enumerate(found.items())
    ]
    question = "What does return cost in KL?"
    return Section("frontier", "Return against KL", question, answer, [Block(plots=plots)], (FRONTS,), "wide")


def known_terms(task: Task) -> list[Metric]:
    """List the reward's terms that the domain's tables know and any run has."""
    known = metrics.MELODY_TERMS if task.is_melody else metrics.MOLECULE_TERMS if task.is_molecule else ()
    return [one for one in known if task.has(one.key)]


def terms(tasks: Sequence[Task], looks: Looks) -> Section | None:
    """Show what each term of the reward pays."""
    rewarded = [task for task in tasks if known_terms(task)]
    if not rewarded:
        return None
    blocks = []
    for k, task in enumerate(rewarded[:MOST_TASKS]):
        shown = known_terms(task)
        names = [f"terms-{k}-{one.key.removeprefix('term_').replace('_', '-')}" for one in shown]
        plots = [term_plot(name, task, one, looks) for name, one in zip(names, shown)]
        table = metric_table(f"{task.name}: what each term pays", task.arms, shown)
        if k:
            blocks.append(Block((table,), plots, task.name))
        else:  # the first task's plots are open
            blocks += [Block(plots=plots), Block((table,), title=table.caption)]
    where = f"{rewarded[0].name}: " if len(rewarded) > 1 else ""
    answer = where + answers.which_terms(rewarded[0], known_terms(rewarded[0]))
    return Section("terms", "Terms", "Which terms of the reward pay?", answer, blocks, _left_out(rewarded))


def table_1(tasks: Sequence[Task]) -> Section | None:
    """Compare with the paper's Table 1."""
    melodies = [task for task in tasks if task.is_melody]
    if not melodies:
        return None
    tables = [
        metric_table(f"{task.name}: Table 1", task.arms, metrics.TABLE_1, PAPER) for task in melodies[:MOST_TASKS]
    ]
    answer = (f"{melodies[0].name}: " if len(melodies) > 1 else "") + answers.beside_the_paper(melodies[0])
    question = "How do they compare with the paper’s Table 1?"
    remarks = (FROM_THE_PAPER, *_left_out(melodies))
    return Section("table-1", "Table 1", question, answer, _fold_all_but_first(tables), remarks)


def molecules(tasks: Sequence[Task]) -> Section | None:
    """Show what the molecules are like."""
    found = [task for task in tasks if task.is_molecule]
    if not found:
        return None
    shown = (*metrics.MOLECULE_SETS, *metrics.DISTINCT_MEANS)
    tables = [
        metric_table(f"{task.name}: the samples, and means over distinct molecules", task.arms, shown)
        for task in found[:MOST_TASKS]
    ]
    question = "What are the molecules like?"
    return Section("molecules", "Molecules", question, REPEATS, _fold_all_but_first(tables), _left_out(found))


def samples(tasks: Sequence[Task]) -> Section | None:
    """Introduce the sample cards, which only the page has."""
    shown = cards.shown_tasks(tasks)
    if not shown:
        return None
    kinds = any(task.is_melody for task in shown), any(task.is_molecule for task in shown)
    verb = {(True, False): "sound", (False, True): "look"}.get(kinds, "sound and look")
    answer = "The first samples of each agent’s lowest seed, the prior’s beside them; none was chosen."
    remarks = (*cards.left_out(tasks), *([ROLLS] if kinds[0] else []))
    return Section("samples", "Samples", f"How do they {verb}?", answer, (), remarks)


def failures(results: Results) -> Section | None:
    """Introduce the failures, which the page lists."""
    if not results.failures:
        return None
    count = f"{len(results.failures)} of {len(results.experiments)} experiments failed"
    return Section("failures", "Failures", "What failed?", f"{count}; they are in no table above.")
