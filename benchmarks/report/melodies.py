"""The page's melody part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import markup
from benchmarks.report.figures import MELODY_CURVES, ROLL_AXES
from benchmarks.report.rows import NEAR_ZERO, OBJECTIVE, RULES, TABLE_1, Metrics, as_good, shown

MELODY_SECONDS = 6.0  # 32 sixteenths at 80 quarter notes a minute
TILES = ("j", "task_return", "starts_with_tonic", "in_motif")


def section(results: Mapping[str, Any], folder: Path) -> str:
    """The part about all `results`; melodies/*.wav and *.png are read from `folder`."""
    part, settings = results["melodies"], results["settings"]
    prior, tutor, paper = (part["metrics"][name] for name in ("prior", "tutor", "paper_psi"))
    ours = {"prior": prior, "tutor": tutor}
    left, _, width, _ = ROLL_AXES
    count = len(part["samples"]["prior"])
    return markup.filled(
        "melodies.html",
        lede=lede(part),
        notices=markup.notices(notices(part, settings["min_distinct"])),
        tiles=markup.tiles([row for row in (*OBJECTIVE, *TABLE_1) if row.key in TILES], prior, tutor),
        shown=count,
        seed=settings["seed"],
        n=f"{part['n']:,}",
        c=f"{part['c']:g}",
        points=f"{50 / part['n'] ** 0.5:.1f}",  # the largest standard error of a share, at one half
        melodies="".join(pair(number, part["samples"], folder) for number in range(1, count + 1)),
        curves=markup.curves(MELODY_CURVES, part, "CPU seconds"),
        objective=markup.table(OBJECTIVE, ours),
        table_1=markup.table(TABLE_1, {**ours, "paper’s Psi": paper}),
        reached=reached(tutor, paper, settings["paper"]),
        rules=markup.table(RULES, ours),
        roll_left=f"{100 * left:.2f}",
        roll_width=f"{100 * width:.2f}",
        melody_seconds=f"{MELODY_SECONDS:g}",
    )


def lede(part: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    training, agent = part["training"], part["agent"]
    return (
        f"This took <b>{training['seconds']:.0f} CPU seconds</b> of Psi-learning on one core: "
        f"{training['rounds']:,} rounds of {agent['n_envs']} melodies, at temperature "
        f"c&nbsp;=&nbsp;{part['c']:g} and discount γ&nbsp;=&nbsp;{agent['gamma']:g}."
    )


def notices(part: Mapping[str, Any], min_distinct: float) -> list[str]:
    """What a reader must know first: an early end, warnings of the agent."""
    training = part["training"]
    repeating = (
        f"Fine-tuning stopped after {training['seconds']:.0f} of {training['asked_seconds']:g} seconds, as melodies "
        f"began to repeat: fewer than {min_distinct:.1%} of the newest were distinct. The rules pay most for one "
        "endless loop of eight steps, so at this temperature the best policy is that loop, and J would rise further. "
        "--min-distinct 0 goes on and lets you hear it; a larger c keeps the variety."
    )
    return markup.early_end(training) + [repeating] * training["repeating"] + training["warnings"]


def facts(part: Mapping[str, Any]) -> dict[str, str]:
    """What the melodies were made with."""
    training, agent = part["training"], part["agent"]
    learned = f"{training['timesteps']:,} tokens, {training['rounds']:,} rounds"
    return {
        "Melodies, fine-tuning": f"{training['seconds']:.1f} CPU seconds on one thread, {learned}",
        f"Melodies, {agent['name']}": markup.settings_line(agent),
    }


def pair(number: int, melodies: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> str:
    """Melody `number` of the prior beside the tutor's."""
    sides = (("before", "prior", "Before"), ("after", "tutor", "After"))
    cards = "".join(card(number, when, title, melodies[writer][number - 1], folder) for when, writer, title in sides)
    return f'<article class="pair"><h4>{number}</h4><div class="sides">{cards}</div></article>'


def card(number: int, when: str, title: str, melody: Mapping[str, Any], folder: Path) -> str:
    """Piano roll, player and figures of one melody."""
    path = folder / "melodies" / f"{when}_{number}"
    figures = f"R {shown(OBJECTIVE[1], melody['task_return'])} · log p {shown(OBJECTIVE[3], melody['log_p'])}"
    roll = markup.picture(path.with_suffix(".png").read_bytes(), f"Piano roll: {melody['notes']}")
    return (
        f'<figure class="{when}"><figcaption><b>{title}</b><span>{figures}</span></figcaption>'
        f'<div class="roll">{roll}<i class="playhead"></i></div>'
        f'<audio controls preload="metadata" aria-label="{title}, melody {number}" '
        f'src="{markup.embedded(path.with_suffix(".wav"), "audio/wav")}"></audio></figure>'
    )


def reached(tutor: Metrics, paper: Metrics, as_paper: bool) -> str:
    """In how many of Table 1's rows the tutor is at least as good as the paper's, and which not."""
    short = [row.title.lower() for row in TABLE_1 if not as_good(row, tutor[row.key], paper[row.key])]
    count = f"In {len(TABLE_1) - len(short)} of these {len(TABLE_1)} rows the tutor is at least as good as the paper’s"
    rest = f"; not in: {', '.join(short)}." if short else "."
    option = " The option --paper takes the paper’s c = 0.5, γ = 0.5 and one-step targets: the rules weigh four-fold."
    return escape(f"{count} (autocorrelations: within ±{NEAR_ZERO:g}){rest}{'' if as_paper else option}")
