"""Samples as cards: melodies to hear, molecules to see, each with its agent and what it earns."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.report import metrics
from benchmarks.report.data import Arm, Task
from benchmarks.report.style import Style

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
    name: str
    lines: tuple[str, ...]
    tokens: Sequence[int] = ()
    smiles: str = ""
    picture: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CardGroup:
    """The cards of one task: a row of cards for each sample number."""

    title: str
    noun: str
    agents: int
    rows: list[list[Card]]


def melody_card(label: str, style: Style, number: int, sample: Mapping[str, Any]) -> Card:
    """Make the card of a melody."""
    lines = (f"R {metrics.RETURN.format(sample.get('task_return'))}",)
    return Card(label, style, f"{label}, melody {number}", lines, tokens=sample["tokens"])


def molecule_card(label: str, style: Style, smiles: str, lines: Sequence[str], reason: str = "") -> Card:
    """Make the card of a string, drawn if it is a molecule."""
    from seqtutor_envs.smiles import chem
    from seqtutor_envs.smiles.chem import drawing

    if chem.parse(smiles) is None:
        return Card(label, style, "", tuple(lines), smiles=smiles, reason=REASONS.get(reason, reason))
    content = base64.b64encode(drawing.svg(smiles).encode()).decode("ascii")
    return Card(label, style, "", tuple(lines), smiles=smiles, picture=f"data:image/svg+xml;base64,{content}")


def _sampled_molecule(label: str, style: Style, sample: Mapping[str, Any]) -> Card:
    qed = (sample.get("terms") or {}).get("qed")
    card = molecule_card(label, style, str(sample["sequence"]), [])
    lines = [f"R {metrics.SCORE.format(sample.get('task_return'))}"]
    lines += [f"QED {metrics.SCORE.format(qed)}"] if card.picture and qed is not None else []
    return replace(card, lines=tuple(lines))


def shown_tasks(tasks: Sequence[Task]) -> list[Task]:
    """Return the first tasks whose samples can be heard or seen, with their first agents, the prior first of all."""
    shown: list[Task] = []
    for task in tasks:
        arms = [arm for arm in task.arms if arm.samples and (task.is_melody or task.is_molecule)]
        if arms and len(shown) < MOST_TASKS:
            shown.append(Task(task.name, sorted(arms, key=lambda arm: not arm.is_prior)[:MOST_AGENTS]))
    return shown


def left_out(tasks: Sequence[Task]) -> list[str]:
    """Name the tasks and agents that have samples but no cards, in a sentence each."""
    shown = {(arm.task, arm.label) for task in shown_tasks(tasks) for arm in task.arms}
    names = {task for task, _ in shown}
    known = [task for task in tasks if task.is_melody or task.is_molecule]
    sampled = [(task.name, arm.label) for task in known for arm in task.arms if arm.samples]
    more = list(dict.fromkeys(task for task, _ in sampled if task not in names))
    agents = [f"{label} ({task})" for task, label in sampled if task in names and (task, label) not in shown]
    return [f"Left out here for room: {', '.join(some)}." for some in (more, agents) if some]


def card_groups(tasks: Sequence[Task], looks: Mapping[str, Style], count: int = COUNT) -> list[CardGroup]:
    """Make the cards of the first `count` samples of each agent's lowest seed, by task."""
    groups = []
    for task in shown_tasks(tasks):
        rows = [[_card(task, arm, k, looks) for arm in task.arms if k < len(arm.samples)] for k in range(count)]
        noun = "Melody" if task.is_melody else "Molecule"
        groups.append(CardGroup(task.name, noun, len(task.arms), [row for row in rows if row]))
    return groups


def _card(task: Task, arm: Arm, k: int, looks: Mapping[str, Style]) -> Card:
    style, sample = looks[arm.label], arm.samples[k]
    if task.is_melody:
        return melody_card(arm.label, style, k + 1, sample)
    return _sampled_molecule(arm.label, style, sample)
