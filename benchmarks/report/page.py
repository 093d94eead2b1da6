"""The demonstration as one self-contained HTML page: pictures and sound are in it, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.report.figures import CURVES, ROLL_AXES, curve_png
from benchmarks.report.rows import NEAR_ZERO, OBJECTIVE, RULES, TABLE_1, Metrics, Row, as_good, shown, shown_error

TEMPLATE = Path(__file__).with_name("template.html")
MELODY_SECONDS = 6.0  # 32 sixteenths at 80 quarter notes a minute
TILES = ("j", "task_return", "starts_with_tonic", "in_motif")
ARROWS = {"higher": "↑", "lower": "↓", "near 0": "→ 0"}


def page(results: Mapping[str, Any], folder: Path) -> str:
    """The page about `results`; melodies/*.wav and *.png are read from `folder`."""
    prior, tutor, paper = (results["metrics"][name] for name in ("prior", "tutor", "paper_psi"))
    ours = {"prior": prior, "tutor": tutor}
    left, _, width, _ = ROLL_AXES
    count = len(results["melodies"]["prior"])
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        lede=lede(results),
        notices="".join(f'<p class="notice">{escape(text)}</p>' for text in notices(results)),
        tiles="".join(tile(row, prior, tutor) for row in (*OBJECTIVE, *TABLE_1) if row.key in TILES),
        shown=count,
        seed=results["settings"]["seed"],
        n=f"{results['settings']['n']:,}",
        c=f"{results['settings']['c']:g}",
        points=f"{50 / results['settings']['n'] ** 0.5:.1f}",  # the largest standard error of a share, at one half
        melodies="".join(pair(number, results["melodies"], folder) for number in range(1, count + 1)),
        curves="".join(curve_figure(name, results) for name in CURVES),
        objective=table(OBJECTIVE, ours),
        table_1=table(TABLE_1, {**ours, "paper’s Psi": paper}),
        reached=reached(tutor, paper, results["settings"]["paper"]),
        rules=table(RULES, ours),
        commands=definitions({what: f"<code>{escape(line)}</code>" for what, line in results["commands"].items()}),
        facts=definitions({what: escape(fact) for what, fact in facts(results).items()}),
        roll_left=f"{100 * left:.2f}",
        roll_width=f"{100 * width:.2f}",
        melody_seconds=f"{MELODY_SECONDS:g}",
    )


def lede(results: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    training, settings = results["training"], results["settings"]
    return (
        f"This took <b>{training['cpu_seconds']:.0f} CPU seconds</b> of Psi-learning on one core: "
        f"{training['rounds']:,} rounds of {results['agent']['n_envs']} melodies, at temperature "
        f"c&nbsp;=&nbsp;{settings['c']:g} and discount γ&nbsp;=&nbsp;{settings['gamma']:g}."
    )


def notices(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know first: an early end, warnings of the agent."""
    training = results["training"]
    asked = results["settings"]["seconds"]
    early = f"Ctrl-C ended the fine-tuning after {training['cpu_seconds']:.0f} of {asked:g} seconds."
    repeating = (
        f"Fine-tuning stopped after {training['cpu_seconds']:.0f} of {asked:g} seconds, as melodies began to repeat: "
        f"fewer than {results['settings']['min_distinct']:.1%} of the newest were distinct. The rules pay most for one "
        "endless loop of eight steps, so at this temperature the best policy is that loop, and J would rise further. "
        "--min-distinct 0 goes on and lets you hear it; a larger c keeps the variety."
    )
    return [early] * training["interrupted"] + [repeating] * training["repeating"] + training["warnings"]


def tile(row: Row, prior: Metrics, tutor: Metrics) -> str:
    """A headline figure."""
    return (
        f'<div class="tile"><dt>{row.title}</dt>'
        f'<dd><span class="from">{shown(row, prior[row.key])}</span><span class="arrow" aria-label="to">→</span>'
        f'<span class="to">{shown(row, tutor[row.key])}</span></dd></div>'
    )


def pair(number: int, melodies: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> str:
    """Melody `number` of the prior beside the tutor's."""
    sides = (("before", "prior", "Before"), ("after", "tutor", "After"))
    cards = "".join(card(number, when, title, melodies[writer][number - 1], folder) for when, writer, title in sides)
    return f'<article class="pair"><h3>{number}</h3><div class="sides">{cards}</div></article>'


def card(number: int, when: str, title: str, melody: Mapping[str, Any], folder: Path) -> str:
    """Piano roll, player and figures of one melody."""
    path = folder / "melodies" / f"{when}_{number}"
    figures = f"R {shown(OBJECTIVE[1], melody['task_return'])} · log p {shown(OBJECTIVE[3], melody['log_p'])}"
    notes = escape(melody["notes"], quote=True)
    return (
        f'<figure class="{when}"><figcaption><b>{title}</b><span>{figures}</span></figcaption>'
        f'<div class="roll"><img alt="Piano roll: {notes}" src="{embedded(path.with_suffix(".png"), "image/png")}">'
        f'<i class="playhead"></i></div>'
        f'<audio controls preload="metadata" aria-label="{title}, melody {number}" '
        f'src="{embedded(path.with_suffix(".wav"), "audio/wav")}"></audio></figure>'
    )


def curve_figure(name: str, results: Mapping[str, Any]) -> str:
    """One learning curve."""
    metrics = results["metrics"]
    content = curve_png(name, results["curve"], metrics["prior"], metrics["tutor"])
    last = metrics["tutor"][name]
    words = f"{CURVES[name]} while learning: from {metrics['prior'][name]:.1f} (the prior) to {last:.1f} (the tutor)"
    return f'<img src="{data_uri(content, "image/png")}" alt="{escape(words)}">'


def table(rows: Sequence[Row], columns: Mapping[str, Metrics]) -> str:
    """Rows by columns; the standard error stands under its figure."""
    heads = "".join(f'<th scope="col" class="{_class(name)}">{name}</th>' for name in columns)
    body = "".join(f"<tr>{_head(row)}{_cells(row, columns)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _head(row: Row) -> str:
    arrow = ARROWS.get(row.better)
    mark = f'&nbsp;<span class="better" title="{row.better} is better">{arrow}</span>' if arrow else ""
    return f'<th scope="row"><b>{row.title}</b>{mark}<small>{escape(row.meaning)}</small></th>'


def _cells(row: Row, columns: Mapping[str, Metrics]) -> str:
    return "".join(f'<td class="{_class(name)}">{cell(row, metrics)}</td>' for name, metrics in columns.items())


def _class(column: str) -> str:
    return column if column in ("prior", "tutor") else "paper"


def cell(row: Row, metrics: Metrics) -> str:
    """A figure, and its standard error if it has one."""
    error = shown_error(row, metrics)
    return shown(row, metrics.get(row.key)) + (f"<small>{error}</small>" if error else "")


def reached(tutor: Metrics, paper: Metrics, as_paper: bool) -> str:
    """In how many of Table 1's rows the tutor is at least as good as the paper's, and which not."""
    short = [row.title.lower() for row in TABLE_1 if not as_good(row, tutor[row.key], paper[row.key])]
    count = f"In {len(TABLE_1) - len(short)} of these {len(TABLE_1)} rows the tutor is at least as good as the paper’s"
    rest = f"; not in: {', '.join(short)}." if short else "."
    option = " The option --paper takes the paper’s c = 0.5, γ = 0.5 and one-step targets: the rules weigh four-fold."
    return escape(f"{count} (autocorrelations: within ±{NEAR_ZERO:g}){rest}{'' if as_paper else option}")


def definitions(entries: Mapping[str, str]) -> str:
    """Entries of a definition list; what they say is HTML already."""
    return "".join(f"<dt>{what}</dt><dd>{said}</dd>" for what, said in entries.items())


def facts(results: Mapping[str, Any]) -> dict[str, str]:
    """Seed, seconds, versions and settings."""
    training, agent = results["training"], dict(results["agent"])
    name = agent.pop("name")
    learned = f"{training['timesteps']:,} tokens, {training['rounds']:,} rounds"
    return {
        "Seed": str(results["settings"]["seed"]),
        "Prior": results["settings"]["prior"],
        "Fine-tuning": f"{training['cpu_seconds']:.1f} CPU seconds on one thread, {learned}",
        "All in all": f"{results['wall_seconds']:.0f} seconds by the clock, before this page was written",
        name: ", ".join(f"{key} {value}" for key, value in agent.items() if value is not None),
        "Versions": ", ".join(f"{key} {value}" for key, value in results["versions"].items()),
    }


def embedded(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return data_uri(path.read_bytes(), media_type)


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
