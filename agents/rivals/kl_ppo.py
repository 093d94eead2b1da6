"""PPO with a KL penalty to the prior, as language models are tuned (Ziegler et al. 2019; Stiennon et al. 2020).

N sequences in a round, B in an update, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agents.baselines import estimate_advantage
from agents.envs import AnyEnv
from agents.learner import RANGES as LEARNER_RANGES
from agents.learner import Learner, OptimizerSettings
from agents.losses import KL_KINDS, clipped_policy_gradient, kl_estimate, per_token
from agents.networks import ValueNetwork, start_at_mean
from agents.replay_agent import RANGES as REPLAY_RANGES
from agents.replay_agent import ReplayAgent
from agents.store.replay import Batch, Sequences, select
from agents.targets import discounts, taken, within
from seqtutor_envs.checks import COUNT, Range, one_of
from seqtutor_envs.prior import Prior

PLACES = ("reward", "loss")
RANGES = {
    **{name: LEARNER_RANGES[name] for name in ("gamma", "lam", "learning_rate", "max_grad_norm")},
    **{name: REPLAY_RANGES[name] for name in ("c_start", "target_kl")},
    "epochs": COUNT,
    "batch_size": replace(COUNT, optional=True),
    "clip_range": Range(0.0, 1e3, above=True),
    "value_weight": Range(0.0, 1e4),
}


class PPOLearner(Learner):
    """Follow the gradient of PPO's clipped surrogate, the value loss and, where it stands in the loss, the KL.

    Args:
        network, optimizing: see Learner.
        clip_range: see losses.clipped_policy_gradient.
        value_weight: factor on the value loss.
        estimator: of the KL in the loss; None where it stands in the reward.
    """

    def __init__(
        self,
        network: ValueNetwork,
        optimizing: OptimizerSettings,
        clip_range: float,
        value_weight: float,
        estimator: str | None,
    ) -> None:
        super().__init__(network, optimizing)
        self.clip_range, self.value_weight, self.estimator = clip_range, value_weight, estimator

    def _loss(self, batch: Batch, *further: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss and the mean error of v.

        Args:
            batch: B sequences.
            further: log pi of the tokens as they were sampled, advantages, the values' targets, and the weight of the
                KL, each [B, T] and 0 after the ends.
        """
        old_log_taken, advantages, value_targets, kl_weight = further
        mask = within(batch.lengths, batch.tokens.shape[1])
        log_policy, values = self.network(batch.tokens, batch.prior_log_probs)
        log_taken = taken(log_policy, batch.tokens)
        loss = clipped_policy_gradient(log_taken, old_log_taken, advantages, mask, self.clip_range)
        if self.estimator is not None:
            kl = kl_estimate(self.estimator, log_policy, batch.prior_log_probs, batch.tokens)
            loss = loss + (kl * kl_weight).sum() / len(mask)
        error = (values - value_targets) * mask
        value_loss = error.square().sum() / mask.sum()
        return per_token(loss, mask) + self.value_weight * value_loss, error.detach().abs().sum() / mask.sum()


class KLPPO(ReplayAgent):
    """Learn by PPO (Schulman et al. 2017) with a KL penalty to the prior.

    Each round is learned from several times. Its advantages are centred and divided by their spread, and so is a KL in
    the loss, whose weight beside the reward stays 1.

    Args:
        env, seed, n_envs, prior, anneal, c_start, target_kl, diversity, device, verbose, tensorboard_log, env_kwargs:
            as for the tutors.
        gamma, lam: discount, and lambda of generalised advantage estimation.
        kl: where KL(pi || p) stands, in the "reward" or in the "loss".
        estimator: of each step's KL: "k1", "k2", "k3" or "exact", see losses.kl_estimate. k1 in the reward is the
            objective J itself.
        epochs: times that a round is learned from.
        batch_size: sequences in an update; None: a quarter of the round.
        clip_range: how far pi / pi_old may leave 1.
        value_weight: factor on the value loss.
        learning_rate, max_grad_norm, precision: see OptimizerSettings.
    """

    ranges = RANGES
    trained = {"network": "network", "learner.optimizer": "adam"}
    learner: PPOLearner

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        gamma: float = 1.0,
        lam: float = 0.95,
        kl: str = "reward",
        estimator: str = "k1",
        epochs: int = 4,
        batch_size: int | None = None,
        clip_range: float = 0.2,
        value_weight: float = 0.5,
        learning_rate: float = 5e-4,
        anneal: bool = False,
        max_grad_norm: float = 1.0,
        precision: str = "float32",
        c_start: float | None = None,
        target_kl: float | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        one_of("kl", kl, PLACES)
        one_of("estimator", estimator, KL_KINDS)
        settings = {
            "gamma": gamma, "lam": lam, "kl": kl, "estimator": estimator, "epochs": epochs, "batch_size": batch_size,
            "clip_range": clip_range, "value_weight": value_weight, "learning_rate": learning_rate, "anneal": anneal,
            "max_grad_norm": max_grad_norm, "precision": precision, "c_start": c_start, "target_kl": target_kl,
            "diversity": diversity,
        }  # fmt: skip
        super().__init__(
            env, seed=seed, n_envs=n_envs, prior=prior, diversity=diversity, device=device, verbose=verbose,
            tensorboard_log=tensorboard_log, env_kwargs=env_kwargs, settings=settings,
        )  # fmt: skip
        given = self.settings
        generator = torch.Generator().manual_seed(self.seed)
        network = ValueNetwork(self.prior, residual=False, prior_weight=1.0, generator=generator)
        self.network = network.to(self.device)
        names = ("learning_rate", "max_grad_norm", "precision")
        optimizing = OptimizerSettings(**{name: given[name] for name in names})
        in_loss = estimator if kl == "loss" else None
        self.learner = PPOLearner(self.network, optimizing, given["clip_range"], given["value_weight"], in_loss)
        size = given["batch_size"] or max(1, self.n_envs // 4)
        self._attach_memories(
            given | {"batch_size": size, "buffer_size": 1, "updates_per_round": 1}
            # it learns from its own samples alone
            | {"store": None, "on_repeats": None, "candidates": 1, "rank_by": None}
        )

    def _learn_from(self, newest: Sequences) -> list[dict[str, float]]:
        """Learn from a round in epochs of shuffled parts."""
        round_ = self.temperature.rescale(newest).cut()
        further = self._estimate(round_.tensors(self.device))
        statistics = []
        for _ in range(self.settings["epochs"]):
            order = self.rng.permutation(len(round_.lengths))
            for begin in range(0, len(order), self.batch_size):
                rows = order[begin : begin + self.batch_size]
                chosen = torch.from_numpy(rows).to(self.device)
                statistics.append(self.learner.update(select(round_, rows), *(tensor[chosen] for tensor in further)))
        return statistics

    @torch.no_grad()
    def _estimate(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log pi, advantages, the values' targets and the KL's weight of a round, each [N, T]."""
        horizon = batch.tokens.shape[1]
        mask, discount = within(batch.lengths, horizon), discounts(batch.lengths, horizon, self.settings["gamma"])
        log_policy, values = self.network(batch.tokens, batch.prior_log_probs)
        reward = batch.task_rewards
        if self.settings["kl"] == "reward":
            estimator = self.settings["estimator"]
            reward = reward - kl_estimate(estimator, log_policy, batch.prior_log_probs, batch.tokens)
        reward = reward * mask
        if not self.learner.optimizer.state:  # as the tutors' v, it starts at the mean return instead of 0
            returns = reward.flip(1).cumsum(1).flip(1)
            values = values + start_at_mean([self.network], returns - values, mask)
        advantages = estimate_advantage(reward, values, discount, self.settings["lam"]) * mask
        targets = (advantages + values) * mask
        mean = advantages.sum() / mask.sum()
        # 1e-8: the advantages of a round may all be equal
        spread = ((advantages - mean).square() * mask).sum().div(mask.sum()).sqrt() + 1e-8
        old_log_taken = taken(log_policy, batch.tokens) * mask
        return old_log_taken, (advantages - mean) / spread * mask, targets, mask / spread
