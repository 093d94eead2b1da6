"""Other spellings and children of molecules, against RDKit called directly."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, rdBase

from seqtutor_envs.smiles.chem.graph_ga import children
from seqtutor_envs.smiles.chem.spelling import spellings
from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, LAURIC_ACID, OSIMERTINIB, smiles_task

ROOT = Path(__file__).parents[3]
STEREO = "C[C@]12CCC(=O)C=C1CC[C@@H]1[C@@H]2CC[C@]2(C)C(=O)CC[C@@H]12"
PARENTS = [ASPIRIN, CAFFEINE, LAURIC_ACID, OSIMERTINIB, BENZENE]
# children of the parents above, printed by a process of its own
PRINT = f"""
import numpy as np
from seqtutor_envs.smiles.chem.graph_ga import children
print(*children({PARENTS}, [1, 2, 3, 4, 5], 12, np.random.default_rng(3)))
"""


@pytest.fixture
def mol_ga():
    # not importorskip: its import here would turn RDKit's logs off
    if find_spec("mol_ga") is None:
        pytest.skip("mol-ga is not installed: pip install -e '.[ga]'")


def test_a_task_encodes_the_smiles_that_it_decodes():
    task = smiles_task()
    for text in (ASPIRIN, BENZENE, "", "C1CC"):  # the last is no molecule
        tokens = task.encode(text)
        assert tokens[-1] == task.vocab.end and task.sequence(tokens) == text
    with pytest.raises(ValueError, match=r"'\[U\]' in 'C\[U\]' is not one of this vocabulary's"):
        task.encode("C[U]")
    with pytest.raises(ValueError, match="begins no SMILES token"):
        task.encode("C!")


@pytest.mark.parametrize("text", [ASPIRIN, OSIMERTINIB, STEREO, "F/C=C/Cl", "[Na+].[Cl-]"])
def test_spellings_are_of_the_same_molecule(text):
    found = spellings(text, 20, np.random.default_rng(0))
    assert len(found) == 20 and {Chem.CanonSmiles(one) for one in found} == {Chem.CanonSmiles(text)}


def test_spellings_differ_and_follow_from_the_generator():
    found = spellings(ASPIRIN, 30, np.random.default_rng(0))
    assert len(set(found)) > 20
    assert found == spellings(ASPIRIN, 30, np.random.default_rng(0))
    assert found != spellings(ASPIRIN, 30, np.random.default_rng(1))


def test_every_spelling_of_a_small_molecule_is_found():
    # ethanol from each end, from the middle in either order of branches
    assert set(spellings("CCO", 100, np.random.default_rng(0))) == {"CCO", "OCC", "C(C)O", "C(O)C"}
    assert spellings("C1CC", 5, np.random.default_rng(0)) == spellings("", 5, np.random.default_rng(0)) == []


def test_children_are_distinct_canonical_molecules_most_of_them_new(mol_ga):
    found = children(PARENTS, np.zeros(5), 16, np.random.default_rng(0))
    assert 8 <= len(found) <= 16 and len(set(found)) == len(found)
    assert [Chem.CanonSmiles(text) for text in found] == found
    assert len({*found} - {Chem.CanonSmiles(text) for text in PARENTS}) >= 8


def test_children_follow_from_the_generator_alone_in_any_process(mol_ga, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # of strings, by which sets are ordered
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, cwd=ROOT, check=True)
    state = random.getstate(), np.random.get_state()[1].tolist()
    ours = children(PARENTS, [1, 2, 3, 4, 5], 12, np.random.default_rng(3))
    assert done.stdout == " ".join(ours) + "\n"
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    assert ours != sorted(ours)


def test_better_molecules_have_more_children(mol_ga):
    # carbon chains with one bromine, and with one chlorine: what a child is made of tells its parents
    bromides, chlorides = (["C" * n + end for n in range(6, 16)] for end in ("Br", "Cl"))
    found = children(bromides + chlorides, [1.0] * 10 + [0.0] * 10, 20, np.random.default_rng(0))
    assert sum("Br" in text for text in found) > 2 * sum("Cl" in text for text in found)


def test_rdkits_log_is_left_as_it_was(mol_ga):
    before = rdBase.LogStatus()
    assert "rdApp.error:enabled" in before
    children(PARENTS[:2], [1, 2], 2, np.random.default_rng(0))
    assert rdBase.LogStatus() == before


def test_what_is_no_molecule_is_no_parent(mol_ga):
    assert children(["C1CC", ""], [1, 2], 4, np.random.default_rng(0)) == []
    assert children([], [], 4, np.random.default_rng(0)) == []
    assert children(PARENTS, [1, 2, 3, 4, 5], 0, np.random.default_rng(0)) == []
    assert children(["C1CC", *PARENTS], [9, 1, 2, 3, 4, 5], 4, np.random.default_rng(0))


@pytest.mark.parametrize(
    "scores, message", [([1.0], "one finite score each: 1 for 2 molecules"), ([1.0, np.nan], "each: some are not")]
)
def test_parents_need_a_score_each(scores, message):
    with pytest.raises(ValueError, match=message):
        children([ASPIRIN, BENZENE], scores, 4, np.random.default_rng(0))


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    before = rdBase.LogStatus()
    for name in ("mol_ga", "mol_ga.graph_ga", "mol_ga.graph_ga.gen_candidates"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"^Children of molecules need the extra 'ga': pip install 'seqtutor\[ga\]'$"):
        children([ASPIRIN], [1.0], 4, np.random.default_rng(0))
    assert rdBase.LogStatus() == before
