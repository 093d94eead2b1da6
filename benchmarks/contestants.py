"""Make the agents of experiments: ours, stable-baselines3's and a user's, with one way to learn under a budget.

PPO and MaskablePPO read the prefix, one-hot; RecurrentPPO reads the last token. All three are paid log p + r_T / c -
log pi, so that they maximise J, as ours do.

The functions at the end are factories that an `Experiment` names, such as "benchmarks.contestants:recurrent_ppo".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from seqtutor_envs.files import import_by_name

Clock = Callable[[], float]
AfterRound = Callable[[], None]
# Tuned on melodies, as our agents' are; J of one seed after 53 s. With stable-baselines3's max_grad_norm of .5 the loss
# of values, which are far from 0 at first, leaves PPO's policy little gradient: 10 nats, with 100 27. RecurrentPPO: 22
# from scratch; 61 from the prior, with a rate of 1e-3 38.
TUNED = {"gamma": 1.0, "learning_rate": 2e-3, "n_epochs": 4, "max_grad_norm": 100.0}


class Contestant(ABC):
    """Learn under a budget of tokens or seconds: what the runner asks of an agent.

    Attributes:
        model: what learns and is evaluated; it has stable-baselines3's `num_timesteps`.
        env_kwargs: keywords of the environment that it is evaluated in.
        env: the batch it learns in.
        task, c: that environment's.
    """

    model: Any
    env_kwargs: dict[str, Any]
    env: Any
    task: Any
    c: float

    @abstractmethod
    def learn(self, timesteps: int, seconds: float, clock: Clock, after_round: AfterRound | None = None) -> float:
        """Learn whole rounds until so many tokens or seconds are spent, whichever comes first.

        Args:
            after_round: called after each round (of stable-baselines3: rollout).

        Returns the seconds spent.
        """

    @property
    def evaluated(self) -> Any:
        """Return what is evaluated at the end: the model, unless a subclass says otherwise."""
        return self.model

    @abstractmethod
    def count_sequences(self) -> dict[str, int]:
        """Return how many `sequences` it has learned from, and how many distinct ones were `scored`."""


class AfterEachRound(BaseCallback):
    """Call a function without arguments after each rollout. Our agents have learned from it by then."""

    def __init__(self, function: AfterRound) -> None:
        super().__init__()
        self.function = function

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.function()


class Learner(Contestant):
    """Let any agent with stable-baselines3's `learn` learn; a callback keeps to the budget.

    Args:
        agent: one of ours, of stable-baselines3, or like them.
        env_kwargs: of the environment that it is evaluated in.
        callbacks: further ones.
    """

    def __init__(self, agent: Any, env_kwargs: Mapping[str, Any], callbacks: Sequence[BaseCallback] = ()) -> None:
        self.model, self.env_kwargs, self.callbacks = agent, dict(env_kwargs), list(callbacks)
        self.env = agent.get_env() if hasattr(agent, "get_env") else getattr(agent, "env", None)

    def learn(self, timesteps: int, seconds: float, clock: Clock, after_round: AfterRound | None = None) -> float:
        from agents.sb3.budget import SecondsBudget

        budget = SecondsBudget(seconds, clock)
        more = [] if after_round is None else [AfterEachRound(after_round)]
        self.model.learn(timesteps, callback=[*self.callbacks, budget, *more], reset_num_timesteps=False)
        return budget.spent

    def count_sequences(self) -> dict[str, int]:
        return {}


class Ours(Learner):
    """Let an agent of this library learn, and count what it learned from."""

    def __init__(self, agent: Any, env_kwargs: Mapping[str, Any]) -> None:
        from benchmarks.prior_samples import Scored

        self.scored = Scored()
        super().__init__(agent, env_kwargs, [self.scored])
        self.env, self.task, self.c = agent.env, agent.task, agent.c

    def count_sequences(self) -> dict[str, int]:
        return {"sequences": self.model.rounds * self.model.n_envs, "scored": len(self.scored.names)}


class Guide(Ours):
    """Let an agent of this library learn, and evaluate sequential Monte Carlo that its policy and values guide.

    The learning curve is the agent's own.

    Args:
        agent, env_kwargs: as for Learner.
        particles: of each run.
    """

    def __init__(self, agent: Any, env_kwargs: Mapping[str, Any], particles: int) -> None:
        super().__init__(agent, env_kwargs)
        self.particles = particles

    @property
    def evaluated(self) -> Any:
        from agents.samplers import SMCSampler

        return SMCSampler(self.env, particles=self.particles, twist=self.model.twist())


class Theirs(Contestant):
    """Let PPO of stable-baselines3 or RecurrentPPO of sb3-contrib learn, with or without the prior as its start.

    RecurrentPPO has the shape of an LSTM prior in both cases, so that the start is all that differs. A rollout is one
    sequence of full length from each of `n_envs` environments, a minibatch half of it. What is neither in the settings
    nor in TUNED is the library's default.

    Args:
        name: "ppo", "maskable_ppo", "recurrent_ppo" or "recurrent_ppo_prior".
        env: the environment's id.
        settings: of the algorithm's constructor, and `n_envs`.
    """

    def __init__(self, name: str, env: str, *, seed: int, env_kwargs: Mapping[str, Any], **settings: Any) -> None:
        from agents.sb3.prior_guide import KLPenaltyCallback, start_as_prior
        from seqtutor_envs.registry import get_vector_class
        from seqtutor_envs.sb3 import make_vec_env

        self.env_kwargs = {**env_kwargs, "obs_mode": "token" if "recurrent" in name else "prefix"}
        n_envs = settings.pop("n_envs", get_vector_class(env).round_size)
        self.env = make_vec_env(env, n_envs, env_kwargs=self.env_kwargs)
        self.task, self.c = self.env.get_attr("task")[0], self.env.get_attr("c")[0]
        algorithm, policy, policy_kwargs = _choose_algorithm(name, self.env.get_attr("prior")[0])
        policy_kwargs |= settings.pop("policy_kwargs", {})
        given = {"n_steps": self.task.length, "device": "cpu", **TUNED, **settings}
        given.setdefault("batch_size", given["n_steps"] * n_envs // 2)
        self.model = algorithm(policy, self.env, seed=seed, policy_kwargs=policy_kwargs, **given)
        self.model.set_logger(Logger(None, []))  # one of its own would leave a temporary folder after each rollout
        if name == "recurrent_ppo_prior":
            start_as_prior(self.model)
        self.count = SequenceCounter(self.task)
        self.callbacks = [KLPenaltyCallback(), self.count]

    def learn(self, timesteps: int, seconds: float, clock: Clock, after_round: AfterRound | None = None) -> float:
        """Learn rollout by rollout: a callback that stopped within one would throw its steps away."""
        # exactly one rollout for each call of `learn`
        rollout = self.model.n_steps * self.model.n_envs
        begin, spent, goal = clock(), 0.0, self.model.num_timesteps + timesteps
        while spent < seconds and self.model.num_timesteps < goal and not self.task.spent:
            self.model.learn(rollout, callback=self.callbacks, reset_num_timesteps=False)
            spent = clock() - begin
            if after_round is not None:
                after_round()
        return spent

    def count_sequences(self) -> dict[str, int]:
        return {"sequences": self.count.sequences, "scored": len(self.count.names)}


class SequenceCounter(BaseCallback):
    """Count what a stable-baselines3 model generates.

    Attributes:
        sequences: how many have ended.
        names: the distinct ones: canonical SMILES of molecules, in other domains the tokens.
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


def make_agent(agent: str, env: str, seed: int, env_kwargs: Mapping[str, Any], agent_kwargs: Mapping[str, Any]) -> Any:
    """Make the agent of an experiment: a Contestant, or the agent itself if it does not learn.

    Raises ImportError or ValueError, in one line, if the factory is missing or refuses these keywords.
    """
    from agents.base import SequenceAgent

    factory = import_factory(agent)
    try:
        found = factory(env, seed=seed, env_kwargs=dict(env_kwargs), **agent_kwargs)
    except (TypeError, AssertionError) as error:  # stable-baselines3 asserts what it asks of settings
        raise ValueError(f"{agent} cannot be made with these keywords: {error}.") from error
    # one without `learn`, such as the prior, is evaluated as it is
    if isinstance(found, Contestant) or not hasattr(found, "learn"):
        return found
    return (Ours if isinstance(found, SequenceAgent) else Learner)(found, env_kwargs)


def import_factory(path: str) -> Callable[..., Any]:
    """Import what "package.module:name" names. Raise ValueError or ImportError in one line."""
    try:
        return import_by_name(path, "my_agents:make")
    except AttributeError as error:
        raise ImportError(str(error)) from None


def _choose_algorithm(name: str, prior: Any) -> tuple[Any, str, dict[str, Any]]:
    """Return the algorithm, the policy and the policy's keywords."""
    if name != "ppo" and find_spec("sb3_contrib") is None:
        raise ImportError(f"{name} is sb3-contrib's: pip install sb3-contrib, or leave it out.")
    if "recurrent" not in name:
        from agents.sb3.one_hot_prefix import OneHotPrefix

        kwargs = {"features_extractor_class": OneHotPrefix}
        if name == "maskable_ppo":
            from sb3_contrib import MaskablePPO

            return MaskablePPO, "MlpPolicy", kwargs
        from stable_baselines3 import PPO

        return PPO, "MlpPolicy", kwargs
    from sb3_contrib import RecurrentPPO

    from agents.sb3.prior_guide import recurrent_policy_kwargs

    # from random weights too, so that the start is all that differs
    from_prior = name == "recurrent_ppo_prior" or getattr(prior, "cell", None) == "lstm"
    return RecurrentPPO, "MlpLstmPolicy", recurrent_policy_kwargs(prior) if from_prior else {}


# ---------------------------------------------------------------- agents of experiments


ppo = partial(Theirs, "ppo")  # stable-baselines3's, on prefixes
maskable_ppo = partial(Theirs, "maskable_ppo")  # sb3-contrib's, on prefixes
recurrent_ppo = partial(Theirs, "recurrent_ppo")  # sb3-contrib's, from random weights
recurrent_ppo_prior = partial(Theirs, "recurrent_ppo_prior")  # the same, started as the prior


def sb3(
    env: str,
    *,
    seed: int,
    env_kwargs: Mapping[str, Any],
    algorithm: str,
    policy: str = "MlpPolicy",
    n_envs: int = 64,
    kl_penalty: bool = True,
    **settings: Any,
) -> Learner:
    """Make any algorithm of stable-baselines3 or sb3-contrib, such as algorithm="stable_baselines3:A2C".

    Args:
        kl_penalty: pay on-policy algorithms - log pi as well, so that they maximise J.
        settings: of the algorithm's constructor.
    """
    from agents.sb3.prior_guide import KLPenaltyCallback
    from seqtutor_envs.sb3 import make_vec_env

    batch = make_vec_env(env, n_envs, env_kwargs=dict(env_kwargs))
    model = import_factory(algorithm)(policy, batch, seed=seed, device="cpu", **settings)
    model.set_logger(Logger(None, []))
    return Learner(model, env_kwargs, [KLPenaltyCallback()] if kl_penalty else [])


def prior(env: str, *, seed: int, env_kwargs: Mapping[str, Any], file: str | None = None) -> Any:
    """Make the environment's prior, which does not learn; or the prior in another file, which is scored there."""
    return _make_fixed(env, env_kwargs, uniform=False, file=file)


def uniform(env: str, *, seed: int, env_kwargs: Mapping[str, Any]) -> Any:
    """Make the uniform policy, which does not learn."""
    return _make_fixed(env, env_kwargs, uniform=True)


def twisted_smc(
    env: str, *, seed: int, env_kwargs: Mapping[str, Any], agent: str = "agents:PsiLearning", particles: int = 256,
    **settings: Any,
) -> Guide:
    """Make an agent of ours that learns to guide sequential Monte Carlo.

    Args:
        agent: its class.
        settings: of its constructor.
    """
    return Guide(import_factory(agent)(env, seed=seed, env_kwargs=dict(env_kwargs), **settings), env_kwargs, particles)


def best_of_prior(env: str, *, seed: int, env_kwargs: Mapping[str, Any], calls: int) -> Any:
    """Make the choice of the best among the first `calls` distinct samples of the prior."""
    from benchmarks.prior_samples import BestOfPrior, make_batch

    return BestOfPrior(make_batch(env, env_kwargs), calls)


def _make_fixed(env_id: str, env_kwargs: Mapping[str, Any], uniform: bool, file: str | None = None) -> Any:
    from agents.baselines import FixedPolicy, UniformPolicy
    from benchmarks.prior_samples import make_batch
    from seqtutor_envs import checks
    from seqtutor_envs.prior import load_prior
    from seqtutor_envs.prior.masking import mask_prior

    # only its task and prior are wanted
    env = make_batch(env_id, env_kwargs)
    env.close()
    policy = UniformPolicy(env.task.vocab, env.task.length) if uniform else load_prior(file or env.prior)
    checks.same_vocabulary(env.task, policy)
    return FixedPolicy(mask_prior(policy, env.task), env.task.length)
