"""Rewards, masks and priors that nothing can be learned from are one clear line, before anything is learned."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqtutor_envs.checks import MAX_REWARD
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.metrics import evaluate_samples
from seqtutor_envs.prior import Prior, TablePrior
from seqtutor_envs.prior.masking import MaskedPrior
from seqtutor_envs.smiles import SmilesTask
from toys.env_toys import IDS, ToyTask, toy_prior
from toys.recurrent_toys import random_prior

LOGITS = np.zeros((341, 4))  # of ToyTask's five steps


class Paying(ToyTask):
    """Pays `value` for the token "a", as its term "letter"."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def step_terms(self, tokens, steps):
        terms = super().step_terms(tokens, steps)
        terms[tokens[np.arange(len(tokens)), steps] == 0, 0] = self.value
        return terms


class Flat(Prior):
    """Gives every token the same log p, `first` at the first step and `later` afterwards, whether or not it adds up."""

    def __init__(self, first, later, vocab=ToyTask.vocab, length=5):
        self.vocab, self.length, self.first, self.later = vocab, length, first, later

    def initial_state(self, n):
        return (np.zeros((n, 1)),)

    def step(self, tokens, state):
        starts = (np.asarray(tokens) == self.vocab.start)[:, None]
        rows = np.where(starts, self.first, self.later) * np.ones((1, len(self.vocab)))
        return rows.astype(np.float32), state


def error_of(function, *arguments, **keywords):
    """The one line of the ValueError that a call raises."""
    with pytest.raises(ValueError) as error:
        function(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("value", "c", "weights", "says"),
    [
        (1e300, 1.0, {}, "term letter is 1e+300 (weight 1, c 1): scale the term"),  # infinite as float32
        (3.5e38, 1.0, {}, "term letter is 3.5e+38 (weight 1, c 1)"),  # just above its largest number
        (-1e300, 1.0, {}, "term letter is -1e+300"),
        (np.nan, 1.0, {}, "term letter is nan (weight 1, c 1): return a finite value"),
        (np.inf, 1.0, {}, "term letter is inf"),
        (1e6, 1e-6, {}, "term letter is 1e+06 (weight 1, c 1e-06)"),
        (1e6, 1.0, {"letter": 1e6}, "term letter is 1e+06 (weight 1e+06, c 1)"),
    ],
)
@pytest.mark.parametrize("single", [True, False])
def test_a_reward_beyond_what_float32_can_learn_names_term_value_weight_and_c(single, value, c, weights, says):
    task = Paying(value, weights=weights)
    make, first, second = (SequenceTutorEnv, 0, 1) if single else (SequenceTutorVectorEnv, np.array([0]), np.array([1]))
    env = make(task, toy_prior(), c=c)
    env.reset()
    said = error_of(env.step, first)
    assert says in said and said.startswith("Paying must pay finite rewards r_T / c of at most 1e+09 nats")
    env.step(second)  # nothing was counted: the episode goes on


def test_the_largest_reward_is_paid():
    env = SequenceTutorEnv(Paying(MAX_REWARD), toy_prior(), c=1.0)
    env.reset()
    assert env.step(0)[-1]["task_reward"] == MAX_REWARD


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("c", [1e-45, 1e-7, 1e7])
def test_a_temperature_that_leaves_no_reward_in_float32_is_refused(id, c):
    said = error_of(gym.make, id, c=c)
    assert said == f"c must be a positive, finite number from 1e-06 to 1e+06, not {c!r}."


def test_a_score_beyond_float32_counts_as_a_failure_unless_it_is_clipped():
    def huge(smiles):
        return [1e300 if len(text) > 2 else 1.0 for text in smiles]

    with pytest.warns(UserWarning, match=r"returned 1e\+300, beyond 1e\+09, .* for CCO, which scores as invalid"):
        task = SmilesTask(12, objective=huge, invalid_score=-1.0)
        assert [score.value for score in task.objective(["C", "CCO"])] == [1.0, -1.0]
    assert task.objective.failed == 1
    clipped = SmilesTask(12, objective=huge, clip=(None, 5.0))
    assert [score.value for score in clipped.objective(["C", "CCO"])] == [1.0, 5.0]


@pytest.mark.parametrize("width", [3, 5])
def test_a_mask_of_the_wrong_width_is_an_error(width):
    class Wide(ToyTask):
        def action_mask(self, tokens, steps):
            return np.ones((len(tokens), width), np.int8)

    assert f"must return an array [1, 4], not [1, {width}]" in error_of(SequenceTutorEnv, Wide(), toy_prior(), c=1.0)
    masked = MaskedPrior(toy_prior(), Wide())
    assert f"action_mask must return an array [3, 4], not [3, {width}]" in error_of(masked.sample, 3, 0)


@pytest.mark.parametrize("row", [[np.nan, 0.0, 0.0, 0.0], [np.inf, 0.0, 0.0, 0.0], [-np.inf] * 4])
def test_a_table_whose_row_gives_no_probabilities_is_an_error(row):
    logits = LOGITS.copy()
    logits[7] = row
    said = error_of(TablePrior, ToyTask.vocab, logits, 5)
    assert said == f"Row 7 of a TablePrior's logits gives no probabilities: {row}."


@pytest.mark.parametrize("log_p", [0.0, -np.log(2.0), -5.0, np.nan])
def test_a_prior_whose_probabilities_do_not_sum_to_one_is_refused_when_an_environment_is_made(log_p):
    said = error_of(SequenceTutorVectorEnv, ToyTask(), Flat(log_p, log_p), c=1.0)
    assert f"must return normalised log-probabilities; those of a row sum to {4 * np.exp(log_p):g}" in said


@pytest.mark.parametrize("later", [np.nan, 0.1])
def test_a_prior_that_goes_wrong_later_is_an_error_of_the_step(later):
    env = SequenceTutorVectorEnv(ToyTask(), Flat(-np.log(4.0), later), c=1.0, num_envs=2)
    env.reset()
    env.step(np.array([0, 1]))
    assert f"normalised log-probabilities, in nats; it returned {later:g}" in error_of(env.step, np.array([0, 1]))
    tokens = np.zeros((3, 5), np.int64)
    said = error_of(evaluate_samples, ToyTask(), tokens, None, env.prior)
    assert said.startswith("The prior's step must") and f"those of a row sum to {4 * np.exp(later):g}" in said


PRIORS = {
    "table": toy_prior(),
    "masked table": MaskedPrior(toy_prior(), ToyTask(masked=True)),
    "lstm": random_prior(end=4),
    "two layers": random_prior(num_layers=2, hidden_size=300),  # products that are cut into columns
    "gru": random_prior("gru"),
    "the user's own": Flat(-np.log(4.0), -np.log(4.0)),
}


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("n", [0, np.int64(0)])
def test_a_sample_of_no_sequences_is_empty(name, n):
    prior = PRIORS[name]
    tokens, lengths = prior.sample(n, seed=0)
    assert tokens.shape == (0, 0) and lengths.shape == (0,)
    some, other = prior.sample(2, seed=0)
    assert (tokens.dtype, lengths.dtype) == (some.dtype, other.dtype) == (np.int64, np.int64)
    assert prior.log_probs(some[:0], other[:0]).shape == (0, some.shape[1], len(prior.vocab))
    rows, state = prior.step(np.zeros(0, np.int64), prior.initial_state(0))
    assert rows.shape == (0, len(prior.vocab)) and all(len(part) == 0 for part in state)


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16, np.int32])
def test_numpys_integers_are_seeds_and_numbers(kind):
    prior = random_prior(end=4)
    for given, plain in zip(prior.sample(kind(9), kind(3)), prior.sample(9, 3), strict=True):
        np.testing.assert_array_equal(given, plain)
    for id in IDS:
        for env in (gym.make(id), gym.make_vec(id, 2)):
            env.reset(seed=kind(3) if isinstance(env, gym.Env) else [kind(3), None])
            drawn = env.unwrapped.np_random.random()
            env.reset(seed=3)
            assert env.unwrapped.np_random.random() == drawn
    drawn, again = (gym.make("SeqTutor-Exact-v0", seed=seed).unwrapped.task.rewards for seed in (kind(3), 3))
    np.testing.assert_array_equal(drawn, again)
