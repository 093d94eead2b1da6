"""Planted tasks: log Z is 0 and the policy is the optimum, by enumeration and at full size; payments; refusals."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from agents.evaluate import evaluate
from seqtutor_envs.bounds import log_z
from seqtutor_envs.exact import kl_policy_optimum, solve
from seqtutor_envs.planted import PlantedTask
from seqtutor_envs.prior import RecurrentPrior, TablePrior, load_prior, token_log_probs
from seqtutor_envs.sb3 import make_vec_env
from seqtutor_envs.vocab import TokenVocab

PLANTED = "SeqTutor-Planted-v0"
LENGTH = 5
NODES = sum(3**t for t in range(LENGTH))


def tables(end=None, seed=0):
    """A prior and a policy over three tokens; both forbid "a" in node 7, the policy alone "b" at the start."""
    vocab, rng = TokenVocab(("a", "b", "c"), end), np.random.default_rng(seed)
    p, q = 2 * rng.standard_normal((NODES, 3)), 3 * rng.standard_normal((NODES, 3))
    p[7, 0] = q[7, 0] = q[0, 1] = -np.inf
    return TablePrior(vocab, p, LENGTH), TablePrior(vocab, q, LENGTH)


def log_prob(model, tokens, lengths=None):
    return token_log_probs(model.log_probs(tokens, lengths), tokens, lengths).sum(axis=1)


def sampled(prior, n, length, seed=0):
    """Samples [n, length] as wide as the horizon, and their lengths."""
    tokens, lengths = prior.sample(n, seed, length)
    wide = np.zeros((n, length), np.int64)
    wide[:, : tokens.shape[1]] = np.where(tokens == prior.vocab.start, 0, tokens)
    return wide, lengths


# ---------------------------------------------------------------- the optimum


@pytest.mark.parametrize("end", [None, 2])
@pytest.mark.parametrize("every", [1, 2, None, 9])
@pytest.mark.parametrize("c", [0.1, 1.0, 20.0])
def test_the_policy_is_the_optimum_and_log_z_is_0_by_enumeration(end, every, c):
    prior, policy = tables(end)
    task = PlantedTask(prior, policy, c=c, length=LENGTH, every=every)
    best = solve(task, prior, c)
    assert best["log_z"] == pytest.approx(0.0, abs=1e-12) and task.solution()["log_z"] == 0.0
    planted = log_prob(policy, best["sequences"], best["lengths"])
    np.testing.assert_allclose(np.exp(best["log_probs"]), np.exp(planted), atol=1e-6)
    again = log_prob(task.solution()["policy"], best["sequences"], best["lengths"])
    np.testing.assert_allclose(np.exp(again), np.exp(planted), atol=1e-6)
    assert (planted == -np.inf).any()  # else the floor was not tried


@pytest.mark.parametrize("length, every", [(16, 8), (128, None)])
@pytest.mark.parametrize("prior", ["melody", "smiles"])
def test_log_p_and_reward_of_a_whole_sequence_are_its_log_pi(prior, length, every):
    task = PlantedTask(prior, length=length, every=every, c=3.0)
    policy = load_prior(f"planted-{prior}")
    for of in (policy, load_prior(prior)):
        tokens, lengths = sampled(of, 20, length)
        found = log_prob(load_prior(prior), tokens, lengths) + task.reward(tokens, lengths).sum(axis=1) / 3.0
        np.testing.assert_allclose(found, log_prob(policy, tokens, lengths), atol=1e-4)
    own, lengths = task.solution()["policy"].sample(20, 0)
    assert (own == policy.sample(20, 0, length)[0]).all() and lengths.max() == own.shape[1] <= length


def test_evaluate_finds_the_gap():
    """Within four standard errors; the seeds are fixed. The expected KL is summed over all sequences."""
    prior, policy = tables()
    given = {"prior": prior, "policy": policy, "length": LENGTH, "c": 0.5}
    best = solve(PlantedTask(prior, policy, length=LENGTH), prior, 1.0)
    ours = evaluate(policy, PLANTED, 2000, **given)
    assert ours["log_z"] == 0.0 and ours["gap"] == pytest.approx(0.0, abs=1e-5)
    of_prior = evaluate(prior, PLANTED, 20_000, seed=1, **given)
    expected = kl_policy_optimum(best, best["prior_log_probs"])
    assert abs(of_prior["gap"] - expected) < 4 * of_prior["gap_se"]
    assert of_prior["gap"] == pytest.approx(-of_prior["j"]) and of_prior["kl"] == pytest.approx(0.0, abs=1e-6)


def test_bounds_know_log_z_unless_a_weight_changes_it():
    """With weight 2, log Z is that of p (pi* / p)^2, above 0 by Jensen's inequality."""
    found = log_z(gym.make(PLANTED, length=300, c=7.0))
    assert (found.lower, found.upper, found.estimate, found.upper_method) == (0.0, 0.0, 0.0, "construction")
    assert log_z(gym.make(PLANTED, length=4, term_weights={"planted": 2.0}), samples=512).estimate > 0.01


def test_another_weight_has_no_known_optimum():
    env = gym.make(PLANTED, length=4, term_weights={"planted": 2.0})
    with pytest.raises(ValueError, match="known only where the weight of 'planted' is 1"):
        env.unwrapped.solution()
    assert "gap" not in evaluate(load_prior("melody"), PLANTED, 2, length=4, term_weights={"planted": 2.0})


@pytest.mark.parametrize("name, of", [("planted-melody", "melody"), ("planted-smiles", "smiles")])
def test_the_shipped_policies_are_varied_small_and_say_where_they_are_from(name, of):
    policy = load_prior(name)
    assert isinstance(policy, RecurrentPrior) and policy.vocab == load_prior(of).vocab
    tokens, lengths = policy.sample(1000, 0)
    assert len({tuple(row) for row in tokens.tolist()}) > 950
    gap = log_prob(policy, *sampled(policy, 300, 32)) - log_prob(load_prior(of), *sampled(policy, 300, 32))
    assert gap.mean() > 0.5  # nats: not the prior itself
    assert {"agent", "env", "num_timesteps", "note"} <= policy.card.keys()


# ---------------------------------------------------------------- payments


@pytest.mark.parametrize("every", [1, 3, None])
def test_blocks_are_paid_at_their_ends_and_at_the_end_token(every):
    prior, policy = tables(end=2)
    task = PlantedTask(prior, policy, c=2.0, length=LENGTH, every=every)
    tokens, lengths = sampled(prior, 50, LENGTH)
    assert set(lengths) == {1, 2, 3, 4, 5}
    ratios = token_log_probs(policy.log_probs(tokens, lengths), tokens, lengths)
    ratios = 2.0 * (np.maximum(ratios, -87.3365) - token_log_probs(prior.log_probs(tokens, lengths), tokens, lengths))
    for row, length, paid in zip(ratios, lengths.tolist(), task.terms(tokens, lengths)["planted"]):
        expected, unpaid = np.zeros(LENGTH), 0.0
        for t in range(length):
            unpaid += row[t]
            if t + 1 == length or every is not None and (t + 1) % every == 0:
                expected[t], unpaid = unpaid, 0.0
        np.testing.assert_allclose(paid, expected, atol=1e-3)


@pytest.mark.parametrize("prior, length, every", [("melody", 12, 5), ("smiles", 60, None), ("smiles", 60, 1)])
def test_what_is_asked_before_does_not_change_what_is_paid(prior, length, every):
    """Whole sequences at once; step by step; and rows that are shuffled, doubled, left out and far apart."""
    task = PlantedTask(prior, length=length, every=every)
    tokens, lengths = sampled(task.prior, 12, length)
    expected = task.terms(tokens, lengths)["planted"]
    for t in range(length):
        live = np.flatnonzero(lengths > t)
        found = task.step_terms(tokens[live], np.full(len(live), t))[:, 0]
        np.testing.assert_allclose(found, expected[live, t], atol=1e-4)
    rng = np.random.default_rng(0)
    steps = np.zeros(12, np.int64)
    for _ in range(40):
        rows = rng.integers(0, 12, rng.integers(1, 20))
        # most go on by one, as in an environment; some jump
        steps = np.where(rng.random(12) < 0.1, rng.integers(0, length, 12), steps + 1) % lengths
        beyond = np.arange(length) > steps[rows, None]
        asked = np.where(beyond, rng.integers(0, len(task.vocab), (len(rows), length)), tokens[rows])
        found = task.step_terms(asked, steps[rows])[:, 0]
        # float32 products differ by 1e-6 a step in batches of other sizes
        np.testing.assert_allclose(found, expected[rows, steps[rows]], atol=1e-4)


def test_the_states_of_an_environments_sequences_are_kept(monkeypatch):
    """One step of each network a token, whichever sequences end: else the cost would grow with the square of T."""
    env = gym.make_vec(PLANTED, num_envs=4, prior="smiles", length=30, autoreset_mode="SameStep")
    asked = []
    step_both = env.task.policy.step_both
    monkeypatch.setattr(
        env.task.policy, "step_both", lambda tokens, state: asked.append(len(tokens)) or step_both(tokens, state)
    )
    env.reset()
    end, ends = env.task.vocab.end, 0
    for t in range(90):
        ends += int(env.step(np.where(np.arange(4) == t % 7, end, 3))[2].sum())
    assert ends > 20 and asked == [4] * 90


def test_stable_baselines3_asks_for_the_solution():
    env = make_vec_env(PLANTED, 2, length=4)
    assert [found["log_z"] for found in env.env_method("solution")] == [0.0, 0.0]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "kwargs, says",
    [
        ({"policy": "smiles"}, "Policy and prior must have the same vocabulary; policy against prior: 25 tokens"),
        ({"every": 0}, "every must be an integer of at least 1 or None, not 0"),
        ({"length": 0}, "length must be an integer of at least 1, not 0"),
        ({"prior": tables()[0]}, "None of planted-melody, planted-smiles has this prior's tokens: give policy="),
        ({"policy": tables()[0], "prior": tables()[1]}, "The policy allows what the prior forbids: token 'b' has"),
    ],
)
def test_what_cannot_be_planted_is_refused_in_one_line(kwargs, says):
    with pytest.raises(ValueError) as error:
        gym.make(PLANTED, **kwargs)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


def test_what_the_prior_forbids_later_is_refused_where_a_sequence_gets_there():
    vocab, p, q = tables()[0].vocab, np.zeros((NODES, 3)), np.zeros((NODES, 3))
    q[0, 1] = -np.inf  # no sample of the policy begins so
    p[8, 0] = -np.inf  # after the tokens 1 and 1, child(2, 1) = 2 * 3 + 1 + 1
    task = PlantedTask(TablePrior(vocab, p, LENGTH), TablePrior(vocab, q, LENGTH), length=LENGTH)
    task.terms(np.array([[2, 2, 2, 2, 2]]))
    with pytest.raises(ValueError, match="The policy allows what the prior forbids: token 'a' has probability 0.333"):
        task.terms(np.array([[1, 1, 2, 2, 2]]))
