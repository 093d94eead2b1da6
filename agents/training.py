"""One run of `train`: an agent learns, and a folder keeps what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import Logger, make_output_format

from agents.checkpoints import AGENT_FILE, Checkpoints
from agents.molecules import CSV_FILE, SDF_FILE, MoleculeLog
from agents.record import Record, oracle_figures
from seqtutor_envs.command import warnings_in_one_line


def run(agent: Any, folder: Path, steps: int, seconds: float, command: str, molecules: bool) -> None:
    """Learns until `steps` tokens in all, and says what is in the folder then, after an error or Ctrl-C too.

    Args:
        seconds: between checkpoints.
        command: the command line, for the record.
        molecules: whether the agent writes molecules, which are logged.

    Raises ValueError where nothing is left to learn, or the objective is no such function as it must be.
    """
    left = steps - agent.num_timesteps
    if left <= 0:
        raise ValueError(f"The agent in {folder} has {agent.num_timesteps:,} steps already: ask for more --steps.")
    log = MoleculeLog(folder, agent) if molecules else None
    if log is not None and agent.task.spent:
        log.close()
        raise ValueError(f"{_oracle(agent.task)}: there is nothing left to learn from.")
    record = Record(folder, agent, command)
    checkpoints = Checkpoints(folder, record, log, seconds)
    if record.objective_changed:
        print(f"{agent.task.objective.path}: its source is not what it was in the session before.", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    record.write(log, final=False, figures=False)
    agent.set_logger(_logger(folder, agent.num_timesteps))
    try:
        with warnings_in_one_line():
            agent.learn(left, checkpoints, reset_num_timesteps=False, progress_bar=True)
    except TypeError as error:
        if molecules and agent.task.objective is not None and str(error).startswith("The objective "):
            raise ValueError(str(error)) from None
        raise
    finally:
        agent.logger.close()
        agent.env.close()
        if checkpoints.kept is not None:
            _say(agent, folder, checkpoints.kept, record)


def _logger(folder: Path, num_timesteps: int) -> Logger:
    from importlib.util import find_spec

    suffix = f"-{num_timesteps}" if num_timesteps else ""  # what was logged before stays
    formats = ["csv", "tensorboard"] if find_spec("tensorboard") is not None else ["csv"]
    return Logger(str(folder), [make_output_format(name, str(folder), suffix) for name in formats])


def _say(agent: Any, folder: Path, kept: int, record: Record) -> None:
    print(f"{folder / AGENT_FILE}: {type(agent).__name__} after {kept:,} tokens")
    if record.distinct_molecules is not None:
        print(f"{folder / CSV_FILE}: {record.distinct_molecules:,} distinct molecules; the best in {SDF_FILE}")
    if getattr(agent.task, "objective", None) is not None:
        print(_oracle(agent.task) + (", so learning ended here" if agent.task.spent else ""))


def _oracle(task: Any) -> str:
    """How far the objective was asked, and how good the best molecules are."""
    figures = oracle_figures(task) or {}
    best = ", ".join(f"top-{k} {figures[f'top_{k}']:.4g}" for k in (1, 10, 100))
    of = ", the whole budget" if task.spent else f" of {figures['budget']:,}" if figures["budget"] else ""
    return f"Oracle: {figures['calls']:,} molecules scored{of}; {best}; AUC of top-10 {figures['auc_top_10']:.4g}"
