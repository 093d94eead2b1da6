"""What the tests of the demonstration share: priors that have learned nothing, the command, what it wrote."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.__main__ import main
from seqtutor_envs.prior import RecurrentPrior

CELLS = 8


def small_prior(path, vocab, length):
    """A network that has learned nothing: quick, and with sequences of every kind."""
    rng, size = np.random.default_rng(0), len(vocab)
    shapes = {"rnn.weight_ih_l0": (4 * CELLS, size + 1), "rnn.weight_hh_l0": (4 * CELLS, CELLS)}
    shapes |= {"rnn.bias_ih_l0": (4 * CELLS,), "rnn.bias_hh_l0": (4 * CELLS,)}
    shapes |= {"head.weight": (size, CELLS), "head.bias": (size,)}
    weights = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return RecurrentPrior(weights, "lstm", vocab, length).save(path)


def demo(**options):
    """`python -m benchmarks demo` with --seconds for seconds, --n-molecules for n_molecules and so on."""
    words = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items())
    main(["demo", *(word for pair in words for word in pair)])


def files_in(folder):
    """Paths of all files, relative to the folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def results_of(folder):
    """What results.json holds; NaN and infinities, which are no JSON, are refused."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


class Page(HTMLParser):
    """Tags balanced, attributes collected."""

    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):  # within SVG
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def ids(parsed):
    """The ids of a page's elements."""
    return [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]


def assert_fetches_nothing(source):
    """Assert that a page is whole, asks the network for nothing, and links only to what it holds; returns it parsed."""
    parsed = Page(source)
    assert parsed.open == []
    assert not re.search(r"https?:|@import|url\((?!#)", source.replace("http://www.w3.org", ""))
    assert not [tag for tag, _ in parsed.tags if tag in ("iframe", "object", "embed", "base")]
    keys = ("src", "href", "xlink:href")
    linked = [attributes[key] for _, attributes in parsed.tags for key in keys if key in attributes]
    assert all(text.startswith(("#", "data:")) for text in linked)
    assert {text[1:] for text in linked if text.startswith("#")} <= set(ids(parsed))
    assert len(ids(parsed)) == len(set(ids(parsed)))
    return parsed
