"""Build the site: `python -m sphinx -W docs docs/_build`. It needs the extra `docs`, and no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from seqtutor_envs import __version__

project = "SeqTutor"
copyright = "The SeqTutor authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
# notebooks/ and the leaderboard may be absent
suppress_warnings = ["toc.empty_glob"]
# indented blocks are commands
highlight_language = "sh"

html_theme = "furo"
html_title = f"SeqTutor {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
copybutton_exclude = ".linenos, .gp, .go"

# the anchors that GitHub makes, down to this level
myst_heading_anchors = 4

# docstrings write code in single backticks
default_role = "code"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88

DOCS = Path(__file__).parent
# files of the repository that are shown as a page; to others MyST links a copy
PAGES = {DOCS.parent / "CHANGELOG": "changelog", DOCS.parent / "README": "index"}


def mark_reports(app: Sphinx, docname: str, source: list[str]) -> None:
    """Keep the reports of results out of the navigation: results.md links each."""
    if docname.startswith("results/"):
        source[0] = f"---\norphan: true\n---\n{source[0]}"


def resolve_links(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to the README and the changes to their pages; leave of a link to a folder its text."""
    for link in list(doctree.findall(pending_xref)):
        target = link["reftarget"]
        if link.get("refdomain") == "doc" and Path(target) in PAGES:
            link["reftarget"] = PAGES[Path(target)]
        elif link.get("reftype") == "myst" and (DOCS / link["refdoc"]).parent.joinpath(target).is_dir():
            link.replace_self(link.children)


def shorten_specification(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Replace an environment's specification, which is Markdown, by a link to its page."""
    if "## Description" in lines:
        module = name.split(".")[1]  # the pages have the modules' names
        lines[lines.index("## Description") :] = [f"The specification is :doc:`/environments/{module}`.", ""]


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", mark_reports)
    app.connect("doctree-read", resolve_links)
    app.connect("autodoc-process-docstring", shorten_specification, priority=1)  # before napoleon
