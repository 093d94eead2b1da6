"""`log_z` against enumeration: what it calls bounds, estimates and intervals.

Tasks that could be enumerated are sampled here. Seeds are fixed. Binomial tests of misses have significance .001.
"""

from __future__ import annotations

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import binom

from seqtutor_envs import exact
from seqtutor_envs.bounds import Bounds, estimate, intervals, log_z, run_smc
from seqtutor_envs.bounds.certified import CertifiedSum, score_known
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.exact import make_random_task, solve
from toys.bounds_toys import exact_twist, toy, wrong_twist
from toys.env_toys import ToyTask, toy_prior

ROUNDING = 1e-5  # nats between float32 log-probabilities and enumerated ones


@pytest.fixture
def sampled(monkeypatch):
    """Let tasks that could be enumerated be sampled."""
    monkeypatch.setattr(exact, "enumerable", lambda task: False)


def random_env(c, vocab_size=4, length=6):
    """4,096 sequences, and a proved bound on the return."""
    task, prior = make_random_task(vocab_size, length, seed=0)
    return SequenceTutorEnv(task, prior, c=c)


def ending_env(c, length=6):
    """Sequences of several lengths, some tokens forbidden, no bound on the return."""
    return SequenceTutorEnv(ToyTask(length, masked=True), toy_prior(length, impossible=False), c=c)


def truth_of(env):
    return solve(env.task, env.prior, env.c)["log_z"]


# -- enumeration ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [random_env, ending_env])
def test_what_can_be_enumerated_is_exact(make):
    env = make(0.7)
    found = log_z(env)
    assert found.lower == found.upper == found.estimate == truth_of(env)
    assert found.interval == (found.lower, found.lower) and found.exact
    assert (found.lower_probability, found.upper_probability) == (1.0, 1.0)


def test_ids_environments_wrappers_and_batches_are_the_same_task():
    env_id = "SeqTutor-Exact-v0"
    batch = SequenceTutorVectorEnv(*make_random_task(3, 4, seed=0), c=1.0, num_envs=3)
    found = [log_z(one) for one in (env_id, gym.make(env_id), gym.make(env_id).unwrapped, batch)]
    assert found == [found[0]] * 4
    assert found[0].lower == pytest.approx(gym.make(env_id).unwrapped.solution()["log_z"])


# -- how often they hold ----------------------------------------------------------------------------------------------

MILD_TO_HEAVY = [8.0, 2.0, 1.0, 0.5, 0.25]  # at .25 log Z_hat of a random task errs by 3 nats


@pytest.mark.parametrize("c", MILD_TO_HEAVY)
@pytest.mark.parametrize("twisted", [False, True])
@pytest.mark.parametrize("make", [random_env, ending_env])
def test_bounds_and_intervals_hold_as_often_as_they_say(make, twisted, c, sampled):
    """40 seeds for each of 20 cases."""
    env = make(c)
    twist = wrong_twist(env.task, seed=1, spread=0.7) if twisted else None
    truth, seeds = truth_of(env), 40
    found = [log_z(env, samples=512, seed=seed, twist=twist) for seed in range(seeds)]
    below = sum(one.lower > truth + ROUNDING for one in found)
    above = sum(one.upper < truth - ROUNDING for one in found)
    outside = sum(not one.interval[0] - ROUNDING <= truth <= one.interval[1] + ROUNDING for one in found)
    assert binom.sf(below - 1, seeds, 0.005) > 0.001, below
    assert binom.sf(above - 1, seeds, 0.005) > 0.001, above
    assert binom.sf(outside - 1, seeds, 0.05) > 0.001, outside
    assert all(min(one.lower_probability, one.upper_probability) >= 0.995 for one in found)
    assert all(one.interval[0] <= one.estimate <= one.interval[1] for one in found)


def test_intervals_cover_and_are_not_just_wide(sampled):
    """400 seeds at a mild temperature: 5% of misses expected."""
    env = random_env(2.0)
    truth = truth_of(env)
    found = [log_z(env, samples=512, seed=seed) for seed in range(400)]
    misses = sum(not one.interval[0] <= truth <= one.interval[1] for one in found)
    assert binom.sf(misses - 1, 400, 0.05) > 0.001, misses
    errors = np.array([one.estimate - truth for one in found])
    widths = np.array([one.interval[1] - one.interval[0] for one in found])
    assert np.median(widths) < 8 * errors.std(), "a normal interval is 4 standard deviations wide"
    assert np.median([truth - one.lower for one in found]) < 0.5


@pytest.mark.parametrize("runs", [16, 128])
def test_intervals_of_few_particles_cover(runs):
    """Uneven runs, 16 particles each, as those of a low temperature: Cox's interval alone covers in none to 80%."""
    task, prior = toy(masked=True, length=8)
    truth, times = solve(task, prior, 0.5)["log_z"], 100
    found = run_smc(task, prior, 0.5, runs=runs * times, particles=16, rng=np.random.default_rng(0))
    ends = [intervals.interval_of_runs(part) for part in found.log_z.reshape(times, runs)]
    misses = sum(not low <= truth <= high for low, high in ends)
    assert binom.sf(misses - 1, times, 0.05) > 0.001, misses


@pytest.mark.parametrize("shape", ["even", "rare", "heavy", "constant"])
def test_betting_bounds_hold_and_are_tight(shape):
    """Means of numbers in [0, 1] at delta .05, 500 times; tighter than Markov's inequality by far."""
    rng, delta, times, n = np.random.default_rng(1), 0.05, 500, 400
    draws, mean = {
        "even": (rng.random((times, n)), 0.5),
        "rare": ((rng.random((times, n)) < 0.01).astype(float), 0.01),
        "heavy": (rng.random((times, n)) ** 9, 0.1),
        "constant": (np.full((times, n), 0.3), 0.3),
    }[shape]
    above = np.array([intervals.bound_mean_above(row, delta) for row in draws])
    below = np.array([intervals.bound_mean_below(row, delta) for row in draws])
    for misses in ((above < mean - 1e-6).sum(), (below > mean * (1 + 1e-5)).sum()):
        assert binom.sf(misses - 1, times, delta) > 0.001, misses
    if shape != "rare":
        assert np.median(above) < 1.35 * mean and np.median(below) > 0.7 * mean
    scaled = [intervals.bound_mean_below(7.0 * row, delta) for row in draws[:5]]
    np.testing.assert_allclose(scaled, 7.0 * below[:5], rtol=1e-4)


# -- known sequences --------------------------------------------------------------------------------------------------


def test_the_certified_sum_counts_each_sequence_once(sampled):
    """Given: some sequences twice, one without its end, one with tokens after its end, one that the task forbids."""
    env = ending_env(1.0)
    solution = solve(env.task, env.prior, env.c)
    tokens, lengths, end = solution["sequences"][:9], solution["lengths"][:9], env.task.vocab.end
    unfinished, beyond = np.full(6, 0), np.array([0, end, 0, 1, 0, end])
    forbidden = np.array([1, 1, 1, 1, 1, 1])
    given = np.concatenate([tokens, tokens[:4], [unfinished, beyond, forbidden]])
    found = log_z(env, samples=256, sequences=(given, np.concatenate([lengths, lengths[:4], [3, 6, 6]])))
    assert found.notes[0].startswith("3 of the given sequences")
    assert found.diagnostics["certified"]["given"] == 9

    known = CertifiedSum(env.c, 6)
    assert known.log_sum() == -math.inf and len(known) == 0
    scored = score_known(env.task, estimate.mask_prior(env.prior, env.task), given[:13], np.r_[lengths, lengths[:4]])
    known.add(scored.tokens, scored.lengths, scored.log_p, scored.returns)
    mass = solution["prior_log_probs"][:9] + solution["task_returns"][:9] / env.c
    assert known.log_sum() == pytest.approx(np.log(np.exp(mass).sum()), abs=ROUNDING)


def test_filler_does_not_make_a_sequence_new():
    known = CertifiedSum(1.0, 3)
    for filler in (0, 4):
        known.add(np.array([[3, filler, filler]]), np.array([1]), np.array([-1.0]), np.array([0.5]))
    known.add(np.array([[3, 0, 0]]), np.array([3]), np.array([-2.0]), np.array([0.0]))
    assert len(known) == 2
    assert known.log_sum() == pytest.approx(np.log(np.exp(-0.5) + np.exp(-2.0)))


def test_all_sequences_together_are_z(sampled):
    env = random_env(0.25)
    solution = solve(env.task, env.prior, env.c)
    found = log_z(env, samples=256, sequences=(solution["sequences"], solution["lengths"]))
    assert found.lower == pytest.approx(solution["log_z"], abs=ROUNDING)
    assert (found.lower_method, found.lower_probability) == ("certified sum", 1.0)
    assert found.estimate == pytest.approx(solution["log_z"], abs=ROUNDING)


def test_given_sequences_only_help(sampled):
    """The best ten of a heavy-tailed task, which 256 samples mostly miss."""
    env = random_env(0.25)
    solution = solve(env.task, env.prior, env.c)
    best = np.argsort(-solution["log_probs"])[:10]
    known = solution["sequences"][best], solution["lengths"][best]
    without, given = (log_z(env, samples=256, seed=3, sequences=one) for one in (None, known))
    assert without.lower < given.lower <= solution["log_z"] + ROUNDING
    assert abs(given.estimate - solution["log_z"]) < abs(without.estimate - solution["log_z"])


@pytest.mark.parametrize("c", [1.0, 0.25, 0.15])
def test_intervals_cover_beside_given_sequences(c, sampled):
    """Given: one in three of the best. What is left of Z is as uneven as before, however much the given ones hold."""
    env, seeds = random_env(c), 60
    solution = solve(env.task, env.prior, env.c)
    given = np.argsort(-solution["log_probs"])[1:60:3]
    known = solution["sequences"][given], solution["lengths"][given]
    found = [log_z(env, samples=256, seed=seed, sequences=known) for seed in range(seeds)]
    outside = sum(not one.interval[0] - ROUNDING <= solution["log_z"] <= one.interval[1] + ROUNDING for one in found)
    assert binom.sf(outside - 1, seeds, 0.05) > 0.001, outside


def test_an_interval_is_open_above_where_samples_miss_what_is_known(sampled):
    """The best ten have most of Z at a low c, and 256 samples miss them; all of them, where they are frequent."""
    solution = solve(*make_random_task(4, 6, seed=0), 0.25)
    best = np.argsort(-solution["log_probs"])[:10]
    known = solution["sequences"][best], solution["lengths"][best]
    said = "The samples missed the given sequences, which have most of Z, and may miss others."
    found = [log_z(random_env(0.25), samples=256, seed=seed, sequences=known) for seed in range(20)]
    missed = [one for one in found if said in one.notes]
    assert missed and all(one.interval[1] == math.inf for one in missed)
    every = solution["sequences"], solution["lengths"]
    mild = log_z(random_env(4.0), samples=4_096, seed=0, sequences=every)
    assert said not in mild.notes


# -- twists -----------------------------------------------------------------------------------------------------------


def test_the_optimums_own_twist_finds_log_z(sampled):
    env = ending_env(0.7, length=4)
    found = log_z(env, samples=256, twist=exact_twist(env.task, estimate.mask_prior(env.prior, env.task), 0.7))
    assert found.diagnostics["smc"]["log_z"] == pytest.approx(truth_of(env), abs=1e-4)
    assert found.diagnostics["value_at_start"] == pytest.approx(truth_of(env), abs=1e-4)
    assert not found.notes


def test_a_twist_of_another_temperature_is_rescaled_and_named(sampled):
    env = ending_env(0.7, length=4)
    prior = estimate.mask_prior(env.prior, env.task)
    found = log_z(env, samples=256, twist=exact_twist(env.task, prior, 0.7, learned_at=2.0))
    assert found.diagnostics["smc"]["log_z"] == pytest.approx(truth_of(env), abs=1e-4)
    assert found.diagnostics["value_at_start"] == pytest.approx(truth_of(env), abs=1e-4)
    assert any("learned at c = 2" in note and "multiplied by 2.857" in note for note in found.notes)


# -- what decides the result ------------------------------------------------------------------------------------------


def without_seconds(found):
    return {**found.to_json(), "diagnostics": {**found.diagnostics, "seconds": None}}


def test_same_seed_same_bounds(sampled):
    env = ending_env(0.5)
    first, same, patient, other = (
        without_seconds(log_z(env, samples=600, **kwargs))
        for kwargs in ({"seed": 4}, {"seed": 4}, {"seed": 4, "seconds": 1e6}, {"seed": 5})
    )
    assert first == same == patient
    assert first != other


def test_seconds_cut_it_short_and_say_so(sampled):
    found = log_z(ending_env(0.5), samples=2**20, seconds=1e-3)
    assert any(note.startswith("Stopped early") for note in found.notes)
    assert found.diagnostics["importance_sampling"]["samples"] < 2**20
    assert found.lower <= truth_of(ending_env(0.5)) + ROUNDING


def test_json_keeps_everything(sampled):
    found = log_z(ending_env(0.5), samples=256)
    assert found.upper == math.inf
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Bounds.from_json(json.loads(text)) == found


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"samples": 0}, "samples must be"), ({"samples": 2.5}, "samples must be"), ({"seed": -1}, "seed must be"),
        ({"seed": "x"}, "seed must be"), ({"seconds": 0}, "seconds must be"), ({"twist": object()}, "A twist has"),
        ({"twist": wrong_twist(ToyTask(3), seed=0)}, "another vocabulary"),
        ({"sequences": (np.array([[0, 9]]), np.array([2]))}, "Tokens must be in 0..3"),
        ({"sequences": (np.array([[0, 1]]), np.array([3]))}, "Sequences are tokens"),
        ({"sequences": (np.array([[0, 1]]), np.array([1, 1]))}, "Sequences are tokens"),
        ({"sequences": (np.array([0, 1]), np.array([1, 1]))}, "Sequences are tokens"),
    ],
)
def test_bad_arguments_are_one_line(kwargs, message, sampled):
    env = random_env(1.0) if "twist" not in kwargs else SequenceTutorEnv(*make_random_task(3, 4, seed=0), c=1.0)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        log_z(env, **kwargs)
    assert "\n" not in str(error.value)


def test_rewards_that_overflow_are_one_line(sampled):
    task, prior = make_random_task(4, 6, seed=0, weights={"prefix": 1e4})
    with pytest.raises(ValueError, match="^ExactTask must pay finite rewards[^\n]*raise c[^\n]*$"):
        log_z(SequenceTutorEnv(task, prior, c=1e-6), samples=256)


@pytest.mark.parametrize("env, name", [("CartPole-v1", "CartPoleVectorEnv"), (None, "NoneType"), (3, "int")])
def test_environments_of_others_are_one_line(env, name):
    with pytest.raises(ValueError, match=f"^{name} is no environment of this library[^\n]*$"):
        log_z(env)


@pytest.mark.parametrize("make", [
    lambda: gym.wrappers.TransformReward(gym.make("SeqTutor-Exact-v0"), lambda reward: 2 * reward),
    lambda: gym.make("SeqTutor-Exact-v0", max_episode_steps=2),
    lambda: gym.wrappers.vector.TransformReward(gym.make_vec("SeqTutor-Exact-v0", num_envs=2), lambda rewards: rewards),
])
def test_wrappers_which_may_change_log_z_are_refused_in_one_line(make):
    with pytest.raises(ValueError, match="^(TransformReward|TimeLimit) may change rewards or lengths[^\n]*$"):
        log_z(make())


@pytest.mark.parametrize("sequences, said", [
    ([[0, 1, 2, 0]], "must be a pair"),
    (([[0, 0.5, 2, 0, 1, 1]], [6]), "are integers, not float64"),
    (([[0, 1, 2, 0, 1, 1]] * 2, [6]), r"with lengths \[1\] in 6..6"),
    (([[0, 1, 2, 0, 1, 1]], [7]), r"with lengths \[1\] in 7..7"),
    (([[0, 1, 9, 0, 1, 1]], [6]), "must be in 0..3"),
])
def test_sequences_that_are_none_are_one_line(sequences, said, sampled):
    with pytest.raises(ValueError, match=f"^[^\n]*{said}[^\n]*$"):
        log_z(random_env(1.0), samples=256, sequences=sequences)


def test_a_bound_on_the_return_that_is_none_is_named(sampled, monkeypatch):
    env = random_env(1.0)
    monkeypatch.setattr(type(env.task), "max_return", lambda self: 0.0)
    with pytest.raises(ValueError, match=r"^ExactTask.max_return\(\) is no bound[^\n]*$"):
        log_z(env, samples=256)
