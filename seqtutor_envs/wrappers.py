"""Wrappers of the vector environments: the KL penalty for training loops of your own.

N sequences; log p and log pi in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import ArrayLike, NDArray

from seqtutor_envs.checks import Range
from seqtutor_envs.infos import Mask
from seqtutor_envs.vocab import Floats

LOG_PI_SLACK = 1e-4  # above 0, as rounding in float32 leaves it where an agent is sure of a token


class KLPenalty(VectorWrapper):  # without type parameters, as gymnasium 1.2's takes none
    """Subtract `weight` * log pi(a | s) from the reward.

    At weight 1 the sum over an episode is one sample of J = E[R / c] - KL(pi || p).
    The environment's reward is r_T / c + log p; what is missing to J's integrand, r_T / c + log p - log pi, only the
    agent knows. It reports log pi of its actions before each step:

        env = KLPenalty(gymnasium.make_vec("SeqTutor-Melody-v0", num_envs=64))
        env.report(log_pi)                                   # [N]
        observations, rewards, *_ = env.step(actions)

    The policy gradient needs no more than that: log pi is a number in the reward, without a gradient of its own.
    J needs gamma 1, and no entropy bonus, since -log pi is one already. stable-baselines3 has
    `agents.sb3.prior_guide.KLPenaltyCallback` instead, as it does not show log pi to an environment.

    Wrapped around it, RecordEpisodeStatistics records samples of J as `r`; within it, plain returns. Wherever the
    environment's infos tell `prior_log_prob`, `log_pi` and `kl` (log pi - log p) stand beside it. A call that begins a
    sequence anew (NEXT_STEP) writes no token: it costs nothing and its log pi may be any number.

    Args:
        env: a vector environment of this package.
        weight: of log pi; 0 pays what the environment pays.
    """

    def __init__(self, env: VectorEnv[Any, Any, NDArray[Any]], weight: float = 1.0) -> None:
        super().__init__(env)
        self.weight = penalty_weight(weight)
        self._next_step = env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        self._beginning = np.zeros(self.num_envs, np.bool_)  # the next call begins these anew and writes no token
        self._log_pi: Floats | None = None

    def report(self, log_pi: ArrayLike) -> None:
        """Tell log pi [N] of the actions that the next step will take.

        Raises ValueError unless they are N numbers of at most 0.
        """
        # a copy in float64: the caller may pass float32, and change its array before the step
        reported = np.array(log_pi, dtype=np.float64)
        if reported.shape != (self.num_envs,):
            found = list(reported.shape)
            raise ValueError(f"log pi must have shape [{self.num_envs}], one for each action, not {found}.")
        # these take no token in the next step, so whatever stands there is no probability
        reported[self._beginning] = 0.0
        wrong = np.flatnonzero(~(np.isfinite(reported) & (reported <= LOG_PI_SLACK)))
        if len(wrong):
            which = f"sequence {wrong[0]} has {reported[wrong[0]]}"
            raise ValueError(f"log pi of a token that was drawn is finite and at most 0, in nats; {which}.")
        self._log_pi = reported

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; a report that no step has used is forgotten."""
        # a copy, as RecordEpisodeStatistics takes the mask out of what it is given
        mask = None if options is None else options.get("reset_mask")
        result = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._beginning[slice(None) if mask is None else mask] = False
        self._log_pi = None
        return result

    def step(self, actions: Any) -> tuple[Any, Floats, Mask, Mask, dict[str, Any]]:
        """Step the environment; the rewards [N] are penalised.

        Raises RuntimeError where log pi was not reported since the last step.
        """
        if self._log_pi is None:
            raise RuntimeError("Call report(log_pi) with log pi of the actions before each step().")
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        # forgotten at once: a second step with the same report would be a silent error
        log_pi, self._log_pi = self._log_pi, None
        # SAME_STEP tells of the last token under "final_info"
        for told in (infos, infos.get("final_info", {})):
            if "prior_log_prob" in told:
                mask = told["_prior_log_prob"]
                own = np.where(mask, log_pi, 0.0)
                told |= {"log_pi": own, "_log_pi": mask.copy()}
                told |= {"kl": own - told["prior_log_prob"], "_kl": mask.copy()}
        if self._next_step:
            self._beginning = terminated | truncated
        return observations, rewards - self.weight * log_pi, terminated, truncated, infos


def penalty_weight(weight: float) -> float:
    """Raise ValueError unless it is a finite number of at least 0."""
    return float(Range(0.0).check("weight", weight))
