"""The entries of a leaderboard: saved policies with their cards, and samplers, which are cards alone.

NAME.safetensors and NAME.json are what `agents.save_policy` writes. A sampler's NAME.json has "sampler", one of
SAMPLERS, "settings" of its constructor, "env" and a "description"; its "claims" are as those of a policy.
NAME.verified.json holds what was recomputed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from agents.evaluate.load import load_model
from agents.policies.frozen import FrozenAgent
from agents.samplers import BestOfN, RejectionSampler, SMCSampler
from seqtutor_envs.files import FileError, read_bytes, reading
from seqtutor_envs.registry import check_recipe

SAMPLERS: Mapping[str, Any] = {
    "prior": lambda env_id, env_kwargs: FrozenAgent(env_id, env_kwargs),
    "smc": SMCSampler,
    "rejection": RejectionSampler,
    "best_of_n": BestOfN,
}
MOST_BYTES = 2**20  # of a card, which has some kilobytes
CARD, VERIFIED = ".json", ".verified.json"


@dataclass(frozen=True)
class Entry:
    """Hold an entry: its agent, its card and the environment that it is for.

    Attributes:
        path: of the entry's files, without an ending.
        card: as the .json has it.
        recipe: id and keywords of the environment.
        agent: to be evaluated.
    """

    path: Path
    card: dict[str, Any]
    recipe: dict[str, Any]
    agent: Any

    @property
    def claims(self) -> dict[str, Any]:
        """Return n, seed and metrics that the card claims; {} if it claims nothing."""
        return self.card.get("claims") or {}


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raise FileError if the file holds none."""
    with reading(file, "holds no JSON object"):
        found = json.loads(read_bytes(file, MOST_BYTES))
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__}")
    return found


def find_deciding(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a card decides how its agent acts, and where: what was recomputed holds for that alone."""
    names = ("env", "sampler", "settings") if "sampler" in card else ("env", "weights_sha256")
    return {name: card[name] for name in names if name in card}


def find_entries(folder: Path) -> list[Path]:
    """Return the paths of a folder's entries, without endings."""
    cards = sorted(path for path in folder.glob(f"*{CARD}") if not path.name.endswith((VERIFIED, ".evaluation.json")))
    if not cards:
        raise FileNotFoundError(f"{folder} holds no entry: save one with agents.save_policy(agent, path).")
    return [path.with_suffix("") for path in cards]


def load_entry(path: Path, trust: bool = False) -> Entry:
    """Load an entry by its path, with or without .safetensors or .json.

    Raises:
        FileError: the card or the weights are damaged, or the card is none.
        FileNotFoundError, Untrusted, ValueError: in one line.
    """
    path = path.with_suffix("") if path.suffix in (".safetensors", CARD) else path
    card_file, weights = path.with_name(path.name + CARD), path.with_name(path.name + ".safetensors")
    card = read_object(card_file)
    with reading(card_file, "claims no figures"):
        claims = card.get("claims", {})
        numbers = {"n": claims.get("n"), **claims.get("metrics", {})}
        if wrong := [name for name, value in numbers.items() if not isinstance(value, (int, float, NoneType))]:
            raise TypeError(f"{wrong[0]} is no number")
    if "sampler" not in card:
        agent = load_model(weights, trust)
        if not isinstance(agent, FrozenAgent):
            raise FileError(weights, "is a prior, no policy: save an agent's with agents.save_policy(agent, path).")
        return Entry(path, card, agent.recipe, agent)
    recipe = check_recipe(card_file, card.get("env"), trust=trust)
    with reading(card_file, f"names no sampler with settings: the samplers are {', '.join(SAMPLERS)}"):
        agent = SAMPLERS[card["sampler"]](recipe["id"], env_kwargs=recipe["kwargs"], **card.get("settings", {}))
    return Entry(path, card, recipe, agent)
