"""The parts of the report in order, without pictures: question, answer, tables. Page and Markdown are made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.report.rows import Row
from benchmarks.report.suite import answers, columns, exact, frontier
from benchmarks.report.suite.data import Arm, Findings, by_task, has
from benchmarks.report.suite.tables import SIGN_TEST, Table, figure_table, improvement_table, main_tables
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

MANY_AGENTS = 6  # more, and a table of pairs is shown at a click only
MOST_TASKS = 8  # of which a part has pictures or tables of their own
PAPER = {"paper: prior": "prior", "paper: Q": "Q", "paper: Ψ": "Psi", "paper: G": "G"}

MARKED = (
    "Beneath each mean stands its 95% interval over seeds. A figure is marked as best only where its interval is apart "
    "from that of every other agent that has the figure; what does not learn and ran once has no spread over seeds and "
    "counts as a point. Where a learner ran once nothing is marked. “Apart” is no test: with three to five seeds "
    "intervals are too short (see the definitions), and a table has many columns."
)
PAIRED = (
    "Of two agents at the same seed in the same task, how often the row’s J is the higher one, ties counted half. "
    f"Marked where the interval lies above 50% and there are {SIGN_TEST} pairs or more: with fewer even a clean sweep "
    "may be luck (a two-sided sign test has p > .05). Where all pairs agree a bootstrap has no width to show. A single "
    "run of what does not learn stands beside every seed."
)
ROLLS = (
    "Time runs to the right, two bars of four quarters where a melody has 32 steps; pitch upwards, C3 to B5, a line "
    "below each C. Notes of C major are blue, others orange. R is what the task pays the melody. One plays at a time, "
    "at 80 quarters a minute; Escape stops it."
)
BY_THE_MEAN = (
    "Marked: the best of our agents, where its interval is apart from all others’. The paper’s columns are as printed: "
    "another prior, other music, no intervals; its prior’s “not in key” and “starts with tonic” have changed places."
)


@dataclass(frozen=True)
class Part:
    """One question.

    Attributes:
        anchor: its name in links.
        question, answer: in words.
        tables: the evidence.
        remarks: how to read it.
    """

    anchor: str
    question: str
    answer: str
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def parts(findings: Findings, arms: list[Arm]) -> list[Part]:
    """Those whose data are there."""
    made: Iterable[Part | None] = (
        wins(findings, arms),
        gaps(arms),
        learning(arms),
        costs(arms),
        terms(arms),
        table_1(arms),
        molecules(arms),
        samples(arms),
        failures(findings),
    )
    return [part for part in made if part is not None]


def shown_tasks(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """The first tasks, which have pictures and tables of their own."""
    return dict(list(by_task(arms).items())[:MOST_TASKS])


def left_out(arms: Iterable[Arm]) -> tuple[str, ...]:
    """Which tasks have not, in a sentence."""
    rest = list(by_task(arms))[MOST_TASKS:]
    return (f"Left out here for room: {', '.join(rest)}.",) if rest else ()


def wins(findings: Findings, arms: list[Arm]) -> Part:
    """The main tables."""
    several = len(by_task(arms)) > 1
    compared = [
        improvement_table(members, several or len(members) > MANY_AGENTS) for members in shown_tasks(arms).values()
    ]
    paired = tuple(table for table in compared if table is not None)
    over = exact.aggregate_table(arms)
    made = (*main_tables(arms), *([over] if over else []), *paired) if arms else ()
    remarks = (MARKED, *([PAIRED] if paired else []), *(left_out(arms) if paired else ()))
    so_far = "Of those that have ended: " if arms and (findings.failures or findings.missing) else ""
    return Part("wins", "Who wins?", so_far + answers.who_wins(arms), made, remarks if arms else ())


def gaps(arms: list[Arm]) -> Part | None:
    """Exact tasks; the evidence is drawn."""
    members = exact.exact_arms(arms)
    if not members:
        return None
    absent = exact.left_out(arms)
    rest = (f"Not in every exact task, so not compared: {', '.join(absent)}.",) if absent else ()
    remark = (
        "log Z − J = KL(π ‖ optimum), estimated from the sequences that the judge drew: it may be below 0, and then "
    )
    remark += "stands at the left edge."
    return Part("gap", "How far from the optimum do they stay?", answers.how_far(members), (), (remark, *rest))


def learning(arms: list[Arm]) -> Part | None:
    """Curves; the evidence is drawn."""
    learners = [arm for arm in arms if any(len(run.result.get("curve") or ()) > 1 for run in arm.runs)]
    if not learners:
        return None
    members = [arm for arm in arms if arm.task in by_task(learners)]
    remark = (
        "Lines: means over seeds; bands: 95% intervals; dashes: the prior. While learning a point is judged on fewer "
        "sequences than the marker at the line’s end."
    )
    return Part("learning", "How do they come there?", answers.how_fast(members), (), (remark, *left_out(members)))


def costs(arms: list[Arm]) -> Part | None:
    """The frontier; the evidence is drawn."""
    fronts = frontier.fronts(arms)
    if not fronts:
        return None
    answer = " ".join(answers.what_return_costs(lines) for lines in fronts.values())
    remark = "A line for each agent, a point for each c, with 95% intervals both ways. Up and to the left is better; "
    remark += "c stands beside a mark where there is room, and all figures when it is pointed at."
    return Part("frontier", "What does return cost in KL?", answer, (), (remark,))


def known_terms(arms: Iterable[Arm]) -> list[Row]:
    """The reward's terms that a domain's tables know, of those that any run has."""
    members = list(arms)
    rows = columns.RULES if columns.is_melody(members) else columns.TERMS if columns.is_molecule(members) else ()
    return [row for row in rows if has(members, row.key)]


def terms(arms: list[Arm]) -> Part | None:
    """What each term of the reward pays; the evidence is drawn."""
    members = [arm for found in by_task(arms).values() if known_terms(found) for arm in found]
    if not members:
        return None
    first = next(iter(by_task(members).values()))
    where = f"{first[0].task}: " if len(by_task(members)) > 1 else ""
    tables = tuple(
        figure_table(f"{task}: what each term pays", found, known_terms(found), {}, True)
        for task, found in shown_tasks(members).items()
    )
    answer = where + answers.which_terms(first, known_terms(first))
    return Part("terms", "What are they paid for?", answer, tables, left_out(members))


def table_1(arms: list[Arm]) -> Part | None:
    """The paper's Table 1."""
    melodies = {task: found for task, found in by_task(arms).items() if columns.is_melody(found)}
    if not melodies:
        return None
    members = [arm for found in melodies.values() for arm in found]
    paper = {title: PAPER_TABLE_1[column] for title, column in PAPER.items()}
    tables = tuple(
        figure_table(f"{task}: Table 1", found, columns.TABLE_1, paper, k > 0)
        for k, (task, found) in enumerate(shown_tasks(members).items())
    )
    first, found = next(iter(melodies.items()))
    answer = (f"{first}: " if len(melodies) > 1 else "") + answers.beside_the_paper(found)
    question = "How do they compare with the paper’s Table 1?"
    return Part("table-1", question, answer, tables, (BY_THE_MEAN, *left_out(members)))


def molecules(arms: list[Arm]) -> Part | None:
    """What molecules are like."""
    found = [arm for members in by_task(arms).values() if columns.is_molecule(members) for arm in members]
    if not found:
        return None
    tables = tuple(
        figure_table(
            f"{task}: what is written, and what the distinct molecules are like", members, columns.MOLECULES, {}, k > 0
        )
        for k, (task, members) in enumerate(shown_tasks(found).items())
    )
    answer = "A network may score well by writing one good molecule again and again; these figures would show it."
    return Part("molecules", "What are the molecules like?", answer, tables, left_out(found))


def samples(arms: list[Arm]) -> Part | None:
    """What was written; the evidence is drawn and heard."""
    kinds = any(map(heard, arms)), any(map(drawn, arms))
    if not any(kinds):
        return None
    verb = {(True, False): "sound", (False, True): "look"}.get(kinds, "sound and look")
    answer = "The first that each agent wrote from its lowest seed, the prior’s beside them; none was chosen."
    return Part("samples", f"How do they {verb}?", answer, (), (ROLLS,) if kinds[0] else ())


def heard(arm: Arm) -> bool:
    """Whether its samples are melodies."""
    return bool(arm.runs[0].result.get("samples")) and columns.is_melody([arm])


def drawn(arm: Arm) -> bool:
    """Whether its samples are molecules."""
    return bool(arm.runs[0].result.get("samples")) and columns.is_molecule([arm])


def failures(findings: Findings) -> Part | None:
    """What failed; the list is the page's."""
    if not findings.failures:
        return None
    n = len(findings.failures)
    answer = f"{n} of {len(findings.experiments)} experiments failed; they are in no table above."
    return Part("failures", "What failed?", answer)
