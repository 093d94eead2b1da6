"""The native vector environment as stable-baselines3's VecEnv: one batched step, no loop over environments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.infos import info_of


def make_sb3(id: str, num_envs: int = 1, *, infos: str = "end", **kwargs: Any) -> SB3VecEnv:
    """`gymnasium.make_vec(id, num_envs, ...)` for stable-baselines3, which needs the autoreset mode SAME_STEP.

    Args:
        infos: "end", infos only where an episode ends, since a dict for each of many environments costs more than a
            step; or "full".
        **kwargs: the environment's own.
    """
    native = gymnasium.make_vec(id, num_envs=num_envs, autoreset_mode="SameStep", infos=infos, **kwargs)
    if not isinstance(native, SequenceTutorVectorEnv):
        raise TypeError(f"{id} has no native vector environment of this package, but {type(native).__name__}.")
    return SB3VecEnv(native)


class SB3VecEnv(VecEnv):
    """A native vector environment (autoreset mode SAME_STEP) as a VecEnv.

    Where an episode ends, its info holds the step's infos and, as Monitor gives it, `episode` (r: sum of rewards, l:
    tokens, t: seconds since the start), `terminal_observation` and `TimeLimit.truncated` (True where a task's budget of
    scores ran out).

    Attributes:
        native: the wrapped environment; `get_attr`, `set_attr` and `env_method` reach it, as it stands for all
        sequences.
    """

    def __init__(self, native: SequenceTutorVectorEnv) -> None:
        mode = native.metadata["autoreset_mode"]
        if mode.name != "SAME_STEP":
            raise ValueError(f"stable-baselines3 needs autoreset_mode='SameStep', not {mode.value!r}.")
        self.native = native
        super().__init__(native.num_envs, native.single_observation_space, native.single_action_space)
        self._returns = np.zeros(self.num_envs)  # of the running episodes
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._made_at = time.time()
        self._actions: NDArray[np.int64] | None = None

    def reset(self) -> Any:
        """Observations of all sequences, new; `reset_infos` holds their infos. Seeds given by `seed` are used once."""
        observations, infos = self.native.reset(seed=self._seeds)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = [info_of(infos, i) for i in range(self.num_envs)]
        return observations

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        assert self._actions is not None, "step_wait() follows step_async()"
        observations, rewards, terminated, truncated, infos = self.native.step(self._actions)
        self._actions, dones = None, terminated | truncated
        self._returns += rewards
        self._lengths += 1
        if self.native.infos == "full":
            each = [info_of(infos, i) | {"TimeLimit.truncated": False} for i in range(self.num_envs)]
        else:
            each = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones).tolist():  # reset_infos stay: what follows a start token never changes
            each[i] = info_of(infos["final_info"], i) | self._ended(i, infos["final_obs"][i], bool(truncated[i]))
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        return observations, rewards.astype(np.float32), dones, each

    def _ended(self, i: int, observation: Any, truncated: bool) -> dict[str, Any]:
        seconds = round(time.time() - self._made_at, 6)
        episode = {"r": round(float(self._returns[i]), 6), "l": int(self._lengths[i]), "t": seconds}
        return {"episode": episode, "terminal_observation": observation, "TimeLimit.truncated": truncated}

    def close(self) -> None:
        self.native.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Pictures of the first 16 sequences (render_mode "rgb_array")."""
        return list(self.native.render() or ())

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        value = getattr(self.native, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(f"Cannot set {attr_name!r} for some sequences only: all of them share one environment.")
        setattr(self.native, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls the method once, for it is one environment; its result stands in the list for each sequence."""
        result = getattr(self.native, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """True for Monitor, whose `episode` infos are here; `evaluate_policy` asks for it. Else False."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
