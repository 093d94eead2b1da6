"""Check what the facts of an agent's file say, before an agent is made of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from seqtutor_envs.files import one_line
from seqtutor_envs.registry import MOST, Untrusted, check_id

FEW = 2**16  # sequences in a rollout that a file may ask for without its user's word
MANY = 2**24  # of a setting's sequences, and of the tokens of a rollout: 128 MiB
UINT32, UINT128 = 2**32, 2**128
LARGEST = float(np.finfo(np.float32).max)  # networks compute in float32
OTHER_ARGUMENTS = {"env", "seed", "n_envs", "env_kwargs"}  # of a constructor, which stand beside the settings


@contextmanager
def name_file(file: Path) -> Iterator[None]:
    """Turn whatever is raised while an agent is made of a file's content into ValueError, in one line with its name.

    OSError, ImportError and errors that say more than ValueError stay as they are.
    """
    try:
        yield
    except MemoryError:
        raise ValueError(f"{file} asks for more memory than there is.") from None
    except (OSError, ImportError):
        raise
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise ValueError(f"{file}: {error}") from error
    except Exception as error:  # a stranger's values can make anything fail
        raise ValueError(f"{file} cannot be loaded: {one_line(error)}.") from error


def check_facts(cls: type[Any], file: Path, facts: Mapping[str, Any], not_kept: Mapping[str, Any], trust: bool) -> None:
    """Raise ValueError, with the file's name, where facts cannot be those of an agent of this class.

    Args:
        not_kept: the constructor's arguments that no file keeps.
        trust: whether the user allows sizes that take much memory.
    """

    def require(good: bool, name: str, wanted: str) -> None:
        if not good:
            raise ValueError(f"{file} is damaged: its {name} must be {wanted}, not {facts.get(name)!r:.200}.")

    for name, least in (("n_envs", 1), ("num_timesteps", 0), ("rounds", 0)):
        require(is_integer(facts.get(name), least, 2**63), name, f"an integer of at least {least}")
    seed, settings = facts.get("seed"), facts.get("settings")
    require(seed is None or is_integer(seed, 0, 2**63), "seed", "an integer of at least 0")
    require(isinstance(facts.get("prior_sha256"), (str, type(None))), "prior_sha256", "a text or null")
    require("env" in facts, "env", "there")
    check_id(file, facts["env"], trust)
    require(is_rng_state(facts.get("rng")), "rng", "the state of a PCG64 generator")
    require(isinstance(settings, dict), "settings", "an object")
    assert isinstance(settings, dict)
    known = inspect.signature(cls).parameters.keys() - not_kept.keys() - OTHER_ARGUMENTS
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"{file}: {cls.__name__} has no setting {unknown[0]!r:.200}.")
    hints = get_type_hints(cls.__init__)
    for name, value in settings.items():
        if not has_type(value, hints[name]):
            raise ValueError(f"{file} is damaged: its setting {name} cannot be {value!r:.200}.")
    if not trust:
        _check_sizes(file, facts, settings)


def _check_sizes(file: Path, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    n_envs, env = facts["n_envs"], facts["env"]
    named = {} if n_envs <= FEW else {"n_envs": n_envs}
    for name in ("batch_size", "buffer_size", "updates_per_round"):
        value = settings.get(name)
        if isinstance(value, (int, float)) and not value <= MANY:
            named[name] = value
    # its recipe is checked by check_id before
    kwargs = env["kwargs"] if env else {}
    sizes = {name: kwargs[name] for name in MOST if is_integer(kwargs.get(name), 1, MOST[name])}
    if n_envs * math.prod(sizes[name] for name in sizes if name != "workers") > MANY:
        named |= {"n_envs": n_envs, **sizes}
    if named:
        raise Untrusted(file, named)


def has_type(value: Any, hint: Any) -> bool:
    """Return whether a value of JSON is of an argument's type, and finite in float32 if it is a number."""
    kinds = [get_origin(one) or one for one in (get_args(hint) if get_origin(hint) is UnionType else (hint,))]
    if isinstance(value, bool):  # which is an integer in Python
        return bool in kinds
    if isinstance(value, (int, float)):
        whole = int in kinds and value == value // 1
        # NaN, 1e400: JSON as Python reads it has them
        return (whole or float in kinds) and bool(abs(value) <= LARGEST)
    return any(isinstance(value, one) for one in kinds)


def is_integer(value: Any, least: int, below: int) -> bool:
    """Return whether a value is an integer, no bool, of least..below - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < below


def is_rng_state(state: Any) -> bool:
    """Return whether a value is a state that numpy's PCG64 can take."""
    inner = state.get("state") if isinstance(state, dict) else None
    return (
        isinstance(inner, dict)
        and state.keys() == np.random.PCG64(0).state.keys()
        and state["bit_generator"] == "PCG64"
        and inner.keys() == {"state", "inc"}
        and is_integer(inner["state"], 0, UINT128)
        and is_integer(inner["inc"], 0, UINT128)
        and inner["inc"] % 2 == 1  # a stream's number is odd
        and is_integer(state["has_uint32"], 0, 2)
        and is_integer(state["uinteger"], 0, UINT32)
    )
