"""The three targets: worked by hand, by a plain loop, and at the enumerated optimum."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import seqtutor_envs  # noqa: F401
from agents.targets import OBJECTIVES, discounts, g_target, psi_target, q_target

LN2, LN3 = math.log(2.0), math.log(3.0)

# Two tokens, two steps, gamma 1/2. s_0: log p = (-ln 2, -ln 2), a_0 = 1, r_T/c = 3. s_1: log p = (-ln 3, ln 2 - ln 3),
# a_1 = 0, r_T/c = -1, the last token. Values at s_1: (0, ln 3): their maximum is ln 3, their log sum exp is ln 4.
REWARD = torch.tensor([[3.0, -1.0]])
LOG_P = torch.tensor([[[-LN2, -LN2], [-LN3, LN2 - LN3]]])
ACTIONS = torch.tensor([[1, 0]])
VALUES = torch.tensor([[[9.0, -9.0], [0.0, LN3]]])
DISCOUNT = torch.tensor([[0.5, 0.0]])


@pytest.mark.parametrize(
    "target, lam, expected",
    [
        (q_target, 0.0, [-LN2 + 3.0 + 0.5 * LN3, -LN3 - 1.0]),
        (psi_target, 0.0, [-LN2 + 3.0 + 0.5 * 2 * LN2, -LN3 - 1.0]),
        # log( 1/3 e^0 + 2/3 e^(ln 3) ) = log(1/3 + 2) = log(7/3); no log p of the action itself
        (g_target, 0.0, [3.0 + 0.5 * math.log(7 / 3), -1.0]),
        # along the whole sequence: y_1 = -ln 3 - 1; log pi(a_1 = 0|s_1) = 0 - ln 4; y_0 = -ln 2 + 3 + 1/2 (y_1 + ln 4)
        (psi_target, 1.0, [-LN2 + 3.0 + 0.5 * (-LN3 - 1.0 + 2 * LN2), -LN3 - 1.0]),
        # log pi(a_1 = 0|s_1) = -ln 3 + 0 - log(7/3); y_0 = 3 + 1/2 ( y_1 + log p - log pi ) = 3 + 1/2 ( -1 + log(7/3) )
        (g_target, 1.0, [3.0 + 0.5 * (-1.0 + math.log(7 / 3)), -1.0]),
    ],
)
def test_targets_by_hand(target, lam, expected):
    torch.testing.assert_close(target(REWARD, LOG_P, ACTIONS, VALUES, DISCOUNT, lam), torch.tensor([expected]))


@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_q_has_one_step_targets_only(lam):
    with pytest.raises(ValueError, match="lam must be 0"):
        q_target(REWARD, LOG_P, ACTIONS, VALUES, DISCOUNT, lam)


def random_batch(seed: int, horizon: int = 5, size: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([horizon, 2, 1])
    draw = dict(generator=generator, dtype=torch.float64)
    return {
        "task_reward": torch.randn(3, horizon, **draw),
        "prior_log_probs": torch.randn(3, horizon, size, **draw).log_softmax(-1),
        "actions": torch.randint(size, (3, horizon), generator=generator),
        "values": torch.randn(3, horizon, size, **draw),
        "discount": discounts(lengths, horizon, 0.9).double(),
    }


def by_loop(name: str, batch: dict[str, Tensor], lam: float) -> list[list[float]]:
    """The same formulas, one number at a time, from the last step back."""
    result = []
    for b in range(len(batch["actions"])):
        row: list[float] = []
        ahead_y = 0.0
        horizon = batch["actions"].shape[1]
        for t in reversed(range(horizon)):
            a = int(batch["actions"][b, t])
            log_p = batch["prior_log_probs"][b, t].tolist()
            y = float(batch["task_reward"][b, t]) + (0.0 if name == "g" else log_p[a])
            if t + 1 < horizon:
                a2 = int(batch["actions"][b, t + 1])
                p2, x = batch["prior_log_probs"][b, t + 1].tolist(), batch["values"][b, t + 1].tolist()
                scores = [p + v for p, v in zip(p2, x)] if name == "g" else x
                soft = math.log(sum(math.exp(s) for s in scores))
                v = max(x) if name == "q" else soft
                path = ahead_y - (scores[a2] - soft) + (p2[a2] if name == "g" else 0.0)
                y += float(batch["discount"][b, t]) * ((1 - lam) * v + lam * path)
            row.insert(0, y)
            ahead_y = y
        result.append(row)
    return result


@pytest.mark.parametrize("name, lam", [("q", 0.0), *((n, lam) for n in ("psi", "g") for lam in (0.0, 0.4, 1.0))])
def test_a_plain_loop_gives_the_same_targets(name, lam):
    batch = random_batch(1)
    target = OBJECTIVES[name].target(**batch, lam=lam)
    torch.testing.assert_close(target, torch.tensor(by_loop(name, batch, lam), dtype=torch.float64))


@pytest.mark.parametrize("name, lam", [("q", 0.0), ("psi", 0.0), ("psi", 0.7), ("g", 0.0), ("g", 0.7)])
def test_padding_changes_no_target(name, lam):
    batch = random_batch(2)
    before = OBJECTIVES[name].target(**batch, lam=lam)
    for field in ("task_reward", "prior_log_probs", "values"):
        batch[field][1, 2:] = 7.0  # the second sequence has two tokens, the third one
        batch[field][2, 1:] = -5.0
    after = OBJECTIVES[name].target(**batch, lam=lam)
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1, :2], before[1, :2])
    torch.testing.assert_close(after[2, :1], before[2, :1])


def test_discounts_are_zero_from_the_last_token_on():
    assert discounts(torch.tensor([3, 1]), 3, 0.5).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def enumerated(gamma: float) -> dict[str, Tensor]:
    """All sequences of an exact task with the optimal Psi and G at each of their states, from the soft Bellman
    equation."""
    env = gym.make("SeqTutor-Exact-v0", vocab_size=3, length=4, seed=5).unwrapped
    tokens = env.solution()["sequences"]
    log_p = env.prior.log_probs(tokens).astype(np.float64)
    reward = env.task.reward(tokens) / env.c
    psi: dict[tuple[int, ...], np.ndarray] = {}
    for length in reversed(range(4)):
        for i, row in enumerate(tokens):
            prefix = tuple(row[:length])
            if prefix in psi:
                continue
            ahead = np.empty(3)
            for a in range(3):
                j = next(j for j, other in enumerate(tokens) if tuple(other[: length + 1]) == (*prefix, a))
                following = 0.0 if length == 3 else np.logaddexp.reduce(psi[(*prefix, a)])
                ahead[a] = log_p[i, length, a] + reward[j, length] + gamma * following
            psi[prefix] = ahead
    values = np.array([[psi[tuple(row[:t])] for t in range(4)] for row in tokens])
    return {"tokens": tokens, "log_p": log_p, "reward": reward, "psi": values, "g": values - log_p}


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["psi", "g"])
def test_the_enumerated_optimum_is_the_fixed_point(name, lam, gamma):
    exact = {key: torch.as_tensor(value) for key, value in enumerated(gamma).items()}
    tokens = exact["tokens"]  # all sequences: actions of the optimum and others alike
    discount = discounts(torch.full((len(tokens),), 4), 4, 1.0).double() * gamma
    target = OBJECTIVES[name].target(exact["reward"], exact["log_p"], tokens, exact[name], discount, lam)
    values = exact[name].gather(-1, tokens[:, :, None])[:, :, 0]
    torch.testing.assert_close(target, values, rtol=0.0, atol=1e-10)
