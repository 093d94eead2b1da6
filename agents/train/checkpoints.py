"""Write checkpoints of a run: the agent, the task's log and the record. A killed run keeps its last checkpoint."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.saving import hash_prior, read_file
from agents.sb3.budget import SECONDS
from seqtutor_envs.command import versions
from seqtutor_envs.files import finite, write_atomically
from seqtutor_envs.registry import check_id, get_vector_class
from seqtutor_envs.task import Round, RunLog
from seqtutor_envs.vector_env import SequenceTutorVectorEnv

AGENT_FILE = "agent.safetensors"
RECORD_FILE = "run.json"
NEXT_FILE = "agent-next.safetensors"  # the agent of a checkpoint whose log is not committed yet
SHARE = 20  # writing takes at most one part in so many of the time


class Record:
    """Write run.json: everything that is needed to describe the run and to repeat it.

    Each `learn` is a session: command line, versions, start and end (null if the session was killed), first and last
    timestep. If an agent goes on learning, the record keeps the earlier sessions.

    Args:
        folder: of the agent's file.
        agent: what learns.
        command: the command line.

    Attributes:
        earlier: the record of the sessions before; empty for a new run.

    Raises:
        ValueError: the file that is there is no record.
    """

    def __init__(self, folder: Path, agent: Any, command: str = "") -> None:
        self.path, self.agent = folder / RECORD_FILE, agent
        self.earlier: dict[str, Any] = {}
        # a new agent in an old folder begins a new record
        if agent.num_timesteps and self.path.is_file():
            try:
                self.earlier = dict(json.loads(self.path.read_text()))
                wrong = not isinstance(self.earlier.get("sessions", []), list)
                if wrong or not isinstance(self.earlier.get("objective"), (dict, type(None))):
                    raise ValueError
            except (ValueError, TypeError, RecursionError):
                raise ValueError(f"{self.path} is no record of a run: move it away to go on.") from None
        now = agent.num_timesteps
        self.session: dict[str, Any] = {"command": command, "started": format_now(), "ended": None}
        self.session |= {"from_timestep": now, "to_timestep": now, "versions": versions()}

    def write(self, log: RunLog, *, final: bool = True) -> None:
        """Bring the file up to date.

        Args:
            log: of the run, whose facts are added.
            final: whether the session ends here.
        """
        agent, recipe = self.agent, self.agent.recipe or {"id": None, "kwargs": None}
        self.session |= {"to_timestep": agent.num_timesteps, "ended": format_now() if final else None}
        facts = {
            "id": recipe["id"],
            "env_kwargs": recipe["kwargs"],
            "agent": type(agent).__name__,
            "settings": agent.settings,
            "n_envs": agent.n_envs,
            "seed": agent.seed,
            "c": agent.c,
            "prior_sha256": hash_prior(agent.prior),
            "objective": None,  # a log of the task's own may say
            "num_timesteps": agent.num_timesteps,
            "rounds": agent.rounds,
            **log.facts(),
            "sessions": [*self.earlier.get("sessions", []), self.session],
        }
        write_atomically(self.path, (json.dumps(finite(facts), indent=1) + "\n").encode())


def format_now() -> str:
    """Return the time in UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Checkpoints(BaseCallback):
    """Keep the agent in FOLDER, with its task's log, every `seconds` and at the end of `learn`.

    Checkpoints are taken between two rounds only, so that an agent that is loaded goes on to the same end as an
    uninterrupted run. If `learn` ends within a round, by an error or a second Ctrl-C, the last checkpoint stays.

    Args:
        folder: where to write agent.safetensors, run.json and the log's files.
        record: of the run.
        log: of the run; its files are exported at checkpoints too, less often if that takes long.
        seconds: of the clock, between checkpoints.
        clock: gives the time in seconds.

    Attributes:
        kept: timesteps of the agent on disk; None if this callback wrote none.
    """

    def __init__(
        self, folder: Path, record: Record, log: RunLog, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.folder, self.record, self.log, self.clock = folder, record, log, clock
        self.seconds: float = SECONDS.check("checkpoint_seconds", seconds)
        self.kept: int | None = None
        self._whole = False  # whether this is a moment between two rounds

    def _on_training_start(self) -> None:
        self._due = self._export_due = self.clock() + self.seconds

    def _on_rollout_start(self) -> None:
        self._whole = False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        for new, terms in ((agent.newest, agent.rollouts.terms), *agent.offered):
            self.log.add(Round(new.tokens, new.lengths, new.prior_log_probs, terms, agent.num_timesteps))
        self._whole = True
        if self.clock() >= self._due:
            self._write()

    def _on_training_end(self) -> None:
        try:
            # within a round the agent could not go on to the same end: the last checkpoint stays
            if self._whole:
                self._write(final=True)
        finally:
            self.log.close()

    def _write(self, final: bool = False) -> None:
        begin = self.clock()
        # the agent first: an export may be slow, and a kill during it then loses nothing
        self._keep()
        kept = self.clock()
        exports = final or kept >= self._export_due
        if exports:
            self.log.export()
        self.record.write(self.log, final=final)
        end = self.clock()
        # counted from the end, so that a slow disk never leaves the run writing all the time
        self._due = end + max(self.seconds, SHARE * (kept - begin))
        if exports:
            self._export_due = end + max(self.seconds, SHARE * (end - kept))

    def _keep(self) -> None:
        """Save the agent and commit its log as of one moment: see `recover`."""
        agent: Any = self.model
        agent.save(self.folder / NEXT_FILE)
        self.log.commit(agent.num_timesteps)
        os.replace(self.folder / NEXT_FILE, self.folder / AGENT_FILE)
        self.kept = agent.num_timesteps


def recover(folder: Path, trust: bool = False) -> None:
    """Finish or undo the checkpoint that a killed run was writing, and remove its temporary files.

    `trust` as in `find_saved_class`.

    The agent and its log are two files, which cannot be replaced in one step. So the new agent is written under another
    name, and gets its own once the log of the same moment is committed.
    """
    waiting, agent_file = folder / NEXT_FILE, folder / AGENT_FILE
    saved = [file for file in (waiting, agent_file) if file.is_file()]
    log = find_saved_class(saved[0], trust).task_type.run_log() if saved else RunLog
    for name in (AGENT_FILE, NEXT_FILE, RECORD_FILE, *log.files):
        # `write_atomically` begins its temporary names with a dot
        for half_written in folder.glob(f".{name}.*"):
            half_written.unlink()
    if waiting not in saved:
        return
    # None: the log keeps nothing that the agent must agree with
    if log.committed_timesteps(folder) in (None, read_facts(waiting).get("num_timesteps")):
        os.replace(waiting, agent_file)
    else:
        waiting.unlink()


def find_saved_class(file: Path, trust: bool = False) -> type[SequenceTutorVectorEnv]:
    """Return the class of the environment that the agent in a file has learned in; this library's own if it has no id.

    Raises Untrusted if a module that is not imported yet must be imported for it, and the file is not trusted.
    """
    recipe = check_id(file, read_facts(file).get("env"), trust)
    return SequenceTutorVectorEnv if recipe is None else get_vector_class(recipe["id"])


def read_facts(file: Path) -> dict[str, Any]:
    """Read the facts of an agent's file. Raise FileNotFoundError or ValueError if there is none."""
    if not file.is_file():
        raise FileNotFoundError(f"No agent in {file.parent}: `python -m agents train` writes {AGENT_FILE} there.")
    return read_file(file)[1]
