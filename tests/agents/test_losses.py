"""The losses, worked by hand; and their expected gradients, exact sums over all sequences of a small task.

A policy is a table of logits. Expectations run over all batches that could be sampled, each with its probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, partial

import gymnasium as gym
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

import seqtutor_envs  # noqa: F401
from agents.losses import (
    augmented_hill_climb,
    clipped_policy_gradient,
    kl_estimate,
    per_token,
    reinvent,
    trajectory_balance,
    vargrad,
)
from agents.targets import OBJECTIVES, discounts, psi_target, taken

VOCAB_SIZE, LENGTH = 3, 4
same = partial(torch.testing.assert_close, rtol=0.0, atol=1e-10)


@dataclass(frozen=True)
class Space:
    """All M sequences of a task, and its optimum."""

    actions: Tensor  # [M, T]
    nodes: Tensor  # [M, T], numbers of the prefixes before each action, breadth first
    prior: Tensor  # [M, T, V]
    task_reward: Tensor  # [M, T]
    optimum: Tensor  # [nodes, V], logits
    log_z: float

    @property
    def log_p(self) -> Tensor:  # [M]
        return taken(self.prior, self.actions).sum(1)

    @property
    def returns(self) -> Tensor:  # [M]
        return self.task_reward.sum(1)

    def rows(self, logits: Tensor) -> Tensor:  # [M, T, V]
        return logits.log_softmax(-1)[self.nodes]

    def log_pi(self, logits: Tensor) -> Tensor:  # [M]
        return taken(self.rows(logits), self.actions).sum(1)


@cache
def space(size: int = VOCAB_SIZE, length: int = LENGTH) -> Space:
    env = gym.make("SeqTutor-Exact-v0", vocab_size=size, length=length, seed=5, c=0.7).unwrapped
    found = env.solution()
    actions = torch.as_tensor(found["sequences"])
    nodes = torch.zeros_like(actions)
    for t in range(1, length):
        nodes[:, t] = nodes[:, t - 1] * size + 1 + actions[:, t - 1]
    # sequences are in the order of their tokens, so those of one prefix are neighbours
    chances = torch.as_tensor(found["log_probs"]).exp()
    optimum = [chances.view(size**t, size, -1).sum(-1).log() for t in range(length)]
    return Space(
        actions=actions,
        nodes=nodes,
        prior=torch.as_tensor(env.prior.log_probs(found["sequences"])).double(),
        task_reward=torch.as_tensor(env.task.reward(found["sequences"])) / env.c,
        optimum=torch.cat(optimum).requires_grad_(),
        log_z=found["log_z"],
    )


def make_logits(seed: int, size: int = VOCAB_SIZE, length: int = LENGTH) -> Tensor:
    """Logits [nodes, V] of a policy that is neither the prior nor the optimum."""
    nodes = sum(size**t for t in range(length))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(nodes, size, generator=generator, dtype=torch.float64).requires_grad_()


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


def j(task: Space, logits: Tensor) -> Tensor:
    """E_pi[R/c] - KL(pi || p), summed over all sequences."""
    log_pi = task.log_pi(logits)
    return (log_pi.exp() * (task.returns + task.log_p - log_pi)).sum()


def expected(loss, task: Space, logits: Tensor, weights: Tensor | None = None, batch: int = 1) -> Tensor:
    """The mean of `loss` over all batches of sequences that are sampled by `weights` [M], or by the policy itself."""
    log_pi = task.log_pi(logits)
    # detached: samples are data
    weights = log_pi.detach().exp() if weights is None else weights
    rows = torch.cartesian_prod(*[torch.arange(len(weights))] * batch).view(-1, batch)
    losses = torch.func.vmap(loss)(task.log_p[rows], log_pi[rows], task.returns[rows])
    return (weights[rows].prod(-1) * losses).sum()


def test_the_space_is_the_task():
    """What the other tests rest on: the optimum's table, J and log Z."""
    task = space()
    assert len(task.actions) == 81 and abs(task.log_z) > 0.5
    same(j(task, task.optimum).item(), task.log_z)
    same(gradient(j(task, task.optimum), task.optimum), torch.zeros_like(task.optimum))
    log_z = (task.log_p + task.returns).logsumexp(0)
    same(log_z.item(), task.log_z)


# -- whole sequences -------------------------------------------------------------------------------------------------

LOG_P, LOG_PI = torch.tensor([-3.0, -1.0, -2.0, -4.0, -1.0]), torch.tensor([-2.0, -1.5, -2.0, -1.0, -2.0])
RETURNS = torch.tensor([1.0, 3.0, 2.0, 3.0, 0.0])
# log p + R/c - log pi: 0, 3.5, 2, 0, 1, of which the mean is 1.3
SQUARES = [0.0, 12.25, 4.0, 0.0, 1.0]


def test_losses_of_sequences_by_hand():
    same(reinvent(LOG_P, LOG_PI, RETURNS), torch.tensor(17.25 / 5 / 2))
    # less 2: -2, 1.5, 0, -2, -1
    same(trajectory_balance(LOG_P, LOG_PI, RETURNS, torch.tensor(2.0)), torch.tensor(11.25 / 5 / 2))
    # the variance: 17.25 / 5 - 1.3^2
    torch.testing.assert_close(vargrad(LOG_P, LOG_PI, RETURNS), torch.tensor((3.45 - 1.69) / 2))


@pytest.mark.parametrize(
    "share, chosen",
    [
        (0.01, [1]),  # at least one; of the two best returns the first
        (0.2, [1]),
        (0.4, [1, 3]),
        (0.58, [1, 3, 2]),  # 2.9 sequences are 3
        (0.8, [1, 3, 2, 0]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_hill_climb_learns_from_the_best(share, chosen):
    loss = augmented_hill_climb(LOG_P, LOG_PI, RETURNS, share)
    torch.testing.assert_close(loss, torch.tensor(sum(SQUARES[i] for i in chosen) / len(chosen) / 2))


def test_of_equal_returns_hill_climb_takes_the_first():
    log_pi = torch.zeros(100, requires_grad=True)
    augmented_hill_climb(torch.zeros(100), log_pi, torch.ones(100), 0.29).backward()
    assert log_pi.grad.nonzero().flatten().tolist() == list(range(29))


@pytest.mark.parametrize("share", [0.0, 1.5, math.nan])
def test_batches_that_teach_nothing_are_refused(share):
    with pytest.raises(ValueError, match="share must be"):
        augmented_hill_climb(LOG_P, LOG_PI, RETURNS, share)
    with pytest.raises(ValueError, match="at least 2, not 1"):
        vargrad(LOG_P[:1], LOG_PI[:1], RETURNS[:1])


def test_trajectory_balance_is_0_for_every_sequence_at_the_optimum():
    task = space()
    for i in range(len(task.actions)):
        one = task.log_p[i : i + 1], task.log_pi(task.optimum)[i : i + 1], task.returns[i : i + 1]
        same(trajectory_balance(*one, task.log_z).item(), 0.0)
        same(trajectory_balance(*one, task.log_z + 2.0).item(), 2.0)


def test_log_z_follows_j_on_own_samples():
    task, logits = space(), make_logits(1)
    log_z = j(task, logits).detach().requires_grad_()
    loss = expected(partial(trajectory_balance, log_z=log_z), task, logits)
    same(gradient(loss, log_z).item(), 0.0)
    above = (log_z.detach() + 3.0).requires_grad_()
    loss = expected(partial(trajectory_balance, log_z=above), task, logits)
    same(gradient(loss, above).item(), 3.0)


@pytest.mark.parametrize("loss", [reinvent, *(partial(trajectory_balance, log_z=log_z) for log_z in (0.0, 1.0, -30.0))])
def test_on_own_samples_reinvent_and_trajectory_balance_climb_j_whatever_log_z(loss):
    task, logits = space(), make_logits(1)
    found = gradient(expected(loss, task, logits), logits)
    assert found.norm() > 0.1
    same(found, -gradient(j(task, logits), logits))


@pytest.mark.parametrize("batch, size, length", [(2, VOCAB_SIZE, LENGTH), (3, 2, 3)])
def test_on_own_samples_vargrad_climbs_j_by_a_share(batch, size, length):
    task, logits = space(size, length), make_logits(1, size, length)
    found = gradient(expected(vargrad, task, logits, batch=batch), logits)
    assert found.norm() > 0.1
    same(found, -(1 - 1 / batch) * gradient(j(task, logits), logits))


def test_on_other_samples_the_optimum_stays_with_log_z_and_with_reinvent_only_if_that_is_0():
    task = space()
    weights, nothing = torch.full_like(task.log_p, 1 / len(task.log_p)), torch.zeros_like(task.optimum)

    def pull(loss, batch=1, task=task):
        return gradient(expected(loss, task, task.optimum, weights, batch), task.optimum)

    same(pull(partial(trajectory_balance, log_z=task.log_z)), nothing)
    same(pull(vargrad, batch=2), nothing)
    # REINVENT's residual is -log Z for every sequence
    assert pull(reinvent).norm() > 0.1
    same(pull(reinvent), -task.log_z * gradient((weights * task.log_pi(task.optimum)).sum(), task.optimum))
    # a reward that is log Z lower has the same optimum, and log Z = 0
    rewards = task.task_reward - task.log_z / LENGTH
    same(pull(reinvent, task=replace(task, task_reward=rewards)), nothing)


def test_hill_climb_leaves_the_optimum():
    """With two sequences and share 1/2 it learns from the one that pays more."""
    task = space()
    half = partial(augmented_hill_climb, share=0.5)
    pull = gradient(expected(half, task, task.optimum, batch=2), task.optimum)
    # how likely each sequence is the better one of two: pi(x) (pi(x) + 2 pi(those that pay less))
    log_pi = task.log_pi(task.optimum)
    chance = log_pi.detach().exp()
    less = (task.returns[:, None] > task.returns[None, :]).double() @ chance
    best = chance * (chance + 2 * less)
    same(best.sum().item(), 1.0)
    assert pull.norm() > 0.1
    same(pull, -task.log_z * gradient((best * log_pi).sum(), task.optimum))


# -- beside the soft-Q learner ---------------------------------------------------------------------------------------


def test_psi_learning_on_whole_returns_is_a_policy_gradient_and_per_token_its_scale():
    """lam = 1, tau = 1, squared errors, any v: on own samples the expected gradient is -grad J over the length."""
    task, logits = space(), make_logits(1)
    v = torch.randn(len(logits), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = task.rows(logits) + v[task.nodes].unsqueeze(-1)
    discount = discounts(torch.full((len(values),), LENGTH), LENGTH, 1.0)
    y = psi_target(task.task_reward, task.prior, task.actions, values.detach(), discount, lam=1.0)
    losses = (taken(values, task.actions) - y).square() / 2
    # learner.py: a mean over tokens
    loss = (task.log_pi(logits).detach().exp() * losses.mean(1)).sum()
    found = gradient(loss, logits)
    same(found, -gradient(j(task, logits), logits) / LENGTH)
    mask = torch.ones(1, LENGTH)
    same(found, gradient(per_token(expected(reinvent, task, logits), mask), logits))


def test_per_token_by_hand():
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    assert per_token(torch.tensor(6.0), mask).item() == 3.0  # 2 sequences of 4 tokens


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_psi_and_g_have_the_same_residuals(lam):
    task = space()
    psi = task.rows(make_logits(1)) + make_logits(3)[:, :1][task.nodes]
    discount = 0.9 * discounts(torch.full((len(psi),), LENGTH), LENGTH, 1.0).double()
    residuals = []
    for name, values in (("psi", psi), ("g", psi - task.prior)):
        y = OBJECTIVES[name].target(task.task_reward, task.prior, task.actions, values, discount, lam)
        residuals.append(taken(values, task.actions) - y)
    assert residuals[0].abs().mean() > 0.1
    same(*residuals)


# -- the clipped surrogate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ratio, advantage, surrogate, slope",
    [
        (1.1, 2.0, 2.2, 2.2),
        (1.5, 2.0, 2.4, 0.0),  # at 1.2 it is good enough
        (0.5, 2.0, 1.0, 1.0),  # a good action that became rare still counts
        (1.5, -2.0, -3.0, -3.0),
        (0.5, -2.0, -1.6, 0.0),  # at .8
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, surrogate, slope):
    """One token, clipped at .2; d ratio / d log pi is the ratio."""
    log_taken = torch.tensor([[math.log(ratio) - 1.0]], requires_grad=True)
    loss = clipped_policy_gradient(log_taken, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), torch.ones(1, 1))
    torch.testing.assert_close(loss.item(), -surrogate, rtol=0.0, atol=1e-6)
    torch.testing.assert_close(gradient(loss, log_taken).item(), -slope, rtol=0.0, atol=1e-6)


def test_clipped_surrogate_sums_over_real_tokens_and_averages_over_sequences():
    ratio = torch.tensor([[1.0, 1.4, 1.0], [0.9, 3.0, 3.0]])
    advantages = torch.tensor([[2.0, 1.0, -1.0], [10.0, 50.0, 50.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    loss = clipped_policy_gradient(ratio.log(), torch.zeros(2, 3), advantages, mask, clip_range=0.3)
    torch.testing.assert_close(loss, torch.tensor(-(2.0 + 1.3 - 1.0 + 9.0) / 2))


def test_at_the_old_policy_the_clipped_surrogate_climbs_j():
    task, logits = space(), make_logits(1)
    log_taken = taken(task.rows(logits), task.actions)
    old = log_taken.detach()
    weights = old.sum(1).exp()
    gain = task.task_reward + taken(task.prior, task.actions) - old
    to_come = gain.flip(1).cumsum(1).flip(1)
    # the function averages over sequences: their probabilities go into the advantages
    advantages = to_come * weights[:, None] * len(weights)
    loss = clipped_policy_gradient(log_taken, old, advantages, torch.ones_like(old))
    found = gradient(loss, logits)
    plain = (weights * (to_come * taken(task.rows(logits), task.actions)).sum(1)).sum()
    same(found, -gradient(plain, logits))  # the plain policy gradient
    same(found, -gradient(j(task, logits), logits))


# -- KL(pi || p) -----------------------------------------------------------------------------------------------------


def exact_prior_space() -> Space:
    """The space with rows of p that sum to 1, as E_pi[r] = 1 wants; float32's miss it by 1e-8."""
    return replace(space(), prior=space().prior.log_softmax(-1))


def kl_of_rows(task: Space, logits: Tensor, reverse: bool = False) -> Tensor:
    """KL(pi || p) of the rows at the states that the policy visits, summed over steps, by torch's own function; with
    `reverse` KL(p || pi)."""
    pair = Categorical(logits=task.rows(logits)), Categorical(logits=task.prior)
    kl = kl_divergence(*(pair[::-1] if reverse else pair))
    return (task.log_pi(logits).detach().exp() * kl.sum(1)).sum()


def expected_kl(kind: str, task: Space, logits: Tensor) -> Tensor:
    estimates = kl_estimate(kind, task.rows(logits), task.prior, task.actions)
    return (task.log_pi(logits).detach().exp() * estimates.sum(1)).sum()


def test_kl_estimates_by_hand():
    log_policy = torch.tensor([[[0.8, 0.2], [0.5, 0.5]]], dtype=torch.float64).log()
    log_prior = torch.tensor([[[0.4, 0.6], [0.5, 0.5]]], dtype=torch.float64).log()
    ln2, ln3 = math.log(2.0), math.log(3.0)
    wanted = {
        ("k1", 0): ln2, ("k1", 1): -ln3, ("k2", 0): ln2**2 / 2, ("k2", 1): ln3**2 / 2,
        ("k3", 0): 0.5 - 1 + ln2, ("k3", 1): 3 - 1 - ln3,
        ("exact", 0): 0.8 * ln2 - 0.2 * ln3, ("exact", 1): 0.8 * ln2 - 0.2 * ln3,
    }  # fmt: skip
    for (kind, action), estimate in wanted.items():
        found = kl_estimate(kind, log_policy, log_prior, torch.tensor([[action, 0]]))
        # at the second step both policies are the same
        same(found, torch.tensor([[estimate, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("kind, unbiased", [("k1", True), ("k2", False), ("k3", True), ("exact", True)])
def test_all_but_k2_are_unbiased_as_numbers(kind, unbiased):
    task, logits = exact_prior_space(), make_logits(1)
    log_pi = task.log_pi(logits)
    kl = (log_pi.exp() * (log_pi - task.log_p)).sum().item()  # of whole sequences
    assert kl > 0.5
    assert (abs(expected_kl(kind, task, logits).item() - kl) < 1e-10) == unbiased


def test_gradients_of_kl_estimates_as_losses():
    task, logits = exact_prior_space(), make_logits(1)
    forward = gradient(kl_of_rows(task, logits), logits)
    backward = gradient(kl_of_rows(task, logits, reverse=True), logits)
    assert forward.norm() > 0.1 and (forward - backward).norm() > 0.1
    wanted = {"k1": torch.zeros_like(logits), "k2": forward, "k3": backward, "exact": forward}
    for kind, expected_gradient in wanted.items():
        same(gradient(expected_kl(kind, task, logits), logits), expected_gradient, msg=kind)


def reward_gradient(kind: str, task: Space, logits: Tensor) -> Tensor:
    """The policy gradient, with the returns to come, of r_T/c less the estimate as a number."""
    rows = task.rows(logits)
    reward = task.task_reward - kl_estimate(kind, rows, task.prior, task.actions).detach()
    to_come = reward.flip(1).cumsum(1).flip(1)
    log_taken = taken(rows, task.actions)
    weights = task.log_pi(logits).detach().exp()
    return gradient((weights * (to_come * log_taken).sum(1)).sum(), logits)


def test_in_the_reward_k1_gives_the_gradient_of_j_and_exact_needs_its_loss_beside_it():
    task, logits = exact_prior_space(), make_logits(1)
    climb = gradient(j(task, logits), logits)
    same(reward_gradient("k1", task, logits), climb)
    for kind in ("k2", "k3", "exact"):
        assert (reward_gradient(kind, task, logits) - climb).norm() > 0.1, kind
    whole = reward_gradient("exact", task, logits) - gradient(expected_kl("exact", task, logits), logits)
    same(whole, climb)


def test_a_forbidden_token_adds_nothing_to_the_exact_kl():
    """As the networks mark it: a logit of -1e9, and log p at the floor."""
    logits = torch.tensor([[[0.3, -0.2, -1e9]]], requires_grad=True)
    prior = torch.tensor([[[0.5, 0.5]]]).log()
    found = kl_estimate("exact", logits.log_softmax(-1), torch.cat([prior, torch.full((1, 1, 1), -87.3)], -1), None)
    wanted = kl_divergence(Categorical(logits=logits[..., :2]), Categorical(logits=prior))
    torch.testing.assert_close(found, wanted)
    assert gradient(found.sum(), logits)[0, 0, 2] == 0.0


def test_an_unknown_estimate_is_refused():
    with pytest.raises(ValueError, match="kind must be one of 'k1', 'k2', 'k3', 'exact', not 'k4'"):
        kl_estimate("k4", torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long))
