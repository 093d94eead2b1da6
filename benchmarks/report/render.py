"""Render results as a self-contained HTML page, as Markdown and as PNG files; the text stands in Jinja2 templates."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.experiment import Experiment
from benchmarks.report.data import Results
from benchmarks.report.drawing import VARIABLES, assign_styles, render_png, render_svg
from benchmarks.report.names import shared_environments
from benchmarks.report.pmo import draw_best
from benchmarks.report.samples import card_groups
from benchmarks.report.sections import make_sections
from seqtutor_envs.melody.notes import HIGHEST_PITCH, LOWEST_PITCH, segments
from seqtutor_envs.melody.render import render_ansi
from seqtutor_envs.melody.vocab import MAJOR_SCALE

THREE_COLUMNS = ("terms", "learning")  # sections with three plots a row in their PNG file
MOST_WARNINGS = 5
NUMBER = re.compile(r"\d[\d,.]*")  # warnings that differ in numbers alone are one


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # Markdown is no HTML: its template escapes by the filter `md`
        autoescape=lambda name: name != "suite.md.j2",
        # a misspelt name is an error, not an empty place on the page
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"svg": render_svg, "segments": segments, "notes": render_ansi, "md": escape_markdown}
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    made.globals |= {"arrows": {"higher": "↑", "lower": "↓", "near 0": "→ 0"}, "variables": VARIABLES}
    made.globals |= {"c_major": MAJOR_SCALE, "lowest": LOWEST_PITCH, "highest": HIGHEST_PITCH}
    return made


def render_template(name: str, **context: Any) -> str:
    """Render a template of this package."""
    return _environment().get_template(name).render(**context)


def escape_markdown(text: str) -> str:
    """Escape what Markdown would interpret, and put the text on one line."""
    plain = re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"^([#>+=~-])", r"\\\1", plain)  # what would make a line a heading, a list or a quotation


def render_page(results: Results) -> str:
    """Render the report of a suite as a page."""
    looks = assign_styles(results.arms)
    failures = [{**one, "experiment": Experiment.of(one["experiment"])} for one in results.failures]
    context = {"card_groups": card_groups(results.tasks, looks), "failures": failures}
    return render_template("suite.html.j2", title=f"{results.name}: benchmark suite", **_describe(results), **context)


def render_markdown(results: Results) -> str:
    """Render the report's text and tables in Markdown, with n and intervals; plots and sound are the page's."""
    return re.sub(r"\n{3,}", "\n\n", render_template("suite.md.j2", **_describe(results))).strip() + "\n"


def render_pictures(results: Results) -> dict[str, bytes]:
    """Draw the plots of each section that has any as a PNG file, and the best molecules of PMO; name -> bytes."""
    looks = assign_styles(results.arms)
    sections = make_sections(results, looks)
    plots = {one.anchor: [plot for block in one.blocks for plot in block.plots] for one in sections}
    drawn = {name: render_png(some, looks, 2 + (name in THREE_COLUMNS)) for name, some in plots.items() if some}
    return drawn | draw_best(results)


@lru_cache(maxsize=1)  # the page and the Markdown of one report show the same sections
def _describe(results: Results) -> dict[str, Any]:
    """Return what both templates show."""
    counts = {"done": len(results.results), "failed": len(results.failures), "missing": len(results.missing)}
    looks = assign_styles(results.arms)
    told = {"notices": list_notices(results), "facts": list_facts(results), "sections": make_sections(results, looks)}
    return {"results": results, "counts": counts, "styles": looks, **told}


def list_notices(results: Results) -> list[str]:
    """List what is doubtful: failures, missing runs, code or machines that differ, warnings."""
    lines, of = list(results.notes), len(results.experiments)
    if results.failures:
        lines.append(f"{len(results.failures)} of {of} experiments failed; the reasons are below.")
    if results.missing:
        lines.append(f"{len(results.missing)} of {of} experiments have not run: this report is about those that have.")
    # a result from outside a checkout has no commit
    states = [state for one in results.results if (state := one.get("git"))]
    commits = Counter(state["commit"][:7] for state in states)
    if len(commits) > 1:
        names = ", ".join(f"{commit} ({n})" for commit, n in commits.most_common())
        lines.append(f"The results come from {len(commits)} commits: {names}. They may not be comparable.")
    if dirty := sum(bool(state.get("dirty")) for state in states):
        lines.append(f"{_number(dirty, 'result')} came from code that was changed since its commit.")
    chemistry = Counter(rdkit for one in results.results if (rdkit := (one.get("versions") or {}).get("rdkit")))
    if len(chemistry) > 1:
        names = ", ".join(f"{version} ({n})" for version, n in chemistry.most_common())
        lines.append(f"The results come from {len(chemistry)} versions of RDKit, {names}: scores may differ.")
    if (kinds := len(_machines(results.results))) > 1:
        lines.append(f"The results come from {kinds} kinds of machine: seconds cannot be compared.")
    return lines + list_warnings(results)


def list_warnings(results: Results) -> list[str]:
    """List the agents' warnings with the number of runs that warned, the most frequent first."""
    found: dict[str, list[str]] = {}
    for one in results.results:
        # a run that warns twice counts once
        for alike, text in {NUMBER.sub("#", text): text for text in one.get("warnings") or ()}.items():
            found.setdefault(alike, []).append(text)
    lines = []
    for texts in sorted(found.values(), key=len, reverse=True)[:MOST_WARNINGS]:
        differ = ", each with its own numbers" if len(set(texts)) > 1 else ""
        lines.append(f"{_number(len(texts), 'run')} warned{differ}: {texts[0]}")
    if (rest := len(found) - MOST_WARNINGS) > 0:
        lines.append(f"The result files hold {_number(rest, 'other warning')}.")
    return lines


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _machines(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Describe each kind of machine, without its name."""
    found = []
    for one in (result.get("machine") or {} for result in results):
        cores = _number(one["cores"], "core") if one.get("cores") else ""
        memory = f"{one['memory_gib']:.0f} GiB" if one.get("memory_gib") else ""
        found.append(", ".join(filter(None, [one.get("cpu"), cores, memory, one.get("os")])))
    # by what they are, not by name: two equal machines are comparable
    return list(dict.fromkeys(filter(None, found)))


def list_facts(results: Results) -> dict[str, str]:
    """Describe budgets, seeds, machines, versions and times, each in a line."""
    files, runs = results.results, results.runs
    ran = [one for arm in results.arms for one in arm.experiments]
    budgets = dict.fromkeys(one.budget for arm in results.arms if arm.learns for one in arm.experiments)
    sizes = dict.fromkeys(f"{one.n:,}" for one in ran)
    finished = sorted(str(one["finished"])[:16].replace("T", " ") for one in files if one.get("finished"))
    wall = sum((one.get("time") or {}).get("total_wall") or 0 for one in files)
    budget = f"learned for {' or '.join(budgets)}, " if budgets else ""
    names = [name for name in map(str, runs) if name.startswith("versions.")]
    packages = {name.partition(".")[2]: runs[name].dropna().astype(str).unique() for name in names}
    lines = {
        "Environment": "; ".join(shared_environments(ran)),
        "Budget": f"{budget}evaluated on {' or '.join(sizes)} sequences each" if sizes else "",
        "Seeds": ", ".join(map(str, sorted({one.seed for one in ran}))),
        "Machine": "; ".join(_machines(files)),
        "Versions": ", ".join(f"{name} {' or '.join(found)}" for name, found in packages.items() if len(found)),
        "Code": ", ".join(dict.fromkeys(one["git"]["commit"][:7] for one in files if one.get("git"))),
        "Finished": " to ".join(dict.fromkeys(finished[:1] + finished[-1:])) + " UTC" if finished else "",
        "Total time": f"{wall / 60:,.1f} minutes of experiments, added up" if wall else "",
    }
    return {name: text for name, text in lines.items() if text}
