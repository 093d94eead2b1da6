"""Helpers of all our commands: threads, subcommands by tyro, errors in one line, versions."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version
from typing import Any

from gymnasium.error import Error as GymnasiumError

from seqtutor_envs import __version__
from seqtutor_envs.files import one_line
from seqtutor_envs.files.text import printable

PACKAGES = ("torch", "numpy", "rdkit", "gymnasium", "stable-baselines3")  # results may depend on their versions
INTERRUPTED, TERMINATED = 130, 143  # exit statuses of a shell command that Ctrl-C or SIGTERM ended
HOME = Path(__file__).parents[1]  # where our packages are
TRACEBACK = "SEQTUTOR_TRACEBACK"  # environment variable
received: list[int] = []  # SIGTERM, once it has come
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def set_threads(number: int) -> None:
    """Use so many threads for products of all libraries that are imported by now. For commands only.

    It is for code that is not ours, such as other libraries' agents; our own holds one_thread() (threads.py).
    """
    # imported here: only commands need it, and the library imports this module too
    from threadpoolctl import threadpool_limits

    threadpool_limits(number)
    # torch brings its own OpenMP pool; loading torch only to limit it would take seconds
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory; elsewhere nothing changes. For commands only.

    The system clears each page before it lends it again: with this, updates from molecules take .8 of the time.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    # no mmap: freed blocks of that kind would go back to the system at once
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def scoring_processes() -> int:
    """Return how many scoring processes to start: one for each usable core, or 0 on a single core."""
    # with one core a second process would only take turns with this one
    return usable_cores() if usable_cores() > 1 else 0


def usable_cores() -> int:
    """Count the cores that this process may use."""
    # not cpu_count: in a container or under taskset this process may use fewer
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of Python, this library and PACKAGES; None for a package that is not installed."""
    return {"python": python_version(), "seqtutor": __version__, **{name: installed(name) for name in PACKAGES}}


def json_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object. Raise ValueError naming the option."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{option} must be a JSON object, such as '{{\"name\": 1}}': {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{option} must be a JSON object, such as '{{\"name\": 1}}', not {text}.")
    return value


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show warnings to a command's user without the place in our source that gives them, above the progress bar."""
    from tqdm import tqdm

    def show(message: Warning | str, *place: Any, **more: Any) -> None:
        tqdm.write(printable(f"warning: {message}"), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def run(
    commands: Mapping[str, Callable[..., Any]],
    program: str,
    args: list[str] | None = None,
    within: AbstractContextManager[None] = nullcontext(),
) -> None:
    """Run the subcommand that the command line names, `within` a context, with errors reported by `report_errors`."""
    import tyro

    if args is None:  # with arguments we are called from a process of the user's, whose memory is not ours to set
        keep_freed_memory()
    with report_errors(program), within:
        tyro.extras.subcommand_cli_from_dict(dict(commands), prog=program, args=args)


@contextmanager
def report_errors(program: str) -> Iterator[None]:
    """Report a user's mistake in one line and exit with status 2; exit with status 130 on Ctrl-C, 143 on SIGTERM.

    A KeyboardInterrupt may carry a message that says what was kept and how to go on. An error that no user can cause
    keeps its traceback, with a note that says so. Where the variable SEQTUTOR_TRACEBACK is set, every error does.
    """
    with terminate_as_interrupt() as terminated:
        try:
            yield
        except KeyboardInterrupt as interrupt:
            kept = interrupt if interrupt.args else "what was written so far is complete."
            print(printable(f"\n{'Terminated' if terminated else 'Interrupted'}; {kept}"), file=sys.stderr)
            raise SystemExit(TERMINATED if terminated else INTERRUPTED) from None
        except SystemExit as end:
            if terminated and end.code == INTERRUPTED:  # of a command that has said already what is kept
                raise SystemExit(TERMINATED) from None
            raise
        except Exception as error:
            reason = explain_error(error)
            if reason is None:
                error.add_note(f"{program}: this is not your mistake but this library's: please report it.")
            if reason is None or os.environ.get(TRACEBACK):
                raise
            print(f"{program}: {reason}", file=sys.stderr)
            raise SystemExit(2) from None


def explain_error(error: Exception) -> str | None:
    """Return what to tell a user of an error, in one line that any terminal shows; None if no user can cause it."""
    if isinstance(error, MemoryError):
        reason = "there is not enough memory for that"
    elif isinstance(error, OSError) and error.filename:
        # str(OSError) is "[Errno 2] No such file ...": the user needs the reason and the name alone
        reason = f"{error.strerror}: {error.filename}"
    elif isinstance(error, ImportError) and (conflict := find_conflict()) is not None:
        reason = conflict
    elif isinstance(error, (ValueError, OSError, ImportError, GymnasiumError)):
        reason = str(error)
    else:
        return None
    return printable(" ".join(reason.splitlines()))


def find_conflict() -> str | None:
    """Say what stands where our packages `agents` and `benchmarks` should be found; None if they are ours."""
    for name in ("agents", "benchmarks"):
        spec = find_spec(name)
        if spec is None:
            return f"there is no package `{name}` beside seqtutor_envs: install SeqTutor anew"
        # a folder without __init__.py has no origin: in the current folder it hides an editable install's package
        origin = spec.origin or next(iter(spec.submodule_search_locations or ()))
        if Path(origin).parent != HOME / name:
            fix = "rename it, start Python in another folder, or install SeqTutor in an environment of its own"
            return f"`{name}` is {origin}, not SeqTutor's: {fix}"
    # one that was installed later has put its files in place of ours
    others = sorted(set(packages_distributions().get("agents", ())) - {"seqtutor"})
    if not others:
        return None
    return f"{others[0]} has a package called `agents`, too: install SeqTutor in an environment of its own"


@contextmanager
def terminate_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM do what Ctrl-C does; yield a list that holds the signal once it has come.

    Only the main thread can handle signals, and a handler of the user's own stays.
    """

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield received  # of the context around this one, if it is ours
        return
    received.clear()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def blame(options: str) -> Iterator[None]:
    """Turn the errors that values of a wrong type cause into ValueError, in one line that names the options.

    Args:
        options: that hold such values, such as "--settings".
    """
    try:
        yield
    except (ValueError, OSError, ImportError):
        raise
    except (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError) as error:
        raise ValueError(f"{options}: {one_line(error)}.") from error
