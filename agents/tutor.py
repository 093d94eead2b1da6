"""The paper's agents: QLearning, PsiLearning, GLearning, and RLOnly, the ablation. One class, three target functions.

They meet the surface of a stable-baselines3 model (`learn`, `predict`, `get_env`, `logger`, `num_timesteps`, callbacks,
`evaluate_policy` with deterministic=False) without being one: SB3's `save` is a pickle, and its rollouts know no whole sequences.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from agents.base import AnyEnv, SequenceAgent
from agents.learner import LearnerSettings, SoftQLearner
from agents.networks import Policy, ValueNetwork
from agents.replay import Replay, Sequences
from agents.targets import OBJECTIVES
from seqtutor_envs.files import of_prefix, with_prefix
from seqtutor_envs.network import adam_arrays, load_weights, module_arrays, restore_adam
from seqtutor_envs.prior import Prior

TOKENS_PER_UPDATE = 16  # a round of short sequences teaches less, so it is followed by 16 / horizon updates, at least 1
DEFAULT_LAM = 0.9
NOT_SETTINGS = ("self", "env", "seed", "n_envs", "prior", "env_kwargs", "verbose", "tensorboard_log")  # saved apart, or not at all


class Tutor(SequenceAgent):
    """A recurrent soft-Q agent over whole sequences; use one of its subclasses.

    Args:
        env: an id or a single env of ours (becomes a native batch of `n_envs`), a native vector env or an SB3 VecEnv (used as it
            is; `n_envs` is then an error).
        seed: of exploration, replay and fresh weights. Same seed, same agent (on one thread).
        n_envs: sequences in a round.
        prior: where the env has none.
        prior_weight: factor on log p wherever it stands; 0 is reinforcement learning alone.
        gamma, lam, learning_rate, tau, max_grad_norm, huber: see LearnerSettings.
        batch_size: sequences in an update.
        buffer_size: sequences in the replay.
        updates_per_round: gradient steps after each round; None takes `TOKENS_PER_UPDATE` / horizon, at least 1.
        epsilon_start, epsilon_end, epsilon_steps: exploration of agents that are greedy while they learn: the share of uniform
            tokens falls linearly over so many timesteps; None takes half of what `learn` is asked for (the paper's).
        verbose, tensorboard_log: as in stable-baselines3.
        env_kwargs: keywords of the environment where `env` is an id.
    """

    objective_name: ClassVar[str]

    def __init__(
        self,
        env: AnyEnv,
        *,
        seed: int = 0,
        n_envs: int | None = None,
        prior: Prior | str | None = None,
        gamma: float = 1.0,
        lam: float | None = None,
        prior_weight: float = 1.0,
        learning_rate: float = 1e-3,
        tau: float = 0.01,
        max_grad_norm: float = 1.0,
        huber: float | None = None,
        batch_size: int = 128,
        buffer_size: int = 1024,
        updates_per_round: int | None = None,
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.1,
        epsilon_steps: int | None = None,
        verbose: int = 0,
        tensorboard_log: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        arguments = dict(locals())
        if lam is None:
            arguments["lam"] = lam = 0.0 if self.objective_name == "q" else DEFAULT_LAM
        super().__init__(
            env,
            seed=seed,
            n_envs=n_envs,
            prior=prior,
            verbose=verbose,
            tensorboard_log=tensorboard_log,
            env_kwargs=env_kwargs,
            settings={name: arguments[name] for name in SETTINGS},
        )
        objective = OBJECTIVES[self.objective_name]
        network = ValueNetwork(self.prior, objective.residual, prior_weight, torch.Generator().manual_seed(seed))
        learner = LearnerSettings(**{field.name: arguments[field.name] for field in fields(LearnerSettings)})
        self.learner = SoftQLearner(network, objective, learner)
        self.replay = Replay(max(buffer_size, self.n_envs), self.horizon, len(self.prior.vocab))
        self.batch_size = batch_size
        self.updates_per_round = updates_per_round or max(1, TOKENS_PER_UPDATE // self.horizon)
        self._epsilon = (epsilon_start, epsilon_end, epsilon_steps)

    def policy(self) -> Policy:
        return Policy(self.learner.network, self.prior, self.horizon)

    def collect(self) -> tuple[Sequences, NDArray[np.float64]]:
        return self.rollouts.collect(self.policy(), self.rng, self.epsilon() if self.learner.objective.greedy else None)

    def epsilon(self) -> float:
        """The present share of uniform tokens of an agent that is greedy while it learns."""
        start, end, steps = self._epsilon
        reached = self.num_timesteps / (steps or self.total_timesteps / 2)
        return start + (end - start) * min(1.0, reached)

    def improve(self, sequences: Sequences) -> dict[str, float]:
        self.replay.add(sequences)
        statistics = [self.learner.update(self.replay.sample(self.batch_size, self.rng)) for _ in range(self.updates_per_round)]
        return {name: float(np.mean([entry[name] for entry in statistics])) for name in statistics[0]}

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        learner, replay = self.learner, self.replay
        counters = np.array([replay.size, replay.position])
        return (
            with_prefix("network", module_arrays(learner.network))
            | with_prefix("target", module_arrays(learner.target_network))
            | with_prefix("adam", adam_arrays(learner.optimizer))
            | with_prefix("replay", {name: array[: replay.size] for name, array in replay.arrays.items()} | {"counters": counters})
        )

    def load_state_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        load_weights(self.learner.network, of_prefix("network", arrays))
        load_weights(self.learner.target_network, of_prefix("target", arrays))
        restore_adam(self.learner.optimizer, of_prefix("adam", arrays))
        stored = of_prefix("replay", arrays)
        self.replay.size, self.replay.position = (int(number) for number in stored["counters"])
        for name, array in self.replay.arrays.items():
            array[: self.replay.size] = stored[name]


SETTINGS = [name for name in inspect.signature(Tutor.__init__).parameters if name not in NOT_SETTINGS]


class QLearning(Tutor):
    """Q-learning with log-prior augmentation. Greedy with epsilon while it learns, softmax(Q) afterwards: a heuristic, since Q has no
    entropy term."""

    objective_name = "q"


class PsiLearning(Tutor):
    """Generalised Psi-learning; policy softmax(Psi)."""

    objective_name = "psi"


class GLearning(Tutor):
    """G-learning; policy softmax(log p + G)."""

    objective_name = "g"


class RLOnly(QLearning):
    """Ablation: QLearning without the prior in reward and values; its network is still started from the prior's weights."""

    def __init__(self, env: AnyEnv, *, prior_weight: float = 0.0, **arguments: Any) -> None:
        if prior_weight != 0.0:
            raise ValueError("RLOnly has prior_weight 0; use QLearning to keep a share of the prior.")
        super().__init__(env, prior_weight=0.0, **arguments)
