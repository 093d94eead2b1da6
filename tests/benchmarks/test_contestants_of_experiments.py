"""Agents of experiments: what a factory's name and keywords make."""

from __future__ import annotations

import itertools
import time

import gymnasium as gym
import numpy as np
import pytest

from agents import PsiLearning
from agents.evaluate import evaluate
from agents.samplers import SMCSampler
from benchmarks.contestants import Contestant, make_agent
from benchmarks.domains import CLOCKS, SEED_APART
from benchmarks.experiment import Experiment
from benchmarks.runner.perform import perform
from toys.agent_toys import SMALL
from toys.sweep_toys import EXACT, KWARGS, N, Still, T, Table, V

EVERY = np.array(list(itertools.product(range(V), repeat=T)))  # [27, 3]
FULL = np.full(len(EVERY), T)


def log_probs(agent):
    """log pi of every sequence."""
    return agent.log_prob(EVERY, FULL)


def task():
    return gym.make(EXACT, **KWARGS).unwrapped


def learned(agent, tokens):
    """How many of these tokens it has learned from, by when a round has ended."""
    ends = []
    agent.learn(tokens, float("inf"), lambda: 0.0, lambda: ends.append(agent.model.num_timesteps))
    agent.env.close()
    return ends


def test_ours_are_made_with_the_environment_s_keywords_seed_and_settings():
    agent = make_agent("agents:PsiLearning", EXACT, 7, KWARGS, {**SMALL, "n_envs": 8, "gamma": 0.9})
    assert isinstance(agent, Contestant) and isinstance(agent.model, PsiLearning)
    assert (agent.c, agent.task.length, agent.model.n_envs, agent.model.settings["gamma"]) == (KWARGS["c"], T, 8, 0.9)
    np.testing.assert_array_equal(agent.task.rewards, task().task.rewards)
    assert learned(agent, 48) == [24, 48]
    assert agent.count_sequences() == {"sequences": 16, "scored": pytest.approx(8, abs=8)}


def test_any_algorithm_of_stable_baselines3_is_made_and_paid_for_log_pi():
    from stable_baselines3 import A2C

    settings = {"algorithm": "stable_baselines3:A2C", "n_envs": 4, "n_steps": 6, "gamma": 1.0}
    agent = make_agent("benchmarks.contestants:sb3", EXACT, 3, KWARGS, settings)
    assert type(agent.model) is A2C and agent.model.n_envs == 4 and agent.model.gamma == 1.0
    assert [type(one).__name__ for one in agent.callbacks] == ["KLPenaltyCallback"]
    assert learned(agent, 48) == [24, 48]
    buffer = agent.model.rollout_buffer
    # two sequences a rollout from each of four environments; what was learned from is flat, environments first
    actions = buffer.actions.reshape(4, 2, T).astype(int)
    log_pi = buffer.log_probs.reshape(4, 2, T).sum(axis=2)
    paid = buffer.rewards.T.reshape(4, 2, T).sum(axis=2)
    found = task().solution()
    place = {tuple(row): i for i, row in enumerate(found["sequences"].tolist())}
    for one in itertools.product(range(4), range(2)):
        where = place[tuple(actions[one])]
        worth = found["task_returns"][where] / KWARGS["c"] + found["prior_log_probs"][where]
        assert paid[one] == pytest.approx(worth - log_pi[one], abs=1e-3)
    without = make_agent("benchmarks.contestants:sb3", EXACT, 3, KWARGS, {**settings, "kl_penalty": False})
    assert without.callbacks == []
    without.env.close()


def test_maskable_ppo_is_made_and_judged_on_prefixes():
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    settings = {"n_envs": 8, "n_epochs": 1}
    agent = make_agent("benchmarks.contestants:maskable_ppo", EXACT, 0, KWARGS, settings)
    assert type(agent.model) is contrib.MaskablePPO and agent.env_kwargs == {**KWARGS, "obs_mode": "prefix"}
    assert agent.model.observation_space.shape == (T,)
    assert learned(agent, 48) == [24, 48] and agent.count_sequences()["sequences"] == 16
    assert "j" in evaluate(agent.model, EXACT, 20, 0, agent.env_kwargs)


def test_the_prior_s_log_probabilities_are_those_of_the_environment():
    agent = make_agent("benchmarks.contestants:prior", EXACT, 0, KWARGS, {})
    assert not isinstance(agent, Contestant)
    found = task().solution()
    np.testing.assert_array_equal(found["sequences"], EVERY)
    np.testing.assert_allclose(log_probs(agent), found["prior_log_probs"], atol=1e-5)
    other = make_agent("benchmarks.contestants:prior", EXACT, 0, {**KWARGS, "seed": 9}, {})
    assert not np.allclose(log_probs(other), log_probs(agent), atol=0.1)


def test_uniform_tokens_are_equally_likely():
    agent = make_agent("benchmarks.contestants:uniform", EXACT, 0, KWARGS, {})
    np.testing.assert_allclose(log_probs(agent), np.full(27, -np.log(27)), atol=1e-5)
    tokens, lengths = agent.sample(2_700, 0)
    counts = np.bincount(tokens @ (9, 3, 1), minlength=27)
    assert (lengths == T).all() and ((counts - 100) ** 2 / 100).sum() < 54.1  # chi-squared, 26 degrees, at .001


def test_agents_of_others_are_contestants_where_they_learn():
    learner, still = (make_agent(f"toys.sweep_toys:{name}", EXACT, 0, KWARGS, {}) for name in ("table", "still"))
    assert isinstance(learner, Contestant) and isinstance(learner.model, Table) and learner.env is learner.model.env
    assert learner.env_kwargs == KWARGS and learner.count_sequences() == {}
    learner.env.close()
    assert isinstance(still, Still)
    counts = make_agent("toys.sweep_toys:counts_in_sets", EXACT, 0, KWARGS, {})
    assert type(counts).__name__ == "Counts", "a contestant stays what it is"
    counts.env.close()


def test_a_budget_of_seconds_is_by_the_given_clock():
    agent = make_agent("toys.sweep_toys:table", EXACT, 0, KWARGS, {})
    clock = itertools.count(0.0, 0.5)
    assert agent.learn(10**6, 3.0, lambda: next(clock)) == 3.0
    assert agent.model.num_timesteps == 6 * N  # a reading at the start and one for each token
    agent.env.close()


@pytest.mark.parametrize(
    ("agent", "kwargs", "kind", "said"),
    [
        ("not_there:Agent", {}, ImportError, "not_there:Agent: there is no module not_there in "),
        ("agents:Nobody", {}, ImportError, "agents:Nobody: agents has no Nobody"),
        ("agents.nowhere:Psi", {}, ImportError, "agents.nowhere:Psi: there is no module agents.nowhere in "),
        ("agents:PsiLearning", {"gama": 0.5}, ValueError, "agents:PsiLearning cannot be made with.*gama"),
        ("benchmarks.contestants:prior", {"gamma": 1.0}, ValueError, "contestants:prior cannot be made with.*gamma"),
        ("benchmarks.contestants:ppo", {"nonsense": 1}, ValueError, "ppo cannot be made with.*nonsense"),
        ("benchmarks.contestants:ppo", {"batch_size": 1}, ValueError, "ppo cannot be made with.*batch_size"),
        ("benchmarks.contestants:sb3", {}, ValueError, "contestants:sb3 cannot be made with.*algorithm"),
        ("benchmarks.contestants:sb3", {"algorithm": "stable_baselines3:A3C"}, ImportError, "has no A3C"),
    ],
)
def test_what_cannot_be_made_names_the_factory_in_one_line(agent, kwargs, kind, said):
    with pytest.raises(kind, match=said) as error:
        make_agent(agent, EXACT, 0, KWARGS, kwargs)
    assert "\n" not in str(error.value)


def test_the_wall_clock_counts_what_the_process_sleeps_through():
    """.4 s of sleep a round: CPU time hardly sees it."""

    def rounds(clock):
        agent = make_agent("agents:PsiLearning", EXACT, 0, KWARGS, {**SMALL, "n_envs": 4})
        collect = agent.model.collect
        agent.model.collect = lambda: (time.sleep(0.4), collect())[1]
        agent.learn(36, 0.3, CLOCKS[clock])
        agent.env.close()
        return agent.model.rounds

    assert rounds("wall") == 1 and rounds("cpu") == 3


def test_scored_counts_every_sequence_once():
    agent, seen = make_agent("agents:PsiLearning", EXACT, 0, KWARGS, {**SMALL, "n_envs": 4}), set()
    for _ in range(10):
        agent.learn(1, float("inf"), lambda: 0.0)
        seen.update(map(tuple, agent.model.newest.tokens.tolist()))
    agent.env.close()
    assert agent.count_sequences()["scored"] == len(seen) > 5


def test_the_best_of_the_prior_s_samples_are_the_best_of_the_first_distinct_ones():
    """Of 27 sequences, the enumeration's best of those that were drawn by then; KL is the log of the share kept."""
    agent = make_agent("benchmarks.contestants:best_of_prior", EXACT, 0, KWARGS, {"calls": 20})
    tokens, lengths, log_pi = agent.sample_with_log_prob(10, seed=3)
    returns = np.sort(task().solution()["task_returns"])[::-1]
    kept = agent.env.task.reward(tokens, lengths).sum(axis=1)
    assert len({*map(tuple, tokens.tolist())}) == 10 and (np.diff(kept) <= 0).all()
    assert returns[7:17].mean() <= kept.mean() <= returns[:10].mean() + 1e-6  # 7 of 27 were not among the first 20
    of_prior = dict(zip(map(tuple, EVERY.tolist()), task().solution()["prior_log_probs"]))  # in the same order
    kl = log_pi - [of_prior[tuple(row)] for row in tokens.tolist()]
    np.testing.assert_allclose(kl, kl[0], atol=1e-5)
    assert np.exp(kl[0]) * 10 == pytest.approx(round(np.exp(kl[0]) * 10)) and np.exp(kl[0]) * 10 >= 20
    with pytest.raises(ValueError, match="samples of the prior hold 27 distinct molecules, not 28"):
        make_agent("benchmarks.contestants:best_of_prior", EXACT, 0, KWARGS, {"calls": 28}).sample(10, seed=3)


def test_a_guided_sampler_learns_as_its_agent_and_is_evaluated_by_runs_of_particles():
    guide = {**SMALL, "n_envs": 8, "particles": 4}
    found = perform(
        Experiment(EXACT, "benchmarks.contestants:twisted_smc", KWARGS, guide, steps=96, n=50, seed=3, label="guided")
    )
    alone = perform(Experiment(EXACT, "agents:PsiLearning", KWARGS, {**SMALL, "n_envs": 8}, steps=96, n=50, seed=3))
    assert found["weights"] == alone["weights"]  # it has learned the same
    assert (found["j_kind"], alone["j_kind"]) == ("lower bound", "estimate")
    # 96 / T sequences that the agent learned from, and one run of 4 particles for each of 50 samples
    assert (alone["sequences"], found["sequences"]) == (96 // T, 96 // T + 50 * 4)
    # log Z_hat of the runs, which are its J, lie below log Z in the mean
    exact = task().solution()["log_z"]
    j, error = found["metrics"]["j"], found["metrics"]["j_se"]
    assert alone["metrics"]["j"] < j < exact + 4 * error
    # the same runs, by hand
    agent = PsiLearning(EXACT, env_kwargs=KWARGS, seed=3, n_envs=8, **SMALL).learn(96)
    sampler = SMCSampler(EXACT, env_kwargs=KWARGS, particles=4, twist=agent.twist())
    assert j == pytest.approx(evaluate(sampler, EXACT, 50, 3 + SEED_APART, KWARGS)["j"])
