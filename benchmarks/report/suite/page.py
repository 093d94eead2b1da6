"""The report of a suite as one self-contained HTML page: plots, melodies, molecules are in it, nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from benchmarks.report.markup import filled, notices
from benchmarks.report.suite import again, head, samples
from benchmarks.report.suite.data import Arm, Findings, arms, labels
from benchmarks.report.suite.definitions import definitions
from benchmarks.report.suite.parts import Part, parts
from benchmarks.report.suite.drawing import figures
from benchmarks.report.suite.pieces import described, folded, html_tables, legend, remarks, section
from benchmarks.report.suite.plots import PLOTS, of_terms
from benchmarks.report.suite.theme import Style, styles, variables

Looks = Mapping[str, Style]
LINKS = {
    "wins": "Who wins",
    "gap": "Gap",
    "learning": "Learning",
    "frontier": "Return against KL",
    "terms": "Terms",
    "table-1": "Table 1",
    "molecules": "Molecules",
    "samples": "Samples",
    "failures": "Failures",
}


def page(findings: Findings) -> str:
    """The page."""
    found = arms(findings)
    looks, made = styles(found), parts(findings, found)
    links = {**{part.anchor: LINKS[part.anchor] for part in made}, "again": "Do it again"}
    return filled(
        "suite/suite.html",
        title=escape(findings.name),
        question=escape(findings.question),
        tiles=tiles(findings),
        notices=notices(head.notices(findings)),
        links="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in links.items()),
        parts="\n".join(written(part, findings, found, looks) for part in made),
        facts=described(head.facts(findings, found)),
        command=escape(findings.command),
        again=again.rerun(findings, found, looks),
        definitions=described(definitions()),
        light=variables(False),
        dark=variables(True),
    )


def tiles(findings: Findings) -> str:
    """How many experiments are done, failed, missing."""
    return "".join(
        f'<div class="tile {name if n else "none"}"><dt>{name}</dt><dd>{n:,}</dd></div>'
        for name, n in head.counts(findings).items()
    )


def written(part: Part, findings: Findings, found: list[Arm], looks: Mapping[str, Style]) -> str:
    """One part: pictures, tables, and how to read them."""
    if part.anchor == "terms":
        body = _terms(part, found, looks)
    else:
        evidence = EVIDENCE[part.anchor](findings, found, looks) if part.anchor in EVIDENCE else ""
        body = evidence + html_tables(part.tables, looks)
    return section(part.anchor, part.question, part.answer, body + remarks(part.remarks))


def _plots(name: str, kind: str = "") -> Callable[[Findings, list[Arm], Looks], str]:
    """A part's plots beneath their legend."""

    def evidence(_: Findings, found: list[Arm], looks: Looks) -> str:
        plots = PLOTS[name](found, looks)
        drawn = {label for plot in plots for label in plot.labels}
        return legend(looks, [label for label in labels(found) if label in drawn]) + figures(plots, kind)

    return evidence


def _terms(part: Part, found: list[Arm], looks: Looks) -> str:
    """Every term's bars and their table, by task; all tasks but the first are folded."""
    drawn = of_terms(found, looks)
    made = [figures(plots) + html_tables([table], looks) for plots, table in zip(drawn.values(), part.tables)]
    return made[0] + "".join(folded(f"<b>{escape(task)}</b>", inner) for task, inner in list(zip(drawn, made))[1:])


EVIDENCE: dict[str, Callable[[Findings, list[Arm], Looks], str]] = {
    "gap": _plots("gap", "pairs"),
    "learning": _plots("learning"),
    "frontier": _plots("frontier", "wide"),
    "samples": lambda findings, found, looks: samples.evidence(found, looks),
    "failures": lambda findings, found, looks: again.failed(findings),
}
