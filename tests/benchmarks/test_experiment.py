"""Experiments as data: what their ids are made of, and grids of them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from benchmarks.experiment import Experiment, check_distinct, expand

MELODY = "SeqTutor-Melody-v0"
ROOT = Path(__file__).parents[2]
ONE = Experiment(MELODY, "agents:PsiLearning", {"c": 0.5, "length": 16}, {"gamma": 0.5}, steps=1000, n=200, seed=3)
PINNED = "psilearning-seed3-61ba45cda6"  # of ONE, since the first version: results that exist are found by it


def one_line(error):
    text = str(error.value)
    return "\n" not in text and len(text) < 400


# ---------------------------------------------------------------- ids


def test_an_id_is_the_same_in_every_version_in_other_processes_and_after_json():
    assert ONE.id == PINNED
    again = Experiment.of(json.loads(json.dumps(asdict(ONE))))
    assert again == ONE and again.id == ONE.id
    assert Experiment.of(ONE.content).id == ONE.id
    program = f"from benchmarks.experiment import Experiment; print(Experiment.of({asdict(ONE)!r}).id)"
    for hashes in ("1", "2"):  # of strings, which decide the order of sets
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hashes}
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert ran.stdout.strip() == ONE.id, ran.stderr


def test_the_order_of_keywords_changes_no_id():
    turned = replace(ONE, env_kwargs=dict(reversed(ONE.env_kwargs.items())))
    assert list(turned.env_kwargs) == ["length", "c"] and turned.id == ONE.id


def test_label_and_group_change_no_id():
    assert replace(ONE, label="Ψ", group="short melodies").id == ONE.id


CHANGES = (
    *({"env": "SeqTutor-SMILES-v0"}, {"agent": "agents:GLearning"}, {"agent": "elsewhere:PsiLearning"}),
    *({"env_kwargs": kwargs} for kwargs in ({"c": 0.5}, {"c": 0.25, "length": 16})),
    *({"agent_kwargs": {}}, {"agent_kwargs": {"gamma": 0.5, "lam": 0.0}}),
    *({"steps": 1001}, {"steps": None}, {"steps": None, "seconds": 1000}, {"n": 201}, {"seed": 4}),
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_all_else_changes_the_id(change):
    assert replace(ONE, **change).id.rpartition("-")[2] != PINNED.rpartition("-")[2]


@dataclass(frozen=True)
class Later(Experiment):
    """Experiment as it may be one day."""

    device: str | None = None
    warm: bool = False
    discount: float = 1.0


def test_a_field_that_is_added_one_day_changes_no_id_at_its_default():
    values = asdict(ONE)
    assert Later(**values).id == ONE.id
    for change in ({"device": "cuda"}, {"warm": True}, {"discount": 0.5}):
        assert Later(**values, **change).id != ONE.id


def test_an_id_is_a_file_name_that_one_can_read():
    assert ONE.id.startswith("psilearning-seed3-") and set(ONE.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Experiment(MELODY, "my.own_package:Agent_2").id.startswith("agent_2-seed0-")


# ---------------------------------------------------------------- names


def test_names_are_what_tables_say():
    assert (ONE.name, replace(ONE, label="Ψ").name) == ("PsiLearning", "Ψ")
    assert ONE.task == "SeqTutor-Melody-v0 (c=0.5, length=16)"
    assert replace(ONE, env_kwargs={}).task == MELODY and replace(ONE, group="short").task == "short"
    assert ONE.budget == "1,000 tokens"
    assert replace(ONE, steps=None, seconds=2.5).budget == "2.5 s"
    assert replace(ONE, steps=None).budget == "does not learn"


MATCHING = "seed3|SEED3|seed|psi*|psi|*c=0.5*|c=0.5|Ψ, γ .5|γ|Ψ|ψ|psi*seed[0-3]-*|?, γ .5"


@pytest.mark.parametrize("pattern", MATCHING.split("|"))
def test_patterns_are_globs_or_parts_of_id_label_or_task(pattern):
    assert replace(ONE, label="Ψ, γ .5").matches(pattern) is True


@pytest.mark.parametrize("pattern", ["seed4", "si*", "psi*seed[4-9]-*", "smiles"])  # a glob is of the whole
def test_other_patterns_do_not_match(pattern):
    assert replace(ONE, label="Ψ, γ .5").matches(pattern) is False


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(
            ({"agent": name}, "package.module:factory")
            for name in ("PsiLearning", "agents:Psi:Learning", "agents:", "../agents:Psi")
        ),
        ({"seconds": 2.0}, "give one"),
        *(({"steps": steps}, "steps must be") for steps in (0, -5, 1000.5, "1000")),
        *(({"steps": None, "seconds": float(text)}, "seconds must be") for text in ("0", "inf", "nan")),
        *(({"n": n}, "n must be") for n in (1, 100.0)),
        *(({"seed": seed}, "seed must be") for seed in (-1, 0.5)),
        *(({"env_kwargs": kwargs}, "JSON") for kwargs in ({"c": float("nan")}, {"task": object})),
        ({"agent_kwargs": {"names": {"a"}}}, "JSON"),
    ],
    ids=str,
)
def test_what_no_experiment_can_have_is_one_line(change, said):
    with pytest.raises(ValueError, match=said) as error:
        replace(ONE, **change)
    assert one_line(error)


# ---------------------------------------------------------------- grids


def test_a_grid_is_every_combination():
    common = {"env": MELODY, "env_kwargs.c": [0.5, 2.0], "env_kwargs.length": 16, "seed": range(3), "steps": (10, 20)}
    found = expand(
        common,
        {"agent": "agents:PsiLearning", "label": "Ψ"},
        {"agent": "agents:GLearning", "agent_kwargs.lam": [0.0, 1.0], "n": 50},
    )
    psi = [
        Experiment(MELODY, "agents:PsiLearning", {"c": c, "length": 16}, {}, steps=steps, seed=seed, label="Ψ")
        for c, seed, steps in itertools.product((0.5, 2.0), (0, 1, 2), (10, 20))
    ]
    g = [
        Experiment(MELODY, "agents:GLearning", {"c": c, "length": 16}, {"lam": lam}, steps=steps, seed=seed, n=50)
        for c, seed, steps, lam in itertools.product((0.5, 2.0), (0, 1, 2), (10, 20), (0.0, 1.0))
    ]
    assert len(found) == 12 + 24 and list(found) == psi + g


def test_a_grid_without_variants_stands_for_itself():
    expected = tuple(Experiment(MELODY, "a:b", seed=seed) for seed in (1, 2))
    assert expand({"env": MELODY, "agent": "a:b", "seed": [1, 2]}) == expected


def test_a_variant_comes_before_what_is_common():
    (one,) = expand({"env": MELODY, "agent": "a:b", "steps": 10, "seed": [0, 1]}, {"steps": None, "seed": 5})
    assert (one.steps, one.seed) == (None, 5)


def test_a_keyword_is_put_into_the_others():
    (one,) = expand({"env": MELODY, "agent": "a:b", "env_kwargs": {"c": 1.0, "length": 8}, "env_kwargs.c": 0.5})
    assert one.env_kwargs == {"c": 0.5, "length": 8}
    common = {"env": MELODY, "agent": "a:b", "env_kwargs.c": 0.5}
    (one,) = expand(common, {"env_kwargs.term_weights": {"key": 0.0}})
    assert one.env_kwargs == {"c": 0.5, "term_weights": {"key": 0.0}}
    (one,) = expand(common, {"env_kwargs": {"length": 8}})  # the others are named after it
    assert one.env_kwargs == {"c": 0.5, "length": 8}


def test_grids_do_not_share_what_they_were_made_of():
    shared = {"c": 1.0}
    first, second = expand({"env": MELODY, "agent": "a:b", "env_kwargs": shared, "env_kwargs.length": [4, 8]})
    assert (first.env_kwargs, second.env_kwargs) == ({"c": 1.0, "length": 4}, {"c": 1.0, "length": 8})
    assert shared == {"c": 1.0}


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"temperature": 1.0}, "no 'temperature'; it has agent, agent_kwargs, env"),
        ({"environment.c": 1.0}, "no 'environment'"),
        ({"seed": [0, 1, 0]}, "the same: b, seed 0"),
        ({"seed": 0, "label": ["one", "other"]}, "the same"),
        ({"n": [100, 1]}, "n must be"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_grid_is_one_line(grid, said):
    with pytest.raises(ValueError, match=said) as error:
        expand({"env": MELODY, "agent": "a:b", **grid})
    assert one_line(error)


def test_experiments_of_several_grids_are_told_apart():
    pair = (ONE, replace(ONE, seed=4))
    assert check_distinct(pair) == pair
    with pytest.raises(ValueError, match="the same: Ψ, seed 3"):
        check_distinct((*pair, replace(ONE, label="Ψ")))
