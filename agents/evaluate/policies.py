"""Compute rows of log pi from the policies of other libraries' agents; `evaluate` samples from them.

N sequences, V tokens; log pi in nats. sb3-contrib is not imported: its policies are recognised by what they offer.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

LIBRARIES = ("stable_baselines3", "sb3_contrib")
SUM_TOLERANCE = 1e-3  # of a row of probabilities, as float16 gives them
PREDICT = "predict(observation, state=None, episode_start=None, deterministic=False) -> (actions, state)"
LOGITS = "; of logits take the softmax, of log-probabilities the exponential"
Rows = NDArray[np.float64]
Flags = NDArray[np.bool_]


class LogPolicy(ABC):
    """Give log pi of every token before one is chosen.

    A policy of your own that has a memory is evaluated as a subclass of this; one without is simpler as a function.
    """

    @abstractmethod
    def step(
        self, observation: Any, state: Any, episode_start: Flags, action_masks: Flags | None = None
    ) -> tuple[Rows, Any]:
        """Return rows of log pi, float64 [N, V] and normalised, and the state for the next call.

        Args:
            observation: of N sequences.
            state: what the last call returned; None in the first.
            episode_start: [N], True for a sequence that begins; its state starts anew.
            action_masks: [N, V], True for allowed tokens; None is all. Only policies that learned with masks read it.
        """


def find_log_policy(agent: Any) -> LogPolicy | None:
    """Find the rows of log pi of an agent; return None if it gives actions only.

    A model with an overridden predict method gives actions only, since its distribution may not be what it acts by.
    Policies without probabilities, such as those of ARS, give actions only, too.

    Args:
        agent: a model of stable-baselines3 or sb3-contrib, a policy of theirs, a LogPolicy, or a function from an
            observation to probabilities [N, V].
    """
    if isinstance(agent, LogPolicy):
        return UserRows(agent)
    if not hasattr(agent, "predict"):
        return UserRows(agent) if callable(agent) else None
    policy: Any = getattr(agent, "policy", agent)
    if not isinstance(policy, BasePolicy):
        return None
    # a method that a user has overridden may act otherwise than the distribution says
    predicting = (agent.predict, policy.predict, policy._predict)
    if not all(method.__module__.split(".")[0] in LIBRARIES for method in predicting):
        return None
    # by attributes, not classes: sb3-contrib need not be installed
    if hasattr(policy, "q_net") or hasattr(policy, "quantile_net"):
        return GreedyRows(agent, policy)
    return PolicyRows(agent, policy) if hasattr(policy, "get_distribution") else None


class PolicyRows(LogPolicy):
    """Give the rows of an ActorCriticPolicy: PPO's, A2C's, TRPO's, MaskablePPO's, RecurrentPPO's.

    MaskablePPO's are under the environment's masks: a forbidden token has probability 0. The others know no masks, and
    a forbidden token is the environment's own error. RecurrentPPO's state is that of the actor's LSTM, two tensors
    [layers, N, hidden].

    Args:
        agent: the model, or the policy itself. Observations are normalised as it learned from them.
        policy: the model's.
    """

    def __init__(self, agent: Any, policy: Any) -> None:
        self.policy, self.normalise = policy, find_normaliser(agent)
        if not all(bool(weights.isfinite().all()) for weights in policy.parameters()):
            raise ValueError("This agent's network holds weights that are NaN or infinite: its training has diverged.")

    @torch.no_grad()
    def step(
        self, observation: Any, state: Any, episode_start: Flags, action_masks: Flags | None = None
    ) -> tuple[Rows, Any]:
        self.policy.set_training_mode(False)  # as its own predict does
        tensor, _ = self.policy.obs_to_tensor(self.normalise(observation))
        logits, state = self.logits(tensor, state, episode_start, action_masks)
        return logits.cpu().double().log_softmax(dim=1).numpy(), state  # on the CPU: not every device has float64

    def logits(self, observation: Any, state: Any, start: Any, masks: Any) -> tuple[torch.Tensor, Any]:
        """Return log pi [N, V] up to a constant for each row, and the state for the next call."""
        takes = inspect.signature(self.policy.get_distribution).parameters
        if "lstm_states" in takes:
            if state is None:
                layers, _, hidden = self.policy.lstm_hidden_state_shape
                state = (torch.zeros(layers, len(start), hidden, device=self.policy.device),) * 2
            starts = torch.as_tensor(start, dtype=torch.float32, device=self.policy.device)
            distribution, state = self.policy.get_distribution(observation, state, starts)
        else:
            further = {"action_masks": masks} if "action_masks" in takes else {}
            distribution = self.policy.get_distribution(observation, **further)
        return distribution.distribution.logits, state


class GreedyRows(PolicyRows):
    """Give the rows of DQN's and QRDQN's epsilon-greedy policy: epsilon / V each, and 1 - epsilon more for the best.

    epsilon is the model's present `exploration_rate`, as in its `predict` (which draws once for a whole batch whether
    to explore; here every sequence draws for itself). A policy that is passed without its model is greedy.
    """

    def __init__(self, agent: Any, policy: Any) -> None:
        super().__init__(agent, policy)
        self.epsilon = float(getattr(agent, "exploration_rate", 0.0))

    def logits(self, observation: Any, state: Any, start: Any, masks: Any) -> tuple[torch.Tensor, Any]:
        if hasattr(self.policy, "q_net"):
            values = self.policy.q_net(observation)
        else:
            values = self.policy.quantile_net(observation).mean(dim=1)  # [N, quantiles, V]
        # probabilities first; a log of 0 is -inf, which is never sampled
        rows = torch.full(values.shape, self.epsilon / values.shape[1], dtype=torch.float64)
        rows[torch.arange(len(rows)), values.argmax(dim=1).cpu()] += 1.0 - self.epsilon
        return rows.log(), state


class UserRows(LogPolicy):
    """Give the rows of a user's LogPolicy, or of a function from observations of N sequences to probabilities [N, V].

    The function gets observations in the environment's obs_mode and returns an array or a torch tensor. It has no
    state: a policy that depends on more than the last token reads obs_mode "prefix". `step` raises ValueError if rows
    are no probabilities; sums may differ from 1 by SUM_TOLERANCE and are made to be 1.
    """

    def __init__(self, policy: LogPolicy | Callable[[Any], Any]) -> None:
        self.policy = policy

    def step(
        self, observation: Any, state: Any, episode_start: Flags, action_masks: Flags | None = None
    ) -> tuple[Rows, Any]:
        n = len(episode_start)
        if isinstance(self.policy, LogPolicy):
            rows, state = self.policy.step(observation, state, episode_start, action_masks)
            return normalise_log_probs(rows, n), state
        with torch.no_grad():
            return normalise_probabilities(self.policy(observation), n), state


def normalise_probabilities(values: Any, n: int) -> Rows:
    """Check probabilities [n, V] that a function returned; return log pi."""
    rows = convert_to_floats(values, "A function that is evaluated must return probabilities")
    _check_shape(rows, n, "probabilities")
    if np.isnan(rows).any():
        raise ValueError(f"This agent's probabilities are NaN for {np.isnan(rows).any(1).sum()} sequences.")
    if rows.min(initial=0.0) < 0:
        raise ValueError(f"This agent's probabilities must not be negative, as {rows.min():.4g} is{LOGITS}.")
    sums = rows.sum(axis=1, keepdims=True)
    worst = sums.flat[np.abs(sums - 1).argmax()]
    if not abs(worst - 1) <= SUM_TOLERANCE:
        raise ValueError(f"This agent's probabilities must sum to 1, not {worst:.6g}{LOGITS}.")
    # log 0 = -inf is right for a forbidden token
    with np.errstate(divide="ignore"):
        return np.log(rows / sums)


def normalise_log_probs(values: Any, n: int) -> Rows:
    """Check rows of log pi [n, V] that a LogPolicy returned; return them normalised."""
    rows = convert_to_floats(values, "A LogPolicy's step must return rows of log pi")
    _check_shape(rows, n, "rows of log pi")
    sums = np.exp(rows).sum(axis=1)
    if not (np.abs(sums - 1.0) <= SUM_TOLERANCE).all():  # NaN is not, either
        worst = sums[np.argmax(np.abs(sums - 1.0))]
        raise ValueError(f"This agent's rows of log pi must have probabilities that sum to 1, not {worst:.6g}.")
    return rows - np.log(sums)[:, None]


def _check_shape(rows: Rows, n: int, what: str) -> None:
    if rows.ndim != 2 or len(rows) != n:
        wanted = f"[{n}, V], a row for each sequence"
        raise ValueError(f"This agent's {what} must have shape {wanted}, not {list(rows.shape)}.")


class Predictor:
    """Ask an agent that gives actions only, by its `predict`. Raise ValueError if that cannot be called."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.normalise = agent, find_normaliser(agent)
        try:
            inspect.signature(agent.predict).bind(None, state=None, episode_start=None, deterministic=False)
        except TypeError as error:
            raise ValueError(f"An agent's predict is called as {PREDICT}; here: {error}.") from None

    def step(self, observation: Any, state: Any, episode_start: Flags) -> tuple[NDArray[np.int64], Any]:
        """Return actions [N], not yet compared with the environment's, and the next state.

        Raises:
            ValueError: they are not integers.
        """
        given = self.agent.predict(
            self.normalise(observation), state=state, episode_start=episode_start, deterministic=False
        )
        if not isinstance(given, tuple) or len(given) != 2:
            raise ValueError(f"An agent's predict must return a pair, {PREDICT}; not {type(given).__name__}.")
        actions = np.asarray(given[0])
        if actions.shape != episode_start.shape or actions.dtype.kind not in "iu":
            wanted = f"{len(episode_start)} integers, one for each sequence"
            raise ValueError(f"This agent's predict must return {wanted}, not {actions.dtype} {list(actions.shape)}.")
        return actions, given[1]


def find_normaliser(agent: Any) -> Callable[[Any], Any]:
    """Return the function that prepares an agent's observations: its VecNormalize's, or one that changes nothing.

    Raises:
        ValueError: the model learned under VecNormalize, and its statistics are not at hand.
    """
    wrapper = agent.get_vec_normalize_env() if hasattr(agent, "get_vec_normalize_env") else None
    if wrapper is not None:
        return wrapper.normalize_obs
    if _has_learned_from_normalised(agent):
        raise ValueError(
            "This model learned under VecNormalize, whose statistics are not in its zip: load it in a program with"
            " env=VecNormalize.load(FILE, make_vec_env(ID, ...)), and evaluate that."
        )
    return lambda observation: observation


def _has_learned_from_normalised(agent: Any) -> bool:
    """Return whether the last observation has floats in a space of integers, or is below it, as after normalising."""
    last, space = getattr(agent, "_last_obs", None), getattr(agent, "observation_space", None)
    values = last if isinstance(last, dict) else {"": last}
    boxes: dict[str, Any] = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    return any(
        isinstance(value, np.ndarray)
        and isinstance(box := boxes.get(name), spaces.Box)
        and ((value.dtype.kind, box.dtype.kind) == ("f", "i") or bool((value < box.low).any()))
        for name, value in values.items()
    )


def find_obs_mode(agent: Any) -> str | None:
    """Find the obs_mode that an agent's `observation_space` belongs to; None if it has no such space."""
    space = getattr(agent, "observation_space", None)
    if isinstance(space, spaces.Box):
        return "prefix" if space.dtype.kind in "iu" else "one_hot"
    kinds = {spaces.Dict: "dict", spaces.Discrete: "token"}
    return next((mode for kind, mode in kinds.items() if isinstance(space, kind)), None)


def convert_to_floats(values: Any, must: str) -> NDArray[np.float64]:
    """Convert what an agent returned (an array, a list or a torch tensor) to float64.

    Raises:
        ValueError: these are no numbers. The message begins with `must`.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{must}, not {type(values).__name__}.") from None
