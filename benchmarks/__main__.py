"""`python -m benchmarks`: the commands demo, run, list, report, tune, bounds, speed and verify."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

from seqtutor_envs.command import report_errors

PROGRAM = "python -m benchmarks"

with report_errors(PROGRAM):  # these take a second, in which Ctrl-C may come
    import tyro

    from agents import MODULES  # noqa: F401  (fails, in one line, where another package is called agents)
    from benchmarks.bounds import bounds
    from benchmarks.demo.settings import DemoSettings
    from benchmarks.leaderboard.verify import verify
    from benchmarks.report.command import report
    from benchmarks.runner.run import list_suites
    from benchmarks.runner.run import run as run_suite
    from benchmarks.speed.command import speed
    from benchmarks.tune import tune
    from seqtutor_envs.command import run
    from seqtutor_envs.files.locks import lock_folder

REMOVED = {  # command -> what replaces it
    "compare": "`python -m benchmarks run --env ID --agents psi g mine:make --seconds 60 --seeds 0 1 2`",
    "authors": "`python -m benchmarks.authors_smiles train`, then `python -m benchmarks run authors-smiles`",
    "moses": "`seqtutor_envs.smiles.metrics.table`, as under \"The shipped prior\" in docs/molecules.md",
    "log-z": "`python -m benchmarks bounds ID --c 2 5 10`",
    "compatibility": "`python -m pytest tests/test_compatibility.py --rewrite-compatibility`",
}


def demo(settings: Annotated[DemoSettings, tyro.conf.arg(name="")] = DemoSettings()) -> None:
    """Tune the shipped priors of melodies and molecules with Psi-learning; OUT/report.html shows before and after.

    OUT also gets eight melodies before and eight after (MIDI, WAV, piano rolls), the evaluated molecules as a table
    and the best as structures, learning curves, the tables as text and JSON, and the trained agents. Ctrl-C ends the
    fine-tuning in progress early; the report then shows what was learned by then.

    Args:
        settings: what to do, and where to write.
    """
    from benchmarks.demo.run import demonstrate  # matplotlib, pandas and RDKit, which the other commands do without

    with lock_folder(settings.out):
        demonstrate(settings)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "run": run_suite,
    "list": list_suites,
    "report": report,
    "tune": tune,
    "bounds": bounds,
    "speed": speed,
    "verify": verify,
}


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    given = sys.argv[1:] if args is None else args
    if given and given[0] in REMOVED:
        print(f"{PROGRAM}: {given[0]} was removed; use {REMOVED[given[0]]}.", file=sys.stderr)
        raise SystemExit(2)
    run(COMMANDS, PROGRAM, args)


if __name__ == "__main__":
    main()
