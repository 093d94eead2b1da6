"""The report survives any JSON in a folder of results: what is damaged is named once, the rest is reported.

`python -m pytest tests/benchmarks/test_report_fuzz.py -m slow` tries 20,000 damaged files.
"""

from __future__ import annotations

import pytest
from toys.result_mutations import EVIL, FILES, POOL, write_mutated

from benchmarks.report import load
from benchmarks.report.command import export
from benchmarks.report.render import render_markdown, render_page, render_pictures
from benchmarks.runner import results as files

COPIES = 20  # changed files of a folder
FOLDERS = 200  # of each suite in the slow test
REPORTED = 4  # one folder of the slow test in so many becomes Markdown and CSV; all are read
PAGES, PICTURES = 50, 100  # one in so many is drawn, too: a minute, as changed experiments are tasks of their own


def check_folder(name, seed, folder, every=1):
    """Read a folder of changed files and report it; return how many files there are, and how many are left out."""
    write_mutated(name, seed, folder, COPIES)
    there = sorted(path.name for path in folder.glob("*.json"))
    found = load.load_folder(folder)
    known = {f"{one['id']}.json" for one in found.results} | {f"{one['id']}{files.FAILED}" for one in found.failures}
    assert all(len(note.splitlines()) == 1 for note in found.notes)
    for file in there:
        named = sum(f"/{file} is damaged (" in note for note in found.notes)
        # a result replaces a failure of the same experiment, whether that could be read or not
        replaced = file.endswith(files.FAILED) and file.replace(files.FAILED, ".json") in known
        assert named <= 1 and (named == (file not in known) or replaced), (name, seed, file)
    if seed % every == 0:
        markdown = render_markdown(found)
        assert "<script" not in markdown
        export(found, folder / "out.csv")
    if seed % PAGES == 0:
        page = render_page(found)
        assert EVIL not in page and "<script>alert" not in page and page.encode()
    if seed % PICTURES == 0:
        render_pictures(found)
    return len(there), len(there) - len(known)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_named_and_the_rest_is_reported(name, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "MOST_NAMED", 1_000)
    check_folder(name, 1, tmp_path)


def test_a_case_does_not_change_the_next(tmp_path):
    before = repr(POOL)
    for seed in range(10):
        write_mutated("exact", seed, tmp_path, COPIES)
    assert repr(POOL) == before  # values within each other made later cases fail


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_files(name, block, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "MOST_NAMED", 1_000)
    for seed in range(block, FOLDERS, 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_folder(name, seed, folder, REPORTED)
        for path in folder.iterdir():
            path.unlink()
