"""The paper's agents: QLearning, PsiLearning, GLearning, and RLOnly, the ablation. One class, three target functions.

They have the surface of a stable-baselines3 model (`learn`, `predict`, `get_env`, `logger`, `num_timesteps`, callbacks,
`evaluate_policy` with deterministic=False) without being one: SB3's `save` is a pickle, and its rollouts are not whole
sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch

from agents.envs import AnyEnv
from agents.learner import RANGES as LEARNER_RANGES
from agents.learner import LearnerSettings, SoftQLearner
from agents.networks import ValueNetwork
from agents.replay_agent import EXPENSIVE_DEFAULTS, ReplayAgent, fill_in, find_round_size, find_scores
from agents.replay_agent import RANGES as REPLAY_RANGES
from agents.targets import OBJECTIVES
from seqtutor_envs.checks import COUNT, Range
from seqtutor_envs.exact import are_few
from seqtutor_envs.prior import Prior

# One set of values does not serve both. Where sequences are few, a policy soon leaves some that it needs, so it must
# replay them: with 1,024 sequences in the replay instead of 8,192, KL to the enumerated optimum stays at .06 nats
# instead of .001. Where they are many, the newest rollout alone teaches best, along its whole length: J of melodies
# after 20 s is 33.6 nats with lam 1, 32.7 with .95, 19 with .7, and 31.1 if three rollouts in four are old. Length does
# not decide: of 16 notes, paid at the end, a planted optimum is .12 nats away after a minute, 2.7 by the first set.
FEW_DEFAULTS: dict[str, Any] = dict(
    lam=0.0, learning_rate=3e-3, value_rate=1.0, batch_size=128, buffer_size=8192, updates_per_round=4
)
# v, whose gradient stays out of the core, may learn faster: J of QED at c = .02 after 1,000,000 tokens of molecules is
# 41.45 nats with 5, 40.98 with 1; the prior's is 38.6
MANY_DEFAULTS: dict[str, Any] = dict(
    lam=1.0, learning_rate=1e-3, value_rate=5.0, batch_size=64, buffer_size=64, updates_per_round=1
)
# With tau = .1 the policy in the targets is that of ten updates ago. Returns of hundreds of nats are few updates apart:
# Huber's 20 nats and a norm of 1 would cut off nearly every error
FREE_DEFAULTS: dict[str, Any] = dict(
    tau=0.1, max_grad_norm=1.0, huber=20.0, store=None, on_repeats=None, candidates=None
)
# A learning rate of .001 where the losses of whole sequences have .0005: AUC of the best ten of Psi is .554 and .550 on
# zaleplon_mpo and perindopril_mpo (three runs), with .0005 it is .550 and .505 (four runs)
EXPENSIVE: dict[str, Any] = MANY_DEFAULTS | EXPENSIVE_DEFAULTS | dict(learning_rate=1e-3, tau=1.0, huber=None)
RANGES = {
    # None is a default by the number of possible sequences
    **{name: replace(found, optional=name != "gamma") for name, found in LEARNER_RANGES.items()},
    **REPLAY_RANGES,
    "prior_weight": Range(0.0, 1e3),
    "epsilon_start": Range(0.0, 1.0),
    "epsilon_end": Range(0.0, 1.0),
    "epsilon_steps": replace(COUNT, optional=True),
}


class Tutor(ReplayAgent):
    """Learn values of whole sequences with a recurrent network; use one of the subclasses.

    Args:
        env: an id or a single env of ours (becomes a native batch of `n_envs`), a native vector env or an SB3 VecEnv
            (used as it is; `n_envs` is then an error).
        seed: of exploration, replay and fresh weights. Same seed, same agent (on the CPU).
        n_envs: sequences in a rollout.
        prior: needed if the environment has none; another one than the environment's is a ValueError.
        gamma, lam, learning_rate, value_rate, tau, max_grad_norm, huber, double, precision: see LearnerSettings.
        prior_weight: factor on log p wherever it stands; 0 is reinforcement learning alone.
        head: what the logits head starts as, see ValueNetwork; an ablation.
        anneal: True lets the learning rate fall linearly to 0 over the budget of scores, or over the timesteps that
            `learn` is asked for.
        batch_size: sequences in an update.
        buffer_size: sequences in the replay, which holds the newest.
        updates_per_round: gradient steps after each rollout.
        scores: "free" or "expensive": chooses what stands for an argument that is None, or "auto". Free scores take
            FREE_DEFAULTS, and FEW_DEFAULTS where at most 1,000,000 sequences are possible, else MANY_DEFAULTS;
            expensive ones EXPENSIVE, with rounds of 64 sequences. Q's lam is 0. None: expensive where the environment
            has an `oracle_budget`.
        store: True, or StoreSettings by name: a share of each update comes from a store of all that was seen.
        c_start: temperature at which learning begins; it moves to the environment's c over the budget of scores, or
            over the timesteps that `learn` is asked for.
        target_kl: KL(pi || p) in nats that the temperature is to keep, instead.
        on_repeats: what happens once fewer than half of a round's sequences are new: "warn", or also a higher sampling
            "temperature", or a share of the round from the "prior"; "off" does not count. See Repeats. Q-learning is
            greedy while it learns and can only warn.
        candidates: sequences sampled for each that is scored. Those that never came before are preferred, then as
            `rank_by` says; a quarter is chosen at random. Timesteps count what is scored. An environment that is
            stepped, as one in a wrapper is, has 1. None: 1, or of expensive scores 16 with a surrogate and 4 without.
        rank_by: "surrogate", what agents.store.surrogate predicts of R / c by the task's features from what was scored;
            or "policy", log pi - log p, which is what the policy expects of R / c. None: "surrogate" if the task has
            features (molecules have), else "policy".
        epsilon_start, epsilon_end, epsilon_steps: exploration of agents that are greedy while they learn: the share of
            uniform tokens falls linearly over so many timesteps; None takes half of what `learn` is asked for (the
            paper's).
        diversity: True, or DiversitySettings by name: sequences seen before, and kinds of them that crowd, are learned
            from at a lower reward.
        device: where the networks learn: "cpu", "cuda" ("cuda:1"), or "auto", a GPU if torch has one. Sequences are
            sampled there too in a native batch whose recurrent prior forbids nothing, unless the agent is greedy while
            it learns; else on the CPU, by a copy of the weights made once a rollout. A saved agent fits every device.
        verbose, tensorboard_log: as in stable-baselines3.
        env_kwargs: keywords of the environment if `env` is an id.
    """

    objective_name: ClassVar[str]
    learner: SoftQLearner
    ranges = RANGES
    trained = {"learner.network": "network", "learner.target_network": "target", "learner.optimizer": "adam"}

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        gamma: float = LearnerSettings.gamma,
        lam: float | None = None,
        prior_weight: float = 1.0,
        learning_rate: float | None = None,
        value_rate: float | None = None,
        anneal: bool = False,
        tau: float | None = None,
        max_grad_norm: float | None = None,
        huber: float | str | None = "auto",
        double: bool = LearnerSettings.double,
        head: str | None = None,
        precision: str = LearnerSettings.precision,
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
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.1,
        epsilon_steps: int | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        objective = OBJECTIVES[self.objective_name]
        scores = find_scores(scores, env, env_kwargs)
        defaults = dict(EXPENSIVE if scores == "expensive" else FREE_DEFAULTS)
        usual_huber = defaults.pop("huber")  # apart from the others: None is no missing one but the squared loss
        if objective.greedy:
            if on_repeats in ("temperature", "prior"):
                raise ValueError(f"Q-learning is greedy while it learns: on_repeats={on_repeats!r} would do nothing.")
            counted = scores == "expensive"
            defaults = defaults | {"on_repeats": "warn" if counted else None, "candidates": 1 if counted else None}
        huber = usual_huber if huber == "auto" else huber
        settings: dict[str, Any] = {
            "gamma": gamma, "lam": lam, "prior_weight": prior_weight, "learning_rate": learning_rate,
            "value_rate": value_rate, "anneal": anneal, "tau": tau, "max_grad_norm": max_grad_norm, "huber": huber,
            "double": double, "head": head, "precision": precision, "batch_size": batch_size,
            "buffer_size": buffer_size, "updates_per_round": updates_per_round, "scores": scores, "store": store,
            "c_start": c_start, "target_kl": target_kl, "on_repeats": on_repeats, "candidates": candidates,
            "rank_by": rank_by, "epsilon_start": epsilon_start, "epsilon_end": epsilon_end,
            "epsilon_steps": epsilon_steps, "diversity": diversity,
        }  # fmt: skip
        # what the scores decide stands among the settings; what the number of sequences decides stays None there
        by_scores = [name for name in FREE_DEFAULTS if name in defaults and settings[name] is None]
        settings |= {name: defaults[name] for name in by_scores}
        super().__init__(
            env, seed=seed, n_envs=find_round_size(n_envs, scores, env), prior=prior, diversity=diversity,
            device=device, verbose=verbose, tensorboard_log=tensorboard_log, env_kwargs=env_kwargs, settings=settings,
        )  # fmt: skip
        settings = self.settings
        if scores == "free":
            defaults = defaults | (FEW_DEFAULTS if are_few(len(self.prior.vocab), self.horizon) else MANY_DEFAULTS)
        if objective.greedy:
            defaults = defaults | {"lam": 0.0}  # Q-learning has one-step targets only
            if settings["lam"]:
                raise ValueError(f"Q-learning has one-step targets only: lam must be 0, not {lam}.")
        chosen = fill_in(settings, defaults, self.n_envs)
        # apart from `rng`, so that fresh weights depend on the seed alone
        generator = torch.Generator().manual_seed(self.seed)
        share = settings["prior_weight"]
        network = ValueNetwork(self.prior, objective.residual, share, generator, head).to(self.device)
        learning = {field.name: chosen[field.name] for field in fields(LearnerSettings)}
        self.network = network
        self.learner = SoftQLearner(network, objective, LearnerSettings(**learning))
        self._attach_memories(chosen)

    def exploration(self) -> float | None:
        return self.epsilon() if self.learner.objective.greedy else None

    def epsilon(self) -> float:
        """Return the present share of uniform tokens, of an agent that is greedy while it learns."""
        start, end = self.settings["epsilon_start"], self.settings["epsilon_end"]
        reached = self.num_timesteps / (self.settings["epsilon_steps"] or self.total_timesteps / 2)
        return float(start + (end - start) * min(1.0, reached))


class QLearning(Tutor):
    """Learn by Q-learning with log-prior augmentation (eq. 5).

    Greedy with epsilon while it learns, softmax(Q) afterwards: a heuristic, since Q has no entropy term.
    """

    objective_name = "q"
    has_soft_values = False  # its targets take the greatest value, not the log sum exp


class PsiLearning(Tutor):
    """Learn by generalised Psi-learning (eq. 9); the policy is softmax(Psi)."""

    objective_name = "psi"


class GLearning(Tutor):
    """Learn by G-learning (eq. 11); the policy is softmax(log p + G)."""

    objective_name = "g"


class RLOnly(QLearning):
    """Learn as QLearning without the prior in rewards and values, an ablation; the network still starts as the prior.

    Its arguments are QLearning's, but prior_weight can only be 0.
    """

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        gamma: float = LearnerSettings.gamma,
        lam: float | None = None,
        prior_weight: float = 0.0,
        learning_rate: float | None = None,
        value_rate: float | None = None,
        anneal: bool = False,
        tau: float | None = None,
        max_grad_norm: float | None = None,
        huber: float | str | None = "auto",
        double: bool = LearnerSettings.double,
        head: str | None = None,
        precision: str = LearnerSettings.precision,
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
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.1,
        epsilon_steps: int | None = None,
        diversity: Mapping[str, Any] | bool | None = None,
        device: str = "cpu",
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if prior_weight != 0.0:
            raise ValueError("RLOnly has prior_weight 0; use QLearning to keep a share of the prior.")
        super().__init__(
            env, seed=seed, n_envs=n_envs, prior=prior, gamma=gamma, lam=lam, prior_weight=prior_weight,
            learning_rate=learning_rate, value_rate=value_rate, anneal=anneal, tau=tau, max_grad_norm=max_grad_norm,
            huber=huber, double=double, head=head, precision=precision, batch_size=batch_size,
            buffer_size=buffer_size, updates_per_round=updates_per_round, scores=scores, store=store, c_start=c_start,
            target_kl=target_kl, on_repeats=on_repeats, candidates=candidates, rank_by=rank_by,
            epsilon_start=epsilon_start, epsilon_end=epsilon_end, epsilon_steps=epsilon_steps, diversity=diversity,
            device=device, verbose=verbose, tensorboard_log=tensorboard_log, env_kwargs=env_kwargs,
        )  # fmt: skip
