"""The agents of `python -m benchmarks compare`: ours, and stable-baselines3's, which learn and are judged alike.

PPO reads the prefix, one-hot; RecurrentPPO reads the last token. Both are paid log p + r_T / c - log pi, so that what
they maximise is J, as ours do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

Clock = Callable[[], float]
# Tuned on melodies, as our agents' are; J of one seed after 53 s. With stable-baselines3's max_grad_norm of .5 the loss
# of values, which are far from 0 at first, leaves PPO's policy little gradient: 10 nats, with 100 27. RecurrentPPO: 22
# from scratch; 61 from the prior, with a rate of 1e-3 38.
TUNED = {"gamma": 1.0, "learning_rate": 2e-3, "n_epochs": 4, "max_grad_norm": 100.0}


class Contestant(ABC):
    """An agent that learns by the clock.

    Attributes:
        model: what learns and is judged; it has stable-baselines3's `num_timesteps`.
        env_kwargs: keywords of the environment that it is judged in.
        env: the batch it learns in.
        task, c: that environment's.
    """

    model: Any
    env_kwargs: dict[str, Any]
    env: Any
    task: Any
    c: float

    @abstractmethod
    def learn(self, timesteps: int, seconds: float, clock: Clock) -> float:
        """Goes on learning for so many tokens, or until so many seconds are spent, whichever is first; whole rounds.

        Returns the seconds spent.
        """

    @abstractmethod
    def written(self) -> dict[str, int]:
        """How many `sequences` it has learned from, and how many distinct ones were `scored`."""


class Ours(Contestant):
    """An agent of this library.

    Args:
        name: "psi", "g", "q", "rl" or "pg".
        settings: of its constructor.
    """

    def __init__(
        self, name: str, env_id: str, seed: int, env_kwargs: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        from agents.loading import agent_classes
        from benchmarks.prior_samples import Scored

        self.env_kwargs, self.scored = dict(env_kwargs), Scored()
        self.model = agent_classes()[name](env_id, seed=seed, env_kwargs=self.env_kwargs, **settings)
        self.env, self.task, self.c = self.model.env, self.model.task, self.model.c

    def learn(self, timesteps: int, seconds: float, clock: Clock) -> float:
        from agents.budget import SecondsBudget

        budget = SecondsBudget(seconds, clock)
        self.model.learn(timesteps, callback=[self.scored, budget], reset_num_timesteps=False)
        return budget.spent

    def written(self) -> dict[str, int]:
        return {"sequences": self.model.rounds * self.model.n_envs, "scored": len(self.scored.names)}


class Theirs(Contestant):
    """PPO of stable-baselines3, or RecurrentPPO of sb3-contrib, with or without the prior as its start.

    RecurrentPPO has the shape of an LSTM prior in both cases, so that the start is all that differs. A rollout is one
    sequence of full length from each of `n_envs` environments, a minibatch half of it. What is neither in the settings
    nor in TUNED is the library's default.

    Args:
        name: "ppo", "recurrent_ppo" or "recurrent_ppo_prior".
        settings: of its constructor, and `n_envs`.
    """

    def __init__(
        self, name: str, env_id: str, seed: int, env_kwargs: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        from agents.guide import KLPenaltyCallback, start_as_prior
        from agents.rollouts import vector_class
        from seqtutor_envs.sb3 import make_vec_env

        self.env_kwargs = {**env_kwargs, "obs_mode": "prefix" if name == "ppo" else "token"}
        given = dict(settings)
        n_envs = given.pop("n_envs", vector_class(env_id).round_size)
        self.env = make_vec_env(env_id, n_envs, env_kwargs=self.env_kwargs)
        self.task, self.c = self.env.get_attr("task")[0], self.env.get_attr("c")[0]
        algorithm, policy, policy_kwargs = _parts(name, self.env.get_attr("prior")[0])
        policy_kwargs |= given.pop("policy_kwargs", {})
        given = {"n_steps": self.task.length, "device": "cpu", **TUNED, **given}
        given.setdefault("batch_size", given["n_steps"] * n_envs // 2)
        self.model = algorithm(policy, self.env, seed=seed, policy_kwargs=policy_kwargs, **given)
        self.model.set_logger(Logger(None, []))  # one of its own would leave a temporary folder after each rollout
        if name == "recurrent_ppo_prior":
            start_as_prior(self.model)
        self.count = Written(self.task)
        self.callbacks = [KLPenaltyCallback(), self.count]

    def learn(self, timesteps: int, seconds: float, clock: Clock) -> float:
        """By rollouts: a callback that stopped within one would throw its steps away."""
        rollout = self.model.n_steps * self.model.n_envs
        begin, spent, goal = clock(), 0.0, self.model.num_timesteps + timesteps
        while spent < seconds and self.model.num_timesteps < goal and not self.task.spent:
            self.model.learn(rollout, callback=self.callbacks, reset_num_timesteps=False)
            spent = clock() - begin
        return spent

    def written(self) -> dict[str, int]:
        return {"sequences": self.count.sequences, "scored": len(self.count.names)}


class Written(BaseCallback):
    """Counts what a stable-baselines3 model writes.

    Attributes:
        sequences: how many have ended.
        names: distinct ones: canonical SMILES of molecules; in other domains the tokens.
    """

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.scorer = getattr(task, "scorer", None)  # of molecules, whose newest scores are at hand
        self.sequences, self.names = 0, set[str]()

    def _on_step(self) -> bool:
        ended = [info["sequence"] for info in self.locals["infos"] if "sequence" in info]
        self.sequences += len(ended)
        if self.scorer is None:
            self.names.update(" ".join(sequence) for sequence in ended)
        else:
            self.names.update(score.canonical for score in self.scorer(ended) if score.canonical)
        return True


def contestant(
    name: str, env_id: str, seed: int, env_kwargs: Mapping[str, Any], settings: Mapping[str, Any]
) -> Contestant:
    """The agent of this name. Raises ValueError where its constructor does not know a setting."""
    kind = Theirs if "ppo" in name else Ours
    try:
        return kind(name, env_id, seed, env_kwargs, settings)
    except (TypeError, AssertionError) as error:  # stable-baselines3 asserts what it asks of settings
        raise ValueError(f"{name} cannot be made with these settings: {error}.") from None


def check_installed(names: Sequence[str]) -> None:
    """Raises ImportError where one of these agents needs a library that is not installed."""
    for name in names:
        if name.startswith("recurrent") and find_spec("sb3_contrib") is None:
            raise ImportError(f"{name} is sb3-contrib's: pip install sb3-contrib, or leave it out of --agents.")


def _parts(name: str, prior: Any) -> tuple[Any, str, dict[str, Any]]:
    """Algorithm, policy and the policy's keywords."""
    if name == "ppo":
        from stable_baselines3 import PPO

        from agents.features import OneHotPrefix

        return PPO, "MlpPolicy", {"features_extractor_class": OneHotPrefix}
    from sb3_contrib import RecurrentPPO

    from agents.guide import recurrent_policy_kwargs

    from_prior = name == "recurrent_ppo_prior" or getattr(prior, "cell", None) == "lstm"
    return RecurrentPPO, "MlpLstmPolicy", recurrent_policy_kwargs(prior) if from_prior else {}
