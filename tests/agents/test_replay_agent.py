"""Agents with memories: where an update's sequences come from, offers, what scores choose, and what the log says."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.logger import KVWriter, Logger

from agents import KLPPO, AugmentedHillClimb, GLearning, PsiLearning, QLearning, Reinvent, RLOnly, TrajectoryBalance
from agents.replay_agent import find_scores
from agents.store.offers import Refused
from agents.store.store import Origin
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.env import SmilesVectorEnv
from toys.agent_files import rewrite
from toys.agent_toys import EXACT, SMALL, made, synced_toys, toy_batch
from toys.smiles_toys import ASPIRIN, BENZENE, CAFFEINE, OSIMERTINIB, BigramPrior, carbons

SMILES = "SeqTutor-SMILES-v0"
SHIPPED = "seqtutor_envs.smiles.chem.rediscovery:celecoxib"
WITH_STORE = (PsiLearning, GLearning, QLearning, RLOnly, Reinvent, AugmentedHillClimb, TrajectoryBalance)


def watch_updates(agent):
    received, update = [], agent.learner.update
    agent.learner.update = lambda batch, *further: received.append(batch) or update(batch, *further)
    return received


def smiles_batch(num_envs=4, **kwargs):
    settings = {"objective": carbons, "max_length": 30}
    return SmilesVectorEnv(num_envs=num_envs, prior=BigramPrior(), c=0.5, **{**settings, **kwargs})


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", [PsiLearning, Reinvent])
@pytest.mark.parametrize("own, from_replay", [(0.0, 0), (0.25, 4), (0.5, 8), (0.9, 14), (1.0, 16)])
def test_a_share_of_each_update_is_own_and_the_rest_from_the_store(agent_class, own, from_replay):
    """Whatever lies in the replay is marked by rewards of 3, in the store by rewards of 5."""
    agent = made(agent_class, EXACT, n_envs=16, store={"own": own}, buffer_size=16)
    received, draw = watch_updates(agent), agent._draw_batches

    def mark(newest):
        agent.replay.stored.task_rewards[:], agent.store.stored.task_rewards[:] = 3.0, 5.0
        yield from draw(newest)

    agent._draw_batches = mark
    agent.learn(16 * 4 * 3)
    assert len(received) == 3 * SMALL["updates_per_round"]
    for batch in received:
        assert (batch.task_rewards == 3.0).all(1).sum() == from_replay
        assert (batch.task_rewards == 5.0).all(1).sum() == 16 - from_replay
    assert 16 < agent.store.size <= 48, "what is not drawn is stored as well"


def test_own_sequences_are_the_newest_and_stored_ones_of_all_rounds():
    agent = made(PsiLearning, EXACT, n_envs=16, store={"own": 0.5}, buffer_size=16)
    received, earlier = watch_updates(agent), set()
    for _ in range(4):
        del received[:]
        agent.learn(64, reset_num_timesteps=False)
        newest = {tuple(row) for row in agent.newest.tokens.tolist()}
        earlier |= newest
        for batch in received:
            assert {tuple(row) for row in batch.tokens[:8].tolist()} <= newest
            assert {tuple(row) for row in batch.tokens[8:].tolist()} <= earlier
    assert not {tuple(row) for row in received[0].tokens[8:].tolist()} <= newest
    assert {tuple(row) for row in agent.store.best(81).tokens.tolist()} == earlier


def test_stored_sequences_of_another_length_have_filler():
    """Own ones of the round end early, stored ones later: a batch is as wide as the longest of them."""
    agent = made(PsiLearning, toy_batch(), store={"own": 0.5}, updates_per_round=6)
    received = watch_updates(agent)
    agent.learn(600)
    assert any(batch.lengths[:8].max() != batch.lengths[8:].max() for batch in received)
    for batch in received:
        assert batch.tokens.shape[1] == batch.lengths.max()
        beyond = np.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
        assert not batch.tokens[beyond].any() and not batch.task_rewards[beyond].any()
        paid = agent.task.reward(batch.tokens, batch.lengths) / agent.c
        np.testing.assert_allclose(batch.task_rewards, paid, rtol=1e-5, atol=1e-6)
        for i, length in enumerate(batch.lengths.tolist()):
            rows = agent.prior.log_probs(batch.tokens[i : i + 1, :length])[0]
            np.testing.assert_allclose(np.exp(batch.prior_log_probs[i, :length]), np.exp(rows), atol=1e-5)


@pytest.mark.parametrize("agent_class", WITH_STORE)
def test_whatever_the_loss_a_round_is_stored_once_with_its_number(agent_class):
    agent = made(agent_class, EXACT, n_envs=16, store=True)
    expected = {}
    for number in range(4):
        agent.learn(64, reset_num_timesteps=False)
        for row in agent.newest.tokens.tolist():
            expected.setdefault(tuple(row), number)
    store = agent.store
    found = {tuple(store.stored.tokens[i].tolist()): int(store.born[i]) for i in range(store.size)}
    assert found == expected and (store.origins[: store.size] == Origin.OWN).all()


def test_without_a_store_the_newest_rollout_alone_may_be_the_batch():
    agent = PsiLearning(EXACT, n_envs=16, batch_size=16, buffer_size=16, updates_per_round=1)
    received = watch_updates(agent)
    agent.learn(64)
    assert agent.store is None
    np.testing.assert_array_equal(received[0].tokens, agent.newest.tokens)  # not shuffled


@pytest.mark.parametrize("settings", [{}, {"c_start": 8.0}])
def test_what_is_remembered_goes_on_at_the_c_of_another_environment(settings):
    agent = made(PsiLearning, EXACT, n_envs=16, store=True, **settings).learn(128)
    agent.set_env(gym.make_vec(EXACT, num_envs=16, c=0.25, autoreset_mode="SameStep"))
    for remembered, size in ((agent.replay.stored, agent.replay.size), (agent.store.stored, agent.store.size)):
        paid = agent.task.reward(remembered.tokens[:size]) / 0.25
        np.testing.assert_allclose(remembered.task_rewards[:size], paid, rtol=1e-5)
    np.testing.assert_allclose(agent.store.returns[:size], paid.sum(1), rtol=1e-5)
    received, update = [], agent.learner.update
    agent.learner.update = lambda batch: received.append((batch, agent.temperature.now)) or update(batch)
    agent.learn(128)
    for batch, now in received:
        np.testing.assert_allclose(batch.task_rewards, agent.task.reward(batch.tokens) / now, rtol=1e-5)
    assert agent.temperature.now == 0.25


# -- offers -----------------------------------------------------------------------------------------------------------


def test_an_offer_takes_what_is_new_and_says_why_the_rest_is_refused():
    agent = made(PsiLearning, toy_batch(masked=True), store=True)  # "." not first, nothing after itself
    given = [["a", "b", "."], ["c", "."], ["a", "b", "."], ["a", "a", "."], ["a", "b", "a", "b", "a", "."], ["a", "x"]]
    assert agent.offer(given) == (2, Refused(not_tokenised=1, too_long=1, known=1, forbidden=1))
    assert agent.offer([["c", "."]], Origin.CHILD) == (0, Refused(known=1))
    assert agent.offer([["c", "b", "."]], Origin.CHILD) == (1, Refused())
    store = agent.store
    found = {"".join(agent.task.sequence(store.stored.tokens[i, : store.stored.lengths[i]])): i for i in range(3)}
    origins = {text: Origin(store.origins[i]) for text, i in found.items()}
    assert origins == {"ab.": Origin.GIVEN, "c.": Origin.GIVEN, "cb.": Origin.CHILD}
    # a, b, ".": letters 1 + 0 + .5, steps 0 + .25 + .5
    assert store.returns[found["ab."]] == pytest.approx((1.5 + 0.75) / agent.c)


def test_what_was_offered_is_learned_from_and_is_not_stored_again():
    agent = made(PsiLearning, EXACT, n_envs=16, store={"own": 0.0})
    sequences = gym.make(EXACT).unwrapped.solution()["sequences"]
    assert agent.offer((sequences, np.full(81, 4))).taken == 81
    received = watch_updates(agent)
    agent.learn(64)
    assert agent.store.size == 81 and (agent.store.origins[:81] == Origin.GIVEN).all()
    newest = {tuple(row) for row in agent.newest.tokens.tolist()}
    assert {tuple(row) for batch in received for row in batch.tokens.tolist()} - newest


def test_a_full_store_takes_what_is_better_than_its_own():
    agent = made(PsiLearning, EXACT, n_envs=16, store={"capacity": 5})
    sequences = gym.make(EXACT).unwrapped.solution()["sequences"]
    order = np.argsort(agent.task.reward(sequences).sum(1))
    worst_first = sequences[order]
    assert agent.offer((worst_first[40:48], np.full(8, 4))).taken == 5
    assert agent.offer((worst_first[:6], np.full(6, 4))) == (0, Refused())
    assert agent.offer((np.concatenate([worst_first[6:9], worst_first[-2:]]), np.full(5, 4))) == (2, Refused())


def test_molecules_are_offered_as_smiles_and_cost_scores():
    env = smiles_batch(oracle_budget=10)
    agent = PsiLearning(env)
    assert agent.offer([ASPIRIN, BENZENE, ASPIRIN, OSIMERTINIB, "Pt"]) == (2, Refused(1, 1, known=1))
    assert env.task.budget_used() == 0.2 and agent.store.best(1).task_rewards.sum() == pytest.approx(1.0 / 0.5)
    assert agent.offer([CAFFEINE]).taken == 1 and env.task.budget_used() == 0.3


@pytest.mark.parametrize("agent_class", [*WITH_STORE, KLPPO])
def test_without_a_store_an_offer_is_one_line(agent_class):
    with pytest.raises(ValueError, match="This agent has no store to put sequences into: make it with store=True."):
        agent_class(EXACT, n_envs=4).offer([["a"]])


def test_an_offer_needs_a_native_batch():
    with pytest.raises(ValueError, match="scored by a native batch without wrappers, not by SyncVectorEnv"):
        made(PsiLearning, synced_toys(), store=True).offer([["a", "."]])


# -- free and expensive scores ----------------------------------------------------------------------------------------


def expect(agent, expensive):
    """What the two kinds of scores stand for, written out."""
    assert agent.settings["scores"] == ("expensive" if expensive else "free")
    assert (agent.store is not None) == (agent.repeats is not None) == expensive
    settings = getattr(agent.learner, "settings", None)
    if settings is not None:
        found = settings.tau, settings.huber, settings.max_grad_norm, settings.learning_rate
        assert found == ((1.0, None, 10.0, 1e-3) if expensive else (0.1, 20.0, 1.0, 1e-3))
    else:
        found = agent.learner._max_grad_norm, agent.learner._rates[0]
        assert found == ((10.0, 5e-4) if expensive else (1.0, 1e-3))
    assert agent.updates_per_round == (4 if expensive else 1)
    if expensive:
        assert (agent.store.settings.capacity, agent.store.settings.own) == (1024, 0.5)
        greedy = isinstance(agent, QLearning)
        assert agent.repeats.action == ("warn" if greedy else "temperature")


COUNTED = {"objective": SHIPPED, "oracle_budget": 100}


@pytest.mark.parametrize("agent_class", WITH_STORE)
@pytest.mark.parametrize("kwargs", [{}, {"objective": SHIPPED}, COUNTED])
def test_a_budget_of_scores_makes_them_expensive(agent_class, kwargs):
    agent = agent_class(SMILES, env_kwargs=kwargs)
    expect(agent, kwargs is COUNTED)
    assert agent.n_envs == (64 if kwargs is COUNTED else agent.env.round_size)
    if (lam := {PsiLearning: 1.0, GLearning: 1.0, QLearning: 0.0, RLOnly: 0.0}.get(agent_class)) is not None:
        assert agent.learner.settings.lam == lam


def test_so_does_the_budget_of_an_environment_or_a_task():
    single = gym.make(SMILES, **COUNTED)
    assert PsiLearning(single).n_envs == 64
    expect(PsiLearning(single), True)
    expect(PsiLearning(gym.make(SMILES, objective=SHIPPED)), False)
    batch = smiles_batch(oracle_budget=9)
    expect(PsiLearning(batch), True)
    assert PsiLearning(batch).n_envs == 4
    task = SmilesTask(objective=carbons, oracle_budget=9)
    assert find_scores(None, SMILES, {"task": task}) == "expensive"
    assert find_scores(None, SMILES, {"task": SmilesTask(objective=carbons)}) == "free"
    assert find_scores(None, synced_toys(), None) == "free"


@pytest.mark.parametrize("agent_class", WITH_STORE)
def test_what_is_given_wins(agent_class):
    expect(agent_class(SMILES, scores="free", env_kwargs=COUNTED), False)
    assert agent_class(SMILES, scores="free", env_kwargs=COUNTED).n_envs != 64
    expect(agent_class(SMILES, scores="expensive"), True)
    given = {"store": False, "on_repeats": "off", "candidates": 1}
    given |= {"updates_per_round": 3, "batch_size": 7, "learning_rate": 0.25}
    agent = agent_class(SMILES, n_envs=5, max_grad_norm=2.0, env_kwargs=COUNTED, **given)
    assert agent.store is None and agent.repeats is None and agent.n_envs == 5
    assert (agent.updates_per_round, agent.batch_size, agent.learner._rates[0]) == (3, 7, 0.25)
    assert agent.learner._max_grad_norm == 2.0
    if agent_class is PsiLearning:
        agent = PsiLearning(SMILES, huber=5.0, tau=0.3, env_kwargs=COUNTED)
        assert (agent.learner.settings.huber, agent.learner.settings.tau) == (5.0, 0.3)
        assert PsiLearning(SMILES, huber=None).learner.settings.huber is None


@pytest.mark.parametrize("agent_class", WITH_STORE)
def test_unknown_scores_are_one_line(agent_class):
    with pytest.raises(ValueError, match="scores must be one of 'free', 'expensive', not 'cheap'."):
        agent_class(EXACT, scores="cheap")


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, TrajectoryBalance])
@pytest.mark.parametrize("kind", ["free", "expensive"])
def test_a_file_keeps_the_kind_of_scores(agent_class, kind, tmp_path):
    """Whatever the environment that it is loaded into would choose."""
    env = smiles_batch(oracle_budget=9)
    agent = agent_class(env, scores=kind)
    loaded = agent_class.load(agent.save(tmp_path / "agent"), env)
    expect(loaded, kind == "expensive")
    assert loaded.settings == agent.settings
    agent = agent_class(smiles_batch(), scores=kind)
    expect(agent_class.load(agent.save(tmp_path / "agent"), env), kind == "expensive")


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning])
def test_a_file_from_before_there_were_kinds_is_of_free_scores(agent_class, tmp_path):
    env = smiles_batch(oracle_budget=9)
    path = agent_class(env, scores="free").save(tmp_path / "agent")
    new = ("scores", "store", "c_start", "target_kl", "on_repeats")
    rewrite(path, lambda arrays, facts: [facts["settings"].pop(name) for name in new])
    expect(agent_class.load(path, env), False)


# -- the log ----------------------------------------------------------------------------------------------------------


class Entries(KVWriter):
    """Keep each entry of the log."""

    def __init__(self):
        self.entries = []

    def write(self, key_values, key_excluded, step=0):
        self.entries.append(dict(key_values))

    def close(self):
        pass


@pytest.mark.filterwarnings("ignore:Only .* of a round's sequences are new")
@pytest.mark.parametrize("agent_class", [PsiLearning, TrajectoryBalance])
def test_the_log_says_what_memories_hold(agent_class):
    agent, entries = made(agent_class, EXACT, n_envs=16, store=True, c_start=8.0, on_repeats="warn"), Entries()
    agent.set_logger(Logger(folder=None, output_formats=[entries]))
    seen, expected = set(), []

    def note(_locals, _globals):
        if len(expected) < agent.rounds:
            rows = [tuple(row) for row in agent.newest.tokens.tolist()]
            new = 0
            for row in rows:
                new += row not in seen
                seen.add(row)
            expected.append((8.0 ** (1 - (agent.rounds - 1) / 4), new / 16, len(seen)))
        return True

    agent.learn(64 * 4, note, log_interval=1)
    assert len(entries.entries) == 4
    found = [(one["train/c"], one["train/new"], one["train/store_size"]) for one in entries.entries]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    last = entries.entries[-1]
    assert last["train/heat"] == 1.0 and last["train/prior_share"] == 0.0 and last["train/store_share_own"] == 1.0
    assert {"train/loss", "train/td_error", "train/n_updates", "train/store_best_return"} <= last.keys()


def test_the_log_has_no_entry_for_what_there_is_not():
    agent, entries = made(PsiLearning, EXACT, n_envs=16), Entries()
    agent.set_logger(Logger(folder=None, output_formats=[entries]))
    agent.learn(64, log_interval=1)
    (entry,) = entries.entries
    assert not {"train/c", "train/new", "train/heat", "train/store_size"} & entry.keys()
