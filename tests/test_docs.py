"""The documents' code runs as it stands: each section's blocks, in order, in one namespace and one empty folder.

A line `<!-- not run: reason -->` before a block leaves it out; which ones those are is a test of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import pytest

ROOT = Path(__file__).parents[1]
GUIDE, README = ROOT / "docs" / "plug_in_your_agent.md", ROOT / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
APART = "torchrl"  # importing it sets multiprocessing to spawn
OPTIONAL = ("sb3_contrib", APART)
README_TIMESTEPS = ("learn(1_000_000,", "learn(2_048,")  # the README's own number takes half a minute


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of the document, where the code begins
    reason: str | None = None  # why it is not run


def sections(path):
    """The document's blocks by the heading that they stand under."""
    text, found = path.read_text("utf-8"), {}
    starts = [(match.start(), match[1]) for match in re.finditer(r"^#+ (.*)$", BLOCK.sub(blanked, text), re.M)]
    for match in BLOCK.finditer(text):
        heading = [name for start, name in starts if start < match.start()][-1]
        line = text.count("\n", 0, match.start("code")) + 1
        found.setdefault(heading, []).append(Block(match["language"], match["code"], line, match["reason"]))
    return found


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


@pytest.mark.parametrize("heading", sections(GUIDE))
def test_the_guide_runs_as_it_stands(heading, tmp_path, monkeypatch):
    blocks = sections(GUIDE)[heading]
    for library in OPTIONAL:
        if any(imports(library, block) for block in blocks):
            pytest.importorskip(library, reason=f"{library} is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # some commands are the checkout's
    monkeypatch.chdir(tmp_path)
    run(blocks, GUIDE, tmp_path)


def test_the_readme_runs_as_it_stands(tmp_path, monkeypatch):
    """But for fewer timesteps, and with an optimal agent for the reader's: the divergence that it shows is 0."""

    def my_log_probs(sequences):
        optimum = gym.make("SeqTutor-Exact-v0", vocab_size=3, length=4, seed=0).unwrapped.solution()
        known = dict(zip(map(tuple, optimum["sequences"]), optimum["log_probs"]))
        return [known[tuple(sequence)] for sequence in sequences]

    blocks = [block for blocks in sections(README).values() for block in blocks]
    assert sum(README_TIMESTEPS[0] in block.code for block in blocks) == 1
    blocks = [block._replace(code=block.code.replace(*README_TIMESTEPS)) for block in blocks]
    monkeypatch.chdir(tmp_path)
    left = run(blocks, README, tmp_path, my_log_probs=my_log_probs)
    assert left["kl"] == pytest.approx(0, abs=1e-6) and len(left["log_pi"]) == 81
    assert left["tokens"].shape[0] == 8 and (tmp_path / "tutor.safetensors").is_file()


def test_hardly_anything_is_left_out():
    left_out = {heading for heading, blocks in sections(GUIDE).items() for block in blocks if block.reason is not None}
    assert left_out == {"RLlib"}


@pytest.mark.parametrize("path", [GUIDE, README])
def test_every_block_is_found(path):
    """None has a language that nothing runs."""
    found = [block for blocks in sections(path).values() for block in blocks]
    assert len(found) == path.read_text("utf-8").count("```") / 2 > 0
    assert {block.language for block in found} <= {"python", "sh"}


def test_links_lead_somewhere():
    text = GUIDE.read_text("utf-8")
    headings = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in sections(GUIDE)}
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert target.strip("#") in headings if target.startswith("#") else (GUIDE.parent / target).is_file(), target


DOCUMENT = """# A
```python
# not a heading
x = 1
```
## B
<!-- not run: it is dear -->
```python
raise ValueError
```
```python
y = 2
assert x == 1
```
"""


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
