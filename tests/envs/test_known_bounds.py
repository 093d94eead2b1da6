"""Known bounds are found by what log Z depends on, and by nothing else."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqtutor_envs.bounds import Bounds, find_bounds, known
from seqtutor_envs.bounds.known import describe_task, make_key, read_entries, write_entries
from seqtutor_envs.files import FileError
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import RecurrentPrior, TablePrior, load_prior
from seqtutor_envs.smiles.env import PREFIX_TEMPERATURE

MELODY, SMILES, EXACT = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0", "SeqTutor-Exact-v0"
QED = {"valid": 0, "logp": 0, "sa": 0, "ring": 0}


def bounds(lower):
    return Bounds(lower, "certified sum", 1.0, np.inf, "none", 1.0, lower + 1, "sampling", (lower, lower + 2))


def entry(env_id, env_kwargs, lower):
    return {**describe_task(env_id, env_kwargs), "bounds": bounds(lower).to_json(), "made": {"seconds": 1.0}}


@pytest.fixture
def path(tmp_path):
    """A file of two tasks, melodies at two temperatures and QED."""
    write_entries(
        tmp_path / "bounds.json",
        [entry(SMILES, {"c": 0.1, "term_weights": QED}, 8.0), entry(MELODY, {"c": 5.0}, 15.0), entry(MELODY, {}, 89.0)],
    )
    return tmp_path / "bounds.json"


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch, tmp_path):
    monkeypatch.setattr(known, "SHIPPED", tmp_path / "shipped.json")


@pytest.fixture(scope="module")
def other_prior(tmp_path_factory):
    """The shipped prior with one other weight."""
    shipped = load_prior("melody")
    weights = {**shipped.weights, "head.bias": shipped.weights["head.bias"] + np.linspace(0, 1, 38, dtype=np.float32)}
    return type(shipped)(weights, shipped.cell, shipped.vocab, shipped.length).save(tmp_path_factory.mktemp("p") / "o")


@pytest.mark.parametrize(
    ("env_id", "env_kwargs"),
    [
        (MELODY, {}),
        (MELODY, {"c": 2.0}),
        (MELODY, {"c": 2, "length": 32, "prior": "melody", "task": None}),
        (MELODY, {"term_weights": {"key": 1, "leap": 1.0}}),
        (MELODY, {"term_weights": {}}),
        (MELODY, {"num_envs": 7, "obs_mode": "dict", "render_mode": "ansi", "infos": "end"}),
        ("SeqTutor-MelodyOneHot-v0", {}),
        (f"seqtutor_envs:{MELODY}", {}),
    ],
)
def test_equal_tasks_are_one_however_they_are_spelt(path, env_id, env_kwargs):
    assert find_bounds(env_id, env_kwargs, path) == bounds(89.0)


def test_the_prior_is_the_weights_and_not_the_name(path, tmp_path, other_prior):
    copy = load_prior("melody").save(tmp_path / "copy")
    assert find_bounds(MELODY, {"prior": str(copy)}, path) == bounds(89.0)
    assert find_bounds(MELODY, {"prior": load_prior("melody")}, path) == bounds(89.0)
    assert find_bounds(MELODY, {"prior": str(other_prior)}, path) is None
    assert find_bounds(MELODY, {"prior": str(tmp_path / "missing")}, path) is None


@pytest.mark.parametrize(
    ("env_id", "env_kwargs"),
    [
        (MELODY, {"c": 3.0}),
        (MELODY, {"length": 16}),
        (MELODY, {"term_weights": {"leap": 2.0}}),
        (MELODY, {"task": MelodyTask()}),
        (MELODY, {"task": MelodyTask(rules={"high": lambda tokens, step: 1.0})}),
        (MELODY, {"c": "two"}),
        (MELODY, {"term_weights": [1.0]}),
        (SMILES, {}),
        (SMILES, {"c": 0.1}),
        (SMILES, {"c": 0.1, "term_weights": QED, "objective": "somebodys:score"}),
        (SMILES, {"c": 0.1, "term_weights": QED, "objective": len}),
        (SMILES, {"c": 0.1, "term_weights": QED, "shaping": "prefix"}),
        (SMILES, {"c": 0.1, "term_weights": QED, "max_length": 60}),
        ("somebodys:Own-v0", {"c": 2.0}),
        ("Own-v0", {}),
    ],
)
def test_another_task_has_none(path, env_id, env_kwargs):
    assert find_bounds(env_id, env_kwargs, path) is None


class Louder(RecurrentPrior):
    """Steps otherwise than its weights say."""


def test_a_prior_that_weights_do_not_describe_has_none(path):
    shipped = load_prior("melody")
    table = TablePrior(shipped.vocab, np.zeros((1, 38)), 1)
    for own in (table, Louder(shipped.weights, shipped.cell, shipped.vocab, shipped.length)):
        assert find_bounds(MELODY, {"prior": own}, path) is None


def test_molecules_are_found_however_they_are_scored(path):
    scoring = {"workers": 4, "score_timeout": 9.0, "oracle_budget": 10}
    for further in (scoring, {"known": None}, {"objective": None, "max_length": 100}):
        assert find_bounds(SMILES, {"c": 0.1, "term_weights": QED, **further}, path) == bounds(8.0)
    # QED = 1 is the default, and the order of names says nothing
    weights = {"qed": 1.0, **dict(reversed(QED.items()))}
    assert find_bounds("SeqTutor-SMILESOneHot-v0", {"c": 0.1, "term_weights": weights}, path) == bounds(8.0)


def test_with_an_objective_a_weight_of_1_says_something():
    own = {"objective": "somebodys:score"}
    assert make_key(describe_task(SMILES, own)) != make_key(describe_task(SMILES, {**own, "term_weights": {"qed": 1}}))


def test_a_temperature_that_is_left_out_is_the_environments(path):
    for env_id, kwargs in ((MELODY, {}), (SMILES, {}), (EXACT, {}), (SMILES, {"shaping": "prefix"})):
        made = gym.make(env_id, **kwargs).unwrapped
        assert describe_task(env_id, kwargs)["c"] == made.c
    assert describe_task(SMILES, {"shaping": "prefix"})["c"] == PREFIX_TEMPERATURE


def test_a_folders_own_file_comes_before_the_shipped_one(path, tmp_path):
    write_entries(known.SHIPPED, [entry(MELODY, {}, 80.0), entry(MELODY, {"c": 7.0}, 8.5)])
    assert find_bounds(MELODY, {}) == find_bounds(MELODY, {}, tmp_path / "none.json") == bounds(80.0)
    assert find_bounds(MELODY, {}, path) == bounds(89.0)
    assert find_bounds(MELODY, {"c": 7.0}, path) == bounds(8.5)


def test_a_file_that_is_written_anew_is_read_anew(path):
    assert find_bounds(MELODY, {}, path) == bounds(89.0)
    write_entries(path, [entry(MELODY, {}, 90.0)])
    assert find_bounds(MELODY, {}, path) == bounds(90.0)


def test_a_file_has_a_line_for_each_entry_in_order(path):
    lines = path.read_text().splitlines()
    assert len(lines) == 5 and lines[0] == '{"bounds": [' and lines[-1] == "]}"
    assert [(one["env"], one["c"]) for one in read_entries(path)] == [(MELODY, 2.0), (MELODY, 5.0), (SMILES, 0.1)]
    assert read_entries(path)[0]["bounds"]["upper"] is None  # infinite, which JSON has not


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"bounds": 3}', '{"bounds": [{"env": "a"}]}', '{"bounds": [7]}'])
def test_another_file_is_an_error_of_one_line_that_names_it(path, content):
    path.write_text(content)
    with pytest.raises(FileError) as error:
        find_bounds(MELODY, {}, path)
    assert str(error.value).startswith(f"{path} holds no bounds (") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"lower": 89.0', '"lower": NaN'),
        ('"lower": 89.0', '"lower": 1e999'),
        ('"lower_probability": 1.0', '"lower_probability": NaN'),
        ('"lower_method": "certified sum"', '"lower_method": 7'),
        ('"notes": []', '"notes": [7]'),
        ('"diagnostics": {}', '"diagnostics": []'),
        ('"seconds": 1.0', '"seconds": null'),
    ],
)
def test_a_damaged_entry_is_one_too(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(FileError, match="holds no bounds"):
        find_bounds(MELODY, {}, path)
