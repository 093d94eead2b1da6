"""Similarity to a known drug: RDKit's own fingerprints and its own Tanimoto, and an environment that asks for it."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, DataStructs

import seqtutor_envs  # noqa: F401
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.chem.rediscovery import SimilarityTo, celecoxib

# GuacaMol's spelling of its task celecoxib_rediscovery
GUACAMOL = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
SOME = ["CCO", "c1ccccc1", "NS(=O)(=O)c1ccc(-n2nccc2-c2ccccc2)cc1", "Cc1ccc(-c2cc(C(F)(F)F)nn2C)cc1"]


def test_the_drug_itself_has_1_however_it_is_spelt():
    assert celecoxib([GUACAMOL, celecoxib.target]) == [1.0, 1.0]
    assert celecoxib([]) == []


def test_scores_are_guacamols():
    """The Tanimoto similarity of counts, by hand: the smaller of each two counts over the larger ones."""
    generator = AllChem.GetMorganGenerator(radius=2)
    counts = [generator.GetSparseCountFingerprint(Chem.MolFromSmiles(text)) for text in (GUACAMOL, *SOME)]
    drug, *others = [one.GetNonzeroElements() for one in counts]
    for score, other in zip(celecoxib(SOME), others):
        keys = drug.keys() | other.keys()
        pairs = [(drug.get(key, 0), other.get(key, 0)) for key in keys]
        assert score == pytest.approx(sum(map(min, pairs)) / sum(map(max, pairs)))
    assert 0 < celecoxib(SOME)[0] < celecoxib(SOME)[1] < 0.1 < 0.4 < min(celecoxib(SOME)[2:]) < 1
    assert DataStructs.TanimotoSimilarity(counts[0], counts[3]) == pytest.approx(celecoxib(SOME)[2])


def test_a_target_of_ones_own():
    aspirin = SimilarityTo("CC(=O)Oc1ccccc1C(=O)O")
    assert aspirin(["OC(=O)c1ccccc1OC(C)=O"]) == [1.0]
    assert pickle.loads(pickle.dumps(aspirin))(SOME) == aspirin(SOME)
    with pytest.raises(ValueError, match="'C1CC' is no molecule"):
        SimilarityTo("C1CC")


def test_an_environment_takes_it_by_name():
    name = "seqtutor_envs.smiles.chem.rediscovery:celecoxib"
    env = gym.make("seqtutor_envs:SeqTutor-SMILES-v0", objective=name)
    assert env.unwrapped.task.objective.path == name
    task = SmilesTask(objective=name)
    np.testing.assert_array_equal(task.scores([*SOME, "C(", "CC.CC"])[:, 0], [*celecoxib(SOME), 0.0, 0.0])
