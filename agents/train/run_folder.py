"""Run one `python -m agents train`: let an agent learn, and write checkpoints, record and log to its folder."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import Logger, make_output_format

from agents.train.checkpoints import AGENT_FILE, Checkpoints, Record
from seqtutor_envs.command import warnings_in_one_line
from seqtutor_envs.files.text import printable
from seqtutor_envs.files.writing import naming


def run(agent: Any, folder: Path, *, steps: int, checkpoint_seconds: float, command: str = "") -> None:
    """Learn until `steps` tokens in all, then print what is in the folder. After an error or Ctrl-C it is printed too.

    Args:
        folder: where to keep the run.
        checkpoint_seconds: time between checkpoints.
        command: the command line, for the record.

    Raises:
        ValueError: nothing is left to learn.
    """
    left = steps - agent.num_timesteps
    if left <= 0:
        raise ValueError(f"The agent in {folder} has {agent.num_timesteps:,} steps already: ask for more --steps.")
    log = agent.task.run_log()(folder, agent.task, agent.num_timesteps)
    # a rollout without scores would teach nothing
    if agent.task.spent:
        log.close()
        raise ValueError(f"The agent in {folder} has spent its budget of scores: there is nothing left to learn from.")
    record = Record(folder, agent, command)
    checkpoints = Checkpoints(folder, record, log, checkpoint_seconds)
    for line in log.changes(record.earlier):
        print(printable(line), file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    # at once, so that a run killed before its first checkpoint is on record too
    record.write(log, final=False)
    agent.set_logger(make_logger(folder, agent.num_timesteps))
    try:
        with warnings_in_one_line(), naming(folder):  # the log's files and TensorBoard's do not name themselves
            agent.learn(left, checkpoints, reset_num_timesteps=False, progress_bar=True)
    finally:
        with naming(folder):
            agent.logger.close()
        agent.env.close()
        # after an early error there is nothing to tell of
        if checkpoints.kept is not None:
            print(printable(f"{folder / AGENT_FILE}: {type(agent).__name__} after {checkpoints.kept:,} tokens"))
            for line in log.summary():
                print(printable(line))


def make_logger(folder: Path, num_timesteps: int) -> Logger:
    """Make a logger to progress.csv and, if it is installed, TensorBoard. A resumed run adds files."""
    suffix = f"-{num_timesteps}" if num_timesteps else ""
    formats = ["csv", "tensorboard"] if find_spec("tensorboard") is not None else ["csv"]
    return Logger(str(folder), [make_output_format(name, str(folder), suffix) for name in formats])
