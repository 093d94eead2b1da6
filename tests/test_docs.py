"""The documents' code runs as it stands; their links, commands and new names exist; the code map has every file.

Each section's blocks run in order, in one namespace and one empty folder. A line `<!-- not run: reason -->` before a
block leaves it out; which ones those are is a test of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pkgutil import resolve_name
from textwrap import dedent
from typing import NamedTuple

import gymnasium as gym
import pytest

from seqtutor_envs.exact import kl_optimum_policy
from toys.commands import ROOT, show_help

GUIDE, README = ROOT / "docs" / "plug_in_your_agent.md", ROOT / "README.md"
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "results"} & set(path.parts)]
DOCUMENTS = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *PAGES]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+|\{[\w-]+\}[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
RUN = ("python", "sh")
# pycon: doctests of docstrings, which envs/test_env_doctests.py runs; in braces: for Sphinx
NOT_CODE = ("bibtex", "pycon", "{include} ../README.md", "{include} ../CHANGELOG.md", "{toctree}")
NOT_CODE += ("{include} ../CONTRIBUTING.md", "{literalinclude} ../examples/peptides.py", "{eval-rst}")
APART = "torchrl"  # importing it sets multiprocessing to spawn
OPTIONAL = ("sb3_contrib", APART)
SHORTER = {README: [("learn(1_000_000,", "learn(2_048,")]}  # its own number takes half a minute
ELSEWHERE = ["molecules: The shipped prior"]  # run, and its numbers checked, by test_smiles_metrics.py
PACKAGES = ("seqtutor_envs", "agents", "benchmarks")
OTHER_PROGRAMS = ("pytest", "flake8", "mypy", "sphinx", "cProfile", "rl_zoo3.train")


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the document, where the code begins
    reason: str | None = None  # why it is not run


def sections(path):
    """The document's blocks of code by the heading that they stand under."""
    text, found = path.read_text("utf-8"), {}
    starts = [(match.start(), match[1]) for match in re.finditer(r"^#+ (.*)$", BLOCK.sub(blanked, text), re.M)]
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        if is_code(match["language"]):
            heading = [name for start, name in starts if start < match.start()][-1]
            code = dedent(match["code"])
            found.setdefault(heading, []).append(Block(match["language"], code, line, match["reason"]))
    return found


def is_code(language):
    """Whether a block is run, or must be: of the others' kinds each is known."""
    return language not in NOT_CODE and not language.startswith("{program-output} python -m ")


def blanked(match):
    """A block without its text, which has comments that look like headings."""
    return re.sub(r"[^\n]", " ", match[0])


def run(blocks, path, folder, **names):
    """Runs them in a folder; `names` are what the Python ones find there. Returns what they leave."""
    namespace = {"__name__": "__main__", **names}
    for block in blocks:
        if block.reason is not None:
            continue
        if block.language == "sh":
            for line in filter(None, block.code.splitlines()):
                program, *arguments = shlex.split(line)
                assert program == "python", line
                in_process_of_its_own(arguments, folder)
        elif imports(APART, block):
            in_process_of_its_own(["-c", block.code], folder)
        else:  # with blank lines before it, so that an error names the document's own line
            exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), namespace)
    return namespace


def in_process_of_its_own(arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stderr}"


def imports(library, block):
    return re.search(rf"^(from|import) {library}\b", block.code, re.M) is not None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in, but for the examples; ids that are registered there are forgotten."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # some commands are the checkout's
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    with registry_restored():
        yield tmp_path


@contextmanager
def registry_restored():
    """Forgets the ids that a document's code or a module run as a program registers."""
    before = dict(gym.registry)
    try:
        yield
    finally:
        gym.registry.clear()
        gym.registry.update(before)


def page_of(path):
    """A document's name: its path within docs/, without the ending."""
    return path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")


SECTIONS = {f"{page_of(path)}: {name}": (path, blocks) for path in DOCUMENTS for name, blocks in sections(path).items()}


@pytest.mark.parametrize("name", [name for name in SECTIONS if name not in ELSEWHERE])
def test_a_section_runs_as_it_stands(name, folder):
    path, blocks = SECTIONS[name]
    for library in OPTIONAL:
        if any(imports(library, block) for block in blocks):
            pytest.importorskip(library, reason=f"{library} is not installed")
    for old, new in SHORTER.get(path, ()):
        blocks = [block._replace(code=block.code.replace(old, new)) for block in blocks]
    left = run(blocks, path, folder)
    if path == README:
        assert left["tokens"].shape[0] == 8 and (folder / "tutor.safetensors").is_file()
    if "best" in left:  # the guide's divergence from the optimum
        assert left["kl"] == pytest.approx(kl_optimum_policy(left["best"], left["log_pi"]))


def test_hardly_anything_is_left_out_or_made_shorter():
    left_out = {name for name, (_, blocks) in SECTIONS.items() if any(block.reason is not None for block in blocks)}
    assert left_out == {f"{GUIDE.stem}: RLlib", "leaderboard/README: How these entries were made"}
    assert all(path.read_text("utf-8").count(old) == 1 for path, changes in SHORTER.items() for old, _ in changes)


def test_every_block_is_found():
    """None has a language that nothing runs."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        languages = [match["language"] for match in BLOCK.finditer(text)]
        assert len(languages) == text.count("```") / 2, path
        assert set(filter(is_code, languages)) <= set(RUN), path
    assert sections(README) and len(sections(GUIDE)) > 10


# -- links ------------------------------------------------------------------------------------------------------------


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub(blanked, path.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=page_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", BLOCK.sub(blanked, path.read_text("utf-8"))):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


# -- commands ---------------------------------------------------------------------------------------------------------


def commands(text):
    """The words after `python -m` of every command line in a document's blocks, indented lines and inline code."""
    blocks = [match["code"] for match in BLOCK.finditer(text) if match["language"] == "sh"]
    text = BLOCK.sub(blanked, text)
    lines = "\n".join(re.findall(r"^ {4}(.*)$", text, re.M) + blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`]+)`", re.sub(r"^ {4}.*$", "", text, flags=re.M))
    for line in [*lines, *inline]:
        for part in line.split("&&"):
            _, found, command = part.partition("python -m ")
            if found:
                yield shlex.split(command, comments=True)


@cache
def options_of(module, command):
    """The options that `python -m module command --help` shows. Fails the test if there is no such command."""
    with registry_restored():
        return set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", show_help(module, command)))


def options_in(words):
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=page_of)
def test_command_lines_exist(path):
    for module, *words in commands(path.read_text("utf-8")):
        if module in OTHER_PROGRAMS:
            continue
        assert find_spec(module), f"python -m {module}"
        if module.split(".")[0] in PACKAGES and words:
            unknown = options_in(words) - options_of(module, words[0])
            assert not unknown, f"python -m {shlex.join([module, *words])}: no {unknown}"


def test_commands_are_found_wherever_they_stand():
    text = "Say `python -m a b\n--c`, or\n\n    x && python -m d e --f 1 \\\n      --g='h i'   # python\n\n"
    text += "```sh\npython -m j\n```\n"
    assert sorted(commands(text)) == [["a", "b", "--c"], ["d", "e", "--f", "1", "--g=h i"], ["j"]]
    assert options_in(["e", "--f", "-1", "--g=h i", "-n"]) == {"--f", "--g", "-n"}


def test_new_names_of_the_change_log_can_be_imported():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    new = [name for _, cell in rows for name in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", cell)]
    assert len(new) > 30
    for name in new:
        resolve_name(name)


# -- the map ----------------------------------------------------------------------------------------------------------


def test_the_code_map_has_every_file():
    """Under its folder's heading, or by its whole path."""
    text = (ROOT / "docs" / "code_map.md").read_text("utf-8")
    mapped, folder = set(), None
    for line in text.splitlines():
        if line.startswith("#"):
            folder = line.strip("# ")
        first = line.split("|")[1] if line.startswith("| `") else line if folder == "Old import paths" else ""
        inside = re.fullmatch(rf"({'|'.join(PACKAGES)})/[\w/]*", folder or "")
        names = re.findall(r"`([\w/]+\.py)`", first)
        mapped.update(f"{folder}{name}" if inside and "/" not in name else name for name in names)
    mapped = {name for name in mapped if name.split("/")[0] in PACKAGES}
    files = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert mapped - files == set(), "the map names files that are not there"
    assert {name for name in files - mapped if not name.endswith("__init__.py")} == set(), "files that the map lacks"


# -- the test's own tools ---------------------------------------------------------------------------------------------

DOCUMENT = "# A\n```python\n# not a heading\nx = 1\n```\n"
DOCUMENT += "## B\n<!-- not run: it is dear -->\n```python\nraise ValueError\n```\n"
DOCUMENT += "```python\ny = 2\nassert x == 1\n```\n"


def test_a_block_that_fails_fails_the_test(tmp_path):
    path = tmp_path / "document.md"
    path.write_text(DOCUMENT)
    found = sections(path)
    assert {heading: [block.line for block in blocks] for heading, blocks in found.items()} == {"A": [3], "B": [9, 12]}
    assert [block.reason for block in found["B"]] == ["it is dear", None]
    assert run(found["A"], path, tmp_path)["x"] == 1
    assert run(found["B"], path, tmp_path, x=1)["y"] == 2
    with pytest.raises(NameError) as error:
        run(found["B"], path, tmp_path)
    assert error.traceback[-1].lineno == 12, "the document's line 13, counted from 0"
    for code in ("1 / 0", "raise SystemExit(3)"):
        with pytest.raises(AssertionError, match="-c"):
            run([Block("sh", f"python -c '{code}'", 1)], path, tmp_path)
