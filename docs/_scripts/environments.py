"""Write the pages of docs/environments/ from the environments' docstrings: `python docs/_scripts/environments.py`.

A docstring is Markdown already. Added are the ids with their own keywords, a picture where docs/pictures/ has it,
fences around doctests, and links. tests/test_site.py compares the pages with the docstrings.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import gymnasium

import seqtutor_envs  # noqa: F401  (registers the ids)

DOCS = Path(__file__).parents[1]
COMMAND = "python docs/_scripts/environments.py"


class Page(NamedTuple):
    """Say what a page is made of: an object's docstring, the ids that begin with `ids`, a picture and its text."""

    title: str
    source: str
    ids: str | None = None
    picture: str = ""
    alt: str = ""


# by the name of the page's file, which is that of the source's module or folder
PAGES = {
    "env": Page("What all environments share", "seqtutor_envs.env:SequenceTutorEnv"),
    "melody": Page(
        "Melody", "seqtutor_envs.melody.env:MelodyEnv", "SeqTutor-Melody", "melody.gif", "A melody, note by note"
    ),
    "smiles": Page(
        "SMILES", "seqtutor_envs.smiles.env:SmilesEnv", "SeqTutor-SMILES", "molecule.gif", "A molecule, token by token"
    ),
    "pmo": Page("PMO", "seqtutor_envs.smiles.pmo", "SeqTutor-PMO"),
    "exact": Page("Exact", "seqtutor_envs.exact:ExactEnv", "SeqTutor-Exact"),
    "planted": Page("Planted", "seqtutor_envs.planted:PlantedEnv", "SeqTutor-Planted"),
}
LINKS = {
    r"`help\(seqtutor_envs\.env\.SequenceTutorEnv\)`": "[what all environments share](env.md)",
    r"`seqtutor_envs\.smiles\.env\.SmilesEnv`": "[SMILES](smiles.md)",
    r"\bdocs/(\w+)\.md": r"[\1.md](../\1.md)",
}


def render_pages() -> dict[str, str]:
    """Render all pages: name of the file -> Markdown."""
    return {f"{name}.md": render_page(page) for name, page in PAGES.items()}


def render_page(page: Page) -> str:
    """Render one page: title, the docstring's first paragraph, picture, ids, the rest of the docstring."""
    text = inspect.getdoc(resolve_name(page.source)) or ""
    for pattern, link in LINKS.items():
        text = re.sub(pattern, link, text)
    # doctests have no fences in a docstring, and Markdown would read >>> as quotations
    text = re.sub(r"^>>> .*\n(?:.+\n?)*", lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text, flags=re.M)
    summary, _, rest = text.partition("\n\n")
    source = page.source.replace(":", ".")
    parts = [f"<!-- `{COMMAND}` wrote this page from the docstring of {source} -->", f"# {page.title}", summary]
    if (DOCS / "pictures" / page.picture).is_file():
        parts.append(f"![{page.alt}](../pictures/{page.picture})")
    if page.ids:
        parts.append(render_ids([spec for id, spec in gymnasium.registry.items() if id.startswith(page.ids)]))
    return "\n\n".join([*parts, rest]) + "\n"


def render_ids(specs: list[gymnasium.envs.registration.EnvSpec]) -> str:
    """Render a table of the ids with their own keywords, and below it those that several of them share."""
    first, *others = [spec.kwargs for spec in specs]
    shared = {name: value for name, value in first.items() if others and all(one.get(name) == value for one in others)}
    rows = ["| id | keywords of its own |", "|---|---|"]
    for spec in specs:
        own = {name: value for name, value in spec.kwargs.items() if name not in shared}
        rows.append(f"| `{spec.id}` | {join_keywords(own) or 'none'} |")
    return "\n".join(rows + (["", f"All have {join_keywords(shared)}."] if shared else []))


def join_keywords(kwargs: dict[str, Any]) -> str:
    """Write keywords as code, with double quotes."""
    return ", ".join(f"`{name}={value!r}`".replace("'", '"') for name, value in kwargs.items())


if __name__ == "__main__":
    for name, text in render_pages().items():
        (DOCS / "environments" / name).write_text(text, "utf-8")
