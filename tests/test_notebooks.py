"""The notebooks run from top to bottom in their short form, and are stored with the outputs of the full one."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from toys.commands import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SWITCH = ("SHORT = False", "SHORT = True")
MOST_BYTES = 1_500_000
SECONDS = 120  # most for one cell; each notebook takes some 15 in its short form
PICTURES = ("image/png", "text/html", "text/markdown", "text/latex")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows: each output's richest form, the streams of one name as one."""
    shown = [output.get("name") or next(kind for kind in (*PICTURES, "text/plain") if kind in output.data)
             for output in cell.outputs]
    return [kind for k, kind in enumerate(shown) if kind not in ("stdout", "stderr") or kind not in shown[:k]]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_form_is_a_full_run(path):
    notebook = read(path)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert sum(cell.source.startswith(SWITCH[0]) for cell in code_cells(notebook)) == 1
    assert not any(output.output_type == "error" or output.get("name") == "stderr"
                   for cell in code_cells(notebook) for output in cell.outputs)
    assert path.stat().st_size < MOST_BYTES
    assert str(ROOT) not in path.read_text("utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_short_form_shows_what_is_stored(path, tmp_path, monkeypatch):
    """Cell by cell the same kinds of output: text, tables, pictures, sound."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored, notebook = code_cells(read(path)), read(path)
    for cell in code_cells(notebook):
        cell.source = cell.source.replace(*SWITCH)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, after in zip(stored, code_cells(notebook), strict=True):
        without = [kind for kind in kinds(after) if kind != "stderr"]  # a short run may warn of having learned little
        assert without == kinds(before), after.source
