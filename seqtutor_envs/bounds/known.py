"""Files of known bounds, and the shipped one: which bounds of log Z are known for an environment and its keywords.

A file is JSON, {"bounds": [entry, ...]}. An entry holds what log Z depends on, as `describe_task` returns it; `bounds`,
as `Bounds.to_json` returns them; and `made`, how they were computed and in how many `seconds`. Reading a file imports
nothing that it names.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

import seqtutor_envs  # noqa: F401  (registers the ids)
from seqtutor_envs.bounds.result import Bounds
from seqtutor_envs.files import read_bytes, reading, write_atomically
from seqtutor_envs.prior import Prior, RecurrentPrior, load_prior, weights_sha256

SHIPPED = Path(__file__).parents[1] / "data" / "bounds.json"
MOST_BYTES = 2**24  # of a file; an entry has 2 kB
OURS = "seqtutor_envs."  # begins the entry points of our ids
DESCRIPTION = ("env", "c", "prior", "env_kwargs")  # entries that say what log Z depends on
# keywords that change no log Z: how many sequences at once, what is shown of them, who scores them, and how many
INDIFFERENT = {"num_envs", "obs_mode", "autoreset_mode", "render_mode", "flat_infos", "infos"}
INDIFFERENT |= {"workers", "score_timeout", "oracle_budget", "known"}


def find_bounds(
    env_id: str, env_kwargs: Mapping[str, Any], path: str | os.PathLike[str] | None = None
) -> Bounds | None:
    """Return the known bounds of log Z for an id and its keywords, or None.

    Args:
        env_kwargs: as for `gymnasium.make`; those that change no log Z are ignored.
        path: a file of bounds whose entries come before the shipped ones; it need not exist.

    Raises FileError if that file holds something else.
    """
    description = describe_task(env_id, env_kwargs)
    if description is None:
        return None
    key = make_key(description)
    for file in (Path(path) if path is not None else None, SHIPPED):
        if file is not None and file.is_file():
            status = file.stat()
            if (found := _load_once(file.resolve(), status.st_mtime_ns, status.st_ino).get(key)) is not None:
                return found
    return None


def describe_task(env_id: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Describe what log Z depends on, in JSON's types: id, temperature, hash of the prior, and further keywords.

    Ids that differ in what they show are one id. Keywords at their defaults are left out, also those of a term's
    weight. Return None where this cannot be said in JSON: a task, a function or a prior of the user's own.
    """
    plain, fixed = find_plain_id(env_id)
    defaults = _defaults(plain)
    given = {**defaults, **fixed, **env_kwargs}
    # what JSON cannot hold is somebody's own object; the keywords may come from a damaged file
    try:
        prior = _hash_prior(given.pop("prior", None))
        c = float(_temperature(given.pop("c", None), given))
        further = {key: json.loads(json.dumps(value)) for key, value in given.items() if key not in INDIFFERENT}
        weights = {key: float(value) for key, value in sorted((further.pop("term_weights", None) or {}).items())}
    except (TypeError, ValueError, AttributeError, OSError):
        return None
    kept = {key: value for key, value in sorted(further.items()) if key not in defaults or value != defaults[key]}
    # with an objective the default of the other terms is 0, so that a weight of 1 says something
    if weights := {key: value for key, value in weights.items() if value != 1 or "objective" in kept}:
        kept["term_weights"] = weights
    return {"env": plain, "c": c, "prior": prior, "env_kwargs": kept}


def find_plain_id(env_id: str) -> tuple[str, dict[str, Any]]:
    """Return the first of our ids that has the dynamics of this one, and the keywords that are this one's own.

    The one-hot ids count as the plain ones. An id of another library is returned as it is, and not loaded.
    """
    module, _, name = env_id.rpartition(":")
    spec = gymnasium.registry.get(name) if module in ("", "seqtutor_envs") else None
    if spec is None or not str(spec.vector_entry_point).startswith(OURS):
        return env_id, {}
    same = [id for id, one in gymnasium.registry.items() if one.vector_entry_point == spec.vector_entry_point]
    return same[0], dict(spec.kwargs)


def make_key(description: Mapping[str, Any]) -> str:
    """Return a text that two descriptions share if they are equal; what else an entry holds is ignored."""
    return json.dumps([description[name] for name in DESCRIPTION], sort_keys=True)


def read_entries(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the entries of a file of bounds. Raise FileNotFoundError, and FileError if it holds something else."""
    with reading(path, "holds no bounds"):
        entries = json.loads(read_bytes(path, MOST_BYTES))["bounds"]
        for entry in entries:
            _check_entry(entry)
    return list(entries)


def _check_entry(entry: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless an entry has what readers rely on."""
    make_key(entry)
    found = Bounds.from_json(entry["bounds"])
    probabilities = found.lower_probability, found.upper_probability
    if any(math.isnan(number) for number in (*found.interval, *probabilities, entry["made"]["seconds"], entry["c"])):
        raise ValueError("it has a NaN")
    if not (found.lower < math.inf and found.upper > -math.inf and found.estimate < math.inf):
        raise ValueError("a bound or an estimate is infinite in the wrong direction")
    texts = (found.lower_method, found.upper_method, found.estimate_method, *found.notes, entry["env"])
    if not all(isinstance(text, str) for text in texts) or not isinstance(found.diagnostics, dict):
        raise TypeError("a method or a note is no text, or the diagnostics are no JSON object")


def write_entries(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of bounds, an entry a line, in the order of ids, keywords and temperatures."""
    lines = [json.dumps(entry) for entry in sorted(entries, key=_order)]
    write_atomically(path, ('{"bounds": [\n' + ",\n".join(lines) + "\n]}\n").encode())


def _order(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return (entry["env"], str(entry["prior"]), json.dumps(entry["env_kwargs"], sort_keys=True), entry["c"])


@cache
def _load_once(path: Path, mtime_ns: int, inode: int) -> dict[str, Bounds]:
    """Load a file, keyed by what changes when it is written anew."""
    return {make_key(entry): Bounds.from_json(entry["bounds"]) for entry in read_entries(path)}


@cache
def _defaults(env_id: str) -> dict[str, Any]:
    """Return the default of each keyword of one of our ids, in JSON's types; nothing for another library's."""
    spec = gymnasium.registry.get(env_id)
    if spec is None or not str(spec.vector_entry_point).startswith(OURS):
        return {}
    parameters = inspect.signature(load_env_creator(str(spec.vector_entry_point))).parameters
    return {
        name: json.loads(json.dumps(one.default)) for name, one in parameters.items() if name not in INDIFFERENT
    }


def _temperature(c: Any, given: Mapping[str, Any]) -> Any:
    """Return c. That of molecules depends on their rewards where it is None."""
    if c is not None or "shaping" not in given:
        return c
    from seqtutor_envs.smiles.env import PREFIX_TEMPERATURE, TEMPERATURE

    return PREFIX_TEMPERATURE if given["shaping"] else TEMPERATURE


def _hash_prior(prior: str | os.PathLike[str] | Prior | None) -> str | None:
    """Hash a prior's weights; None where the environment makes its own. Raise TypeError for another kind of prior."""
    if prior is None:
        return None
    loaded = load_prior(prior)
    # a subclass may step otherwise
    if type(loaded) is not RecurrentPrior:
        raise TypeError(f"{type(loaded).__name__} has no hash.")
    return weights_sha256(loaded.weights)
