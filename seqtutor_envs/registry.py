"""Find the native vector environment of an id, and check what an agent's file says of its environment.

An agent's file may come from a stranger. Nothing that it names is imported, called or opened without its user's word.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.smiles.pmo import PMO_NAMES
from seqtutor_envs.vector_env import SequenceTutorVectorEnv

PASSIVE = ("OrderEnforcing", "PassiveEnvChecker")  # gym.make's own wrappers, which change nothing
# the largest sizes that a file may ask for without its user's word, so that no memory and no processes are spent first
MOST = {"length": 65_536, "max_length": 65_536, "vocab_size": 65_536, "workers": 256}


class Untrusted(ValueError):
    """Say that a file names what only its user can allow.

    Args:
        file: which says so.
        named: keyword -> what the file says it is.

    Attributes:
        reason: the message without what to do, which a command and a program say differently.
    """

    def __init__(self, file: Path, named: Mapping[str, Any]) -> None:
        self.named = dict(named)
        said = ", ".join(f"{name}={value!r:.200}" for name, value in named.items())
        self.reason = f"{file} names {said}, which is not used without your word"
        super().__init__(f"{self.reason}: pass trust=True if you trust where it comes from, or env_kwargs of your own.")


def native_class(id: str) -> type[SequenceTutorVectorEnv] | None:
    """Return the class of an id's native batches, or None if they are of another library.

    The id is the user's own word: it may name the module to import first, as "module:Id-v0". Raises Gymnasium's error
    at an unknown id.
    """
    module, _, name = id.rpartition(":")
    if module:
        # importing a module registers its ids, as gymnasium.make does with "module:Id-v0"
        importlib.import_module(module)
    found = _load(find_spec(name).vector_entry_point)
    return found if isinstance(found, type) and issubclass(found, SequenceTutorVectorEnv) else None


def get_vector_class(id: str) -> type[SequenceTutorVectorEnv]:
    """Return the class of `gym.make_vec(id)`; this library's own if the id has no native batch."""
    return native_class(id) or SequenceTutorVectorEnv


def find_spec(name: str) -> EnvSpec:
    """Return what is registered under a name. Raise Gymnasium's error at an unknown one; for PMO it names the tasks."""
    try:
        return gymnasium.spec(name)
    except gymnasium.error.NameNotFound:
        if not name.startswith("SeqTutor-PMO-"):
            raise
        ids = f"the ids are SeqTutor-PMO-TASK-v0 with TASK one of {', '.join(PMO_NAMES)}"
        raise gymnasium.error.NameNotFound(f"PMO has no {name}: {ids}.") from None


def check_id(file: Path, recipe: Any, trust: bool = False) -> Any:
    """Return the recipe by which an agent's file makes its environment, {"id": ..., "kwargs": {...}}, or None.

    Its id is registered then. Without `trust` a module that it names must be imported already.

    Raises:
        ValueError: this is no recipe, or the id is unknown.
        Untrusted: it needs its user's word.
        ImportError: a trusted module is missing.
    """
    if recipe is None:
        return None
    env_id, kwargs = (recipe.get("id"), recipe.get("kwargs")) if isinstance(recipe, dict) else (None, None)
    if not isinstance(env_id, str) or not isinstance(kwargs, dict):
        raise ValueError(f"{file} is damaged: its environment must be an id and keywords, not {recipe!r:.200}.")
    module, _, name = env_id.rpartition(":")
    # a module that is imported already stays as it is, whoever names it
    if module and module not in sys.modules:
        if not trust:
            raise Untrusted(file, {"env": env_id})
        importlib.import_module(module)
    spec = gymnasium.registry.get(name)
    if spec is None:
        raise ValueError(f"{file}: no environment is registered as {name!r:.200}; import the module that registers it.")
    # Gymnasium's own are not even loaded: one of them makes whatever its keywords name
    if str(spec.vector_entry_point or spec.entry_point).startswith("gymnasium.") and not trust:
        raise Untrusted(file, {"env": env_id})
    return {"id": env_id, "kwargs": kwargs}


def check_recipe(file: Path, recipe: Any, given: Mapping[str, Any] | None = None, trust: bool = False) -> Any:
    """Return the id and keywords by which an agent's file makes its environment, or None.

    Without `trust` the environment must be one of this library's classes, and its keywords must be those of the class:
    no program, no path, no size beyond MOST.

    Args:
        file: for the errors, which are those of `check_id`.
        recipe: as it stands there.
        given: keywords of the user's own, which replace those of the file and are not checked.
        trust: whether the user trusts the file.
    """
    recipe = check_id(file, recipe, trust)
    if recipe is None:
        return None
    given = dict(given or {})
    if not trust:
        spec = gymnasium.registry[recipe["id"].rpartition(":")[2]]
        made_by = _load(spec.vector_entry_point or spec.entry_point)
        if not (isinstance(made_by, type) and issubclass(made_by, (SequenceTutorVectorEnv, SequenceTutorEnv))):
            raise Untrusted(file, {"env": recipe["id"]})
        others = {name: value for name, value in recipe["kwargs"].items() if name not in given}
        _check_keywords(file, recipe["id"], made_by, others)
    return {"id": recipe["id"], "kwargs": {**recipe["kwargs"], **given}}


def _check_keywords(file: Path, env_id: str, made_by: type[Any], kwargs: Mapping[str, Any]) -> None:
    parameters = inspect.signature(made_by).parameters
    known = set(parameters) - {"task", "num_envs"}
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):  # which it hands on to its base class
        known |= set(inspect.signature(SequenceTutorVectorEnv).parameters) - {"task", "num_envs"}
    if unknown := sorted(set(kwargs) - known):
        raise ValueError(f"{file}: {env_id} has no keyword {unknown[0]!r:.200} that a file may give.")
    batched = made_by if issubclass(made_by, SequenceTutorVectorEnv) else getattr(made_by, "vector_class", None)
    words = getattr(batched, "user_keywords", SequenceTutorVectorEnv.user_keywords)
    defaults = {name: one.default for name, one in parameters.items()}
    named = {
        name: value
        for name, value in kwargs.items()
        if name in words and value is not None and value != defaults.get(name) and value not in words[name]
    }
    named |= {
        name: kwargs[name]
        for name, most in MOST.items()
        if isinstance(kwargs.get(name), (int, float)) and not kwargs[name] <= most
    }
    if named:
        raise Untrusted(file, named)


def _load(entry_point: Any) -> Any:
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
