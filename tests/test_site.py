"""The site: its generated pages are the docstrings, its reference has every public name, its scripts run."""

from __future__ import annotations

import re
from importlib import import_module
from runpy import run_path

import pytest

from toys.commands import ROOT, show_help

DOCS = ROOT / "docs"
ENVIRONMENTS = run_path(str(DOCS / "_scripts" / "environments.py"))
PUBLIC = ("agents", "agents.evaluate", "seqtutor_envs.bounds", "seqtutor_envs.env", "seqtutor_envs.melody")
PUBLIC += ("seqtutor_envs.melody.metrics", "seqtutor_envs.melody.midi", "seqtutor_envs.prior", "seqtutor_envs.smiles")
PUBLIC += ("seqtutor_envs.smiles.metrics", "seqtutor_envs.smiles.pmo")
PROGRAMS = ("agents", "benchmarks", "benchmarks.authors_smiles", "benchmarks.distill")
PROGRAMS += ("seqtutor_envs.melody", "seqtutor_envs.pretrain")


def test_pages_of_environments_are_their_docstrings():
    """After a change of a docstring, or with a new picture, run the command that the pages name."""
    written = {path.name: path.read_text("utf-8") for path in (DOCS / "environments").glob("*.md")}
    assert written == ENVIRONMENTS["render_pages"]()


def test_a_page_has_the_docstring_and_the_keywords_of_its_ids():
    page = (DOCS / "environments" / "melody.md").read_text("utf-8")
    assert "| `SeqTutor-MelodyOneHot-v0` | `obs_mode=\"one_hot\"`, `flat_infos=True` |" in page
    assert "```pycon\n>>> import gymnasium as gym\n" in page and "| key | -1 | a pitch outside C major |" in page
    pmo = (DOCS / "environments" / "pmo.md").read_text("utf-8")
    assert "All have `c=0.002`, `prior=\"smiles-zinc\"`, `checks=()`." in pmo


def test_the_reference_has_every_public_name():
    pages = [*(DOCS / "api").glob("*.rst"), *(DOCS / "agents").glob("*.md")]
    text = "\n".join(path.read_text("utf-8") for path in pages)
    described = set(re.findall(r"^\.\. (?:auto\w+|py:\w+):: (\S+)$", text, re.M))
    public = {f"{module}.{name}" for module in PUBLIC for name in import_module(module).__all__}
    assert len(public) > 50 and public - described == set()


def test_every_command_has_a_page_that_shows_its_help():
    pages = "\n".join(path.read_text("utf-8") for path in (DOCS / "commands").glob("*.md"))
    shown = set(re.findall(r"^```\{program-output\} python -m (.*) --help$", pages, re.M))
    there = set()
    for program in PROGRAMS:
        commands = re.search(r"^usage: .*\{([\w,]+)\}", show_help(program))[1].split(",")
        there |= {f"{program} {command}" for command in commands}
    assert shown == there and len(there) > 15


def test_every_agent_of_the_command_line_has_a_page():
    pages = "\n".join(path.read_text("utf-8") for path in (DOCS / "agents").glob("*.md"))
    names = re.search(r"--agent \{([\w,]+)\}", show_help("agents", "train"))[1].split(",")
    assert [name for name in names if f"`--agent {name}`" not in pages] == []


def test_the_picture_of_the_concepts_can_be_drawn(tmp_path, capsys):
    run_path(str(DOCS / "_scripts" / "concepts.py"))["draw"](tmp_path / "concepts.png")
    assert (tmp_path / "concepts.png").read_bytes().startswith(b"\x89PNG")
    assert "log Z 0.7112" in capsys.readouterr().out  # as the page says, .71


def test_markdown_of_docstrings_becomes_restructured_text():
    pytest.importorskip("myst_nb", reason="the extra `docs` is not installed")
    conf = run_path(str(DOCS / "conf.py"))
    text = "KL(pi || p), `a | b`, *:\n\n    x * y\n\n| a | b |\n|---|---|\n| `c` | * |\n"
    assert conf["MARKDOWN"].sub(conf["convert"], text) == (
        "KL(pi \\|\\| p), `a | b`, \\*:\n\n.. code-block:: text\n\n    x * y\n\n\n"
        "\n.. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - `c`\n     - \\*\n\n"
    )
