"""Learn, save, load, learn equals one learn, to the bit: with stores, repeats, moving temperatures and budgets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from stable_baselines3.common.callbacks import BaseCallback

from agents import KLPPO, AugmentedHillClimb, PsiLearning, QLearning, Reinvent, TrajectoryBalance
from seqtutor_envs.vector_env import SequenceTutorVectorEnv
from toys.agent_files import rewrite
from toys.agent_toys import EXACT, Sung, assert_same_agents, made, sung_batch, toy_batch
from toys.recurrent_toys import random_prior
from toys.smiles_toys import chain_batch, share_of_carbons

pytestmark = pytest.mark.filterwarnings("ignore:Only .* of a round's sequences are new")

ALL = {"store": True, "on_repeats": "temperature"}
CASES = {
    "psi": (PsiLearning, {**ALL, "target_kl": 0.5}),
    "psi, uniform store": (PsiLearning, {"store": {"draw": "uniform", "capacity": 20}, "on_repeats": "prior"}),
    "psi, diversity": (PsiLearning, {**ALL, "diversity": True}),
    "psi, candidates": (PsiLearning, {"candidates": 3, "target_kl": 0.5}),
    "q": (QLearning, {"store": True, "on_repeats": "warn", "target_kl": 0.5, "epsilon_steps": 400}),
    "tb": (TrajectoryBalance, {**ALL, "target_kl": 0.5}),
    "vargrad": (TrajectoryBalance, {**ALL, "form": "vargrad"}),
    "reinvent": (Reinvent, {"store": {"draw": "newest"}}),
    "hill climb": (AugmentedHillClimb, {**ALL, "share": 0.3}),
    "ppo": (KLPPO, {"target_kl": 0.5}),
    "ppo, loss": (KLPPO, {"kl": "loss", "estimator": "k3"}),
}


def make(agent_class, env, **settings):
    # KLPPO has neither replay nor updates
    return agent_class(env, seed=5, **settings) if agent_class is KLPPO else made(agent_class, env, seed=5, **settings)


@pytest.mark.parametrize("env", [toy_batch, sung_batch])
@pytest.mark.parametrize("case", CASES)
def test_a_loaded_agent_learns_on_to_the_same_bits(case, env, tmp_path):
    agent_class, settings = CASES[case]
    agent = make(agent_class, env(), **settings).learn(250)
    loaded = agent_class.load(agent.save(tmp_path / "agent"), env())
    assert_same_agents(loaded, agent)
    for one in (agent, loaded):
        one.learn(250, reset_num_timesteps=False)
    assert_same_agents(loaded, agent)
    if agent.temperature.moves:
        assert agent.temperature.now == loaded.temperature.now != agent.c
    if agent.store is not None:
        np.testing.assert_array_equal(agent.store.best(10**6).tokens, loaded.store.best(10**6).tokens)


@pytest.mark.parametrize("case", CASES)
def test_two_halves_are_one_whole(case, tmp_path):
    """In the exact task rounds have 64 tokens, so that halves are whole rounds."""
    agent_class, settings = CASES[case]
    whole = make(agent_class, EXACT, n_envs=16, **settings).learn(640)
    half = make(agent_class, EXACT, n_envs=16, **settings).learn(320)
    loaded = agent_class.load(half.save(tmp_path / "agent"))
    assert_same_agents(loaded.learn(320, reset_num_timesteps=False), whole)


class SaveOnce(BaseCallback):
    """Save at the end of the first round after so many timesteps, as a checkpoint does, and note what else is asked."""

    def __init__(self, path, after, note=lambda: None):
        super().__init__()
        self.path, self.after, self.note, self.noted = path, after, note, None
        self.saved = None

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.saved is None and self.model.num_timesteps >= self.after:
            self.saved, self.noted = self.model.save(self.path), self.note()


@pytest.mark.parametrize("agent_class", [PsiLearning, QLearning, TrajectoryBalance, KLPPO])
def test_a_temperature_that_falls_goes_on_from_a_checkpoint(agent_class, tmp_path):
    memories = {} if agent_class is KLPPO else {"store": True, "on_repeats": "warn"}
    half = SaveOnce(tmp_path / "agent", 300)
    whole = make(agent_class, toy_batch(), c_start=20.0, anneal=True, **memories).learn(600, half)
    loaded = agent_class.load(half.saved, toy_batch())
    assert 1.0 < loaded.temperature.now < 20.0 and 300 <= loaded.num_timesteps < 600
    loaded.learn(600 - loaded.num_timesteps, reset_num_timesteps=False)
    assert_same_agents(loaded, whole)
    assert whole.temperature.now == 1.0


# -- a budget of scores -----------------------------------------------------------------------------------------------


class Oracle:
    """Note the molecules that are asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, smiles):
        self.asked += smiles
        return share_of_carbons(smiles)


@pytest.mark.parametrize(
    "agent_class, settings",
    [
        (PsiLearning, {}),
        (PsiLearning, {"c_start": 1.0, "anneal": True}),
        (QLearning, {"c_start": 1.0}),
        (TrajectoryBalance, {"c_start": 1.0, "on_repeats": "prior"}),
        (KLPPO, {"c_start": 1.0}),
    ],
)
def test_calls_and_their_order_are_the_same_from_a_checkpoint_on(agent_class, settings, tmp_path):
    oracle = Oracle()
    env = chain_batch(oracle, 80)
    half = SaveOnce(tmp_path / "agent", 400, lambda: list(oracle.asked))
    whole = agent_class(env, seed=1, **settings).learn(10**6, half)
    assert env.task.spent and len(set(oracle.asked)) == len(oracle.asked) == 80
    assert 10 < len(half.noted) < 75

    later = Oracle()
    again = chain_batch(later, 80)
    for smiles, score in zip(half.noted, share_of_carbons(half.noted)):
        again.task.objective.restore(smiles, score, failed=False)  # as a run's log does
    loaded = agent_class.load(half.saved, again)
    if agent_class in (PsiLearning, TrajectoryBalance):
        assert 0 < loaded.surrogate.size == len(loaded.surrogate.returns) < whole.surrogate.size
    assert again.task.budget_used() == len(half.noted) / 80
    loaded.learn(10**6 - loaded.num_timesteps, reset_num_timesteps=False)  # the same goal, which epsilon goes by
    assert half.noted + later.asked == oracle.asked
    assert list(again.task.objective.oracle._scores) == list(env.task.objective.oracle._scores)
    assert_same_agents(loaded, whole)


def test_a_budget_that_begins_anew_is_said(tmp_path):
    file = Reinvent(chain_batch(share_of_carbons, 400)).learn(400).save(tmp_path / "agent")
    loaded = Reinvent.load(file, chain_batch(share_of_carbons, 400))
    with pytest.warns(UserWarning, match="the task has counted no score of them: the budget of scores begins anew"):
        loaded.learn(200, reset_num_timesteps=False)
    loaded.learn(200, reset_num_timesteps=False)  # a warning would be an error
    Reinvent.load(file, chain_batch(share_of_carbons, 400)).learn(200)


def test_a_temperature_follows_the_budget_and_not_the_tokens():
    oracle = Oracle()
    env = chain_batch(oracle, 60)
    agent, found = PsiLearning(env, c_start=1.0), []

    def note(_locals, _globals):
        found.append((agent.temperature.now, len(oracle.asked)))
        return True

    agent.learn(10**6, note)
    before_the_end = [(now, calls) for now, calls in found if calls < 60]
    assert len({calls for _, calls in before_the_end}) > 2
    for now, calls in before_the_end:
        assert now == pytest.approx(0.1 * 10 ** (1 - calls / 60), rel=1e-9)


# -- files ------------------------------------------------------------------------------------------------------------


class Counted(Sung):
    """Its features are counts of tokens, in some form of a csr_array."""

    dtypes: tuple[type, type] = (np.int64, np.int64)

    def features(self, tokens, lengths):
        live = np.arange(tokens.shape[1]) < lengths[:, None]
        counts = [np.bincount(row[some], minlength=len(self.vocab)) for row, some in zip(tokens, live)]
        found = csr_array(np.array(counts))
        data, columns = self.dtypes
        found.data, found.indices = found.data.astype(data), found.indices.astype(columns)
        return found


@pytest.mark.parametrize("dtypes", [(np.int64, np.int64), (np.float64, np.int32), (np.float32, np.int64)])
def test_features_of_any_numbers_are_kept_in_a_file(dtypes, tmp_path):
    class Task(Counted):
        pass

    Task.dtypes = dtypes

    def batch():
        return SequenceTutorVectorEnv(Task(), random_prior(end=4, length=6), num_envs=16, c=0.5)

    agent = PsiLearning(batch(), scores="expensive", seed=0).learn(400)
    loaded = PsiLearning.load(agent.save(tmp_path / "agent"), batch())
    assert agent.surrogate.size > 4
    features, _ = agent._describe(agent.newest)
    assert features.data.dtype == np.float32 and not loaded.surrogate.find_new(features).any()
    for one in (agent, loaded):
        one.learn(400, reset_num_timesteps=False)
    assert_same_agents(agent, loaded)


@pytest.mark.parametrize("name", ["store.tokens", "repeats.seen", "temperature.now", "log_z.value"])
def test_a_file_without_one_of_the_memories_is_damaged(name, tmp_path):
    agent = make(TrajectoryBalance, EXACT, n_envs=16, **ALL, target_kl=0.5).learn(64)
    path = agent.save(tmp_path / "agent")
    rewrite(path, lambda arrays, facts: arrays.pop(name))
    with pytest.raises(ValueError, match="does not fit this environment: .* the file is damaged") as caught:
        TrajectoryBalance.load(path)
    assert "\n" not in str(caught.value)


def test_a_memory_that_the_settings_do_not_ask_for_is_unknown(tmp_path):
    agent = make(TrajectoryBalance, EXACT, n_envs=16, **ALL).learn(64)
    path = agent.save(tmp_path / "agent")
    rewrite(path, lambda arrays, facts: facts["settings"].update(store=None))
    with pytest.raises(ValueError, match="the array 'store.[a-z_]*' is unknown"):
        TrajectoryBalance.load(path)


def test_a_loaded_agent_offers_into_the_store_that_it_had(tmp_path):
    agent = make(PsiLearning, EXACT, n_envs=16, store=True).learn(128)
    loaded = PsiLearning.load(agent.save(tmp_path / "agent"))
    size = loaded.store.size
    assert size > 16 and loaded.offer((agent.newest.tokens, agent.newest.lengths)).refused.known == 16
    assert loaded.store.size == size
