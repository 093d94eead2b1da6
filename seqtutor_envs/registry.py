"""Find the native vector environment of an id."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from seqtutor_envs.vector_env import SequenceTutorVectorEnv


def native_class(id: str) -> type[SequenceTutorVectorEnv] | None:
    """Return the class of an id's native batches, or None if they are of another library.

    An id may name the module to import first, as "module:Id-v0". Raises Gymnasium's error at an unknown id.
    """
    module, _, name = id.rpartition(":")
    if module:
        # importing a module registers its ids, as gymnasium.make does with "module:Id-v0"
        importlib.import_module(module)
    entry_point: Any = gymnasium.spec(name).vector_entry_point
    found = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return found if isinstance(found, type) and issubclass(found, SequenceTutorVectorEnv) else None
