"""Load a saved agent: ours (`.safetensors`), a stable-baselines3 `.zip`, or a prior."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.baselines import PolicyGradient
from agents.evaluate import sb3_zips
from agents.rivals.kl_ppo import KLPPO
from agents.rivals.sequence_losses import AugmentedHillClimb, Reinvent, TrajectoryBalance
from agents.train.checkpoints import AGENT_FILE, read_facts
from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly
from seqtutor_envs.files import load_arrays, safetensors_path
from seqtutor_envs.prior import find_prior, list_shipped, load_prior


def get_agent_classes() -> dict[str, Any]:
    """Return our agents' classes by what the commands call them."""
    return {
        "psi": PsiLearning, "q": QLearning, "g": GLearning, "rl": RLOnly, "pg": PolicyGradient, "reinvent": Reinvent,
        "ahc": AugmentedHillClimb, "tb": TrajectoryBalance, "kl_ppo": KLPPO,
    }  # fmt: skip


def load(path: str | os.PathLike[str], trust: bool = False) -> Any:
    """Load the agent at a path: ours, a file or the folder of `train`; a stable-baselines3 zip, with `trust`; a prior.

    An agent of ours needs `trust` only if its file names a program, a module or a path.

    Raises:
        FileNotFoundError, ValueError, ImportError: in one line.
    """
    path = Path(path)
    if find_prior_file(path) is not None:
        return load_prior(path)
    zipped = sb3_zips.find_zip(path)
    return load_ours(find_agent_file(path), trust=trust) if zipped is None else sb3_zips.load_zip(zipped, trust)


def find_agent_file(path: Path) -> Path:
    """Return the file of our agent that a user names by its folder, or by its file with or without .safetensors."""
    # a folder `tutor` may stand beside a file `tutor.safetensors`: then the folder is meant
    file = safetensors_path(path)
    return file if file.is_file() and not path.is_dir() else path / AGENT_FILE


def find_prior_file(path: Path) -> Path | None:
    """Return the file of the prior that a user names by a file or a shipped name; None if it is no prior.

    A folder of `train` comes before a shipped name.
    """
    file = find_agent_file(path)
    if not file.is_file():
        return find_prior(path) if os.fspath(path) in list_shipped() else None
    facts = load_arrays(file)[1]
    return file if isinstance(facts, dict) and {"cell", "vocabulary"} <= facts.keys() else None


def load_ours(file: Path, env_kwargs: Mapping[str, Any] | None = None, **further: Any) -> Any:
    """Load the agent that our `save` wrote to a file, whatever its class.

    Args:
        env_kwargs: keywords of the environment that differ from the saved ones.
        further: arguments of the constructor that a file does not keep, and `trust`.
    """
    known = {one.__name__: one for one in get_agent_classes().values()}
    facts = read_facts(file)
    if facts["agent"] not in known:
        raise ValueError(f"{file} holds no agent of this library.")
    return known[facts["agent"]].load(file, env_kwargs=env_kwargs, **further)
