"""Sequences from elsewhere: what is refused and counted, and rewards and rows of log p as the environment has them."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from agents.store.offers import Refused, offer
from agents.store.store import Origin, Store
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.smiles.env import SmilesVectorEnv
from seqtutor_envs.vector_env import SequenceTutorVectorEnv
from seqtutor_envs.vocab import TokenVocab
from toys.agent_toys import sung_batch, synced_toys, toy_batch
from toys.env_toys import ToyTask, toy_prior
from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, GLUCOSE, OSIMERTINIB, VOCAB, BigramPrior, carbons


def offered(env, sequences, store=None):
    prior = mask_prior(env.prior, env.task)
    store = Store(env.task.length, len(prior.vocab)) if store is None else store
    found, terms, refused = offer(sequences, env, prior, store)
    # as many terms as sequences, and none where nothing was scored
    assert [len(term) for term in terms.values()] == [len(found.lengths)] * (len(env.task.weights) if terms else 0)
    return found, refused


def smiles_batch(**kwargs):
    settings = {"objective": carbons, "max_length": 30}
    return SmilesVectorEnv(num_envs=1, prior=BigramPrior(), c=0.5, **{**settings, **kwargs})


def smiles_of(env, sequences):
    return env.task.smiles(sequences.tokens, sequences.lengths)


def step_through(env, row):
    """Rows of log p [t, V] and rewards less log p [t] of one sequence, stepped through the environment."""
    _, infos = env.reset()
    rows, rewards = [], []
    for t, token in enumerate(row):
        rows.append(infos["prior_log_probs"][0])
        _, reward, _, _, infos = env.step(np.full(env.num_envs, token))
        rewards.append(reward[0] - rows[t][token])
    return np.array(rows), np.array(rewards)


@pytest.mark.parametrize("masked", [False, True])
def test_rows_and_rewards_are_those_of_the_environment_stepped_through(masked):
    env = sung_batch(1, masked)  # a recurrent prior
    rows = [[0, 1, 2, 4], [3, 0, 1, 0, 1, 0], [2, 4]]
    sequences, refused = offered(env, [env.task.sequence(np.array(row)) for row in rows])
    assert not any(refused)
    for i, row in enumerate(rows):
        assert sequences.tokens[i, : sequences.lengths[i]].tolist() == row
        expected, rewards = step_through(env, row)
        np.testing.assert_allclose(sequences.prior_log_probs[i, : len(row)], expected, atol=1e-5)
        np.testing.assert_allclose(sequences.task_rewards[i, : len(row)], rewards, atol=1e-5)
        assert not sequences.prior_log_probs[i, len(row) :].any() and not sequences.task_rewards[i, len(row) :].any()


def test_each_reason_counts_what_it_refuses():
    env = toy_batch(1, masked=True)  # five of a, b, c, "." at most; "." not first, nothing after itself
    store = Store(5, 4)
    known, _ = offered(env, [["a", "b", "."]])
    store.add(known, Origin.GIVEN, 0)
    texts = [
        ["a", "x", "."],
        ["a", "b", "a", "b", "a", "."], ["a", "b", "c", "a", "b", "c"],
        ["a", "b"], [], ["a", ".", "b", "."],
        ["a", "b", "."], ["c", "."], ["c", "."],
        ["a", "a", "."], ["."],
        ["a", "b", "a", "b", "a"],
    ]  # fmt: skip
    sequences, refused = offered(env, texts, store)
    assert refused == Refused(not_tokenised=1, too_long=2, unfinished=3, known=2, forbidden=2, unscored=0)
    assert [env.task.sequence(row[:n]) for row, n in zip(sequences.tokens, sequences.lengths)] == [texts[7], texts[11]]
    assert store.size == 1  # nothing is added
    assert store.add(sequences, Origin.GIVEN, 1).all()


def test_what_the_prior_holds_impossible_is_forbidden():
    env = toy_batch(1)  # "c" after the start has probability 0
    sequences, refused = offered(env, ["c.", "ac."])
    assert refused == Refused(forbidden=1) and sequences.tokens[0, :3].tolist() == [0, 2, 3]


def test_tokens_with_lengths_may_have_any_filler_and_width():
    env = toy_batch(1)
    tokens = np.array([[0, 1, 3, -9, 77, 4, 4], [0, 1, 2, 1, 0, 1, 3], [1, 3, 3, 3, 3, 3, 3]], np.int32)
    sequences, refused = offered(env, (tokens, np.array([3, 7, 2], np.uint8)))
    assert refused == Refused(too_long=1)
    texts, _ = offered(env, ["ab.", "b."])
    for array, same in zip(sequences.arrays(), texts.arrays(), strict=True):
        assert array.dtype == same.dtype
        np.testing.assert_array_equal(array, same)
    assert offered(env, ["x", "ab"])[0].prior_log_probs.shape == (0, 5, 4)  # all refused
    assert offered(env, [])[1] == Refused()


def test_smiles_are_encoded_and_scored():
    env = smiles_batch()
    texts = [ASPIRIN, "OC(=O)c1ccccc1OC(C)=O", "CCP", OSIMERTINIB, BENZENE, "C1CC", ASPIRIN]
    assert "P" not in VOCAB.tokens
    sequences, refused = offered(env, texts)
    # another spelling is another sequence; a string that is no molecule is worth what the task pays for it
    assert refused == Refused(not_tokenised=1, too_long=1, known=1)
    assert smiles_of(env, sequences) == [ASPIRIN, "OC(=O)c1ccccc1OC(C)=O", BENZENE, "C1CC"]
    returns = sequences.task_rewards.sum(axis=1)
    np.testing.assert_allclose(returns, np.array([9 / 13, 9 / 13, 1.0, 0.0]) / 0.5, rtol=1e-6)
    np.testing.assert_array_equal(np.count_nonzero(sequences.task_rewards, axis=1), [1, 1, 1, 0])  # the end token's
    assert sequences.task_rewards[2, sequences.lengths[2] - 1] == 2.0


def test_a_molecule_fits_if_its_end_token_does():
    assert offered(smiles_batch(max_length=9), [BENZENE])[1] == Refused()  # eight tokens
    assert offered(smiles_batch(max_length=8), [BENZENE])[1] == Refused(too_long=1)


def test_only_what_is_not_refused_costs_scores():
    env = smiles_batch(oracle_budget=10)
    store = Store(30, len(VOCAB))
    store.add(offered(env, [BENZENE])[0], Origin.GIVEN, 0)
    asked = env.task.objective.oracle
    assert asked.calls == 1
    sequences, refused = offered(env, [BENZENE, CAFFEINE, CAFFEINE, OSIMERTINIB, "CCP"], store)
    assert asked.calls == 2 and smiles_of(env, sequences) == [CAFFEINE]


def test_a_spent_budget_of_scores_is_counted_and_not_exceeded():
    env = smiles_batch(oracle_budget=2)
    sequences, refused = offered(env, [BENZENE, CAFFEINE, GLUCOSE])  # spent among them
    assert refused == Refused(unscored=3) and sequences.tokens.shape == (0, 30)
    assert offered(env, [ASPIRIN])[1] == Refused(unscored=1)  # spent before them
    assert env.task.objective.oracle.calls == 2


def test_what_may_pay_other_rewards_than_its_task_is_refused():
    for env in (synced_toys(), RecordEpisodeStatistics(toy_batch(1))):
        message = f"are scored by a native batch without wrappers, not by {type(env).__name__}"
        with pytest.raises(ValueError, match=message):
            offer(["ab."], env, toy_batch(1).prior, Store(5, 4))


@pytest.mark.parametrize(
    "tokens, lengths, message",
    [
        (np.array([[0, 1.7]]), [2], r"Sequences are integers, tokens \[n, T\] and lengths \[n\], not float64 \[1, 2\]"),
        (np.array([0, 3]), [2], r"not int64 \[2\] and int64 \[1\]"),
        (np.array([[0, 3]]), [2, 2], r"not int64 \[1, 2\] and int64 \[2\]"),
        (np.array([[0, 3]]), [2.0], r"and float64 \[1\]"),
        (np.array([[0, 3]]), [3], r"Lengths must be in 1\.\.2, not 3\.\.3"),
        (np.array([[0, 3]]), [0], r"Lengths must be in 1\.\.2, not 0\.\.0"),
        (np.array([[7, 3]]), [2], r"Tokens must be in 0\.\.3, not 0\.\.7"),
    ],
)
def test_arrays_that_are_no_sequences_are_errors(tokens, lengths, message):
    with pytest.raises(ValueError, match=message) as error:
        offered(toy_batch(1), (tokens, np.array(lengths)))
    assert "\n" not in str(error.value)


def test_texts_that_are_no_list_of_texts_are_errors():
    with pytest.raises(ValueError, match=r"^Sequences come as a list, such as \['CCO'\], not as one text\.$"):
        offered(smiles_batch(), "CCO")
    with pytest.raises(TypeError, match=r"^A SMILES is a string, not None\.$"):
        offered(smiles_batch(), ["CCO", None])


def test_a_store_for_another_vocabulary_refuses_what_was_scored():
    env = toy_batch(1)
    sequences, _ = offered(env, ["ab."])
    with pytest.raises(ValueError, match="^This store holds sequences of at most 5 steps of 7 tokens, not of 5 steps"):
        Store(5, 7).add(sequences, Origin.GIVEN, 0)


def test_without_an_end_token_a_sequence_is_as_long_as_the_horizon():
    class Endless(ToyTask):
        vocab = TokenVocab(("a", "b", "c", "."))

    prior = toy_prior(impossible=False)
    prior.vocab = Endless.vocab
    env = SequenceTutorVectorEnv(Endless(), prior, num_envs=1, c=1.0)
    sequences, refused = offered(env, ["ab.", "ab.ab", "....."])
    assert refused == Refused(unfinished=1) and sequences.lengths.tolist() == [5, 5]
