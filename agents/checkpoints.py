"""What is on disk of a run: the agent as of the last checkpoint, its molecules, its record. A kill never harms them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.molecules import CSV_FILE, SDF_FILE, MoleculeLog, steps_logged
from agents.record import RECORD_FILE, Record
from seqtutor_envs.files import load_arrays

AGENT_FILE = "agent.safetensors"
NEXT_FILE = "agent-next.safetensors"  # the agent of a checkpoint whose molecules are not kept yet
SHARE = 20  # writing takes at most one part in so many of the time


class Checkpoints(BaseCallback):
    """Keeps the agent in FOLDER, with its molecules where a log is given, every `seconds` and at the end of `learn`.

    Between two rounds only, so that an agent that is loaded goes on to the same end as an uninterrupted run. Where
    `learn` ends within a round, by an error or a second Ctrl-C, the last checkpoint stays.

    Args:
        folder: where to write agent.safetensors, run.json and the log's files.
        record: of the run.
        log: of the agent's molecules; its files are written at checkpoints too, less often where that takes long.
        seconds: of the clock, between checkpoints.
        clock: gives the time in seconds.

    Attributes:
        kept: timesteps of the agent on disk; None where this callback wrote none.
    """

    def __init__(
        self,
        folder: Path,
        record: Record,
        log: MoleculeLog | None = None,
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
        if self.log is not None:
            self.log.add()
        self._whole = True
        if self.clock() >= self._due:
            self._write()

    def _on_training_end(self) -> None:
        try:
            if self._whole:
                self._write(final=True)
        finally:
            if self.log is not None:
                self.log.close()

    def _write(self, final: bool = False) -> None:
        begin = self.clock()
        self._keep()
        kept = self.clock()
        exports = self.log is not None and (final or kept >= self._export_due)
        if self.log is not None and exports:
            self.log.export()
        self.record.write(self.log, final=final, figures=exports)
        end = self.clock()
        self._due = end + max(self.seconds, SHARE * (kept - begin))
        if exports:
            self._export_due = end + max(self.seconds, SHARE * (end - kept))

    def _keep(self) -> None:
        """The agent and its molecules, as of one moment: see `recover`."""
        agent: Any = self.model
        if self.log is None:
            agent.save(self.folder / AGENT_FILE)
        else:
            agent.save(self.folder / NEXT_FILE)
            self.log.commit()
            os.replace(self.folder / NEXT_FILE, self.folder / AGENT_FILE)
        self.kept = agent.num_timesteps


def recover(folder: Path) -> None:
    """Ends the checkpoint that a killed run was writing, or takes it back; removes its temporary files.

    The agent and its molecules are two files, which nothing replaces at once: the new agent waits under another name
    until the molecules of the same moment are committed.
    """
    for name in (AGENT_FILE, NEXT_FILE, CSV_FILE, SDF_FILE, RECORD_FILE):
        for half_written in folder.glob(f".{name}.*"):
            half_written.unlink()
    waiting = folder / NEXT_FILE
    if not waiting.is_file():
        return
    if load_arrays(waiting)[1].get("num_timesteps") == steps_logged(folder):
        os.replace(waiting, folder / AGENT_FILE)
    else:
        waiting.unlink()
