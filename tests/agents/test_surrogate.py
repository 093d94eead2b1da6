"""The surrogate against a Gaussian process written out, and what agents do with it."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdFingerprintGenerator
from scipy.sparse import csr_array

from agents import PsiLearning, Reinvent, TrajectoryBalance
from agents.store import surrogate
from agents.store.offers import encode_texts, fill_rows
from agents.store.store import Origin
from agents.store.surrogate import Surrogate
from seqtutor_envs.smiles.chem.features import ELEMENTS, count_features, describe
from toys.agent_toys import EXACT, made
from toys.smiles_toys import chain_batch, share_of_carbons

pytestmark = pytest.mark.filterwarnings("ignore:Only .* of a round's sequences are new")


def random_counts(n, seed, most=12):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most, (n, 9)) * (rng.random((n, 9)) < 0.5)
    counts[:, 0] += counts.sum(axis=1) == 0
    return counts


def min_max(x, z):
    """By loops, counts above 8 taken for 8."""
    x, z = (np.minimum(one, surrogate.MOST) for one in (x, z))
    return np.array([[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in z] for a in x])


def predict_by_loops(known, returns, asked):
    mean, scale = returns.mean(), returns.std()
    similar = min_max(known, known) + surrogate.NOISE * np.eye(len(known))
    return mean + scale * min_max(asked, known) @ np.linalg.inv(similar) @ ((returns - mean) / scale)


def filled(counts, returns, descriptors=None):
    made_ = Surrogate()
    made_.add(csr_array(counts.astype(np.float32)), returns, descriptors)
    return made_


# -- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_are_the_mean_of_a_gaussian_process():
    known, asked, returns = random_counts(30, 0), random_counts(7, 1), np.random.default_rng(2).normal(5.0, 40.0, 30)
    predicted = filled(known, returns).predict(csr_array(asked.astype(np.float32)))
    np.testing.assert_allclose(predicted, predict_by_loops(known, returns, asked), rtol=1e-5)


def alike(x, z, unit):
    """The kernel of descriptors, by loops."""
    rows = [[np.exp(-(((a - b) / unit) ** 2).mean() / (2 * surrogate.LENGTH**2)) for b in z] for a in x]
    return np.array(rows)


def test_descriptors_are_compared_in_their_own_standard_deviations():
    rng = np.random.default_rng(0)
    known, asked, returns = random_counts(30, 0), random_counts(7, 1), rng.normal(5.0, 40.0, 30)
    described, others = rng.normal(size=(30, 3)) * [1, 100, 0], rng.normal(size=(7, 3)) * [1, 100, 1]
    found = filled(known, returns, described)
    # the third is 0 in all that is known, so its unit is 1
    unit = np.array([*described[:, :2].std(axis=0), 1.0])
    similar = (min_max(known, known) + alike(described, described, unit)) / 2 + surrogate.NOISE * np.eye(30)
    mixed = (min_max(asked, known) + alike(others, described, unit)) / 2
    mean, scale = returns.mean(), returns.std()
    expected = mean + scale * mixed @ np.linalg.inv(similar) @ ((returns - mean) / scale)
    np.testing.assert_allclose(found.predict(csr_array(asked.astype(np.float32)), others), expected, rtol=1e-5)


def test_what_began_without_descriptors_goes_on_without():
    """As a checkpoint of before there were any does."""
    known, asked, returns = random_counts(20, 0), random_counts(5, 1), np.arange(20.0)
    found = filled(known[:8], returns[:8])
    found.add(csr_array(known[8:].astype(np.float32)), returns[8:], np.ones((12, 3)))
    rows = csr_array(asked.astype(np.float32))
    np.testing.assert_allclose(found.predict(rows, np.ones((5, 3))), predict_by_loops(known, returns, asked), rtol=1e-5)


def test_what_was_scored_is_predicted_as_it_was_and_what_is_like_nothing_as_the_mean():
    known, returns = np.eye(4)[:3] * 5, np.array([10.0, 20.0, 60.0])
    predicted = filled(known, returns).predict(csr_array((np.eye(4) * 5).astype(np.float32)))
    np.testing.assert_allclose(predicted, [30 - 20 / 1.01, 30 - 10 / 1.01, 30 + 30 / 1.01, 30.0], rtol=1e-6)


def test_equal_returns_are_predicted_as_such():
    known = random_counts(5, 0)
    predicted = filled(known, np.full(5, 7.0)).predict(csr_array(random_counts(3, 1).astype(np.float32)))
    np.testing.assert_allclose(predicted, 7.0)


def test_rows_of_zeros_are_not_kept_and_have_no_prediction():
    counts = random_counts(4, 0)
    counts[1] = 0
    found = filled(counts, np.array([1.0, 999.0, 3.0, 5.0]))
    assert found.size == 3 and found.returns.tolist() == [1.0, 3.0, 5.0]
    predicted = found.predict(csr_array(counts.astype(np.float32)))
    assert predicted[1] == -np.inf and np.isfinite(predicted[[0, 2, 3]]).all()
    found.add(csr_array(np.zeros((2, 9), np.float32)), np.array([1.0, 1.0]))
    assert found.size == 3


def test_without_data_there_is_no_prediction():
    with pytest.raises(ValueError, match="nothing to predict from"):
        Surrogate().predict(csr_array(random_counts(2, 0).astype(np.float32)))


def test_predictions_rest_on_the_best_and_on_others_of_all_ranks(monkeypatch):
    """By hand: of returns 0 to 19, with room for 6, the four best and two of the other 16."""
    monkeypatch.setattr(surrogate, "BEST", 4)
    monkeypatch.setattr(surrogate, "OTHERS", 2)
    counts, returns = random_counts(20, 0), np.random.default_rng(0).permutation(20).astype(float)
    found, asked = filled(counts, returns), random_counts(5, 1)
    rows = np.concatenate([np.flatnonzero(returns == value) for value in (19, 18, 17, 16, 15, 0)])
    expected = predict_by_loops(counts[rows], returns[rows], asked)
    np.testing.assert_allclose(found.predict(csr_array(asked.astype(np.float32))), expected, rtol=1e-4, atol=1e-4)


def test_a_full_one_keeps_half_and_the_best_of_all(monkeypatch):
    monkeypatch.setattr(surrogate, "CAPACITY", 40)
    found, returns = Surrogate(), np.random.default_rng(0).permutation(100).astype(float)
    for part in np.split(np.arange(100), 10):
        found.add(csr_array(random_counts(10, part[0]).astype(np.float32)), returns[part])
        assert found.size <= 40
    assert sorted(found.returns)[-14:] == list(range(86, 100))
    assert found.returns.min() < 50
    assert found.features.shape == (found.size, 9)


def test_returns_follow_a_change_of_c():
    known, returns, asked = random_counts(6, 0), np.arange(6.0), csr_array(random_counts(3, 1).astype(np.float32))
    found = filled(known, returns)
    before = found.predict(asked)
    found.rescale(4.0)
    np.testing.assert_allclose(found.predict(asked), 4 * before)


def test_what_has_the_features_of_a_known_one_is_not_new():
    counts = np.array([[1, 2, 0], [0, 0, 0], [1, 2, 0], [2, 1, 0], [0, 0, 0], [0, 1, 2], [0, 1, 2]], np.float32)
    found = filled(counts[3:4], np.ones(1))
    assert found.find_new(csr_array(counts)).tolist() == [True, True, False, False, True, True, False]
    restored = Surrogate()
    restored.restore(found.arrays())
    assert restored.find_new(csr_array(counts[:4])).tolist() == [True, True, False, False]


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_restored_one_predicts_the_same_bits():
    found, restored = filled(random_counts(20, 0), np.arange(20.0)), Surrogate()
    restored.restore({name: np.copy(array) for name, array in found.arrays().items()})
    asked = csr_array(random_counts(5, 1).astype(np.float32))
    np.testing.assert_array_equal(restored.predict(asked), found.predict(asked))
    described = filled(random_counts(20, 0), np.arange(20.0), np.random.default_rng(0).normal(size=(20, 3)))
    restored.restore({name: np.copy(array) for name, array in described.arrays().items()})
    others = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_array_equal(restored.predict(asked, others), described.predict(asked, others))
    assert not np.allclose(restored.predict(asked, others), found.predict(asked))
    empty = Surrogate()
    empty.restore(Surrogate().arrays())
    assert empty.size == 0 and empty.features is None


@pytest.mark.parametrize(
    "name, change",
    [
        ("columns", lambda array: array + 9),
        ("columns", lambda array: array - 1),
        ("counts", lambda array: array * np.nan),
        ("counts", lambda array: -array),
        ("counts", lambda array: array[1:]),
        ("ends", lambda array: array[::-1]),
        ("ends", lambda array: array + 1),
        ("ends", lambda array: np.where(array == array[1], array[2], array)),
        ("ends", lambda array: array[1:]),
        ("returns", lambda array: array.astype(np.float32)),
        ("width", lambda array: array * 0),
        ("descriptors", lambda array: array[1:]),
        ("descriptors", lambda array: array[:, 0]),
        ("descriptors", lambda array: array[0, 0]),
        ("descriptors", lambda array: array * np.inf),
        ("descriptors", lambda array: array.astype(np.float32)),
    ],
)
def test_damaged_arrays_are_refused(name, change):
    arrays = filled(random_counts(6, 0), np.arange(6.0), np.ones((6, 2))).arrays()
    with pytest.raises(ValueError):
        Surrogate().restore({**arrays, name: change(arrays[name])})


def test_missing_and_unknown_arrays_are_refused():
    arrays = filled(random_counts(6, 0), np.arange(6.0)).arrays()
    for changed in ({**arrays, "more": arrays["ends"]}, {name: arrays[name] for name in arrays if name != "ends"}):
        with pytest.raises(ValueError):
            Surrogate().restore(changed)


# -- features of molecules --------------------------------------------------------------------------------------------


def test_features_are_rdkits_counts():
    smiles = ["CC(=O)Nc1ccc(O)cc1", "C", "no molecule", "O=C1N(CC)c2ccccc2S1"]
    atoms = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    roles = rdFingerprintGenerator.GetMorganGenerator(
        radius=2, fpSize=2048, atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    )
    found = count_features(smiles)
    assert found.shape == (4, 4096)
    for row, text in zip(found.toarray(), smiles):
        mol = Chem.MolFromSmiles(text) if text != "no molecule" else None
        expected = np.zeros(4096) if mol is None else np.concatenate(
            [generator.GetCountFingerprintAsNumPy(mol) for generator in (atoms, roles)]
        )
        np.testing.assert_array_equal(row, expected)


def test_features_are_those_of_the_molecule_whatever_its_spelling():
    one, other = count_features(["OCc1ccncc1", "n1ccc(CO)cc1"]).toarray()
    np.testing.assert_array_equal(one, other)


def test_descriptors_are_rdkits():
    smiles = ["CC(=O)Nc1ccc(O)cc1", "no molecule", "FC(F)(F)c1ccc(Br)cc1[P+](C)(Cl)CI", "[Na+].[O-]S(=O)(=O)C1CC1"]
    found = describe(smiles)
    assert found.shape == (4, 15) and not found[1].any() and describe([]).shape == (0, 15)
    for row, text in zip(found, smiles):
        if text == "no molecule":
            continue
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        atoms = [atom.GetSymbol() for atom in mol.GetAtoms()]
        assert row[:10].tolist() == [atoms.count(name) for name in ELEMENTS]
        mol = Chem.MolFromSmiles(text)
        assert row[10:12].tolist() == [Descriptors.RingCount(mol), Descriptors.NumAromaticRings(mol)]
        assert row[12:].tolist() == [Descriptors.TPSA(mol), Crippen.MolLogP(mol), Descriptors.FractionCSP3(mol)]


# -- agents -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", [PsiLearning, TrajectoryBalance])
def test_candidates_are_chosen_by_the_surrogate_once_it_knows_something(agent_class):
    agent = agent_class(chain_batch(share_of_carbons, 10**6), seed=0, candidates=8, learning_rate=1e-9)
    assert agent.surrogate is not None and agent.surrogate.size == 0
    rounds = []
    agent.learn(16 * 8 * 6, lambda _locals, _globals: rounds.append(agent.newest) or True)
    distinct = {id(one): one for one in rounds}.values()
    means = [float(one.task_rewards.sum(axis=1).mean()) for one in distinct]
    # the policy hardly moves, so that only the choice can raise the score
    assert len(means) >= 4 and np.mean(means[1:]) > 1.5 * means[0]
    assert 0 < agent.surrogate.size <= 16 * len(means)
    assert agent.surrogate.returns.max() <= 10.0


def test_other_spellings_of_what_was_scored_are_not_chosen_while_there_is_anything_new():
    """By hand: 16 of 17, of which one is the best known molecule backwards."""
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), seed=0, candidates=8)
    agent.offer(["CCCCCO", "NNNOO"])
    texts = ["OCCCCC", *(f"{'N' * n}C{end}" for n in range(4) for end in ("", "O", "OO", "=O"))]
    found = fill_rows(encode_texts(texts, agent.task), agent.task)
    rows = agent._choose(found, np.zeros(17))
    assert sorted(rows.tolist()) == list(range(1, 17))
    assert agent.repeats.new == 16 / 17


def test_a_policy_ranks_where_it_is_asked_to_or_there_are_no_features():
    chains = chain_batch(share_of_carbons, 10**6)
    assert PsiLearning(chains, candidates=4, rank_by="policy").surrogate is None
    assert PsiLearning(chains, candidates=1).surrogate is None
    assert Reinvent(chains).surrogate is None
    assert made(PsiLearning, EXACT, n_envs=16, candidates=4).surrogate is None


def test_impossible_rankings_are_refused():
    with pytest.raises(ValueError, match="rank_by='surrogate' needs an environment whose `task` has features"):
        made(PsiLearning, EXACT, n_envs=16, candidates=4, rank_by="surrogate")
    with pytest.raises(ValueError, match="rank_by must be one of"):
        made(PsiLearning, EXACT, n_envs=16, candidates=4, rank_by="best")


def test_descriptors_that_are_no_numbers_are_refused():
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), seed=0, candidates=8)
    agent.task.descriptors = lambda tokens, lengths: np.full((len(tokens), 2), np.nan)
    with pytest.raises(ValueError, match="some descriptors of sequences are not finite numbers"):
        agent.offer(["CCCCCO"])


def test_only_the_most_promising_children_are_scored():
    given = {"store": {"children": 3, "tries": 4}, "c_start": 1e-4}  # so cold that log p counts for nothing
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), candidates=2, **given)
    agent.offer(["CCCCCO", "CCCCNO", "CCNNOO", "CNNNOO", "OOOOOC"])
    tried = []

    def derive(kind, tokens, lengths, returns, n, rng):
        tried.append((kind, n))
        return ["NNNC", "CCCCCN", "CCCCC", "no molecule", "OOONC", "CCCCCCCCCCCC", "CCCCCO", "NNOC", "CCCCCC"]

    agent.task.derive = derive
    agent._derive(Origin.CHILD, 3)
    assert tried == [("child", 12)]
    stored = agent.store.origins[: agent.store.size] == Origin.CHILD
    texts = agent.task.smiles(agent.store.stored.tokens[: agent.store.size][stored])
    assert sorted(texts) == ["CCCCC", "CCCCCC", "CCCCCN"]
    assert agent.surrogate.size == 8


@pytest.mark.parametrize("times", [1e-3, 1.0, 1e3])
def test_children_are_chosen_by_the_objective_at_the_present_temperature(times):
    """log p decides at a high temperature, the expected score at a low one."""
    given = {"store": {"children": 4, "tries": 2}, "c_start": times * 0.1}
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), candidates=2, **given)
    agent.offer(["CCCCCO", "CCCCNO", "CCNNOO", "CNNNOO", "OOOOOC"])
    texts = ["NNNC", "CCCCCN", "CCCCC", "OOONC", "NNOC", "CCCCCC", "CC", "OOO"]
    rows = fill_rows(encode_texts(texts, agent.task), agent.task)
    features = csr_array(count_features(texts))
    scores = agent.surrogate.predict(features, describe(texts)) * agent.c
    log_p = np.zeros(len(texts))
    for n, length in enumerate(rows.lengths):
        state, token = agent.prior.initial_state(1), agent.prior.vocab.start
        for t in range(length):
            row, state = agent.prior.step(np.array([token]), state)
            token = rows.tokens[n, t]
            log_p[n] += row[0, token]
    values = dict(zip(texts, log_p + scores / (0.1 * times)))
    assert list(np.argsort(log_p)) != list(np.argsort(scores)), "each alone would choose others"
    tokens, lengths = agent._choose_promising(texts, 4)
    assert agent.task.smiles(tokens, lengths) == sorted(texts, key=values.get, reverse=True)[:4]


def test_there_are_fewer_children_the_more_of_the_budget_is_used():
    agent = PsiLearning(chain_batch(share_of_carbons, 160), seed=0, candidates=4, store={"children": 12})
    asked = []

    def derive(kind, tokens, lengths, returns, n, rng):
        asked.append((n, agent.task.budget_used()))
        return []

    agent.task.derive = derive
    agent.learn(10**6)
    tries = agent.store.settings.tries
    assert len(asked) >= 8 and asked[0][0] > 10 * tries
    assert [n for n, _ in asked] == [round(12 * (1 - used)) * tries for _, used in asked]
    # as many tokens as there are, where no call is counted
    free = PsiLearning(chain_batch(share_of_carbons, None), seed=0, candidates=4, store={"children": 12})
    asked.clear()
    free.task.derive = lambda kind, tokens, lengths, returns, n, rng: asked.append((n, free.num_timesteps)) or []
    free.learn(1_000)
    assert [n for n, _ in asked] == [round(12 * (1 - steps / 1_000)) * tries for _, steps in asked]
    assert asked[0][0] == 12 * tries and asked[-1][0] < 3 * tries


@pytest.mark.parametrize("texts", [[], ["no molecule"], ["CCO"]])
def test_children_that_give_nothing_new_change_nothing(texts):
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), candidates=4, store={"children": 3})
    agent.offer(["CCO"])
    agent.task.derive = lambda *given: texts
    agent._derive(Origin.CHILD, 3)
    assert agent.store.size == agent.surrogate.size == 1


def test_offered_molecules_inform_the_surrogate_once():
    agent = PsiLearning(chain_batch(share_of_carbons, 10**6), candidates=4)
    assert agent.offer(["CCO", "CCO", "NCC", "CxC"]).taken == 2
    assert sorted(agent.surrogate.returns) == pytest.approx([2.5, 2.5])
    agent.offer(["CCO"])
    assert agent.surrogate.size == 2
