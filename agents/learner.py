"""One soft-Q learner; Q-, Psi- and G-learning hand in their target function (targets.py)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.networks import ValueNetwork
from agents.replay import Sequences
from agents.targets import Objective, discounts, taken


@dataclass(frozen=True)
class LearnerSettings:
    """How values are regressed on their targets."""

    gamma: float = 1.0
    lam: float = 0.0
    learning_rate: float = 1e-3  # Adam
    value_rate: float = 1.0  # v's learning rate over that
    # Share of the online network that enters the target network at each update; 1 = no lag. On whole returns it hardly
    # matters (J of melodies after 20 s: 32.7 nats with .1, 32.6 with 1); one-step targets need some lag.
    tau: float = 0.1
    max_grad_norm: float = 1.0  # global
    # Of the recurrent core's products while learning; or "bfloat16", with which an update of LSTM-256 takes .55 of its
    # time where the CPU has such products (J of QED after 1,000,000 tokens 40.97 nats for 41.45, errors .19 and .16).
    precision: str = "float32"
    # Nats where the loss turns from squared to linear; None = squared. Targets of deterministic tasks agree at the
    # optimum, so it stays where it is. At c = .5 a broken rule costs 200 nats, and 20 leaves .04% of them after 10 s, 5
    # leaves .15%.
    huber: float | None = 20.0

    def __post_init__(self) -> None:
        for name in ("gamma", "lam", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)!r}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {self.precision!r}.")
        for name in ("learning_rate", "value_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}.")


class SoftQLearner:
    """Online and target network, optimiser, `update(batch)`.

    Args:
        network: the online network; the target network starts as its copy.
        objective: target function and form of the policy.
    """

    def __init__(self, network: ValueNetwork, objective: Objective, settings: LearnerSettings) -> None:
        self.network, self.objective, self.settings = network, objective, settings
        network.precision = settings.precision
        self.target_network = copy.deepcopy(network).requires_grad_(False)
        self._rates = [settings.learning_rate, settings.learning_rate * settings.value_rate]
        groups = zip((network.core.parameters(), network.state_value.parameters()), self._rates)
        self.optimizer = torch.optim.Adam([{"params": list(parameters), "lr": rate} for parameters, rate in groups])

    def update(self, batch: Sequences) -> dict[str, float]:
        """One gradient step on the mean loss over the batch's tokens; its statistics."""
        s = self.settings
        tokens, lengths, _, prior_log_probs = batch.tensors()
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).float()
        y = self._targets(batch)
        if not self.optimizer.state and s.lam > 0.0:
            self._start_values(batch, y, mask)
            y = self._targets(batch)
        online = taken(self.network.values(tokens, prior_log_probs), tokens)
        losses = nn.functional.mse_loss(online, y, reduction="none") / 2
        if s.huber is not None:
            losses = nn.functional.huber_loss(online, y, reduction="none", delta=s.huber)
        loss = (losses * mask).sum() / mask.sum()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), s.max_grad_norm)
        self.optimizer.step()
        self._follow()
        error = (online.detach() - y) * mask
        return {
            "loss": float(loss.detach()),
            "td_error": float(error.abs().sum() / mask.sum()),
            "grad_norm": float(norm),
        }

    @torch.no_grad()
    def _targets(self, batch: Sequences) -> Tensor:
        """y [B, T] by the target network."""
        tokens, lengths, task_reward, prior_log_probs = batch.tensors()
        return self.objective.target(
            task_reward,
            self.network.prior_weight * prior_log_probs,
            tokens,
            self.target_network.values(tokens, prior_log_probs),
            discounts(lengths, tokens.shape[1], self.settings.gamma),
            self.settings.lam,
        )

    @torch.no_grad()
    def _start_values(self, batch: Sequences, y: Tensor, mask: Tensor) -> None:
        """Lets v begin at the mean target instead of 0.

        Until v has climbed there, hundreds of updates later, that distance times grad log pi is nothing but noise, many
        times what tells a good sequence from a bad one.
        """
        tokens, _, _, prior_log_probs = batch.tensors()
        online = taken(self.network.values(tokens, prior_log_probs), tokens)
        distance = float(((y - online) * mask).sum() / mask.sum())
        for network in (self.network, self.target_network):
            network.raise_values(distance)

    def set_progress(self, done: float) -> None:
        """Lets the learning rate be its first value times 1 - `done`, 0..1."""
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            group["lr"] = rate * (1.0 - done)

    def _follow(self) -> None:
        """Moves the target network towards the online one (moving average)."""
        with torch.no_grad():
            for slow, fast in zip(self.target_network.parameters(), self.network.parameters()):
                slow.lerp_(fast, self.settings.tau)
