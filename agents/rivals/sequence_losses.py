"""Agents whose loss is about whole sequences: REINVENT, Augmented Hill-Climb, trajectory balance.

Each is a loss of losses.py. Network, rounds, store, files, log and evaluation are those of the paper's agents.
B sequences in an update, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.envs import AnyEnv
from agents.learner import RANGES as LEARNER_RANGES
from agents.learner import Learner, OptimizerSettings
from agents.losses import SHARE, augmented_hill_climb, per_token, reinvent, trajectory_balance, vargrad
from agents.networks import ValueNetwork
from agents.replay_agent import EXPENSIVE_DEFAULTS, ReplayAgent, fill_in, find_round_size, find_scores
from agents.replay_agent import RANGES as REPLAY_RANGES
from agents.store.replay import Batch
from agents.targets import taken, within
from agents.tutor import FEW_DEFAULTS, FREE_DEFAULTS, MANY_DEFAULTS
from seqtutor_envs.checks import one_of
from seqtutor_envs.exact import are_few
from seqtutor_envs.prior import Prior

# the tutors' defaults of free scores, as far as these losses know them
MANY_FREE, FEW_FREE = (
    {name: {**FREE_DEFAULTS, **by_number}[name] for name in EXPENSIVE_DEFAULTS}
    for by_number in (MANY_DEFAULTS, FEW_DEFAULTS)
)
RANGES = {
    **{name: replace(LEARNER_RANGES[name], optional=True) for name in ("learning_rate", "max_grad_norm")},
    **REPLAY_RANGES,
}


@dataclass(frozen=True)
class SequenceLoss:
    """Hold what differs between agents whose loss is about whole sequences.

    Attributes:
        compute: the loss of log p, log pi and R / c [B] and the agent's settings, which hold log Z as well.
        learns_log_z: whether log Z is a parameter.
        centred: whether log Z is the batch's mean, from which residuals are counted then.
    """

    compute: Callable[[Tensor, Tensor, Tensor, Mapping[str, Any]], Tensor]
    learns_log_z: bool = False
    centred: bool = False


LOSSES = {
    "reinvent": SequenceLoss(lambda p, pi, returns, given: reinvent(p, pi, returns)),
    "augmented_hill_climb": SequenceLoss(
        lambda p, pi, returns, given: augmented_hill_climb(p, pi, returns, given["share"])
    ),
    "trajectory_balance": SequenceLoss(
        lambda p, pi, returns, given: trajectory_balance(p, pi, returns, given["log_z"]), learns_log_z=True
    ),
    "vargrad": SequenceLoss(lambda p, pi, returns, given: vargrad(p, pi, returns), centred=True),
}


class SequenceLossLearner(Learner):
    """Follow the gradient of a SequenceLoss.

    Args:
        network: what learns; its v has no share in the loss.
        loss: see SequenceLoss.
        settings: see OptimizerSettings.
        given: further settings of the loss.
        log_z_rate: learning rate of log Z.

    Attributes:
        log_z: the parameter as a module, so that files keep it; it stays 0 where it is not learned.
    """

    def __init__(
        self,
        network: ValueNetwork,
        loss: SequenceLoss,
        settings: OptimizerSettings,
        given: Mapping[str, Any],
        log_z_rate: float = 0.1,
    ) -> None:
        self.loss, self.given = loss, given
        self.log_z = LogZ().to(network.device)
        super().__init__(network, settings, [(self.log_z.value, log_z_rate)] if loss.learns_log_z else [])

    @torch.no_grad()
    def _begin(self, batch: Batch) -> None:
        """Start log Z at the mean of its estimates, as v starts at the mean target."""
        if self.loss.learns_log_z:
            log_p, log_pi, returns, _ = self._sum_up(batch)
            # not added: a first step that is left out would begin twice
            self.log_z.value.copy_((log_p + returns - log_pi).mean())

    def _loss(self, batch: Batch, *further: Tensor) -> tuple[Tensor, Tensor]:
        log_p, log_pi, returns, mask = self._sum_up(batch)
        loss = self.loss.compute(log_p, log_pi, returns, {**self.given, "log_z": self.log_z.value})
        estimates = (log_p + returns - log_pi).detach()
        log_z = estimates.mean() if self.loss.centred else self.log_z.value.detach()
        return per_token(loss, mask), (estimates - log_z).abs().mean()

    def _sum_up(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log p, log pi and R / c of whole sequences [B], and their mask [B, T]."""
        mask = within(batch.lengths, batch.tokens.shape[1])
        log_policy, _ = self.network(batch.tokens, batch.prior_log_probs)
        log_pi = (taken(log_policy, batch.tokens) * mask).sum(1)
        log_p = (taken(batch.prior_log_probs, batch.tokens) * mask).sum(1)
        return log_p, log_pi, (batch.task_rewards * mask).sum(1), mask


class LogZ(nn.Module):
    """Hold log Z as a parameter []."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))


class Reinvent(ReplayAgent):
    """Learn by REINVENT's loss, mean (log p + R/c - log pi)^2 (Olivecrona et al. 2017); its sigma is 1/c.

    On its own samples its optimum is that of J. On stored ones it is another, unless log Z = 0: see losses.py.

    Args:
        learning_rate, max_grad_norm, precision: see OptimizerSettings.
        env and all others: as for the tutors.
        batch_size, buffer_size, updates_per_round: as for the tutors, whose numbers stand for None.
    """

    loss_name: ClassVar[str] = "reinvent"
    # a choice among candidates makes them other samples, on which its fixed point is another
    expensive: ClassVar[Mapping[str, Any]] = {**EXPENSIVE_DEFAULTS, "candidates": 1}
    of_loss: Mapping[str, Any] = {}  # settings that this loss alone has; a subclass sets them first
    has_soft_values = False  # v has no share in the loss
    ranges = RANGES
    trained = {"network": "network", "learner.log_z": "log_z", "learner.optimizer": "adam"}
    learner: SequenceLossLearner

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        learning_rate: float | None = None,
        anneal: bool = False,
        max_grad_norm: float | None = None,
        precision: str = "float32",
        batch_size: int | None = None,
        buffer_size: int | None = None,
        updates_per_round: int | None = None,
        scores: str | None = None,
        store: Mapping[str, Any] | bool | None = None,
        c_start: float | None = None,
        target_kl: float | None = None,
        on_repeats: str | None = None,
        candidates: int | None = None,
        rank_by: str | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        scores = find_scores(scores, env, env_kwargs)
        settings = {
            **self.of_loss, "learning_rate": learning_rate, "anneal": anneal, "max_grad_norm": max_grad_norm,
            "precision": precision, "batch_size": batch_size, "buffer_size": buffer_size,
            "updates_per_round": updates_per_round, "scores": scores, "store": store, "c_start": c_start,
            "target_kl": target_kl, "on_repeats": on_repeats, "candidates": candidates, "rank_by": rank_by,
            "diversity": diversity,
        }  # fmt: skip
        super().__init__(
            env, seed=seed, n_envs=find_round_size(n_envs, scores, env), prior=prior, diversity=diversity,
            device=device, verbose=verbose, tensorboard_log=tensorboard_log, env_kwargs=env_kwargs, settings=settings,
        )  # fmt: skip
        free = FEW_FREE if are_few(len(self.prior.vocab), self.horizon) else MANY_FREE
        defaults = self.expensive if scores == "expensive" else free
        chosen = fill_in(self.settings, defaults, self.n_envs)
        generator = torch.Generator().manual_seed(self.seed)
        network = ValueNetwork(self.prior, residual=False, prior_weight=1.0, generator=generator)
        self.network = network.to(self.device)
        names = ("learning_rate", "max_grad_norm", "precision")
        self.learner = self._make_learner(OptimizerSettings(**{name: chosen[name] for name in names}))
        self._attach_memories(chosen)

    def _make_learner(self, optimizing: OptimizerSettings) -> Any:
        return SequenceLossLearner(self.network, LOSSES[self.loss_name], optimizing, self.settings)


class AugmentedHillClimb(Reinvent):
    """Learn by REINVENT's loss on the best of each update's sequences (Thomas et al. 2022).

    Its fixed point is not the optimum of J, whatever the samples: see losses.py.

    Args:
        share: of the sequences, those with the greatest returns.
        env and all others: as for Reinvent.
    """

    loss_name = "augmented_hill_climb"
    ranges = {**RANGES, "share": SHARE}

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        share: float = 0.5,
        learning_rate: float | None = None,
        anneal: bool = False,
        max_grad_norm: float | None = None,
        precision: str = "float32",
        batch_size: int | None = None,
        buffer_size: int | None = None,
        updates_per_round: int | None = None,
        scores: str | None = None,
        store: Mapping[str, Any] | bool | None = None,
        c_start: float | None = None,
        target_kl: float | None = None,
        on_repeats: str | None = None,
        candidates: int | None = None,
        rank_by: str | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.of_loss = {"share": share}
        super().__init__(
            env, seed=seed, n_envs=n_envs, prior=prior, learning_rate=learning_rate, anneal=anneal,
            max_grad_norm=max_grad_norm, precision=precision, batch_size=batch_size, buffer_size=buffer_size,
            updates_per_round=updates_per_round, scores=scores, store=store, c_start=c_start, target_kl=target_kl,
            on_repeats=on_repeats, candidates=candidates, rank_by=rank_by, diversity=diversity, device=device,
            verbose=verbose, tensorboard_log=tensorboard_log, env_kwargs=env_kwargs,
        )  # fmt: skip


class TrajectoryBalance(Reinvent):
    """Learn by trajectory balance, mean (log Z + log pi - log p - R/c)^2 (Malkin et al. 2022).

    The optimum of J is its fixed point on any samples that reach every sequence.

    Args:
        form: "learned", where log Z is a parameter; or "vargrad", where it is the mean over an update's sequences
            (Richter et al. 2020).
        log_z_rate: learning rate of log Z.
        env and all others: as for Reinvent.
    """

    expensive = EXPENSIVE_DEFAULTS
    ranges = {**RANGES, "log_z_rate": LEARNER_RANGES["value_rate"]}

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        form: str = "learned",
        log_z_rate: float = 0.1,
        learning_rate: float | None = None,
        anneal: bool = False,
        max_grad_norm: float | None = None,
        precision: str = "float32",
        batch_size: int | None = None,
        buffer_size: int | None = None,
        updates_per_round: int | None = None,
        scores: str | None = None,
        store: Mapping[str, Any] | bool | None = None,
        c_start: float | None = None,
        target_kl: float | None = None,
        on_repeats: str | None = None,
        candidates: int | None = None,
        rank_by: str | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        one_of("form", form, ("learned", "vargrad"))
        self.of_loss = {"form": form, "log_z_rate": log_z_rate}
        super().__init__(
            env, seed=seed, n_envs=n_envs, prior=prior, learning_rate=learning_rate, anneal=anneal,
            max_grad_norm=max_grad_norm, precision=precision, batch_size=batch_size, buffer_size=buffer_size,
            updates_per_round=updates_per_round, scores=scores, store=store, c_start=c_start, target_kl=target_kl,
            on_repeats=on_repeats, candidates=candidates, rank_by=rank_by, diversity=diversity, device=device,
            verbose=verbose, tensorboard_log=tensorboard_log, env_kwargs=env_kwargs,
        )  # fmt: skip

    def _make_learner(self, optimizing: OptimizerSettings) -> SequenceLossLearner:
        name = "vargrad" if self.settings["form"] == "vargrad" else "trajectory_balance"
        rate = self.settings["log_z_rate"]
        return SequenceLossLearner(self.network, LOSSES[name], optimizing, self.settings, rate)
