"""Writes run.json: what a run was, so that it can be told from its folder alone, and made again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.saving import hash_prior
from seqtutor_envs.command import versions
from seqtutor_envs.files import finite, write_atomically
from seqtutor_envs.task import RunLog

RECORD_FILE = "run.json"


class Record:
    """Keep the record of a run in FOLDER/run.json; `write` brings it up to date.

    Each `learn` is a session: command line, versions, when it started and ended (null of one that was killed), from and
    to which timestep. The record of an agent that goes on keeps the sessions before.

    Args:
        folder: of the agent's file.
        agent: what learns.
        command: the command line.

    Attributes:
        earlier: the record of the sessions before; empty for a new run.
    """

    def __init__(self, folder: Path, agent: Any, command: str = "") -> None:
        self.path, self.agent = folder / RECORD_FILE, agent
        self.earlier = self._read() if agent.num_timesteps else {}
        self.session: dict[str, Any] = {
            "command": command,
            "started": now(),
            "ended": None,
            "from_timestep": agent.num_timesteps,
            "to_timestep": agent.num_timesteps,
            "versions": versions(),
        }
        recipe = agent.recipe or {"id": None, "kwargs": None}
        self.facts: dict[str, Any] = {
            "id": recipe["id"],
            "env_kwargs": recipe["kwargs"],
            "agent": type(agent).__name__,
            "settings": agent.settings,
            "n_envs": agent.n_envs,
            "seed": agent.seed,
            "c": agent.c,
            "prior_sha256": hash_prior(agent.prior),
            "objective": None,  # a log of the task's own may say
        }
        self.sessions = [*self.earlier.get("sessions", []), self.session]

    def _read(self) -> dict[str, Any]:
        """Read what the sessions before wrote. Raise ValueError if somebody else wrote the file."""
        if not self.path.is_file():
            return {}
        try:
            return dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError):
            raise ValueError(f"{self.path} is no record of a run: move it away to go on.") from None

    def write(self, log: RunLog, *, final: bool = True) -> None:
        """Write the file.

        Args:
            log: of the run, whose facts are added.
            final: whether the session ends here.
        """
        agent = self.agent
        self.session |= {"to_timestep": agent.num_timesteps, "ended": now() if final else None}
        reached: dict[str, Any] = {"num_timesteps": agent.num_timesteps, "rounds": agent.rounds}
        text = json.dumps(finite(self.facts | reached | log.facts() | {"sessions": self.sessions}), indent=1)
        write_atomically(self.path, (text + "\n").encode())


def now() -> str:
    """Return the time in UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
