"""Keeps a run on disk as of its last checkpoint: the agent, its task's log, its record. A kill never harms them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.train.record import RECORD_FILE, Record
from agents.envs import get_vector_class
from seqtutor_envs.files import load_arrays
from seqtutor_envs.task import Round, RunLog, Task

AGENT_FILE = "agent.safetensors"
NEXT_FILE = "agent-next.safetensors"  # the agent of a checkpoint whose log is not committed yet
SHARE = 20  # writing takes at most one part in so many of the time


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
        self,
        folder: Path,
        record: Record,
        log: RunLog,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"The seconds between checkpoints must be above 0, not {seconds!r}.")
        super().__init__()
        self.folder, self.record, self.log, self.seconds, self.clock = folder, record, log, seconds, clock
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
        new, terms = agent.newest, agent.rollouts.terms
        self.log.add(Round(new.tokens, new.lengths, new.prior_log_probs, terms, agent.num_timesteps))
        self._whole = True
        if self.clock() >= self._due:
            self._write()

    def _on_training_end(self) -> None:
        try:
            if self._whole:
                self._write(final=True)
        finally:
            self.log.close()

    def _write(self, final: bool = False) -> None:
        begin = self.clock()
        self._keep()
        kept = self.clock()
        exports = final or kept >= self._export_due
        if exports:
            self.log.export()
        self.record.write(self.log, final=final)
        end = self.clock()
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


def recover(folder: Path) -> None:
    """End the checkpoint that a killed run was writing, or take it back; remove its temporary files.

    The agent and its log are two files, which nothing replaces at once: the new agent waits under another name until
    the log of the same moment is committed.
    """
    waiting, agent_file = folder / NEXT_FILE, folder / AGENT_FILE
    saved = [file for file in (waiting, agent_file) if file.is_file()]
    log = find_saved_task(saved[0]).run_log() if saved else RunLog
    for name in (AGENT_FILE, NEXT_FILE, RECORD_FILE, *log.files):
        for half_written in folder.glob(f".{name}.*"):
            half_written.unlink()
    if waiting not in saved:
        return
    if log.committed_timesteps(folder) in (None, read_facts(waiting).get("num_timesteps")):
        os.replace(waiting, agent_file)
    else:
        waiting.unlink()


def find_saved_task(file: Path) -> type[Task]:
    """Return the class of the task, by the environment's id, that the agent in a file has learned."""
    recipe = read_facts(file).get("env")
    return Task if recipe is None else get_vector_class(recipe["id"]).task_type


def read_facts(file: Path) -> dict[str, Any]:
    """Read the facts of an agent's file. Raise FileNotFoundError or ValueError if there is none."""
    if not file.is_file():
        raise FileNotFoundError(f"No agent in {file.parent}: `python -m agents train` writes {AGENT_FILE} there.")
    return load_arrays(file)[1]
