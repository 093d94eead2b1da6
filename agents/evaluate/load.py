"""Load a saved agent: ours or a policy of any (`.safetensors`), a stable-baselines3 `.zip`, or a prior."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.baselines import PolicyGradient
from agents.evaluate import sb3_zips
from agents.policies.frozen import POLICY, FrozenAgent, find_policy, load_policy
from agents.rivals.kl_ppo import KLPPO
from agents.rivals.sequence_losses import AugmentedHillClimb, Reinvent, TrajectoryBalance
from agents.train.checkpoints import AGENT_FILE, read_facts
from agents.tutor import GLearning, PsiLearning, QLearning, RLOnly
from seqtutor_envs.files import load_arrays, safetensors_path
from seqtutor_envs.prior import Prior, find_prior, list_shipped, load_prior


def get_agent_classes() -> dict[str, Any]:
    """Return our agents' classes by what the commands call them."""
    return {
        "psi": PsiLearning, "q": QLearning, "g": GLearning, "rl": RLOnly, "pg": PolicyGradient, "reinvent": Reinvent,
        "ahc": AugmentedHillClimb, "tb": TrajectoryBalance, "kl_ppo": KLPPO,
    }  # fmt: skip


def load(path: str | os.PathLike[str], trust: bool = False) -> Any:
    """Load the agent at a path, or a shipped policy by its name, such as "psi-melody".

    Args:
        path: an agent of ours, a file or the folder of `train`, which learns on; a policy that `save_policy` wrote or a
            shipped name, which comes as a FrozenAgent; a stable-baselines3 zip; or a prior, its file or its shipped
            name, which comes as a Prior.
        trust: load a zip, which holds pickles; use the programs, modules and paths that a file of ours names.

    Raises:
        FileNotFoundError, ValueError, ImportError: in one line.
    """
    path = Path(path)
    file = find_prior_file(path)
    if file is not None:
        return load_model(file, trust)
    zipped = sb3_zips.find_zip(path)
    return load_ours(find_agent_file(path), trust=trust) if zipped is None else sb3_zips.load_zip(zipped, trust)


def load_model(file: Path, trust: bool = False) -> Prior | FrozenAgent:
    """Load the file of a prior, or of a policy, which acts in the environment that its card names."""
    model = load_prior(file)
    return load_policy(file, model, trust) if POLICY in getattr(model, "card", {}) else model


def find_agent_file(path: Path) -> Path:
    """Return the file of our agent that a user names by its folder, or by its file with or without .safetensors."""
    # a folder `tutor` may stand beside a file `tutor.safetensors`: then the folder is meant
    file = safetensors_path(path)
    return file if file.is_file() and not path.is_dir() else path / AGENT_FILE


def find_prior_file(path: Path) -> Path | None:
    """Return the file of the prior or policy that a user names by a file or a shipped name; None if it is neither.

    A folder of `train` comes before a shipped name.
    """
    file = find_agent_file(path)
    if not file.is_file():
        return find_prior(path) if os.fspath(path) in list_shipped() else find_policy(path)
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
