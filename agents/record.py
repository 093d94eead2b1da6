"""run.json: what a run was, so that it can be told from its folder alone, and made again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.saving import prior_sha256
from seqtutor_envs.command import versions
from seqtutor_envs.files import finite, write_atomically

if TYPE_CHECKING:
    from agents.molecules import MoleculeLog

RECORD_FILE = "run.json"
PACKAGES = ("torch", "numpy", "rdkit", "gymnasium", "stable-baselines3")


class Record:
    """The record of a run in FOLDER/run.json; `write` brings it up to date.

    Each `learn` is a session: command line, versions, when it started and ended (null of one that was killed), from and
    to which timestep. Of an agent that goes on, the sessions before are kept.

    Args:
        folder: of the agent's file.
        agent: what learns.
        command: the command line.
    """

    def __init__(self, folder: Path, agent: Any, command: str = "") -> None:
        self.path, self.agent = folder / RECORD_FILE, agent
        before = self._before() if agent.num_timesteps else {}
        self.session: dict[str, Any] = {
            "command": command,
            "started": now(),
            "ended": None,
            "from_timestep": agent.num_timesteps,
            "to_timestep": agent.num_timesteps,
            "versions": versions(PACKAGES),
        }
        recipe = agent.recipe or {"id": None, "kwargs": None}
        objective = getattr(agent.task, "objective", None)
        self.facts: dict[str, Any] = {
            "id": recipe["id"],
            "env_kwargs": recipe["kwargs"],
            "agent": type(agent).__name__,
            "settings": agent.settings,
            "n_envs": agent.n_envs,
            "seed": agent.seed,
            "c": agent.c,
            "prior_sha256": prior_sha256(agent.prior),
            "objective": None if objective is None else objective.record(),
        }
        self.sessions = [*before.get("sessions", []), self.session]
        was, now_is = (facts.get("objective") or {} for facts in (before, self.facts))
        self.objective_changed = bool(was) and was.get("source_hash") != now_is.get("source_hash")
        self.distinct_molecules: int | None = before.get("distinct_molecules")
        self.oracle: dict[str, Any] | None = before.get("oracle")

    def _before(self) -> dict[str, Any]:
        """What the sessions before wrote. Raises ValueError if somebody else wrote the file."""
        if not self.path.is_file():
            return {}
        try:
            return dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError):
            raise ValueError(f"{self.path} is no record of a run: move it away to go on.") from None

    def write(self, log: MoleculeLog | None = None, *, final: bool = True, figures: bool = True) -> None:
        """Writes the file.

        Args:
            log: of the agent's molecules.
            final: whether the session ends here.
            figures: whether to count molecules and the objective's best ones anew, in time that grows with the run.
        """
        agent = self.agent
        self.session |= {"to_timestep": agent.num_timesteps, "ended": now() if final else None}
        reached: dict[str, Any] = {"num_timesteps": agent.num_timesteps, "rounds": agent.rounds}
        counts = getattr(agent.task, "counts", None)
        if counts is not None:
            reached["counts"] = dict(sorted(counts.items(), key=lambda item: -item[1]))
        if log is not None and figures:
            self.distinct_molecules, self.oracle = len(log), oracle_figures(agent.task)
        if log is not None:
            reached |= {"distinct_molecules": self.distinct_molecules, "oracle": self.oracle}
        text = json.dumps(finite(self.facts | reached | {"sessions": self.sessions}), indent=1)
        write_atomically(self.path, (text + "\n").encode())


def oracle_figures(task: Any) -> dict[str, float | None] | None:
    """Calls of the objective and how good the best molecules are; None without an objective."""
    if task.objective is None:
        return None
    oracle = task.objective.oracle
    best = {f"top_{k}": oracle.top(k) for k in (1, 10, 100)}
    return {"calls": oracle.calls, "budget": oracle.budget, **best, "auc_top_10": oracle.auc()}


def now() -> str:
    """The time in UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
