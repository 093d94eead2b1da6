"""Baselines for the tutors: a fixed policy (the prior), uniform tokens, and a plain KL-controlled policy gradient.

B sequences, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.base import SequenceAgent
from agents.envs import AnyEnv
from agents.learner import RANGES as LEARNER_RANGES
from agents.learner import check_finite
from agents.networks import Policy, ValueNetwork, start_at_mean
from agents.rollouts import Rollout
from agents.store.replay import Sequences
from agents.targets import discounts, shifted_left, taken, within
from seqtutor_envs.checks import Range
from seqtutor_envs.prior import Prior, State, token_log_probs
from seqtutor_envs.prior.network import adam_steps
from seqtutor_envs.vocab import TokenVocab

RANGES = {
    **{name: LEARNER_RANGES[name] for name in ("gamma", "lam", "learning_rate", "max_grad_norm")},
    "value_weight": Range(0.0, 1e4),
}


class UniformPolicy(Prior):
    """Give every token the same probability at every step."""

    def __init__(self, vocab: TokenVocab, length: int) -> None:
        self.vocab, self.length = vocab, length

    def initial_state(self, n: int) -> State:
        # nothing to remember, but callers count sequences by the rows of a state
        return (np.zeros((n, 0)),)

    def step(self, tokens: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        return np.full((len(tokens), len(self.vocab)), -np.log(len(self.vocab)), np.float32), state


class FixedPolicy:
    """Wrap a sequence model as an agent that does not learn: `sample` and `log_prob` are all that `evaluate` needs."""

    def __init__(self, policy: Prior, length: int) -> None:
        self.policy, self.length = policy, length

    def sample(self, n: int, seed: int, temperature: float = 1.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sample n sequences: tokens [n, T] and lengths [n]."""
        return self.policy.sample(n, seed, self.length, temperature)

    def log_prob(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Compute log pi [n] of whole sequences [n, T]."""
        return token_log_probs(self.policy.log_probs(tokens, lengths), tokens, lengths).sum(axis=1)


class PolicyGradient(SequenceAgent):
    """Learn by a plain KL-controlled policy gradient: advantage actor-critic on r_T/c + log p - log pi.

    It is the rival of the soft-Q agents, given the same network, core and time. It has no replay and no target network,
    and normalises advantages over the rollout. Its defaults were tuned on melodies, like those of the soft-Q agents.

    Args:
        env, seed, n_envs, prior, diversity, device, verbose, tensorboard_log, env_kwargs: as for the tutors.
        gamma, lam: discount, and lambda of generalised advantage estimation.
        learning_rate: of Adam; J of melodies after 20 s of one core is 34 nats with 1e-3, 30 with 5e-4.
        value_weight: factor on the value loss.
        max_grad_norm: of all gradients together.
        anneal: True lets the learning rate fall linearly to 0 over the timesteps that `learn` is asked for.
    """

    ranges = RANGES
    trained = {"network": "network", "optimizer": "adam"}

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        gamma: float = 1.0,
        lam: float = 0.95,
        learning_rate: float = 1e-3,
        value_weight: float = 0.5,
        max_grad_norm: float = 1.0,
        anneal: bool = False,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        settings = {
            "gamma": gamma, "lam": lam, "learning_rate": learning_rate, "value_weight": value_weight,
            "max_grad_norm": max_grad_norm, "anneal": anneal, "diversity": diversity,
        }  # fmt: skip
        super().__init__(
            env, seed=seed, n_envs=n_envs, prior=prior, diversity=diversity, device=device, verbose=verbose,
            tensorboard_log=tensorboard_log, env_kwargs=env_kwargs, settings=settings,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(self.seed)
        self.network = ValueNetwork(self.prior, residual=False, prior_weight=1.0, generator=generator).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), self.settings["learning_rate"])

    def policy(self) -> Policy:
        return Policy(self.network, self.prior, self.horizon)

    def collect(self) -> Rollout:
        return self.rollouts.collect(self.current_policy(), self.rng)

    def improve(self, sequences: Sequences) -> dict[str, float]:
        batch = sequences.cut().tensors(self.device)
        horizon = batch.tokens.shape[1]
        mask, discount = within(batch.lengths, horizon), discounts(batch.lengths, horizon, self.settings["gamma"])
        log_policy, values = self.network(batch.tokens, batch.prior_log_probs)
        log_taken = taken(log_policy, batch.tokens)
        # detached: log pi counts in the reward as a number, and has its gradient from the policy's loss
        reward = (batch.task_rewards + taken(batch.prior_log_probs, batch.tokens) - log_taken).detach()
        if not self.optimizer.state:  # as the tutors' v, it starts at the mean return instead of 0
            returns = (reward * mask).flip(1).cumsum(1).flip(1)
            values = values + start_at_mean([self.network], returns - values.detach(), mask)
        advantage = estimate_advantage(reward, values.detach(), discount, self.settings["lam"]) * mask
        # advantage + value is the target, a number: gradients come from the second `values` alone
        value_loss = ((advantage + values.detach() - values) ** 2 * mask).sum() / mask.sum()
        # mean and spread over real tokens: filler would pull both towards 0
        mean = advantage.sum() / mask.sum()
        spread = (((advantage - mean) ** 2 * mask).sum() / mask.sum()).sqrt()
        # 1e-8: the advantages of a rollout may all be equal
        policy_loss = -((advantage - mean) / (spread + 1e-8) * log_taken * mask).sum() / mask.sum()
        if self.settings["anneal"]:
            left = 1.0 - self.num_timesteps / self.total_timesteps
            self.optimizer.param_groups[0]["lr"] = self.settings["learning_rate"] * left
        self.optimizer.zero_grad()
        (policy_loss + self.settings["value_weight"] * value_loss).backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["max_grad_norm"])
        losses = {"policy_loss": policy_loss.detach(), "value_loss": value_loss.detach(), "grad_norm": norm}
        statistics = {name: float(value) for name, value in losses.items()}
        check_finite(statistics, self.settings["learning_rate"])
        self.optimizer.step()
        return statistics | {
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "n_updates": adam_steps(self.optimizer),
        }


def estimate_advantage(reward: Tensor, values: Tensor, discount: Tensor, lam: float) -> Tensor:
    """Estimate advantages over [B, T] by generalised advantage estimation (Schulman et al. 2016)."""
    error = reward + discount * shifted_left(values) - values
    advantage, following = torch.empty_like(error), torch.zeros_like(error[:, 0])
    for t in reversed(range(error.shape[1])):
        advantage[:, t] = following = error[:, t] + lam * discount[:, t] * following
    return advantage
