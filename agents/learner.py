"""One soft-Q learner; Q-, Psi- and G-learning hand in their target function (targets.py)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.captured import Captured
from agents.networks import ValueNetwork, start_at_mean
from agents.replay import Sequences
from agents.targets import Objective, discounts, taken, within
from seqtutor_envs.network import resolve_precision

ROUNDED = 8  # on a GPU, lengths of batches are multiples of this: each length is captured for itself


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
    # On a GPU torch's own setting decides whether products of float32 are TF32's (torch.backends.cudnn.allow_tf32).
    precision: str = "float32"
    # Nats where the loss turns from squared to linear; None = squared. Targets of deterministic tasks agree at the
    # optimum, so it stays where it is. At c = .5 a broken rule costs 200 nats, and 20 leaves .04% of them after 10 s, 5
    # leaves .15%.
    huber: float | None = 20.0
    double: bool = False  # Q-learning's greedy actions in targets are chosen by the online network

    def __post_init__(self) -> None:
        for name in ("gamma", "lam", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)!r}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {self.precision!r}.")
        for name in ("learning_rate", "value_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}.")


class Values(NamedTuple):
    """Of one batch, [B, T, V]."""

    online: Tensor  # with its graph
    target: Tensor


class SoftQLearner:
    """Online and target network, optimiser, `update(batch)`.

    On a GPU an update is a CUDA graph (captured.py), which reads weights, moments and learning rates where they were
    when it was recorded: they are changed in place.

    Args:
        network: the online network; the target network starts as its copy. All that is learned stays on its device,
            and batches are moved there.
        objective: target function and form of the policy.

    Raises ValueError for a precision that the network's device does not have.
    """

    def __init__(self, network: ValueNetwork, objective: Objective, settings: LearnerSettings) -> None:
        if settings.double and not objective.greedy:
            raise ValueError("double is Q-learning's: the targets of Psi and G have no maximum.")
        self.network, self.objective, self.settings = network, objective, settings
        network.precision = resolve_precision(settings.precision, network.device)
        self.target_network = copy.deepcopy(network).requires_grad_(False)
        self.target_network.core.rnn.flatten_parameters()  # a GPU wants one block of memory, which copying tears apart
        self._rates = [settings.learning_rate, settings.learning_rate * settings.value_rate]
        self._gpu = network.device.type == "cuda"
        rates = [torch.tensor(rate, device=network.device) if self._gpu else rate for rate in self._rates]
        groups = zip((network.core.parameters(), network.state_value.parameters()), rates)
        parameters = [{"params": list(parameters), "lr": rate} for parameters, rate in groups]
        fused = network.device.type in ("cpu", "cuda")  # a third of the time of torch's loop
        self.optimizer = torch.optim.Adam(parameters, fused=fused, capturable=self._gpu)
        self._captured = Captured(self._step)
        # which puts other moments, and copies of the rates, in the place of those that a graph knows
        self.optimizer.register_load_state_dict_post_hook(lambda optimizer: self._captured.forget())

    def look(self, batch: Sequences) -> Values | None:
        """The values of a batch whose rewards are not known yet, for `update`; None where they will be others by then:
        at the first update v may be raised to the mean target. None on a GPU, where they are part of one graph."""
        if self._gpu or not self.optimizer.state and self.settings.lam > 0.0:
            return None
        tokens, _, _, prior_log_probs = batch.tensors(self.network.device)
        return self._values(tokens, prior_log_probs)

    def _values(self, tokens: Tensor, prior_log_probs: Tensor) -> Values:
        online = self.network.values(tokens, prior_log_probs)
        if self.settings.tau == 1.0:  # without a lag the target network is the online network
            return Values(online, online.detach())
        # whole returns (lam = 1) are made of log pi; V, where v would count, has no share in them
        with_v = self.settings.lam < 1.0
        with torch.no_grad():
            return Values(online, self.target_network.values(tokens, prior_log_probs, with_v))

    def update(self, batch: Sequences, ahead: Values | None = None) -> dict[str, float]:
        """One gradient step on the mean loss over the batch's tokens; its statistics.

        Args:
            batch: what to learn from.
            ahead: what `look` gave for the same batch, since the last update.
        """
        tensors = batch.tensors(self.network.device)
        if self._gpu:
            tensors = lengthened(*tensors, ROUNDED)
        if not self.optimizer.state and self.settings.lam > 0.0:
            self._begin(*tensors)
        loss, error, norm = self._captured(*tensors) if ahead is None else self._step(*tensors, ahead)
        return {"loss": float(loss), "td_error": float(error), "grad_norm": float(norm)}

    @torch.no_grad()
    def _begin(self, tokens: Tensor, lengths: Tensor, task_reward: Tensor, prior_log_probs: Tensor) -> None:
        """Raises v to the mean target, before the first update."""
        online = self.network.values(tokens, prior_log_probs)
        values = Values(online, self.target_network.values(tokens, prior_log_probs))
        first = taken(online, tokens)
        begin = self._targets(tokens, lengths, task_reward, prior_log_probs, values)
        start_at_mean((self.network, self.target_network), begin - first, within(lengths, tokens.shape[1]))

    def _step(
        self,
        tokens: Tensor,
        lengths: Tensor,
        task_reward: Tensor,
        prior_log_probs: Tensor,
        ahead: Values | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One gradient step; the loss, the mean |error| and the gradient's norm, each a tensor [].

        It is recorded as a CUDA graph: nothing here may look at a tensor's values.
        """
        s = self.settings
        mask = within(lengths, tokens.shape[1])
        if ahead is None:
            ahead = self._values(tokens, prior_log_probs)
        online = taken(ahead.online, tokens)
        y = self._targets(tokens, lengths, task_reward, prior_log_probs, ahead)
        losses = nn.functional.mse_loss(online, y, reduction="none") / 2
        if s.huber is not None:
            losses = nn.functional.huber_loss(online, y, reduction="none", delta=s.huber)
        loss = (losses * mask).sum() / mask.sum()
        self.optimizer.zero_grad(set_to_none=True)  # so that a graph's gradients lie in memory of its own
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), s.max_grad_norm)
        self.optimizer.step()
        self._follow()
        error = (online.detach() - y) * mask
        return loss.detach(), error.abs().sum() / mask.sum(), norm

    @torch.no_grad()
    def _targets(
        self, tokens: Tensor, lengths: Tensor, task_reward: Tensor, prior_log_probs: Tensor, values: Values
    ) -> Tensor:
        """y [B, T] by the target network's values; where double, the online network's choose among them."""
        return self.objective.target(
            task_reward,
            self.network.prior_weight * prior_log_probs,
            tokens,
            values.target,
            discounts(lengths, tokens.shape[1], self.settings.gamma),
            self.settings.lam,
            **({"online": values.online.detach()} if self.settings.double else {}),
        )

    def set_progress(self, done: float) -> None:
        """Lets the learning rate be its first value times 1 - `done`, 0..1."""
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            now = rate * (1.0 - done)
            if isinstance(group["lr"], Tensor):  # on a GPU, where a graph reads it
                group["lr"].fill_(now)
            else:
                group["lr"] = now

    def _follow(self) -> None:
        """Moves the target network towards the online one (moving average)."""
        with torch.no_grad():
            for slow, fast in zip(self.target_network.parameters(), self.network.parameters()):
                slow.lerp_(fast, self.settings.tau)


def lengthened(
    tokens: Tensor, lengths: Tensor, task_reward: Tensor, prior_log_probs: Tensor, multiple: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch with filler up to a multiple of so many steps: B sequences of T' >= T steps."""
    more = -tokens.shape[1] % multiple
    tokens, task_reward = (nn.functional.pad(part, (0, more)) for part in (tokens, task_reward))
    return tokens, lengths, task_reward, nn.functional.pad(prior_log_probs, (0, 0, 0, more))
