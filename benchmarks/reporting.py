"""`python -m benchmarks report`: a suite's results as a page, as Markdown, as tables for analysis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from benchmarks import results
from benchmarks.experiment import Experiment
from benchmarks.suites import Suite, suite_named
from seqtutor_envs.files import write_atomically

if TYPE_CHECKING:
    from benchmarks.report.suite.data import Findings


def report(
    suite: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    to: Path | None = None,
    html: bool = False,
    markdown: bool = False,
    csv: bool = False,
    parquet: bool = False,
    pictures: bool = False,
) -> None:
    """Writes what the results of a suite say; without an option, the page.

    Args:
        suite: a suite's name, or a Python file that defines SUITE, as for `run`.
        out: folder of the results; none: results/SUITE.
        to: folder to write into; none: that of the results.
        html: report.html, a page of its own that needs no network.
        markdown: report.md, the same tables.
        csv: results.csv, a row for each experiment, and results-curves.csv.
        parquet: the same as Parquet (pip install pyarrow).
        pictures: the plots as PNG files.
    """
    found = suite_named(suite)
    folder = found.folder(out)
    findings = gathered(found, folder, suite if found.path else "")
    for note in findings.notes:
        print(note, file=sys.stderr)
    if not findings.results and not findings.failures:
        given = f" --out {out}" if out else ""
        raise FileNotFoundError(f"No results of {found.name} in {folder}: `python -m benchmarks run {suite}{given}`.")
    target = to or folder
    for path in written(findings, target, html or not (markdown or csv or parquet or pictures), markdown, pictures):
        print(path)
    if csv or parquet:
        from benchmarks.report.suite import flat

        if csv:
            flat.write_csv(findings, target / "results.csv")
            print(target / "results.csv")
        if parquet:
            flat.write_parquet(findings, target / "results.parquet")
            print(target / "results.parquet")


def written(findings: Findings, target: Path, html: bool, markdown: bool, pictures: bool) -> list[Path]:
    """Writes the page, the Markdown and the pictures that are asked for; where they are."""
    contents: dict[str, bytes] = {}
    if html:
        from benchmarks.report.suite.page import page

        contents["report.html"] = page(findings).encode()
    if markdown:
        from benchmarks.report.suite.markdown import markdown as as_markdown

        contents["report.md"] = as_markdown(findings).encode()
    if pictures:
        from benchmarks.report.suite.plots import pictures as drawn

        contents |= {f"{name}.png": content for name, content in drawn(findings).items()}
    for name, content in contents.items():
        write_atomically(target / name, content)
    return [target / name for name in contents]


def gathered(suite: Suite, folder: Path, source: str = "") -> Findings:
    """What the folder holds of the suite; damaged files are left out and told of."""
    from benchmarks.report.suite.data import Findings

    done: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    missing: list[Experiment] = []
    notes: list[str] = []
    for one in suite.experiments:
        found = None
        for path, kind in ((results.result_path(folder, one), done), (results.failure_path(folder, one), failures)):
            try:
                found = results.read(path, one)
                kind.append(found)
                break
            except FileNotFoundError:
                continue
            except results.Damaged as error:
                notes.append(f"{error}: left out; `run` makes it again.")
        if found is None:
            missing.append(one)
    if others := results.strangers(folder, suite.experiments):
        notes.append(f"{len(others)} result files in {folder} are of experiments that the suite no longer has.")
    return Findings(suite.name, suite.question, suite.experiments, done, failures, tuple(missing), notes, source)
