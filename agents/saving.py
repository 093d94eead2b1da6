"""Save and load our agents: one safetensors file with everything that learning goes on from, and JSON facts.

Nothing is pickled.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from agents.envs import is_batched
from agents.networks import find_device
from agents.saved_checks import check_facts, name_file
from seqtutor_envs.command import installed
from seqtutor_envs.files import load_arrays, safetensors_path, save_arrays
from seqtutor_envs.prior import Prior, RecurrentPrior, weights_sha256
from seqtutor_envs.prior.masking import MaskedPrior
from seqtutor_envs.prior.network import supports_bfloat16
from seqtutor_envs.registry import check_recipe


def resolve_agent_path(path: str | os.PathLike[str]) -> Path:
    """Return PATH.safetensors, without the .zip that stable-baselines3's CheckpointCallback appends to every name."""
    return safetensors_path(os.fspath(path).removesuffix(".zip"))


def save(agent: Any, path: str | os.PathLike[str]) -> Path:
    """Write an agent's file: see SequenceAgent.save."""
    target = resolve_agent_path(path)
    facts = {
        "agent": type(agent).__name__,
        "settings": agent.settings,
        "env": agent.recipe,
        "n_envs": agent.n_envs,
        "seed": agent.seed,
        # a callback may save in the middle of telling a rollout, of which all is learned already
        "num_timesteps": agent.learned_timesteps,
        "rounds": agent.rounds,
        "rng": agent.rng.bit_generator.state,
        "prior_sha256": hash_prior(agent.prior),
        "versions": {name: installed(name) for name in ("seqtutor", "torch", "numpy")},
    }
    save_arrays(target, agent.state_arrays(), facts)
    return target


def load(
    cls: Any,
    path: str | os.PathLike[str],
    env: Any,
    env_kwargs: Mapping[str, Any] | None,
    not_kept: Mapping[str, Any],
    trust: bool = False,
) -> Any:
    """Load an agent's file: see SequenceAgent.load. `not_kept` holds the constructor's arguments that no file keeps."""
    arrays, facts = read(cls, path)
    target = resolve_agent_path(path)
    check_facts(cls, target, facts, not_kept, trust)
    settings = dict(facts["settings"])
    if "scores" in signature(cls).parameters:  # files of before are of agents that know free ones only
        settings.setdefault("scores", "free")
    device = find_device(not_kept["device"])
    if settings.get("precision") == "bfloat16" and not supports_bfloat16(device):
        settings["precision"] = "float32"
        there = f"this torch cannot train an LSTM so on this {device.type.upper()}"
        warnings.warn(f"{target} learned with bfloat16 products, and {there}: it goes on with float32.", stacklevel=3)
    if env is None and facts["env"] is None:
        raise ValueError(
            f"{target} was trained in an environment that no id makes again (own task or prior): pass env=..."
        )
    given = dict(env_kwargs or {})
    if env is None:
        # a prior of the user's own stands in for the one that the file names
        words = given if not_kept["prior"] is None else {"prior": not_kept["prior"], **given}
        recipe = check_recipe(target, facts["env"], words, trust)
        env, given = recipe["id"], recipe["kwargs"]
    n_envs = None if is_batched(env) else facts["n_envs"]  # a batch has its own number
    with name_file(target):
        agent = cls(env=env, env_kwargs=given, n_envs=n_envs, seed=facts["seed"] or 0, **settings, **not_kept)
    # the values were learned against this prior, and mean nothing beside another
    if facts.get("prior_sha256") != hash_prior(agent.prior):
        raise ValueError(f"{target} was trained from another prior than the one given here: pass that one.")
    try:
        agent.load_state_arrays(arrays)
    except ValueError as error:
        agent.env.close()
        reason = f"{error}; its tokens, length or prior differ, or the file is damaged"
        raise ValueError(f"{target} does not fit this environment: {reason}.") from error
    agent.seed = facts["seed"]
    agent.num_timesteps = agent.learned_timesteps = facts["num_timesteps"]
    agent.rounds = facts["rounds"]
    # in place of the stream that the constructor began
    agent.rng.bit_generator.state = facts["rng"]
    return agent


def read(cls: type[Any], path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read arrays and facts of an agent's file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no agent of `cls`.
    """
    target = resolve_agent_path(path)
    if not target.is_file():
        raise FileNotFoundError(f"No agent at {target}.")
    arrays, facts = read_file(target)
    if facts["agent"] != cls.__name__:
        raise ValueError(f"{target} holds {facts['agent'] or 'no agent'}; load it with that class, not {cls.__name__}.")
    return arrays, facts


def read_file(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read arrays and facts of an agent's file, whatever its class; facts["agent"] is "" if it is no agent's.

    Raises ValueError, in one line, if the file was not written by this library.
    """
    with name_file(file):
        arrays, facts = load_arrays(file)
    name = facts.get("agent")
    return arrays, {**facts, "agent": name if isinstance(name, str) and name.isidentifier() else ""}


def hash_prior(prior: Prior) -> str | None:
    """Hash a recurrent prior's weights; return None for any other prior."""
    inner = prior.inner if isinstance(prior, MaskedPrior) else prior
    return weights_sha256(inner.weights) if isinstance(inner, RecurrentPrior) else None
