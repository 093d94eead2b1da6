"""Sequential Monte Carlo against enumeration, a plain loop, and numbers worked out by hand.

Tests of means allow 4 standard errors (two-sided, significance .00006 each if the mean is normal); seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from seqtutor_envs.bounds import smc
from seqtutor_envs.bounds.smc import draw_weighted, run_smc
from seqtutor_envs.exact import make_random_task, solve
from seqtutor_envs.prior import TablePrior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab
from toys.bounds_toys import LENGTH, exact_twist, toy, wrong_twist
from toys.env_toys import ToyTask

C = 0.6
RUNS = 100_000


def smc_of(task, prior, runs=1, particles=4, seed=0, c=C, twist=None):
    return run_smc(task, prior, c, runs=runs, particles=particles, rng=np.random.default_rng(seed), twist=twist)


def assert_mean_is_one(ratios, most_error=0.03):
    error = ratios.std(ddof=1) / len(ratios) ** 0.5
    assert error < most_error, "too few runs to say anything"
    assert abs(ratios.mean() - 1.0) < 4 * error, (ratios.mean(), error)


class Letters(Task):
    """Two tokens, a and b; each pays what `pays` says of it, at every step."""

    vocab = TokenVocab(("a", "b"))

    def __init__(self, pays, length=2):
        self.pays, self.length, self.weights = np.asarray(pays, dtype=float), length, {"pays": 1.0}

    def step_terms(self, tokens, steps):
        return self.pays[tokens[np.arange(len(tokens)), steps]][:, None]


def fair_coin(task):
    """A prior that gives all tokens the same probability."""
    nodes = sum(len(task.vocab) ** t for t in range(task.length))
    return TablePrior(task.vocab, np.zeros((nodes, len(task.vocab))), task.length)


class Given:
    """A generator whose `random` returns the given numbers, in their order."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self, shape):
        taken, self.numbers = self.numbers[: int(np.prod(shape))], self.numbers[int(np.prod(shape)) :]
        return np.array(taken).reshape(shape)


# -- Z_hat is unbiased ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [0.0, 0.5, 1.1], ids=["never resampled", "below half", "always resampled"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("twisted", ["prior", "wrong twist"])
def test_z_is_unbiased(twisted, masked, below, monkeypatch):
    """Sequences of all lengths; with `masked` some tokens are forbidden. 3 particles, 100,000 runs."""
    monkeypatch.setattr(smc, "RESAMPLE_BELOW", below)
    task, prior = toy(masked)
    twist = wrong_twist(task, seed=1, spread=0.7) if twisted == "wrong twist" else None
    log_z = solve(task, prior, C)["log_z"]
    assert_mean_is_one(np.exp(smc_of(task, prior, RUNS, 3, c=C, twist=twist).log_z - log_z))


def test_z_is_unbiased_on_the_exact_environment():
    task, prior = make_random_task(3, 4, seed=0)
    log_z = solve(task, prior, 1.0)["log_z"]
    assert_mean_is_one(np.exp(smc_of(task, prior, RUNS, 3, c=1.0).log_z - log_z))


@pytest.mark.parametrize("learned_at", [None, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_the_optimums_own_values_leave_no_variance(masked, learned_at):
    """Whichever temperature they were written for: v is rescaled."""
    task, prior = toy(masked)
    found = smc_of(task, prior, 50, 5, twist=exact_twist(task, prior, C, learned_at))
    np.testing.assert_allclose(found.log_z, solve(task, prior, C)["log_z"], atol=1e-4)
    np.testing.assert_allclose(found.log_weights, -math.log(5), atol=1e-4)
    np.testing.assert_allclose(found.effective, 1.0, atol=1e-4)


def test_a_twist_of_another_temperature_leaves_z_unbiased():
    task, prior = toy()
    twist = exact_twist(task, prior, 2.0)
    twist.c = 2.0
    log_z = solve(task, prior, C)["log_z"]
    assert_mean_is_one(np.exp(smc_of(task, prior, RUNS, 3, twist=twist).log_z - log_z))


def test_runs_that_resampling_ends_count_right():
    """Two thirds of a run may end at once: v says that longer sequences are worth nothing, so none is kept.

    All p and pi are a half and R = 0. After a step a sequence that ended weighs 1, another one exp(-50), so Z_hat is
    the share of those that ended, which is also the effective sample size.
    """

    class Short(Letters):
        vocab = TokenVocab(("a", "."), end=1)

    task = Short([0.0, 0.0])
    prior = fair_coin(task)
    twist = wrong_twist(task, seed=0, spread=0.0)
    twist.values = np.array([7.0, -50.0, -50.0])
    ended = 0
    for seed in range(40):
        found = smc_of(task, prior, 1, 8, seed=seed, c=1.0, twist=twist)
        if (found.lengths == 1).all():
            ended += 1
            assert found.log_z[0] == pytest.approx(math.log(found.effective[1]), abs=1e-6)
    assert ended > 5


# -- against a plain loop ---------------------------------------------------------------------------------------------


def plain_smc(task, prior, c, particles, twist, rng):
    """One run, written as slowly as possible: log Z_hat, how many ancestors are left, final (sequence, weight)."""
    size, end = len(task.vocab), task.vocab.end
    swarm = [{"tokens": [], "weight": 1.0, "over": False, "ancestor": i, "value": 0.0} for i in range(particles)]

    def after(prefix):
        """log p row, log pi row, v of a prefix."""
        row = prior.log_probs(np.array([[*prefix, 0]]))[0, -1].astype(float)
        if twist is None:
            return row, row, 0.0
        state, last = twist.initial_state(1), task.vocab.start
        for token in [*prefix, None]:
            proposal, value, state = twist.step(np.array([last]), state)
            last = token
        return row, proposal[0].astype(float), float(value[0])

    log_z = 0.0
    while not all(one["over"] for one in swarm):
        for one in swarm:
            one["row"], one["proposal"], value = (None, None, 0.0) if one["over"] else after(one["tokens"])
            one["weight"] *= math.exp(value - one["value"])
            one["value"] = value
        weights = np.array([one["weight"] for one in swarm])
        if weights.sum() ** 2 / (weights**2).sum() < particles / 2:
            log_z += math.log(weights.mean())
            points = (rng.random() + np.arange(particles)) / particles
            parents = [int(np.argmax(np.cumsum(weights) / weights.sum() > point)) for point in points]
            swarm = [{**swarm[parent], "weight": 1.0} for parent in parents]
        for one in swarm:
            if one["over"]:
                continue
            chosen = rng.choice(size, p=np.exp(one["proposal"]) / np.exp(one["proposal"]).sum())
            one["tokens"] = [*one["tokens"], int(chosen)]
            step = len(one["tokens"]) - 1
            paid = float(task.step_terms(np.array([one["tokens"]]), np.array([step])).sum())
            one["weight"] *= math.exp(paid / c + one["row"][chosen] - one["proposal"][chosen])
            one["over"] = chosen == end or step + 1 == task.length
    for one in swarm:
        one["weight"] *= math.exp(-one["value"])
    weights = np.array([one["weight"] for one in swarm])
    return log_z + math.log(weights.mean()), len({one["ancestor"] for one in swarm})


@pytest.mark.parametrize("twisted", [False, True])
def test_runs_are_those_of_a_plain_loop_in_distribution(twisted):
    """Kolmogorov-Smirnov on log Z_hat at significance .001; the mean number of ancestors within 4 standard errors."""
    task, prior = toy(length=3)
    twist = wrong_twist(task, seed=4) if twisted else None
    rng = np.random.default_rng(3)
    plain = np.array([plain_smc(task, prior, C, 4, twist, rng) for _ in range(1_000)])
    found = smc_of(task, prior, 20_000, 4, twist=twist)
    # rounded: the same weights in another order of rounding are the same
    assert ks_2samp(plain[:, 0].round(4), found.log_z.round(4)).pvalue > 0.001
    error = plain[:, 1].std(ddof=1) / len(plain) ** 0.5
    assert abs(plain[:, 1].mean() - found.ancestors.mean()) < 4 * error


# -- particles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twisted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weighted_particles_are_samples_of_the_optimum(masked, twisted):
    """Every sequence's probability, from 40,000 particles of one run, within .02."""
    task, prior = toy(masked)
    solution = solve(task, prior, C)
    found = smc_of(task, prior, 1, 40_000, twist=wrong_twist(task, seed=2, spread=0.5) if twisted else None)
    rows = zip(found.tokens[0].tolist(), found.lengths[0].tolist())
    weights: dict[tuple[int, ...], float] = {}
    for (row, length), weight in zip(rows, np.exp(found.log_weights[0])):
        weights[tuple(row[:length])] = weights.get(tuple(row[:length]), 0.0) + float(weight)
    assert sum(weights.values()) == pytest.approx(1.0)
    optimum = {
        tuple(row[:length]): math.exp(log_p)
        for row, length, log_p in zip(
            solution["sequences"].tolist(), solution["lengths"].tolist(), solution["log_probs"]
        )
    }
    # a twist that does not know the mask may propose forbidden tokens, which weigh nothing
    assert sum(weight for one, weight in weights.items() if one not in optimum) < 1e-30
    assert max(abs(weights.get(one, 0.0) - share) for one, share in optimum.items()) < 0.02
    assert sum(abs(weights.get(one, 0.0) - share) for one, share in optimum.items()) < 0.1


def test_particles_carry_their_own_log_p_and_return():
    task, prior = toy(masked=True)
    solution = solve(task, prior, C)
    named = {
        tuple(row[:length]): (log_p, r)
        for row, length, log_p, r in zip(
            solution["sequences"].tolist(), solution["lengths"].tolist(), solution["prior_log_probs"],
            solution["task_returns"],
        )
    }
    found = smc_of(task, prior, 20, 10)
    for m in range(20):
        for row, length, log_p, r in zip(found.tokens[m], found.lengths[m], found.log_p[m], found.returns[m]):
            assert (row[length:] == task.vocab.start).all()
            assert named[tuple(row[:length].tolist())] == pytest.approx((log_p, r), abs=1e-5)


def test_one_run_by_hand():
    """b pays log 9, the coin is fair. Four particles get a, a, a, b: the effective size is 144 / 84, below 2.

    Points .125, .375, .625, .875 on cumulated weights 1/12, 2/12, 3/12, 1 keep the second and three times the fourth.
    Z_hat is 12 / 4 so far; then b, a, a, a: times 12 / 4.
    """
    task = Letters([0.0, math.log(9.0)])
    rng = Given(0.1, 0.2, 0.3, 0.9, 0.5, 0.9, 0.1, 0.2, 0.3)
    found = run_smc(task, fair_coin(task), 1.0, runs=1, particles=4, rng=rng)
    assert not rng.numbers, "all were used"
    assert found.tokens[0].tolist() == [[0, 1], [1, 0], [1, 0], [1, 0]]
    assert found.log_z[0] == pytest.approx(math.log(9.0))
    np.testing.assert_allclose(np.exp(found.log_weights[0]), [9 / 12, 1 / 12, 1 / 12, 1 / 12])
    np.testing.assert_allclose(found.effective, [1.0, 144 / 84 / 4])
    assert found.ancestors.tolist() == [2]
    np.testing.assert_allclose(found.returns[0], math.log(9.0))
    np.testing.assert_allclose(found.log_p[0], 2 * math.log(0.5), rtol=1e-6)


class EndsPay(ToyTask):
    """Pay nothing before a sequence is over."""

    def step_terms(self, tokens, steps):
        over = (tokens[np.arange(len(tokens)), steps] == self.vocab.end) | (steps + 1 == self.length)
        return super().step_terms(tokens, steps) * over[:, None]


def test_what_pays_at_the_end_alone_is_importance_sampling():
    """The sequences that end first do not replace all others, whatever they are paid."""
    task, (_, prior) = EndsPay(LENGTH), toy()
    found = smc_of(task, prior, runs=20, particles=64, c=0.01)
    weights = found.returns / 0.01
    np.testing.assert_allclose(found.log_z, np.logaddexp.reduce(weights, axis=1) - np.log(64), rtol=1e-12)
    assert (found.ancestors == 64).all() and len(np.unique(found.lengths)) == LENGTH


def test_resampling_is_systematic():
    """Each particle has the floor or the ceiling of N times its weight as children, on average N times it."""
    weights = np.array([0.05, 0.4, 0.0, 0.35, 0.2])
    with np.errstate(divide="ignore"):
        parents = smc.resample(np.tile(np.log(weights), (20_000, 1)), np.random.default_rng(5))
    counts = np.stack([(parents == i).sum(axis=1) for i in range(5)], axis=1)
    assert (counts >= np.floor(5 * weights)).all() and (counts <= np.ceil(5 * weights)).all()
    np.testing.assert_allclose(counts.mean(axis=0), 5 * weights, atol=4 * 0.5 / 20_000**0.5)


# -- importance sampling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twisted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weighted_draws_are_unbiased(masked, twisted):
    """At a mild temperature, so that an error of 3% shows."""
    (task, prior), c = toy(masked), 2.0
    twist = wrong_twist(task, seed=6, spread=0.7) if twisted else None
    found = draw_weighted(task, prior, c, n=RUNS, rng=np.random.default_rng(0), twist=twist)
    assert_mean_is_one(np.exp(found.log_weights - solve(task, prior, c)["log_z"]), most_error=0.007)
    if twisted:  # half of them from the prior keep every weight below twice its own
        assert (found.log_weights <= found.returns / c + math.log(2.0) + 1e-6).all()


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers", [{"runs": 0}, {"particles": 0}, {"particles": 1.5}, {"runs": 2**20, "particles": 99}]
)
def test_bad_numbers_are_one_line(numbers):
    with pytest.raises(ValueError) as error:
        smc_of(*toy(), **numbers)
    assert "\n" not in str(error.value) and next(iter(numbers)).split()[0] in str(error.value)


def test_a_twist_of_another_vocabulary_is_one_line():
    task, prior = toy()
    twist = wrong_twist(Letters([0.0, 0.0]), seed=0)
    with pytest.raises(ValueError, match="^The twist is of another vocabulary[^\n]*$"):
        smc_of(task, prior, twist=twist)


def test_what_is_no_twist_is_one_line():
    with pytest.raises(TypeError, match="^A twist has[^\n]*$"):
        smc_of(*toy(), twist=object())


def test_values_that_are_not_finite_are_one_line():
    task, prior = toy()
    twist = wrong_twist(task, seed=0)
    twist.values = np.full(len(twist.values), np.nan)
    with pytest.raises(ValueError, match="^The twist's values are not finite[^\n]*$"):
        smc_of(task, prior, twist=twist)


@pytest.mark.parametrize("draw", ["smc", "weighted"])
def test_rewards_that_overflow_are_one_line(draw):
    task, prior = Letters([0.0, 1e5]), fair_coin(Letters([0.0, 0.0]))
    with pytest.raises(ValueError, match="^Letters must pay finite rewards[^\n]*raise c[^\n]*$"):
        if draw == "smc":
            smc_of(task, prior, c=1e-6)
        else:
            draw_weighted(task, prior, 1e-6, n=100, rng=np.random.default_rng(0))


def test_the_horizon_is_the_tasks():
    assert smc_of(*toy()).tokens.shape == (1, 4, LENGTH)
