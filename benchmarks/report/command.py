"""`python -m benchmarks report`: a suite's results as a page, as Markdown, as tables for analysis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.suites import RESULTS, find_suite
from seqtutor_envs.files import write_atomically


def report(
    suite: Annotated[str, tyro.conf.Positional] = "",
    out: Path | None = None,
    to: Path | None = None,
    html: bool = False,
    markdown: bool = False,
    csv: bool = False,
    parquet: bool = False,
    pictures: bool = False,
) -> None:
    """Report what the results of a suite say; without an option, as a page.

    Args:
        suite: a suite's name, or a Python file that defines SUITE, as for `run`; left out: all results in --out.
        out: folder of the results; none: results/SUITE.
        to: folder to write into; none: that of the results.
        html: report.html, a self-contained page that needs no network.
        markdown: report.md, the same tables.
        csv: results.csv, a row for each experiment, and results-curves.csv.
        parquet: the same as Parquet (pip install pyarrow).
        pictures: the plots as PNG files.
    """
    from benchmarks.report.data import load_results, suite_of_folder  # pandas is slow to import

    if not suite and out is None:
        raise ValueError("Name a suite, or a folder of results by --out.")
    found = find_suite(suite) if suite else suite_of_folder(out or RESULTS)
    folder = found.folder(out)
    results = load_results(found, folder, suite)
    for note in results.notes:
        print(note, file=sys.stderr)
    if not results.results and not results.failures:
        if not suite:
            raise FileNotFoundError(f"No results in {folder}: `python -m benchmarks run SUITE --out {folder}`.")
        given = f" --out {out}" if out else ""
        raise FileNotFoundError(f"No results of {found.name} in {folder}: `python -m benchmarks run {suite}{given}`.")
    target, contents = to or folder, dict[str, bytes]()
    if html or not (markdown or csv or parquet or pictures):
        from benchmarks.report.render import render_page

        contents["report.html"] = render_page(results).encode()
    if markdown:
        from benchmarks.report.markdown import render_markdown

        contents["report.md"] = render_markdown(results).encode()
    if pictures:
        from benchmarks.report.render import render_pictures

        contents |= {f"{name}.png": content for name, content in render_pictures(results).items()}
    for name, content in contents.items():
        write_atomically(target / name, content)
        print(target / name)
    if csv or parquet:
        from benchmarks.report import export

        for name, wanted, write in (("csv", csv, export.write_csv), ("parquet", parquet, export.write_parquet)):
            if wanted:
                write(results, target / f"results.{name}")
                print(target / f"results.{name}")
