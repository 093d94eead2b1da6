"""Agent files that are changed by hand: facts, arrays, bytes."""

from __future__ import annotations

import json

from safetensors import safe_open
from safetensors.numpy import save

PLANTED = """
from pathlib import Path

Path(__file__).with_name("ran").touch()


def score(smiles):
    return [1.0 for _ in smiles]
"""


def read_agent_file(path):
    """Arrays by name, and the JSON facts."""
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])


def write_agent_file(path, arrays, facts):
    path.write_bytes(save(arrays, {"facts": facts if isinstance(facts, str) else json.dumps(facts)}))
    return path


def rewrite(path, change):
    """Change an agent's file in place: `change` gets its arrays and facts."""
    arrays, facts = read_agent_file(path)
    change(arrays, facts)
    return write_agent_file(path, arrays, facts)
