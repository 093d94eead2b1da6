"""The learner's memory of what was written, against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents import PsiLearning
from agents.store.diversity import Diversity, DiversitySettings, make_diversity
from agents.store.replay import Sequences
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.vocab import smiles_vocab, tokenize
from toys.agent_toys import assert_same_agents
from toys.agent_toys import made as agent_of
from toys.agent_toys import sung_batch

C = 0.05
MOLECULES = ["Cc1ccccc1", "c1ccccc1C", "CCc1ccccc1", "CCO", "CC(", "C1CCCCC1"]
VOCAB = smiles_vocab(token for smiles in MOLECULES for token in tokenize(smiles))


def round_of(task, smiles, returns):
    """Sequences of these molecules whose last token was paid `returns` / C."""
    tokens = np.zeros((len(smiles), 12), np.int64)
    rewards = np.zeros((len(smiles), 12), np.float32)
    lengths = np.array([len(tokenize(text)) + 1 for text in smiles])
    for i, text in enumerate(smiles):
        tokens[i, : lengths[i]] = [*VOCAB.encode(tokenize(text)), VOCAB.end]
        rewards[i, lengths[i] - 1] = returns[i] / C
    return Sequences(tokens, lengths, rewards, np.zeros((len(smiles), 12, len(VOCAB)), np.float32))


def paid(diversity, smiles, returns):
    return (diversity.lower_rewards(round_of(diversity.task, smiles, returns)).task_rewards.sum(axis=1) * C).tolist()


@pytest.fixture
def task():
    return SmilesTask(12, vocab=VOCAB)


def test_identities_are_canonical_smiles_and_murcko_scaffolds(task):
    sequences = round_of(task, MOLECULES, np.ones(6))
    assert task.identities(sequences.tokens, sequences.lengths) == [
        ("Cc1ccccc1", "c1ccccc1"),
        ("Cc1ccccc1", "c1ccccc1"),
        ("CCc1ccccc1", "c1ccccc1"),
        ("CCO", ""),
        ("", ""),
        ("C1CCCCC1", "C1CCCCC1"),
    ]


def test_a_molecule_seen_before_loses_its_share_each_time_whatever_its_spelling(task):
    diversity = Diversity(task, DiversitySettings(seen=0.4, bucket_size=0), C)
    assert paid(diversity, ["Cc1ccccc1", "CCO"], [0.8, 0.5]) == pytest.approx([0.8, 0.5])
    assert paid(diversity, ["c1ccccc1C", "c1ccccc1C"], [0.8, 0.8]) == pytest.approx([0.48, 0.16])
    assert paid(diversity, ["Cc1ccccc1"], [0.8]) == pytest.approx([0.0])


def test_a_full_bucket_pays_nothing_and_low_scores_take_no_place(task):
    diversity = Diversity(task, DiversitySettings(seen=0.0, bucket_size=1, min_return=0.4), C)
    assert paid(diversity, ["Cc1ccccc1"], [0.3]) == pytest.approx([0.3])
    assert paid(diversity, ["CCc1ccccc1"], [0.9]) == pytest.approx([0.9])
    assert paid(diversity, ["Cc1ccccc1", "C1CCCCC1"], [0.9, 0.9]) == pytest.approx([0.0, 0.9])
    assert paid(diversity, ["CCO", "CCO"], [0.9, 0.9]) == pytest.approx([0.9, 0.9])  # no ring, no scaffold


def test_invalid_strings_are_never_seen(task):
    diversity = Diversity(task, DiversitySettings(seen=1.0), C)
    for _ in range(2):
        assert paid(diversity, ["CC("], [-0.5]) == pytest.approx([-0.5])
    assert not diversity.seen


def test_the_memory_goes_through_its_arrays(task):
    diversity, other = (Diversity(task, DiversitySettings(seen=0.4, bucket_size=2), C) for _ in range(2))
    paid(diversity, ["Cc1ccccc1", "CCO"], [0.8, 0.5])
    other.restore(diversity.arrays())
    following = (["CCc1ccccc1", "c1ccccc1C", "CCO"], [0.8, 0.8, 0.5])
    assert paid(other, *following) == paid(diversity, *following)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="no setting 'sen'; the settings are: seen, bucket_size, min_return"):
        make_diversity(SmilesTask(12, vocab=VOCAB), {"sen": 1}, C)
    with pytest.raises(ValueError, match="diversity: seen must be a finite number from 0 to 1, not 2"):
        make_diversity(SmilesTask(12, vocab=VOCAB), {"seen": 2}, C)
    with pytest.raises(ValueError, match="task"):
        make_diversity(None, True, C)
    assert make_diversity(None, None, C) is make_diversity(None, False, C) is None


def test_an_agent_learns_from_adjusted_rewards_and_reports_the_tasks_own():
    plain, diverse = (agent_of(PsiLearning, sung_batch(), diversity=d).learn(300) for d in (None, {"seen": 1.0}))
    assert diverse.diversity.seen  # something was remembered
    assert (plain.replay.stored.task_rewards != diverse.replay.stored.task_rewards).any()
    newest = diverse.newest
    again = diverse.task.reward(newest.tokens, newest.lengths) / diverse.c
    np.testing.assert_allclose(newest.task_rewards, again, atol=1e-5)


def test_saving_in_between_changes_nothing(tmp_path):
    straight = agent_of(PsiLearning, sung_batch(), diversity=True).learn(200).learn(200, reset_num_timesteps=False)
    agent_of(PsiLearning, sung_batch(), diversity=True).learn(200).save(tmp_path / "agent")
    resumed = PsiLearning.load(tmp_path / "agent", env=sung_batch()).learn(200, reset_num_timesteps=False)
    assert_same_agents(straight, resumed)
    assert straight.diversity.seen == resumed.diversity.seen
