"""The losses of REINVENT, Augmented Hill-Climb, trajectory balance, VarGrad and PPO; estimates of KL(pi || p).

B sequences, T steps, V tokens; natural logs. Arguments that several functions share:

    log_p            [B]        log p(x) of whole sequences: the sum of log p(a_t | s_t) over a sequence's own steps
    log_pi           [B]        log pi(x), the same sum; it carries the gradient
    returns          [B]        R(x) / c, the sum of task_reward (r_T / c)
    log_policy       [B, T, V]  log pi(. | s_t), with a gradient
    prior_log_probs  [B, T, V]  log p(. | s_t)
    actions          [B, T]     a_t, the executed token
    mask             [B, T]     1 within the sequence, 0 after it

Scale: squared residuals are halved, terms of tokens are summed over a sequence, and each loss is a mean over sequences.
The loss of learner.py is a mean over tokens. `per_token` brings the others to that scale, so that all may share a
learning rate and max_grad_norm.

Fixed points. Let f = log p + R/c - log pi, so that J = E_pi[f] and grad J = E_pi[f grad log pi]. The gradient of a
halved squared residual is (log Z - f) grad log pi, and log Z has the share log Z E[grad log pi] in its expectation.

    own samples    E_pi[grad log pi] = 0, so log Z is a mere baseline. The expected gradients of REINVENT, of trajectory
                   balance with any log Z and, with v(s_t) for log Z, of Psi-learning (lam = 1, tau = 1, no huber) are
                   all -grad J; VarGrad's is 1 - 1/B of it. A learned log Z follows J.
    other samples  (replayed, uniform, the best of a batch) log Z counts. At the optimum f = log Z for every x, so there
                   the residuals of trajectory balance and VarGrad are 0 on any samples. Those of REINVENT and Augmented
                   Hill-Climb are -log Z: they raise all that they are shown if log Z > 0 and lower it if log Z < 0.
                   Only if log Z = 0 is the optimum their fixed point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.targets import taken
from seqtutor_envs import checks

KL_KINDS = ("k1", "k2", "k3", "exact")
SHARE = checks.Range(0.0, 1.0, above=True)


def trajectory_balance(log_p: Tensor, log_pi: Tensor, returns: Tensor, log_z: Tensor | float) -> Tensor:
    """Compute mean (log Z + log pi - log p - R/c)^2 / 2, trajectory balance (Malkin et al. 2022).

    Args:
        log_p, log_pi, returns: [B].
        log_z: [], learned: its gradient is the mean residual, which is 0 where log_z is the batch's mean of
            log p + R/c - log pi.
    """
    return (log_z + log_pi - log_p - returns).square().mean() / 2


def reinvent(log_p: Tensor, log_pi: Tensor, returns: Tensor) -> Tensor:
    """Compute mean (log p + R/c - log pi)^2 / 2, REINVENT's loss (Olivecrona et al. 2017), whose sigma is 1/c.

    It is trajectory balance with log Z held at 0. All arguments are [B].
    """
    return trajectory_balance(log_p, log_pi, returns, 0.0)


def augmented_hill_climb(log_p: Tensor, log_pi: Tensor, returns: Tensor, share: float) -> Tensor:
    """Compute REINVENT's loss on the best of the batch, Augmented Hill-Climb (Thomas et al. 2022).

    Args:
        log_p, log_pi, returns: [B].
        share: of the batch, 0 < share <= 1, rounded to whole sequences and at least one: those with the greatest
            returns, of equal ones the first.

    Raises:
        ValueError: no such share.
    """
    count = max(1, round(SHARE.check("share", share) * len(returns)))
    # a stable sort, where topk promises no order among equal returns
    best = returns.argsort(descending=True, stable=True)[:count]
    return reinvent(log_p[best], log_pi[best], returns[best])


def vargrad(log_p: Tensor, log_pi: Tensor, returns: Tensor) -> Tensor:
    """Compute trajectory balance with the batch's own log Z, VarGrad (Richter et al. 2020; Zhang et al. 2023).

    Log Z is the mean of log p + R/c - log pi. On own samples that is a baseline, and since each sequence has a share of
    1/B in it, the expected gradient is 1 - 1/B of trajectory balance's. All arguments are [B].

    Raises:
        ValueError: fewer than two sequences, whose loss is always 0.
    """
    if len(returns) < 2:
        raise ValueError(f"VarGrad compares sequences with their mean: give it at least 2, not {len(returns)}.")
    log_z = (log_p + returns - log_pi).detach().mean()
    return trajectory_balance(log_p, log_pi, returns, log_z)


def clipped_policy_gradient(
    log_taken: Tensor, old_log_taken: Tensor, advantages: Tensor, mask: Tensor, clip_range: float = 0.2
) -> Tensor:
    """Compute PPO's clipped surrogate, to be minimised (Schulman et al. 2017, eq. 7).

    Args:
        log_taken: log pi(a_t | s_t) [B, T], with a gradient.
        old_log_taken: the same of the policy that sampled the actions [B, T].
        advantages: [B, T], numbers without a gradient.
        mask: [B, T].
        clip_range: how far pi / pi_old may leave 1 before its gradient ends; .2 is the paper's best.
    """
    ratio = (log_taken - old_log_taken).exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return -(torch.minimum(ratio * advantages, clipped * advantages) * mask).sum() / len(mask)


def kl_estimate(kind: str, log_policy: Tensor, prior_log_probs: Tensor, actions: Tensor) -> Tensor:
    """Estimate KL(pi(. | s_t) || p(. | s_t)) at each step [B, T], from own samples (Schulman 2020) or exactly.

    With r = p / pi at the executed token:

        kind   estimate       as a number                      as a loss, its expected gradient is
        k1     -log r         unbiased, may be negative        0
        k2     (log r)^2 / 2  biased, small variance           that of KL(pi || p)
        k3     r - 1 - log r  unbiased, never negative         that of KL(p || pi)
        exact  from the rows  no noise from the step's action  that of KL(pi || p)

    As a loss each is about the rows at the states met, as if pi had no part in which states those are. In the reward,
    detached, k1 gives the gradient of J. k2 and k3 give another one there. So does exact, which is the same for all
    actions of a step: it weighs future steps only, and needs exact as a loss beside it.

    Args:
        kind: "k1", "k2", "k3" or "exact".
        log_policy, prior_log_probs, actions: see the module. What stands after a sequence's end is no estimate.

    Raises:
        ValueError: no such kind.
    """
    checks.one_of("kind", kind, KL_KINDS)
    if kind == "exact":
        return (log_policy.exp() * (log_policy - prior_log_probs)).sum(-1)
    log_ratio = taken(prior_log_probs, actions) - taken(log_policy, actions)
    if kind == "k1":
        return -log_ratio
    if kind == "k2":
        return log_ratio.square() / 2
    return torch.expm1(log_ratio) - log_ratio  # expm1: near r = 1 exp(log r) - 1 loses its digits


def per_token(loss: Tensor, mask: Tensor) -> Tensor:
    """Turn a mean over sequences into one over tokens, learner.py's scale, given mask [B, T]."""
    return loss * len(mask) / mask.sum()
