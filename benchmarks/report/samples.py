"""Make cards of samples: melodies to hear, molecules to see, each with its agent and its return."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.report import metrics
from benchmarks.report.data import TaskResults
from benchmarks.report.drawing import Looks, Style

COUNT = 4  # of each agent
MOST_TASKS = 4
MOST_AGENTS = 8
REASONS = {"syntax": "RDKit cannot read it", "fragments": "more than one fragment", "radical": "a radical"}


@dataclass(frozen=True)
class Card:
    """One sample.

    Attributes:
        label, style: its agent's; "" shows no label.
        name: what the play button plays.
        lines: metrics, a string each.
        tokens: of a melody.
        smiles, picture: of a molecule; the picture is a data URI, "" if the string is none.
        reason: why the string is no molecule.
    """

    label: str
    style: Style
    lines: Sequence[str]
    name: str = ""
    tokens: Sequence[int] = ()
    smiles: str = ""
    picture: str = ""
    reason: str = ""


def molecule_card(label: str, style: Style, smiles: str, lines: Sequence[str], reason: str = "") -> Card:
    """Make the card of a string, drawn if it is a molecule."""
    # imported late: RDKit is slow to import, and reports of melodies do without it
    from seqtutor_envs.smiles import chem
    from seqtutor_envs.smiles.chem import drawing

    if chem.parse(smiles) is None:
        return Card(label, style, lines, smiles=smiles, reason=REASONS.get(reason, reason))
    content = base64.b64encode(drawing.svg(smiles).encode()).decode("ascii")
    return Card(label, style, lines, smiles=smiles, picture=f"data:image/svg+xml;base64,{content}")


def make_card(task: TaskResults, label: str, style: Style, number: int, sample: Mapping[str, Any]) -> Card:
    """Make the card of an agent's sample."""
    earned = f"R {task.return_metric.format(sample.get('task_return'))}"
    if task.domain == "melody":
        return Card(label, style, [earned], f"{label}, melody {number}", sample["tokens"])
    qed, card = (sample.get("terms") or {}).get("qed"), molecule_card(label, style, sample["sequence"], [earned])
    is_drawn = card.picture and qed is not None
    return replace(card, lines=[earned, f"QED {metrics.SCORE.format(qed)}"]) if is_drawn else card


def shown_tasks(tasks: Sequence[TaskResults]) -> list[TaskResults]:
    """Return the first tasks whose samples can be heard or seen, with their first agents, the prior first of all."""
    known = [TaskResults(task.name, [arm for arm in task.arms if arm.samples]) for task in tasks if task.domain]
    return [
        TaskResults(task.name, sorted(task.arms, key=lambda arm: not arm.is_prior)[:MOST_AGENTS])
        for task in [task for task in known if task.arms][:MOST_TASKS]
    ]


def left_out(tasks: Sequence[TaskResults]) -> list[str]:
    """Name the tasks and agents that have samples but no cards, in a sentence each."""
    shown = {task.name: {arm.label for arm in task.arms} for task in shown_tasks(tasks)}
    sampled = [(task.name, arm.label) for task in tasks if task.domain for arm in task.arms if arm.samples]
    more = list(dict.fromkeys(task for task, _ in sampled if task not in shown))
    agents = [f"{label} ({task})" for task, label in sampled if label not in shown.get(task, {label})]
    return [f"Left out here for room: {', '.join(some)}." for some in (more, agents) if some]


def card_groups(tasks: Sequence[TaskResults], looks: Looks, count: int = COUNT) -> list[dict[str, Any]]:
    """Make the cards of the first `count` samples of each agent's lowest seed: for each task rows by sample number."""
    groups = []
    for task in shown_tasks(tasks):
        rows = [
            [
                make_card(task, arm.label, looks[arm.label], k + 1, arm.samples[k])
                for arm in task.arms if k < len(arm.samples)
            ]
            for k in range(count)
        ]
        facts = {"title": task.name, "noun": task.domain.capitalize(), "agents": len(task.arms)}
        groups.append({**facts, "rows": [row for row in rows if row]})
    return groups
