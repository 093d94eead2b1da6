"""Find the options that a task adds to a command line of `python -m agents`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gymnasium

import seqtutor_envs  # noqa: F401  (registers the ids)
from seqtutor_envs.registry import Untrusted, get_vector_class
from seqtutor_envs.task import SampleOptions, Task


def find_task_options(argv: list[str], own: Iterable[str]) -> type[Any]:
    """Return the options class that the environment or agent on a command line adds to its command, argv[0].

    If it names neither, return the options of all our environments in one class, so that --help shows them.

    Args:
        own: names of the command's own options.

    Raises:
        ValueError: an option is another environment's.
    """
    command, task = argv[0], find_task(argv[1:])
    if task is None:
        kinds = {getattr(other.run_options(), command) for other in load_our_tasks()}
        # subclasses before their bases, or Python finds no order of methods
        bases = sorted(kinds, key=lambda kind: (-len(kind.__mro__), kind.__name__))
        return dataclass(frozen=True)(type("Options", tuple(bases), {}))
    options: type[Any] = getattr(task.run_options(), command)
    names = [text.partition("=")[0][2:].replace("-", "_") for text in argv[1:] if text.startswith("--")]
    for name in set(names) - {"help", *own} - field_names(options):
        refuse_other(command, f"--{name.replace('_', '-')}", lambda other: name in field_names(other))
    return options


def check_format(options: SampleOptions) -> None:
    """Raise ValueError if `sample` cannot write the format."""
    if options.format not in options.formats:
        refuse_other("sample", f"--format {options.format}", lambda other: options.format in other.formats)
        raise ValueError(f"--format must be one of {', '.join(options.formats)}, not {options.format}.")


def refuse_other(command: str, option: str, has: Callable[[type[Any]], bool]) -> None:
    """Raise ValueError if one of our environments adds options to a command that have what is asked for."""
    for task in load_our_tasks():
        if has(getattr(task.run_options(), command)):
            raise ValueError(f"{option} is for agents that write {task.writes}.")


def field_names(options: type[Any]) -> set[str]:
    """Return the names of the options in an options class."""
    return {field.name for field in fields(options)}


def find_task(texts: list[str]) -> type[Task] | None:
    """Return the task class of the environment's id among words of a command line, else of the agent or prior; or None.

    A word is an id if it is registered, or has a module before it and a version after it, as module:Name-v0.
    """
    # --env=ID and --out=FOLDER name something too
    words = [text.rpartition("=")[2] if text.startswith("--") else text for text in texts]
    for word in words:
        module, _, name = word.rpartition(":")
        if name in gymnasium.registry or module and re.search(r"-v\d+$", name):
            return get_vector_class(word).task_type
    # neither options nor JSON, which may be too long for a path
    paths = [Path(word) for word in words if not word.startswith(("-", "{"))]
    return find_task_of_model(paths, "--trust" in texts) if paths else None


def find_task_of_model(paths: list[Path], trust: bool) -> type[Task] | None:
    """Return the task class of the first of the paths that is an agent or a prior; None if none is."""
    # imported here: they load torch, which takes seconds, and an environment's options do without it
    from agents.evaluate.load import find_agent_file
    from agents.evaluate.priors import find_prior_task
    from agents.train.checkpoints import find_saved_class

    for path in paths:
        if find_agent_file(path).is_file():
            return find_prior_task(path) or find_saved_class(find_agent_file(path), trust).task_type
    # shipped priors last: an agent's folder comes before them, wherever it stands
    return next((task for path in paths if (task := find_prior_task(path)) is not None), None)


@contextmanager
def say_how_to_allow(program: str, argv: list[str], options: Iterable[str]) -> Iterator[None]:
    """End a command that needs its user's word with the command line that gives it.

    Args:
        program, argv: the command line.
        options: names of the options of this command and the task.
    """
    try:
        yield
    except Untrusted as error:
        [(name, value), *others] = error.named.items()
        # one thing alone is allowed by its own option; a name of Python's holds nothing that a terminal would take
        own = not others and name in options and re.fullmatch(r"[\w.]+:[\w.]+", str(value))
        words = [f"--{name.replace('_', '-')}", str(value)] if own else ["--trust"]
        line = shlex.join([*program.split(), *argv, *words])
        raise ValueError(f"{error.reason}. If you know what it is: {line}") from None


def load_our_tasks() -> Iterator[type[Task]]:
    """Load the task classes of this library's environments."""
    for env_id, spec in gymnasium.registry.items():
        if str(spec.vector_entry_point).startswith("seqtutor_envs."):
            yield get_vector_class(env_id).task_type
