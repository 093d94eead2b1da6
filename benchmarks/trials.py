"""What `python -m benchmarks compatibility` tries: a few updates of each library's algorithms in one environment.

A trial takes an environment id and an obs_mode; it raises where the library does, and where nothing was learned.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal

Library = Literal["seqtutor", "stable-baselines3", "sb3-contrib", "torchrl", "cleanrl", "gymnasium"]
EXAMPLE = Path(__file__).parents[1] / "examples" / "cleanrl_ppo.py"
N_ENVS = 4
STEPS = 16  # of each environment in a rollout
TOKENS = 3 * STEPS * N_ENVS  # three rollouts
ROLLOUT = {"n_steps": STEPS}
BATCHES = {**ROLLOUT, "batch_size": 32}
EPOCHS = {**BATCHES, "n_epochs": 1}
REPLAY = {"learning_starts": 32, "train_freq": 4, "batch_size": 32, "buffer_size": 1000}
WRAPPERS = (
    "RecordEpisodeStatistics",
    "NormalizeReward",
    "NormalizeObservation",
    "FlattenObservation",
    "DictInfoToList",
)


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    Attributes:
        library, algorithm: what is tried.
        run: takes an environment id and an obs_mode; raises where it does not work.
        module: what must be there to import; None: it always is.
        apart: True where importing the library changes the process for others.
        success: what is said where nothing is raised.
    """

    library: Library
    algorithm: str
    run: Callable[[str, str], None]
    module: str | None = None
    apart: bool = False
    success: str = "trains"


def ours(name: str, env_id: str, obs_mode: str) -> None:
    """An agent of this library, three rounds."""
    from agents.loading import agent_classes

    agent = agent_classes()[name](env_id, n_envs=N_ENVS, env_kwargs={"obs_mode": obs_mode})
    learns(agent, 3 * N_ENVS * agent.horizon)


def stable_baselines(
    module: str, name: str, settings: Mapping[str, Any], policy: str, env_id: str, obs_mode: str
) -> None:
    """An algorithm of stable-baselines3 or sb3-contrib; `policy` is what its policies' names end with."""
    from seqtutor_envs.sb3 import make_vec_env

    algorithm = getattr(importlib.import_module(module), name)
    env = make_vec_env(env_id, N_ENVS, obs_mode=obs_mode)
    kind = "MultiInput" if obs_mode == "dict" else "Mlp"
    learns(algorithm(kind + policy, env, seed=0, device="cpu", **settings), TOKENS)


def learns(model: Any, timesteps: int) -> None:
    """Trains what has stable-baselines3's `learn` and `get_parameters`. Raises RuntimeError if nothing was learned."""
    from stable_baselines3.common.logger import Logger

    model.set_logger(Logger(None, []))  # one of its own would leave a temporary folder
    before = {name: value.clone() for name, value in _tensors(model).items()}
    model.learn(timesteps)
    changed(before, _tensors(model))


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raises RuntimeError unless some tensor has changed and all are finite."""
    if all(value.equal(after[name]) for name, value in before.items()):
        raise RuntimeError("it ran, but no parameter has changed")
    if not all(value.isfinite().all() for value in after.values()):
        raise RuntimeError("it ran, but a parameter is not finite")


def _tensors(model: Any) -> dict[str, Any]:
    """Parameters by name, without what optimisers keep, whose states are nested."""
    return {
        f"{part}.{name}": value
        for part, state in model.get_parameters().items()
        for name, value in state.items()
        if hasattr(value, "equal")
    }


def torchrl(batched: bool, env_id: str, obs_mode: str) -> None:
    """Three updates by TorchRL's clipped PPO loss (a batch) or its A2C loss (a single environment), linear networks."""
    import gymnasium as gym
    import torch
    from tensordict.nn import TensorDictModule
    from torchrl.envs import DTypeCastTransform, GymEnv, GymWrapper, TransformedEnv
    from torchrl.modules import MLP, OneHotCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import A2CLoss, ClipPPOLoss

    import seqtutor_envs  # noqa: F401  (registers the ids)

    if batched:  # TorchRL resets what is over itself
        env = GymWrapper(gym.make_vec(env_id, num_envs=N_ENVS, autoreset_mode="Disabled", obs_mode=obs_mode))
    else:
        env = GymEnv(env_id, obs_mode=obs_mode)
    keys = ["token", "step"] if obs_mode == "dict" else ["observation"]
    env = TransformedEnv(env, DTypeCastTransform(torch.int64, torch.float32, in_keys=keys))

    logits = TensorDictModule(MLP(out_features=env.action_spec.shape[-1], num_cells=[]), keys, ["logits"])
    actor = ProbabilisticActor(logits, ["logits"], distribution_class=OneHotCategorical, return_log_prob=True)
    critic = ValueOperator(MLP(out_features=1, num_cells=[]), keys)
    actor(critic(env.reset()))  # sizes of what is lazy
    loss = (ClipPPOLoss if batched else A2CLoss)(actor, critic)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            batch = env.rollout(STEPS, actor, break_when_any_done=False)
        losses = loss(batch)
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
        optimizer.step()
    changed(before, loss.state_dict())
    env.close()


def cleanrl(env_id: str, obs_mode: str) -> None:
    """The example in CleanRL's style, three updates."""
    if obs_mode != "dict":
        raise ValueError("the example reads observations of obs_mode 'dict'")
    spec = spec_from_file_location(EXAMPLE.stem, EXAMPLE)  # by its path: other distributions have folders `examples`
    assert spec is not None and spec.loader is not None
    example = sys.modules[EXAMPLE.stem] = module_from_spec(spec)
    spec.loader.exec_module(example)
    sizes = {"num_envs": N_ENVS, "num_steps": STEPS}
    before, after = (example.train(example.Args(env_id, total_timesteps=n, **sizes)) for n in (0, TOKENS))
    changed(before.state_dict(), after.state_dict())


def wrapped(wrapper: str, env_id: str, obs_mode: str) -> None:
    """Random tokens through one of Gymnasium's vector wrappers, until sequences have ended and begun anew."""
    import gymnasium as gym

    import seqtutor_envs  # noqa: F401  (registers the ids)

    native: Any = gym.make_vec(env_id, num_envs=N_ENVS, obs_mode=obs_mode)
    env = getattr(gym.wrappers.vector, wrapper)(native)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(native.task.length + 2):
        env.step(env.action_space.sample())
    env.close()


def _of_sb3(module: str, name: str, settings: Mapping[str, Any], policy: str = "Policy") -> Trial:
    library: Library = "sb3-contrib" if module == "sb3_contrib" else "stable-baselines3"
    return Trial(library, name, partial(stable_baselines, module, name, settings, policy), module)


TRIALS = (
    Trial("seqtutor", "Psi-learning", partial(ours, "psi")),
    Trial("seqtutor", "G-learning", partial(ours, "g")),
    Trial("seqtutor", "Q-learning", partial(ours, "q")),
    Trial("seqtutor", "policy gradient", partial(ours, "pg")),
    _of_sb3("stable_baselines3", "PPO", EPOCHS),
    _of_sb3("stable_baselines3", "A2C", ROLLOUT),
    _of_sb3("stable_baselines3", "DQN", REPLAY),
    _of_sb3("stable_baselines3", "SAC", REPLAY),
    _of_sb3("stable_baselines3", "TD3", REPLAY),
    _of_sb3("sb3_contrib", "RecurrentPPO", EPOCHS, "LstmPolicy"),
    _of_sb3("sb3_contrib", "MaskablePPO", EPOCHS),
    _of_sb3("sb3_contrib", "TRPO", BATCHES),
    _of_sb3("sb3_contrib", "QRDQN", REPLAY),
    _of_sb3("sb3_contrib", "ARS", {"n_delta": 2, "n_eval_episodes": 4}),
    Trial("torchrl", "GymEnv, A2C loss", partial(torchrl, False), "torchrl", apart=True),
    Trial("torchrl", "GymWrapper of the native batch, PPO loss", partial(torchrl, True), "torchrl", apart=True),
    Trial("cleanrl", "PPO with an LSTM (examples/cleanrl_ppo.py)", cleanrl),
    *(Trial("gymnasium", f"vector.{name}", partial(wrapped, name), success="steps") for name in WRAPPERS),
)
