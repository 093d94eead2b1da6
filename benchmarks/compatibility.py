"""`python -m benchmarks compatibility`: which library's algorithms train in which environment, found by trying."""

from __future__ import annotations

import io
import json
import shlex
import signal
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from benchmarks.trials import TRIALS, Library, Trial
from seqtutor_envs.command import installed, one_thread
from seqtutor_envs.infos import OBS_MODES

LIBRARIES: tuple[Library, ...] = get_args(Library)
IDS = ("SeqTutor-Melody-v0", "SeqTutor-SMILES-v0", "SeqTutor-Exact-v0")
COLUMNS = tuple((env_id, obs_mode) for env_id in IDS for obs_mode in OBS_MODES)
NOT_INSTALLED = "not installed"
VERSIONS = ("seqtutor", "gymnasium", "stable-baselines3", "sb3-contrib", "torchrl", "torch", "numpy")
HEAD = """# What trains where

Each cell was tried: a few updates of the library's algorithm in the environment, with observations of that `obs_mode`.
"trains": parameters changed and are finite. "steps": nothing learns there, and it stepped. A number is the reason why
not, below: the first line of what was raised.
"""


def compatibility(out: Path | None = None, libraries: tuple[Library, ...] = LIBRARIES) -> None:
    """Tries each library's algorithms for a few updates in each environment and obs_mode, and makes a table of what
    trains, and of the reasons where something does not. A minute or two of one core.

    Args:
        out: the Markdown file to write, with a JSON file of the same name beside it; None prints the Markdown.
        libraries: which ones.
    """
    import torch  # noqa: F401  (so that it runs on one thread, too)

    from seqtutor_envs.files import write_atomically

    one_thread()
    rows = tried([trial for trial in TRIALS if trial.library in libraries])
    options = [*(["--out", out.as_posix()] if out else [])]
    options += ["--libraries", *libraries] if libraries != LIBRARIES else []
    command = shlex.join(["python", "-m", "benchmarks", "compatibility", *options])
    versions = {name: installed(name) for name in VERSIONS}
    text = markdown(rows, versions, command)
    if out is None:
        print(text, end="")
        return
    facts = {"command": command, "versions": versions, "rows": rows}
    write_atomically(out, text.encode())
    write_atomically(out.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())


def tried(trials: Sequence[Trial]) -> list[dict[str, str]]:
    """What became of each trial: its library, its algorithm, and a result by each column's name."""
    rows = []
    with (
        tqdm(total=len(trials) * len(COLUMNS), unit="trial") as bar,
        ProcessPoolExecutor(1, get_context("spawn"), _alone) as another,
    ):
        for trial in trials:
            bar.set_description(f"{trial.library} {trial.algorithm}")
            row = {"library": trial.library, "algorithm": trial.algorithm}
            for env_id, obs_mode in COLUMNS:
                row[f"{env_id} {obs_mode}"] = result(trial, env_id, obs_mode, another)
                bar.update()
            rows.append(row)
    return rows


def result(trial: Trial, env_id: str, obs_mode: str, another: Executor) -> str:
    """What the trial says of success, or the first line of what was raised.

    Args:
        another: the process for what had better not be imported in this one.
    """
    if not _present(trial.module):
        return NOT_INSTALLED
    if trial.apart:
        return another.submit(attempt, trial, env_id, obs_mode).result()
    return attempt(trial, env_id, obs_mode)


def attempt(trial: Trial, env_id: str, obs_mode: str) -> str:
    """`result`, in this process; what libraries print and warn of is left out."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            trial.run(env_id, obs_mode)
        except Exception as error:  # whatever another library raises is the answer
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return trial.success


def markdown(rows: Sequence[dict[str, str]], versions: dict[str, str | None], command: str) -> str:
    """The table, the reasons, and a last line that says what it was made with."""
    names = [f"{env_id} {obs_mode}" for env_id, obs_mode in COLUMNS]
    said = {NOT_INSTALLED, *(trial.success for trial in TRIALS)}
    reasons = list(dict.fromkeys(row[name] for row in rows for name in names if row[name] not in said))
    heads = ["library", "algorithm", *(f"{env_id.split('-')[1]} {obs_mode}" for env_id, obs_mode in COLUMNS)]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row[name] if row[name] in said else f"({reasons.index(row[name]) + 1})" for name in names]
        lines.append([row["library"], row["algorithm"], *cells])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    list_of_reasons = "".join(f"{i}. `{reason}`\n" for i, reason in enumerate(reasons, 1))
    used = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    return f"{HEAD}\n{table}\n\n{list_of_reasons}\n{used}; `{command}`\n"


def _present(module: str | None) -> bool:
    try:
        return module is None or find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _alone() -> None:
    """In the other process: Ctrl-C is for this one, which ends it; one thread there too."""
    import torch  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
