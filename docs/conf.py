"""Build the site: `python -m sphinx -W docs docs/_build`. It needs the extra `docs`, and no network."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from seqtutor_envs import __version__

project = "SeqTutor"
copyright = "The SeqTutor authors"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
extensions += ["sphinxcontrib.programoutput"]
# the pages of commands show the help of this Python's packages (the folder docs/agents is none), 80 columns wide
os.environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}
os.environ["PYTHONSAFEPATH"] = "1"
# jupyter_execute: copies that MyST-NB makes beside the build
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
# notebooks are shown with the outputs that they are stored with; their formulas are MathML, as MathJax needs a network
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
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
napoleon_use_ivar = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88

DOCS = Path(__file__).parent
# files of the repository that are shown as a page; to others MyST links a copy
PAGES = {DOCS.parent / "CHANGELOG": "changelog", DOCS.parent / "CONTRIBUTING": "contributing"}
PAGES |= {DOCS.parent / "README": "index"}


def prepare_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Keep the reports of results out of the navigation, as results.md links each; leave out patterns of no file."""
    if docname.startswith("results/"):
        source[0] = f"---\norphan: true\n---\n{source[0]}"
    for pattern in re.findall(r"^\S+\*$", source[0], re.M) if docname == "index" else ():
        if not any(path.suffix in app.config.source_suffix for path in DOCS.glob(pattern)):
            source[0] = source[0].replace(f"\n{pattern}\n", "\n")


def resolve_links(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to the README and the changes to their pages; leave of a link to a folder its text."""
    for link in list(doctree.findall(pending_xref)):
        target = link["reftarget"]
        # of a page that includes a file of the root, links to others there have no folder
        named = DOCS.parent / target.removesuffix(".md")
        if link.get("refdomain") in ("doc", None) and named in PAGES:
            link.attributes |= {"refdomain": "doc", "reftarget": PAGES[named], "reftargetid": link.get("reftargetid")}
        elif link.get("refdomain") is None and (DOCS / link["refdoc"]).parent.joinpath(target).is_dir():
            link.replace_self(link.children)


def convert_docstring(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Turn what is Markdown in a docstring into reStructuredText: tables, blocks of code, single characters.

    Of an environment's specification only the first lines stay, and a link to its page.
    """
    if "## Description" in lines:
        module = name.split(".")[1]  # the pages have the modules' names
        lines[lines.index("## Description") :] = [f"The specification is :doc:`/environments/{module}`.", ""]
    lines[:] = MARKDOWN.sub(convert, "\n".join([*lines, ""])).split("\n")


# `|` and `*` would begin a substitution and an emphasis, but in code
MARKDOWN = re.compile(
    r"(?P<block>(?<=:\n\n)(?:(?:    .*)?\n)+)|(?P<table>(?:^\|.*\n)+)|(?P<code>`[^`]*`|^ *>>> .*)|(?P<mark>[|*])", re.M
)


def convert(found: re.Match[str]) -> str:
    """Turn a block, a table or a character into reStructuredText."""
    if found["block"]:
        return f".. code-block:: text\n\n{found[0]}\n"
    if found["table"]:
        head, _, *body = [row.strip("|").split("|") for row in found[0].splitlines()]
        cells = [("*" if n == 0 else " ", cell.strip()) for row in (head, *body) for n, cell in enumerate(row)]
        rows = "".join(f"   {bullet} - {MARKDOWN.sub(convert, cell)}\n" for bullet, cell in cells)
        return f"\n.. list-table::\n   :header-rows: 1\n\n{rows}\n"
    return found["code"] or f"\\{found['mark']}"


def write_math(translator: Any, node: nodes.Element) -> None:
    """Write a formula, within a line or by itself, as MathML."""
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("source-read", prepare_page)
    app.connect("doctree-read", resolve_links)
    app.connect("autodoc-process-docstring", convert_docstring, priority=1)  # before napoleon
