"""The examples in the environments' docstrings, and that `help` shows every keyword."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module

import gymnasium
import pytest

from toys.env_toys import IDS

HEADINGS = (
    "Description", "Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Arguments",
    "Version History",
)


def classes(id):
    spec = gymnasium.spec(id)
    for entry_point in (spec.entry_point, spec.vector_entry_point):
        module, _, name = entry_point.partition(":")
        yield getattr(import_module(module), name)


@pytest.mark.parametrize("id", IDS)
def test_the_examples_of_an_environment_hold(id):
    single, _ = classes(id)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for example in finder.find(single, globs=vars(import_module(single.__module__)).copy()):
        runner.run(example)
    assert runner.tries >= 5 and not runner.failures


@pytest.mark.parametrize("id", IDS)
def test_an_environment_is_specified_under_gymnasiums_headings(id):
    single, _ = classes(id)
    found = [line.removeprefix("## ") for line in inspect.getdoc(single).splitlines() if line.startswith("## ")]
    assert tuple(found) == HEADINGS


@pytest.mark.parametrize("id", IDS)
def test_signatures_name_every_keyword_and_the_batch_takes_three_more(id):
    single, vector = (inspect.signature(each).parameters for each in classes(id))
    assert {parameter.kind for parameter in (*single.values(), *vector.values())} == {inspect.Parameter.KEYWORD_ONLY}
    assert vector.keys() - single.keys() == {"num_envs", "autoreset_mode", "infos"} and single.keys() <= vector.keys()
    assert all(single[name].default == vector[name].default for name in single)
    documented = inspect.getdoc(classes(id).__next__())
    assert all(f"`{name}`" in documented for name in single)
