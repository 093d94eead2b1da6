"""Agents of other libraries as rows of log pi, out of which the judge samples.

N sequences, V tokens; log pi in nats. sb3-contrib is not imported: its policies are known by what they offer.
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


class LogPolicy(ABC):
    """An agent that says log pi of every token before one is chosen.

    A policy of one's own that has a memory is judged as a subclass of this; one without is simpler as a function.
    """

    @abstractmethod
    def step(
        self,
        observation: Any,
        state: Any,
        episode_start: NDArray[np.bool_],
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Rows, Any]:
        """Rows of log pi, float64 [N, V] and normalised, and the state for the next call.

        Args:
            observation: of N sequences.
            state: what the last call returned; None in the first.
            episode_start: [N], True where a sequence begins; its state starts anew.
            action_masks: [N, V], True for allowed tokens; None is all. Only policies that learned with masks read it.
        """


def log_policy_of(agent: Any) -> LogPolicy | None:
    """The rows of log pi of a stable-baselines3 or sb3-contrib model, of a policy of theirs, of a LogPolicy, or of a
    function from an observation to probabilities [N, V]; None where an agent gives actions only.

    A model that predicts by a method of its user's own gives actions only: its rows would be another policy's. So do
    policies without probabilities, such as ARS'.
    """
    if isinstance(agent, LogPolicy):
        return CheckedRows(agent)
    if not hasattr(agent, "predict"):
        return FunctionRows(agent) if callable(agent) else None
    policy: Any = getattr(agent, "policy", agent)
    if not isinstance(policy, BasePolicy):
        return None
    return _rows_of(agent, policy)


def _rows_of(agent: Any, policy: Any) -> LogPolicy | None:
    predicting = (agent.predict, policy.predict, policy._predict)
    if any(method.__module__.split(".")[0] not in LIBRARIES for method in predicting):
        return None
    if hasattr(policy, "q_net") or hasattr(policy, "quantile_net"):
        return GreedyRows(agent, policy)
    if not hasattr(policy, "get_distribution"):
        return None
    takes = inspect.signature(policy.get_distribution).parameters
    kind = RecurrentRows if "lstm_states" in takes else MaskableRows if "action_masks" in takes else PolicyRows
    return kind(agent, policy)


class PolicyRows(LogPolicy):
    """ActorCriticPolicy's: PPO, A2C, TRPO. It knows no masks: where a task forbids tokens that the policy writes, the
    environment says so.

    Args:
        agent: the model, or the policy itself. Observations are normalised as it learned from them.
        policy: the model's.
    """

    def __init__(self, agent: Any, policy: Any) -> None:
        self.policy, self.seen = policy, normaliser(agent)
        if not all(bool(weights.isfinite().all()) for weights in policy.parameters()):
            raise ValueError("This agent's network holds weights that are NaN or infinite: its training has diverged.")

    @torch.no_grad()
    def step(
        self,
        observation: Any,
        state: Any,
        episode_start: NDArray[np.bool_],
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Rows, Any]:
        self.policy.set_training_mode(False)  # as its own predict does
        tensor, _ = self.policy.obs_to_tensor(self.seen(observation))
        logits, state = self.logits(tensor, state, episode_start, action_masks)
        return logits.cpu().double().log_softmax(dim=1).numpy(), state  # on the CPU: not every device has float64

    def logits(self, observation: Any, state: Any, start: Any, masks: Any) -> tuple[torch.Tensor, Any]:
        """log pi [N, V] but for a summand of each row, and the state for the next call."""
        return self.policy.get_distribution(observation).distribution.logits, state


class MaskableRows(PolicyRows):
    """MaskablePPO's, under the environment's masks: a forbidden token has probability 0."""

    def logits(self, observation: Any, state: Any, start: Any, masks: Any) -> tuple[torch.Tensor, Any]:
        return self.policy.get_distribution(observation, masks).distribution.logits, state


class RecurrentRows(PolicyRows):
    """RecurrentPPO's. The state is that of the actor's LSTM, two tensors [layers, N, hidden]."""

    def logits(self, observation: Any, state: Any, start: Any, masks: Any) -> tuple[torch.Tensor, Any]:
        if state is None:
            layers, _, hidden = self.policy.lstm_hidden_state_shape
            state = (torch.zeros(layers, len(start), hidden, device=self.policy.device),) * 2
        starts = torch.as_tensor(start, dtype=torch.float32, device=self.policy.device)
        distribution, state = self.policy.get_distribution(observation, state, starts)
        return distribution.distribution.logits, state


class GreedyRows(PolicyRows):
    """DQN's and QRDQN's epsilon-greedy policy: epsilon / V for every token, and 1 - epsilon for the best one besides.

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
        rows = torch.full(values.shape, self.epsilon / values.shape[1], dtype=torch.float64)
        rows[torch.arange(len(rows)), values.argmax(dim=1).cpu()] += 1.0 - self.epsilon
        return rows.log(), state


class FunctionRows(LogPolicy):
    """A function from observations of N sequences, in the environment's obs_mode, to probabilities [N, V], an array or
    a torch tensor. It has no state: what depends on more than the last token reads obs_mode "prefix".

    Probabilities may sum to 1 within SUM_TOLERANCE and are made to sum to it. `step` raises ValueError for others.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def step(
        self,
        observation: Any,
        state: Any,
        episode_start: NDArray[np.bool_],
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Rows, Any]:
        with torch.no_grad():
            rows = as_floats(self.function(observation), "A function that is judged must return probabilities")
        _check_shape(rows, len(episode_start), "probabilities")
        if np.isnan(rows).any():
            raise ValueError(f"This agent's probabilities are NaN for {np.isnan(rows).any(1).sum()} sequences.")
        if rows.min(initial=0.0) < 0:
            raise ValueError(f"This agent's probabilities must not be negative, as {rows.min():.4g} is{LOGITS}.")
        sums = rows.sum(axis=1, keepdims=True)
        worst = sums.flat[np.abs(sums - 1).argmax()]
        if not abs(worst - 1) <= SUM_TOLERANCE:
            raise ValueError(f"This agent's probabilities must sum to 1, not {worst:.6g}{LOGITS}.")
        with np.errstate(divide="ignore"):
            return np.log(rows / sums), state


class CheckedRows(LogPolicy):
    """A user's own LogPolicy. `step` raises ValueError where its rows are not log pi."""

    def __init__(self, policy: LogPolicy) -> None:
        self.policy = policy

    def step(
        self,
        observation: Any,
        state: Any,
        episode_start: NDArray[np.bool_],
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Rows, Any]:
        rows, state = self.policy.step(observation, state, episode_start, action_masks)
        rows = as_floats(rows, "A LogPolicy's step must return rows of log pi")
        _check_shape(rows, len(episode_start), "rows of log pi")
        sums = np.exp(rows).sum(axis=1)
        if not (np.abs(sums - 1.0) <= SUM_TOLERANCE).all():  # NaN is not, either
            worst = sums[np.argmax(np.abs(sums - 1.0))]
            raise ValueError(f"This agent's rows of log pi must have probabilities that sum to 1, not {worst:.6g}.")
        return rows - np.log(sums)[:, None], state


def _check_shape(rows: Rows, n: int, what: str) -> None:
    if rows.ndim != 2 or len(rows) != n:
        wanted = f"[{n}, V], a row for each sequence"
        raise ValueError(f"This agent's {what} must have shape {wanted}, not {list(rows.shape)}.")


class Predictor:
    """An agent that gives actions only, by its `predict`. Raises ValueError where that cannot be called."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.seen = agent, normaliser(agent)
        try:
            inspect.signature(agent.predict).bind(None, state=None, episode_start=None, deterministic=False)
        except TypeError as error:
            raise ValueError(f"An agent's predict is called as {PREDICT}; here: {error}.") from None

    def step(self, observation: Any, state: Any, episode_start: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Any]:
        """Actions [N], not yet compared with the environment's, and the next state. Raises ValueError where they are
        not integers."""
        given = self.agent.predict(
            self.seen(observation), state=state, episode_start=episode_start, deterministic=False
        )
        if not isinstance(given, tuple) or len(given) != 2:
            raise ValueError(f"An agent's predict must return a pair, {PREDICT}; not {type(given).__name__}.")
        actions = np.asarray(given[0])
        if actions.shape != episode_start.shape or actions.dtype.kind not in "iu":
            wanted = f"{len(episode_start)} integers, one for each sequence"
            raise ValueError(f"This agent's predict must return {wanted}, not {actions.dtype} {list(actions.shape)}.")
        return actions, given[1]


def normaliser(agent: Any) -> Callable[[Any], Any]:
    """What an agent's observations go through before it sees them: nothing, or the VecNormalize that it learned under.

    Raises ValueError where a model learned under one whose statistics are not at hand.
    """
    wrapper = agent.get_vec_normalize_env() if hasattr(agent, "get_vec_normalize_env") else None
    if wrapper is not None:
        return wrapper.normalize_obs
    if _learned_from_normalised(agent):
        raise ValueError(
            "This model learned under VecNormalize, whose statistics are not in its zip: load it in a program with"
            " env=VecNormalize.load(FILE, make_vec_env(ID, ...)), and judge that."
        )
    return lambda observation: observation


def _learned_from_normalised(agent: Any) -> bool:
    """Whether the last observation is of floats, where the space's are integers: only normalising does that."""
    last, space = getattr(agent, "_last_obs", None), getattr(agent, "observation_space", None)
    values = last if isinstance(last, dict) else {"": last}
    boxes: dict[str, Any] = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    return any(
        isinstance(value, np.ndarray)
        and isinstance(boxes.get(name), spaces.Box)
        and (value.dtype.kind, boxes[name].dtype.kind) == ("f", "i")
        for name, value in values.items()
    )


def obs_mode_of(agent: Any) -> str | None:
    """The obs_mode that an agent's `observation_space` belongs to; None where it has none."""
    space = getattr(agent, "observation_space", None)
    kinds = {spaces.Dict: "dict", spaces.Discrete: "token", spaces.Box: "prefix"}
    return next((mode for kind, mode in kinds.items() if isinstance(space, kind)), None)


def as_floats(values: Any, must: str) -> NDArray[np.float64]:
    """What an agent returned, an array, a list or a torch tensor, as float64. Raises ValueError, beginning with `must`,
    where it is not numbers."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{must}, not {type(values).__name__}.") from None
