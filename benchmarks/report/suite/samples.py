"""The first sequences that each agent wrote, the prior's beside them: melodies to hear, molecules to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.report.markup import picture
from benchmarks.report.suite import columns, parts, rolls
from benchmarks.report.suite.data import Arm, by_task
from benchmarks.report.suite.pieces import folded, remarks
from benchmarks.report.suite.theme import Style, swatch

COUNT = 4  # of each agent
MOST_TASKS = 4
MOST_AGENTS = 8
Looks = Mapping[str, Style]
Sample = Mapping[str, Any]


def evidence(found: Sequence[Arm], looks: Looks) -> str:
    """By task, by number, by agent; tasks after the first are folded."""
    tasks = shown(found)
    level = "h4" if len(tasks) > 1 else "h3"
    made = [_task(members, looks, level) for members in tasks.values()]
    lengths = [
        len(one["tokens"]) for members in tasks.values() for arm in members if parts.heard(arm) for one in written(arm)
    ]
    rest = "".join(folded(f"<b>{escape(task)}</b>", inner) for task, inner in zip(list(tasks)[1:], made[1:]))
    title = f"<h3>{escape(next(iter(tasks)))}</h3>" if len(tasks) > 1 else ""
    return rolls.grids(lengths) + title + made[0] + rest + remarks(left_out(found))


def shown(found: Sequence[Arm]) -> dict[str, list[Arm]]:
    """The first tasks whose samples can be heard or seen, with their first agents, the prior first of all."""
    writers = [arm for arm in found if parts.heard(arm) or parts.drawn(arm)]
    tasks = list(by_task(writers).items())[:MOST_TASKS]
    return {task: sorted(members, key=lambda arm: not arm.is_prior)[:MOST_AGENTS] for task, members in tasks}


def left_out(found: Sequence[Arm]) -> list[str]:
    """Which tasks and agents have no samples here, in a sentence each."""
    writers = [arm for arm in found if parts.heard(arm) or parts.drawn(arm)]
    tasks, kept = by_task(writers), shown(found)
    more = [task for task in tasks if task not in kept]
    agents = [f"{arm.label} ({task})" for task in kept for arm in tasks[task] if arm not in kept[task]]
    return [f"Left out here for room: {', '.join(names)}." for names in (more, agents) if names]


def written(arm: Arm) -> Sequence[Sample]:
    """The first samples of its lowest seed."""
    found: Sequence[Sample] = arm.runs[0].result.get("samples") or ()
    return found[:COUNT]


def _task(members: Sequence[Arm], looks: Looks, level: str) -> str:
    noun = "Melody" if parts.heard(members[0]) else "Molecule"
    rows = []
    for k in range(max(len(written(arm)) for arm in members)):
        cards = "".join(_card(arm, k, written(arm)[k], looks[arm.label]) for arm in members if k < len(written(arm)))
        rows.append(f'<div><{level} class="number">{noun} {k + 1}</{level}><div class="sample">{cards}</div></div>')
    return f'<div class="samples" style="--agents: {len(members)}">{"".join(rows)}</div>'


def _card(arm: Arm, k: int, sample: Sample, look: Style) -> str:
    draw: Callable[[Arm, int, Sample], tuple[str, str, str]] = _melody if parts.heard(arm) else _molecule
    kind, drawing, under = draw(arm, k, sample)
    paid = f"R {columns.told(columns.return_row([arm]), sample.get('task_return'))}"
    head = f"<figcaption>{swatch(look)} <b>{escape(arm.label)}</b> <span>{paid}</span>{under}</figcaption>"
    return f'<figure class="card {kind}" style="--arm: {look.variable}">{drawing}{head}</figure>'


def _melody(arm: Arm, k: int, sample: Sample) -> tuple[str, str, str]:
    tokens = sample["tokens"]
    return "melody", rolls.roll(tokens), rolls.play_button(tokens, f"{arm.label}, melody {k + 1}")


def _molecule(arm: Arm, k: int, sample: Sample) -> tuple[str, str, str]:
    from seqtutor_envs.smiles import chem, chem_draw

    smiles = str(sample["sequence"])
    if chem.parse(smiles) is None:
        drawing = '<p class="not">Not a molecule</p>'
    else:
        drawing = picture(chem_draw.grid([smiles]).encode(), f"Molecule {smiles}", "image/svg+xml")
    qed = None if chem.parse(smiles) is None else (sample.get("terms") or {}).get("qed")
    paid = f"<span>QED {columns.told(columns.SCORE, qed)}</span>" if qed is not None else ""
    return "mol", drawing, f"{paid}<code>{escape(smiles)}</code>"
