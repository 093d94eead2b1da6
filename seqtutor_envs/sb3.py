"""The native vector environment as stable-baselines3's VecEnv: one batched step, no loop over environments."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from seqtutor_envs import checks
from seqtutor_envs.infos import infos_of
from seqtutor_envs.registry import native_class
from seqtutor_envs.vector_env import SequenceTutorVectorEnv

# what Gymnasium's make_vec and stable-baselines3's make_vec_env take besides, and what to do about it here
NOT_HERE = {
    "num_envs": "it is called n_envs, as stable-baselines3 calls it",
    "autoreset_mode": "stable-baselines3 knows SameStep alone, and that is set",
    "vectorization_mode": "this is the native batch",
    "vec_env_cls": "this is the native batch; stable_baselines3.common.env_util.make_vec_env makes others",
    "wrapper_class": "a batch has no single environments; stable_baselines3.common.env_util.make_vec_env makes them",
    "monitor_dir": "episodes are in the infos; VecMonitor(env, filename) writes them to a file",
}
# of one environment under a VecEnv of many; for all at once there are the VecEnv's own
NOT_ONE_BY_ONE = ("reset", "step", "close")


def make_vec_env(
    id: str,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    infos: str = "end",
    env_kwargs: dict[str, Any] | None = None,
    **more_env_kwargs: Any,
) -> SB3VecEnv:
    """Make a VecEnv of an id of this package as stable-baselines3's `make_vec_env` does, but as one native batch.

    Args:
        id: SeqTutor-Melody-v0, say, or any id whose `vector_entry_point` is a SequenceTutorVectorEnv.
        n_envs: how many sequences are generated at once.
        seed: of the VecEnv, used at the next reset, and of its action space.
        infos: "end", infos only where an episode ends, as a dict for each of many environments costs more than the
            step; or "full".
        env_kwargs, more_env_kwargs: the environment's own, in either way; `seed` of SeqTutor-Exact-v0 in the first.

    Raises TypeError or ValueError in one line where an argument or the id does not fit.
    """
    # `dict(**a, **b)`, not a | b: a keyword given in both ways is an error
    kwargs = dict(**(env_kwargs or {}), **more_env_kwargs)
    for name, instead in NOT_HERE.items():
        if name in kwargs:
            raise TypeError(f"make_vec_env takes no {name}: {instead}.")
    n_envs, seed = checks.positive_integer("n_envs", n_envs), checks.SEED_OR_NONE.check("seed", seed)
    others = "stable_baselines3.common.env_util.make_vec_env takes"
    if not isinstance(id, str):
        raise TypeError(f"make_vec_env takes the id of an environment, not {id!r}; {others} classes and functions.")
    if native_class(id) is None:
        raise TypeError(f"{id} has no native batch of this package; {others} every id.")
    # SameStep: stable-baselines3 expects the first observation of the next episode at once
    native: Any = gymnasium.make_vec(id, num_envs=n_envs, autoreset_mode="SameStep", infos=infos, **kwargs)
    env = SB3VecEnv(native)
    if seed is not None:
        env.seed(seed)
        env.action_space.seed(seed)
    return env


class SB3VecEnv(VecEnv):
    """Adapt a native vector environment (autoreset mode SAME_STEP) to stable-baselines3's VecEnv.

    Where an episode ends, its info holds the step's infos and, as Monitor gives it, `episode` (r: sum of rewards, l:
    tokens, t: seconds since the start), `terminal_observation` and `TimeLimit.truncated` (True where a task's budget of
    scores ran out). All sequences are one environment: they share its attributes, and its generator has the first seed.

    Attributes:
        native: the wrapped environment.
    """

    _warned: ClassVar[bool] = False  # of torch's threads, in this process

    def __init__(self, native: SequenceTutorVectorEnv) -> None:
        if not isinstance(native, SequenceTutorVectorEnv):
            what = f"a native vector environment of this package, unwrapped, not {native}"
            raise TypeError(f"SB3VecEnv takes {what}; stable-baselines3's own wrappers go around it.")
        mode = native.metadata["autoreset_mode"]
        if mode.name != "SAME_STEP":
            raise ValueError(f"stable-baselines3 needs autoreset_mode='SameStep', not {mode.value!r}.")
        self.native = native
        super().__init__(native.num_envs, native.single_observation_space, native.single_action_space)
        self.spec = native.spec  # VecMonitor writes its id to the file
        # the autoreset mode is Gymnasium's enum, which means nothing to stable-baselines3
        self.metadata = {key: value for key, value in native.metadata.items() if key != "autoreset_mode"}
        self._everyone = np.arange(self.num_envs)
        self._returns = np.zeros(self.num_envs)  # of the running episodes
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._made_at = time.time()
        self._actions: NDArray[np.int64] | None = None

    # ---------------------------------------------------------------- sequences

    def reset(self) -> Any:
        """Start all sequences. `reset_infos` then holds their infos; seeds given by `seed` are used once.

        Warns:
            UserWarning: a stable-baselines3 model begins to learn on several threads; once a process.
        """
        if not SB3VecEnv._warned and (number := torch.get_num_threads()) > 1 and (model := _find_learner()) is not None:
            SB3VecEnv._warned = True
            warnings.warn(
                f"{type(model).__name__} learns on {number} threads. Its network is small, so they wait for each other,"
                " on a busy machine most of the time: call torch.set_num_threads(1) before learn().",
                stacklevel=2,
            )
        observations, infos = self.native.reset(seed=self._seeds)
        # stable-baselines3 clears both after a reset, so a seed is used once
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = infos_of(infos, self._everyone)
        return observations

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        assert self._actions is not None, "step_wait() follows step_async()"
        observations, rewards, terminated, truncated, infos = self.native.step(self._actions)
        self._actions, dones = None, terminated | truncated
        self._returns += rewards
        self._lengths += 1
        # popped: SB3 wants them inside the info of the one environment that ended
        final, final_obs = infos.pop("final_info", None), infos.pop("final_obs", None)
        if self.native.infos == "full":
            each = infos_of(infos, self._everyone)
            for info in each:
                info["TimeLimit.truncated"] = False
        else:
            each = [{} for _ in range(self.num_envs)]  # one each, as users may write into them
        if final is not None:  # reset_infos stay: what follows a start token never changes
            ended, seconds = np.flatnonzero(dones), round(time.time() - self._made_at, 6)
            for i, info in zip(ended.tolist(), infos_of(final, ended)):
                # rounded to six digits as Monitor does
                info["episode"] = {"r": round(float(self._returns[i]), 6), "l": int(self._lengths[i]), "t": seconds}
                info["terminal_observation"] = final_obs[i]
                info["TimeLimit.truncated"] = bool(truncated[i])
                each[i] = info
            self._returns[ended] = 0.0
            self._lengths[ended] = 0
        # float32, as SB3's buffers hold them
        return observations, rewards.astype(np.float32), dones, each

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set and return the seeds of the next reset: `seed`, `seed` + 1, ...; None draws one as SB3 does."""
        return super().seed(checks.SEED_OR_NONE.check("seed", seed))

    def close(self) -> None:
        self.native.close()

    # ---------------------------------------------------------------- pictures

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Draw the first 16 sequences. Unless render_mode is "rgb_array", warn as SB3 does and draw none."""
        if self.render_mode != "rgb_array":
            warnings.warn(f"The render mode is {self.render_mode}, and images need render_mode='rgb_array'.")
            return [None] * self.num_envs
        return list(self.native.render() or ())

    # ---------------------------------------------------------------- attributes and methods

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return the attribute for each sequence asked about; spaces and metadata are those of one sequence."""
        # SB3 asks for one environment's spaces; the native batch would answer with those of all
        of_one = attr_name in ("observation_space", "action_space", "metadata")
        value = getattr(self if of_one else self.native, attr_name)
        return [value for _ in self._asked(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set the environment's attribute. Raise ValueError if it is to hold for some sequences only."""
        if len(set(self._asked(indices))) < self.num_envs:
            raise ValueError(f"Cannot set {attr_name!r} for some sequences only: all of them share one environment.")
        setattr(self.native, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method and return its result for each sequence asked about.

        `action_masks` gives each its own row [V] and `render` its own picture; any other method is called once, for all
        are one environment, and its result stands in the list as often. Raises ValueError for reset, step and close.
        """
        asked = self._asked(indices)
        if method_name in NOT_ONE_BY_ONE:
            raise ValueError(f"One sequence cannot {method_name} by itself: call {method_name}() of the VecEnv.")
        if method_name == "render" and self.render_mode is not None:
            return [self.native._picture(i) for i in asked]  # native.render() draws no more than 16
        result = getattr(self.native, method_name)(*method_args, **method_kwargs)
        return [result[i] if method_name == "action_masks" else result for i in asked]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return True for Monitor, whose `episode` infos are here, as `evaluate_policy` asks; else False."""
        return [wrapper_class is Monitor for _ in self._asked(indices)]

    def _asked(self, indices: VecEnvIndices) -> list[int]:
        """Return the numbers 0..N-1 that `indices` means. Raise IndexError where there is no such one."""
        return [range(self.num_envs)[i] for i in self._get_indices(indices)]


def _find_learner() -> BaseAlgorithm | None:
    """Find the stable-baselines3 model that resets the environment at the start of `learn`, through any wrappers."""
    # by the stack: nothing else tells a model that learns from one that is evaluated, or from an agent of ours
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "_setup_learn" and isinstance(model := frame.f_locals.get("self"), BaseAlgorithm):
            return model
        frame = frame.f_back
    return None
