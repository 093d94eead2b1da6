"""Learners: the update that all losses share, and the soft-Q learner of the paper's three target functions.

B sequences, T steps, V tokens.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.cuda_graphs import STEP_MULTIPLE, GraphedFunction, pad_steps
from agents.networks import ValueNetwork, start_at_mean
from agents.store.replay import Batch, Sequences
from agents.targets import Objective, discounts, taken, within
from seqtutor_envs import checks
from seqtutor_envs.checks import Diverged, Range
from seqtutor_envs.prior.network import resolve_precision

RANGES = {
    "gamma": Range(0.0, 1.0),
    "lam": Range(0.0, 1.0),
    "learning_rate": Range(0.0, 1.0, above=True),  # Adam moves each weight by about so much an update
    "value_rate": Range(0.0, 1e4, above=True),
    "tau": Range(0.0, 1.0),
    "max_grad_norm": Range(0.0, 1e9, above=True),
    "huber": Range(0.0, 1e9, above=True, optional=True),
}


@dataclass(frozen=True)
class OptimizerSettings:
    """Set how a network follows the gradient of its loss."""

    learning_rate: float = 1e-3  # Adam
    value_rate: float = 1.0  # v's learning rate over that
    max_grad_norm: float = 1.0  # global
    # Number format of the recurrent core's products while learning. With "bfloat16" an update of LSTM-256 takes .55 of
    # the time on a CPU that has such products; J of QED after 1,000,000 tokens is 40.97 nats instead of 41.45 (errors
    # .19 and .16). On a GPU torch's own setting decides whether float32 means TF32 (torch.backends.cudnn.allow_tf32).
    precision: str = "float32"

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if name in RANGES}
        for name, value in checks.numbers(RANGES, given).items():
            object.__setattr__(self, name, value)
        checks.one_of("precision", self.precision, ("float32", "bfloat16"))


@dataclass(frozen=True)
class LearnerSettings(OptimizerSettings):
    """Set how values are regressed on their targets."""

    gamma: float = 1.0
    lam: float = 0.0
    # Share of the online network that enters the target network at each update; 1 = no lag. On whole returns it hardly
    # matters (J of melodies after 20 s: 32.7 nats with .1, 32.6 with 1); one-step targets need some lag.
    tau: float = 0.1
    # Nats where the loss turns from squared to linear; None = squared. Targets of deterministic tasks agree at the
    # optimum, so it stays where it is. At c = .5 a broken rule costs 200 nats, and 20 leaves .04% of them after 10 s, 5
    # leaves .15%.
    huber: float | None = 20.0
    double: bool = False  # Q-learning's greedy actions in targets are chosen by the online network

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("double", self.double, (False, True))


class Learner(ABC):
    """Take gradient steps on a loss of sequences: a network, an optimiser, and `update(sequences)`.

    Subclasses implement `_loss`. On a GPU an update is a CUDA graph (cuda_graphs.py). A graph reads weights, moments
    and learning rates at the addresses that they had when it was recorded, so all of them are changed in place.

    Args:
        network: what learns. All that is learned stays on its device, and batches are moved there.
        settings: see OptimizerSettings.
        further: parameters beside the network's, each with its learning rate.

    Raises:
        ValueError: the network's device does not have the precision.
    """

    def __init__(
        self, network: ValueNetwork, settings: OptimizerSettings, further: Sequence[tuple[nn.Parameter, float]] = ()
    ) -> None:
        self.network = network
        network.precision = resolve_precision(settings.precision, network.device)
        self._max_grad_norm = settings.max_grad_norm
        self._gpu = network.device.type == "cuda"
        # kept beside the optimiser's, which `set_progress` changes
        self._rates = [settings.learning_rate, settings.learning_rate * settings.value_rate]
        self._rates += [rate for _, rate in further]
        # on a GPU the rates are tensors, which a graph can read
        rates = [torch.tensor(rate, device=network.device) if self._gpu else rate for rate in self._rates]
        groups = [network.core.parameters(), network.state_value.parameters(), *([one] for one, _ in further)]
        self._parameters = [list(group) for group in groups]
        parameters = [{"params": group, "lr": rate} for group, rate in zip(self._parameters, rates, strict=True)]
        fused = network.device.type in ("cpu", "cuda")  # a third of the time of torch's loop
        self.optimizer = torch.optim.Adam(parameters, fused=fused, capturable=self._gpu)
        self._graphed_step = GraphedFunction(lambda *tensors: self._step(Batch(*tensors[:4]), *tensors[4:]))
        # loading replaces the moments and rates that a graph knows
        self.optimizer.register_load_state_dict_post_hook(lambda optimizer: self._graphed_step.forget())

    def update(self, sequences: Sequences, *further: Tensor) -> dict[str, float]:
        """Take one gradient step on the mean loss over the sequences' tokens; return its statistics.

        Args:
            sequences: B of T steps.
            further: tensors [B, T] that the loss needs, on the network's device.

        Raises:
            Diverged: the loss or its gradient is not finite. Weights and moments stay as they were.
        """
        batch = sequences.tensors(self.network.device)
        if self._gpu:
            batch = pad_steps(batch, STEP_MULTIPLE)
            further = tuple(nn.functional.pad(part, (0, batch.tokens.shape[1] - part.shape[1])) for part in further)
        if not self.optimizer.state:
            self._begin(batch)
        loss, error, norm = self._graphed_step(*batch, *further)
        statistics = {"loss": float(loss), "td_error": float(error), "grad_norm": float(norm)}
        check_finite(statistics, self._rates[0])
        return statistics

    def _begin(self, batch: Batch) -> None:
        """Prepare for the first update."""

    @abstractmethod
    def _loss(self, batch: Batch, *further: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mean loss over tokens and the mean absolute residual, each []; the first has the gradient."""

    def _after_step(self) -> None:
        """Follow what a step has changed."""

    def _step(self, batch: Batch, *further: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one gradient step; return the loss, the mean |residual| and the gradient's norm, each a tensor [].

        If one of them is not finite, the step is left out. On a GPU this is recorded as a CUDA graph: nothing here may
        look at a tensor's values there.
        """
        loss, error = self._loss(batch, *further)
        self.optimizer.zero_grad(set_to_none=True)  # so that a graph's gradients lie in memory of its own
        loss.backward()
        every = [parameter for group in self._parameters for parameter in group]
        norm = nn.utils.clip_grad_norm_(every, self._max_grad_norm)
        loss = loss.detach()
        if self._gpu:
            # a graph cannot branch: Adam's fused kernel itself leaves all as it is where this is 1, as for GradScaler
            self.optimizer.found_inf = 1.0 - torch.isfinite(loss + norm).float()  # type: ignore[attr-defined]
        elif not math.isfinite(float(loss + norm)):
            return loss, error, norm
        self.optimizer.step()
        self._after_step()
        return loss, error, norm

    def set_progress(self, done: float) -> None:
        """Set the learning rates to their first values times 1 - `done`, 0..1."""
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            now = rate * (1.0 - done)
            if isinstance(group["lr"], Tensor):  # on a GPU, where a graph reads it
                group["lr"].fill_(now)
            else:
                group["lr"] = now


class SoftQLearner(Learner):
    """Regress the online network's values on targets of a target network.

    Args:
        network: the online network; the target network starts as its copy.
        objective: target function and form of the policy.
        settings: see LearnerSettings.
    """

    def __init__(self, network: ValueNetwork, objective: Objective, settings: LearnerSettings) -> None:
        if settings.double and not objective.greedy:
            raise ValueError("double is Q-learning's: the targets of Psi and G have no maximum.")
        super().__init__(network, settings)
        self.objective, self.settings = objective, settings
        # without gradients: it only follows the online network
        self.target_network = copy.deepcopy(network).requires_grad_(False)
        self.target_network.core.rnn.flatten_parameters()  # a GPU wants one block of memory, which copying tears apart

    @torch.no_grad()
    def _begin(self, batch: Batch) -> None:
        """Start v at the mean target where targets are of many steps."""
        if self.settings.lam == 0.0:
            return
        online = self.network.values(batch.tokens, batch.prior_log_probs)
        y = self._targets(batch, online, self.target_network.values(batch.tokens, batch.prior_log_probs))
        error = y - taken(online, batch.tokens)
        start_at_mean((self.network, self.target_network), error, within(batch.lengths, batch.tokens.shape[1]))

    def _loss(self, batch: Batch, *further: Tensor) -> tuple[Tensor, Tensor]:
        mask = within(batch.lengths, batch.tokens.shape[1])
        online = self.network.values(batch.tokens, batch.prior_log_probs)
        # detached: a target is a number to regress on, so no gradient flows through the choice of actions either
        y = self._targets(batch, online.detach(), self._target_values(batch, online))
        chosen = taken(online, batch.tokens)
        if self.settings.huber is None:
            # halved like huber_loss, so that both have the same gradient near 0
            losses = nn.functional.mse_loss(chosen, y, reduction="none") / 2
        else:
            losses = nn.functional.huber_loss(chosen, y, reduction="none", delta=self.settings.huber)
        # per real token: filler must not make short sequences count less
        error = ((chosen.detach() - y) * mask).abs().sum() / mask.sum()
        return (losses * mask).sum() / mask.sum(), error

    @torch.no_grad()
    def _target_values(self, batch: Batch, online: Tensor) -> Tensor:
        """Return the target network's values [B, T, V], given the online network's."""
        if self.settings.tau == 1.0:  # without a lag the target network is the online network
            return online.detach()
        # whole returns (lam = 1) are made of log pi; V, where v would count, has no share in them
        with_v = self.settings.lam < 1.0
        return self.target_network.values(batch.tokens, batch.prior_log_probs, with_v)

    @torch.no_grad()
    def _targets(self, batch: Batch, online: Tensor, target: Tensor) -> Tensor:
        """Return y [B, T] by the target network's values; with `double`, the online network's choose among them."""
        return self.objective.target(
            task_reward=batch.task_rewards,
            prior_log_probs=self.network.prior_weight * batch.prior_log_probs,
            actions=batch.tokens,
            values=target,
            discount=discounts(batch.lengths, batch.tokens.shape[1], self.settings.gamma),
            lam=self.settings.lam,
            **({"online": online} if self.settings.double else {}),
        )

    @torch.no_grad()
    def _after_step(self) -> None:
        """Move the target network towards the online one (moving average)."""
        for slow, fast in zip(self.target_network.parameters(), self.network.parameters()):
            slow.lerp_(fast, self.settings.tau)


def check_finite(statistics: Mapping[str, float], learning_rate: float) -> None:
    """Raise Diverged, naming the first statistic of an update that is not finite."""
    for name, value in statistics.items():
        if not math.isfinite(value):
            kept = "this update was left out, and the weights before it are kept"
            raise Diverged(f"{name} is {value:g}; {kept}. Lower learning_rate (now {learning_rate:g}) or raise c.")
