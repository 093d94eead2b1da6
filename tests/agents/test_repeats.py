"""Repeated sequences are counted as by a plain set, and what is sampled then is the softmax of log pi / heat."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from agents import PsiLearning, QLearning, TrajectoryBalance
from agents.store.repeats import Repeats, VariedPolicy, choose_candidates
from agents.store.replay import Sequences
from seqtutor_envs.prior import token_log_probs
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from toys.agent_toys import EXACT, made, sung_batch, synced_toys, toy_batch

ALL_NEW, ALL_OLD = "new", "old"


def sequences(rows, width=5):
    tokens = np.zeros((len(rows), width), np.int64)
    for n, row in enumerate(rows):
        tokens[n, : len(row)] = row
    lengths = np.array([len(row) for row in rows])
    rewards, prior_log_probs = np.zeros((len(rows), width), np.float32), np.zeros((len(rows), width, 10), np.float32)
    return Sequences(tokens, lengths, rewards, prior_log_probs)


def numbered(first, n=8):
    """n sequences that differ from those of other numbers: five digits of base 10 each."""
    return sequences([[int(digit) for digit in f"{number:05}"] for number in range(first, first + n)])


def count_quietly(repeats, rounds):
    """Count a round, and then others that are all new or the same again; return heat and prior_share after each."""
    found, first = [], 0
    repeats.count(numbered(90_000), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in rounds:
            first += 8
            repeats.count(numbered(first if kind == ALL_NEW else 90_000), first)
            found.append((repeats.heat, repeats.prior_share))
    return found


# -- counting ---------------------------------------------------------------------------------------------------------


def test_new_sequences_are_those_that_a_plain_set_lacks():
    rng, repeats, seen = np.random.default_rng(0), Repeats("warn"), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = []
        for _ in range(30):
            rows = [rng.integers(0, 3, rng.integers(1, 5)).tolist() for _ in range(16)]
            new = 0
            for row in rows:
                new += tuple(row) not in seen
                seen.add(tuple(row))
            given = sequences(rows)
            filler = np.arange(5) >= given.lengths[:, None]
            given.tokens[filler] = rng.integers(0, 3, filler.sum())  # which is no part of a sequence
            repeats.count(given, 0)
            assert repeats.new == new / 16
            shares.append(repeats.new)
    assert shares[0] > 0.5 > shares[-1]


def test_a_prefix_is_another_sequence():
    repeats = Repeats("warn")
    repeats.count(sequences([[1, 2, 0]]), 0)
    repeats.count(sequences([[1, 2], [1, 2, 0, 0]]), 0)
    assert repeats.new == 1.0


@pytest.mark.parametrize("old, warned", [(4, False), (5, True)])
def test_fewer_than_half_new_is_few(old, warned):
    repeats = Repeats("warn")
    repeats.count(numbered(0), 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        repeats.count(numbered(8 - old), 0)
    assert repeats.new == (8 - old) / 8 and bool(caught) == warned


@pytest.mark.parametrize(
    "action, says",
    [
        ("warn", "on_repeats='temperature' makes it vary"),
        ("temperature", "it is sampled at a higher temperature"),
        ("prior", "the prior samples a share of each round"),
    ],
)
def test_the_warning_comes_once_and_says_what_is_done(action, says):
    repeats = Repeats(action)
    repeats.count(numbered(0), 0)
    with pytest.warns(UserWarning, match=f"Only 0% of a round's sequences are new after 1,234 timesteps: {says}"):
        repeats.count(numbered(0), 1234)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repeats.count(numbered(0), 1300)


def test_heat_rises_by_a_tenth_up_to_three_and_falls_back_to_one():
    up = count_quietly(Repeats("temperature"), [ALL_OLD] * 13)
    assert [share for _, share in up] == [0.0] * 13
    expected = [min(1.1**n, 3.0) for n in range(1, 14)]  # 1.1 ** 12 = 3.14
    np.testing.assert_allclose([heat for heat, _ in up], expected, rtol=1e-12)
    assert up[-1][0] == 3.0
    down = count_quietly(Repeats("temperature"), [ALL_OLD] * 3 + [ALL_NEW] * 4)
    np.testing.assert_allclose([heat for heat, _ in down], [1.1, 1.21, 1.331, 1.21, 1.1, 1.0, 1.0], rtol=1e-12)


def test_the_priors_share_rises_by_a_twentieth_up_to_half_and_falls_back_to_none():
    up = count_quietly(Repeats("prior"), [ALL_OLD] * 12)
    assert [heat for heat, _ in up] == [1.0] * 12
    assert [share for _, share in up] == [round(0.05 * min(n, 10), 2) for n in range(1, 13)]
    down = count_quietly(Repeats("prior"), [ALL_OLD] * 3 + [ALL_NEW] * 4)
    assert [share for _, share in down] == [0.05, 0.1, 0.15, 0.1, 0.05, 0.0, 0.0]


def test_warnings_alone_change_nothing():
    repeats = Repeats("warn")
    assert count_quietly(repeats, [ALL_OLD] * 5) == [(1.0, 0.0)] * 5
    policy = object()
    assert repeats.wrap(policy, None) is policy


# -- varied policies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("env", [toy_batch, sung_batch])
def test_rows_are_the_softmax_of_log_pi_over_heat_and_the_priors_for_the_first_sequences(env, masked):
    agent = made(PsiLearning, env(masked=masked), learning_rate=0.05).learn(600)
    policy, prior = agent.policy(), agent.prior
    varied = VariedPolicy(policy, prior, heat=1.7, prior_share=0.3)
    n, start = 7, prior.vocab.start  # round(.3 * 7) = 2 by the prior
    tokens = np.full(n, start)
    state, own, of_prior = varied.initial_state(n), policy.initial_state(n), prior.initial_state(n)
    for step in range(3):
        prior_rows, of_prior = prior.step(tokens, of_prior)
        prior_rows = np.maximum(prior_rows, LOG_PROB_FLOOR)
        plain, own = policy.step(tokens, own, prior_rows)
        rows, state = varied.step(tokens, state, prior_rows)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows[:2], prior_rows[:2])
        np.testing.assert_allclose(rows[2:], log_softmax(plain[2:].astype(float) / 1.7, axis=1), rtol=1e-5, atol=1e-5)
        assert (np.exp(rows[prior_rows <= LOG_PROB_FLOOR]) < 1e-37).all(), "what is forbidden stays so"
        assert np.abs(plain - rows)[2:].max() > 0.01
        tokens = np.where(prior_rows > LOG_PROB_FLOOR, 1, 0).argmax(axis=1)


@pytest.mark.parametrize("make_env", [toy_batch, synced_toys])
def test_the_first_sequences_of_a_round_are_the_priors(make_env):
    """A policy that is sure of one token and a prior that is not: only the first four of sixteen vary."""
    agent = made(PsiLearning, make_env(), on_repeats="prior")
    token = 1
    with torch.no_grad():
        agent.network.core.head.weight.zero_()
        agent.network.core.head.bias.copy_(torch.eye(len(agent.prior.vocab))[token] * 40.0)
    agent.repeats.count = lambda drawn, num_timesteps: None
    agent.repeats.prior_share = 0.25
    for _ in range(3):
        drawn, log_pi = agent.collect()
        assert (drawn.tokens[4:, 0] == token).all() and (log_pi[4:] > -1e-3).all()
        for i in range(4):
            log_p = sum(float(drawn.prior_log_probs[i, t, drawn.tokens[i, t]]) for t in range(drawn.lengths[i]))
            assert log_pi[i] == pytest.approx(log_p, abs=1e-4)
    assert not (drawn.tokens[:4] == token).all()


# -- in agents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action, varies", [("temperature", "heat"), ("prior", "prior_share")])
def test_an_agent_whose_sequences_all_come_again_varies(action, varies):
    """81 sequences are soon known: eight rounds of 16 sequences of four tokens."""
    agent = made(PsiLearning, EXACT, n_envs=16, on_repeats=action)
    with pytest.warns(UserWarning, match="of a round's sequences are new after [0-9,]+ timesteps") as caught:
        agent.learn(16 * 4 * 20)
    assert caught[0].filename == __file__
    assert agent.repeats.new < 0.2
    assert getattr(agent.repeats, varies) > {"heat": 1.5, "prior_share": 0.3}[varies]


@pytest.mark.parametrize("action", [None, "off"])
def test_nothing_is_counted_unless_asked_for(action):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = made(PsiLearning, EXACT, n_envs=16, on_repeats=action).learn(16 * 4 * 20)
    assert agent.repeats is None and "repeats" not in agent.memories


def test_a_greedy_agent_can_only_warn():
    """Its best token is the same at any temperature."""
    for action in ("temperature", "prior"):
        with pytest.raises(ValueError, match=f"greedy while it learns: on_repeats='{action}' would do nothing"):
            made(QLearning, EXACT, n_envs=16, on_repeats=action)
    agent = made(QLearning, EXACT, n_envs=16, on_repeats="warn")
    with pytest.warns(UserWarning, match="of a round's sequences are new"):
        agent.learn(16 * 4 * 20)
    assert agent.repeats.new < 0.5


@pytest.mark.parametrize("agent_class", [PsiLearning, TrajectoryBalance])
def test_an_unknown_action_is_one_line_with_all_choices(agent_class):
    with pytest.raises(ValueError, match="on_repeats must be one of 'off', 'warn', 'temperature', 'prior'"):
        made(agent_class, EXACT, n_envs=16, on_repeats="heat")


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Only")
@pytest.mark.parametrize("action", ["warn", "temperature", "prior"])
def test_a_file_keeps_what_was_seen(action, tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=16, on_repeats=action).learn(16 * 4 * 12)
    loaded = PsiLearning.load(agent.save(tmp_path / "agent"))
    for name in ("new", "heat", "prior_share", "_seen", "_warned"):
        assert getattr(loaded.repeats, name) == getattr(agent.repeats, name), name
    assert loaded.repeats._warned and len(loaded.repeats._seen) > 40
    newest = agent.newest
    loaded.repeats.count(newest, 0)
    assert loaded.repeats.new == 0.0


GOOD = {"seen": np.array([3, 2**63], np.uint64), "numbers": np.array([0.4, 1.1, 0.0, 1.0])}
DAMAGES = {
    "nothing": {},
    "another name": {**GOOD, "more": np.zeros(1)},
    "three numbers": {**GOOD, "numbers": np.ones(3)},
    "a share beyond 1": {**GOOD, "numbers": np.array([1.5, 1.1, 0.0, 1.0])},
    "colder": {**GOOD, "numbers": np.array([0.4, 0.9, 0.0, 1.0])},
    "too hot": {**GOOD, "numbers": np.array([0.4, 3.1, 0.0, 1.0])},
    "more than half by the prior": {**GOOD, "numbers": np.array([0.4, 1.1, 0.6, 1.0])},
    "no number": {**GOOD, "numbers": np.array([np.nan, 1.1, 0.0, 1.0])},
    "signed keys": {**GOOD, "seen": np.array([3, 4])},
    "a table of keys": {**GOOD, "seen": np.zeros((2, 2), np.uint64)},
    "a single key": {**GOOD, "seen": np.array(3, np.uint64)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_counts_are_refused_and_change_nothing(damage):
    repeats = Repeats("temperature")
    repeats.restore(GOOD)
    assert (repeats.new, repeats.heat, repeats._seen) == (0.4, 1.1, {3, 2**63})
    with pytest.raises(ValueError):
        repeats.restore(DAMAGES[damage])
    assert (repeats.new, repeats.heat, repeats._seen) == (0.4, 1.1, {3, 2**63})


# -- candidates -------------------------------------------------------------------------------------------------------


def test_new_candidates_come_before_others_and_the_best_of_them_first():
    """By hand: of 8, six are new; of 4 chosen, three are the best of these and one is a random one of the other new."""
    new = np.array([True, False, True, True, True, True, False, True])
    values = np.array([1.0, 9.0, 7.0, 3.0, 2.0, 5.0, 8.0, 4.0])
    last = [choose_candidates(new, values, 4, np.random.default_rng(seed)) for seed in range(60)]
    assert {tuple(rows[:3]) for rows in last} == {(2, 5, 7)}
    assert {int(rows[3]) for rows in last} == {0, 3, 4}


def test_known_candidates_fill_a_round_that_has_too_few_new_ones():
    new = np.array([False, True, False, False, False, False])
    rows = choose_candidates(new, np.arange(6.0), 4, np.random.default_rng(0))
    assert rows[0] == 1 and len(set(rows.tolist())) == 4
    assert rows[1:3].tolist() == [5, 4]


def test_all_candidates_of_a_round_of_one_each_are_chosen():
    rows = choose_candidates(np.ones(5, bool), np.arange(5.0), 5, np.random.default_rng(0))
    assert sorted(rows.tolist()) == list(range(5))


@pytest.mark.parametrize("agent_class", [PsiLearning, TrajectoryBalance])
def test_only_chosen_candidates_are_scored_and_all_of_a_round_are_new_while_there_are_any(agent_class):
    """81 sequences: in rounds of 9 of 36 candidates, nothing comes twice while two in three are still to be found."""
    agent = made(agent_class, EXACT, n_envs=9, candidates=4, store=True, learning_rate=1e-6)
    scored = []
    terms = agent.task.terms
    agent.task.terms = lambda tokens, lengths=None: scored.append(len(tokens)) or terms(tokens, lengths)
    agent.learn(9 * 4 * 3)
    assert scored == [9, 9, 9]
    assert agent.store.size == 27


def test_the_kl_that_sets_the_temperature_is_that_of_all_candidates():
    """The prior itself has a KL of 0; that of the chosen quarter, of the greatest log pi - log p, is not."""
    agent = made(PsiLearning, EXACT, n_envs=64, candidates=16, target_kl=1.0, learning_rate=1e-2).learn(64 * 4 * 40)
    sampled, lengths = agent.sample(20_000, seed=1)
    of_prior = token_log_probs(agent.prior.log_probs(sampled, lengths), sampled, lengths).sum(axis=1)
    kl = float((agent.log_prob(sampled, lengths) - of_prior).mean())
    assert agent._newest_kl == pytest.approx(kl, abs=0.15)


def test_a_warning_names_the_users_line_with_candidates_too():
    agent = made(PsiLearning, EXACT, n_envs=16, candidates=2, on_repeats="warn")
    with pytest.warns(UserWarning, match="of a round's sequences are new after") as caught:
        agent.learn(16 * 4 * 20)
    assert caught[0].filename == __file__


def test_an_environment_that_is_stepped_has_no_candidates():
    agent = made(PsiLearning, synced_toys(), candidates=4)
    assert agent.candidates == 1
    agent.learn(60)


@pytest.mark.parametrize("candidates", [0, 65, 1.5, "4"])
def test_impossible_numbers_of_candidates_are_refused(candidates):
    with pytest.raises((ValueError, TypeError), match="candidates must be"):
        made(PsiLearning, EXACT, n_envs=16, candidates=candidates)
