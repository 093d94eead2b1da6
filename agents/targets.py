"""The regression targets of Q-, Psi- and G-learning. All three end in `soft_return`.

B sequences, T steps, V tokens; natural logs. Arguments, the same for all three:

    task_reward      [B, T]     r_T(s_t, a_t) / c
    prior_log_probs  [B, T, V]  log p(. | s_t), already times `prior_weight`
    actions          [B, T]     a_t, the executed token
    values           [B, T, V]  the target network's Q, Psi or G at s_t; nothing here carries a gradient
    discount         [B, T]     gamma, and 0 at a sequence's last token and after it, so that no formula knows `done`
    lam              0..1       0 is the paper's one-step target; see `soft_return`

and all three return y [B, T], the target of the value at (s_t, a_t). "Sequence Tutor" (Jaques et al., ICML 2017) is
cited by equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def q_target(
    task_reward: Tensor,
    prior_log_probs: Tensor,
    actions: Tensor,
    values: Tensor,
    discount: Tensor,
    lam: float = 0.0,
    online: Tensor | None = None,
) -> Tensor:
    """Compute eq. 5, Q-learning with log-prior augmentation: log p(a|s) + r_T/c + gamma max_a' Q-(s', a').

    With the online network's values [B, T, V] it is double Q-learning (van Hasselt et al. 2016): they choose a', and
    Q- gives its value.

    Raises:
        ValueError: lam > 0. V = Q - log pi, on which the multi-step return rests, holds for Psi and G only.
    """
    if lam > 0.0:
        raise ValueError(f"Q-learning has one-step targets only: lam must be 0, not {lam}.")
    reward = task_reward + taken(prior_log_probs, actions)
    state_values = values.amax(-1) if online is None else taken(values, online.argmax(-1))
    # lam is 0, which leaves the bonus no share
    return soft_return(reward, shifted_left(state_values), torch.zeros_like(reward), discount, lam)


def psi_target(
    task_reward: Tensor, prior_log_probs: Tensor, actions: Tensor, values: Tensor, discount: Tensor, lam: float = 0.0
) -> Tensor:
    """Compute eq. 9, generalised Psi-learning: log p(a|s) + r_T/c + gamma log sum_a' exp Psi-(s', a')."""
    reward = task_reward + taken(prior_log_probs, actions)
    state_values = values.logsumexp(-1)
    log_policy = taken(values, actions) - state_values
    return soft_return(reward, shifted_left(state_values), shifted_left(-log_policy), discount, lam)


def g_target(
    task_reward: Tensor, prior_log_probs: Tensor, actions: Tensor, values: Tensor, discount: Tensor, lam: float = 0.0
) -> Tensor:
    """Compute eq. 11, G-learning: r_T/c + gamma log sum_a' exp( log p(a'|s') + G-(s', a') ).

    At the optimum Psi = log p + G.
    """
    psi = prior_log_probs + values
    state_values = psi.logsumexp(-1)
    log_policy = taken(psi, actions) - state_values
    # the reward of the next step lacks its log p, which its share of the return along the sequence needs
    return soft_return(
        task_reward,
        shifted_left(state_values),
        shifted_left(taken(prior_log_probs, actions) - log_policy),
        discount,
        lam,
    )


def soft_return(reward: Tensor, next_state_values: Tensor, next_bonus: Tensor, discount: Tensor, lam: float) -> Tensor:
    """Compute the multi-step soft return (ours) by one backward scan over [B, T]:

        y_t = r_t + gamma_t [ (1 - lam) V(s_{t+1}) + lam ( y_{t+1} + bonus_{t+1} ) ]

    At the optimum V(s) = Psi(s, a) - log pi(a|s) for every action, so with bonus = -log pi (for G: log p - log pi)
    every lam has the same fixed point, on- and off-policy (path consistency). Column t of the `next_` arguments
    belongs to step t + 1.
    """
    if lam == 0.0:
        return reward + discount * next_state_values
    returns = reward + discount * ((1.0 - lam) * next_state_values + lam * next_bonus)  # but for y_{t+1}
    share = (discount * lam).unbind(1)
    # from the end, a column at a time: y_t is made from y_{t+1}
    backwards = list(reversed(returns.unbind(1)))
    for t in range(1, len(backwards)):
        backwards[t] = torch.addcmul(backwards[t], share[-1 - t], backwards[t - 1])
    return torch.stack(backwards[::-1], dim=1)


def taken(rows: Tensor, actions: Tensor) -> Tensor:
    """Take rows [B, T, V] at actions [B, T]: [B, T]."""
    return rows.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def shifted_left(x: Tensor) -> Tensor:
    """Shift x [B, T] so that column t holds column t + 1; the last is 0, as the discount is there."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def within(lengths: Tensor, horizon: int) -> Tensor:
    """Return 1 [B, T] at the first `lengths` [B] steps, 0 after them."""
    return (torch.arange(horizon, device=lengths.device) < lengths[:, None]).float()


def discounts(lengths: Tensor, horizon: int, gamma: float) -> Tensor:
    """Return gamma [B, T], and 0 at a sequence's last token and after it."""
    return gamma * within(lengths - 1, horizon)


@dataclass(frozen=True)
class Objective:
    """Hold what differs between the paper's three agents.

    Attributes:
        target: the regression target, one of the functions above.
        residual: True if values come on top of log p (G): the policy is softmax(log p + values), not
            softmax(values).
        greedy: True if the policy is greedy (with epsilon) while it learns; else it is sampled from.
    """

    target: Callable[..., Tensor]
    residual: bool
    greedy: bool


OBJECTIVES = {
    "q": Objective(q_target, residual=False, greedy=True),
    "psi": Objective(psi_target, residual=False, greedy=False),
    "g": Objective(g_target, residual=True, greedy=False),
}
