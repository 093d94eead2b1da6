"""`python -m benchmarks report`: a suite's results as a page, as Markdown, as tables for analysis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks.suite import RESULTS
from benchmarks.suite_files import find_suite
from seqtutor_envs.files import replacing, write_atomically
from seqtutor_envs.files.text import printable, spreadsheet_cell

if TYPE_CHECKING:
    from benchmarks.report.data import Results

OBJECTS = ("experiment", "samples", "bounds")  # columns of `Results.runs` that hold Python objects
NO_PYARROW = "Parquet needs pyarrow: pip install pyarrow, or write --csv."


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
    from benchmarks.report import render  # pandas and matplotlib are slow to import
    from benchmarks.report.load import load_folder, load_results

    if not suite and out is None:
        raise ValueError("Name a suite, or a folder of results by --out.")
    if suite:
        found = find_suite(suite)
        folder = found.folder(out)
        results = load_results(found, folder, suite)
    else:
        folder = out or RESULTS
        results = load_folder(folder)
    for note in results.notes:
        print(printable(note), file=sys.stderr)
    if not results.results and not results.failures:
        what, again = (f" of {results.name}", suite) if suite else ("", "SUITE")
        given = f" --out {out}" if out else ""
        raise FileNotFoundError(f"No results{what} in {folder}: `python -m benchmarks run {again}{given}`.")
    # all are rendered before the first is written: an error leaves no half of a report
    contents = dict[str, bytes]()
    if html or not (markdown or csv or parquet or pictures):
        contents["report.html"] = render.render_page(results).encode()
    if markdown:
        contents["report.md"] = render.render_markdown(results).encode()
    if pictures:
        contents |= {f"{name}.png": content for name, content in render.render_pictures(results).items()}
    target = to or folder
    for name, content in contents.items():
        write_atomically(target / name, content)
        print(target / name)
    for name, wanted in (("results.csv", csv), ("results.parquet", parquet)):
        if wanted:
            export(results, target / name)
            print(target / name)


def export(results: Results, path: Path) -> None:
    """Write `results.csv` or `results.parquet`, a row for each experiment, and beside it the learning curves.

    Raises ImportError with one line if Parquet is wanted and pyarrow is not installed.
    """
    import pandas as pd  # slow to import

    curves = path.with_name(f"{path.stem}-curves{path.suffix}")
    for target, frame in ((path, results.runs.drop(columns=list(OBJECTS), errors="ignore")), (curves, results.curves)):
        if path.suffix == ".csv":
            # made anew as objects: whole numbers stay whole beside missing ones
            cells = {spreadsheet_cell(name): list(map(spreadsheet_cell, column)) for name, column in frame.items()}
            content = pd.DataFrame(cells, dtype=object).to_csv(index=False, lineterminator="\n")
            write_atomically(target, content.encode())
            continue
        # whole numbers would give a metric another type from one suite to the next
        numeric = [name for name in frame if str(name).startswith(("metrics.", "time."))]
        try:
            with replacing(target) as temporary:
                frame.astype(dict.fromkeys(numeric, float)).to_parquet(temporary, engine="pyarrow", index=False)
        except ImportError:
            raise ImportError(NO_PYARROW) from None
