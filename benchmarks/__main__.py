"""`python -m benchmarks`: demo, run, list, report, tune, log-z, speed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from seqtutor_envs.command import one_thread, run

REMOVED = {  # command -> what replaces it
    "compare": "`python -m benchmarks run --env ID --agents psi g mine:make --seconds 60 --seeds 0 1 2`",
    "authors": "`python -m benchmarks.authors_smiles train`, then `python -m benchmarks run authors-smiles`",
    "moses": "`seqtutor_envs.smiles.metrics.table`, as under \"The shipped prior\" in docs/molecules.md",
    "compatibility": "`python -m pytest tests/test_compatibility.py --rewrite-compatibility`",
}


def demo(
    out: Path = Path("demo"),
    seconds: float = 60.0,
    paper: bool = False,
    seed: int = 0,
    n: int = 10_000,
    prior: str = "melody",
    min_distinct: float = 0.995,
    only: Literal["melodies", "molecules"] | None = None,
    molecule_seconds: float | None = None,
    n_molecules: int | None = None,
    molecule_prior: str = "smiles",
    workers: int | None = None,
) -> None:
    """Tune the shipped priors of melodies and molecules with Psi-learning; OUT/report.html shows before and after.

    OUT also gets eight melodies before and eight after (MIDI, WAV, piano rolls), the evaluated molecules as a table
    and the best as structures, learning curves, the tables as text and JSON, and the trained agents. Ctrl-C ends the
    fine-tuning in progress early; the report then shows what was learned by then.

    Args:
        out: the folder to write; files of an earlier demo in it are replaced.
        seconds: CPU seconds of fine-tuning on melodies, on one core.
        paper: the paper's c = 0.5, gamma = 0.5, lam = 0 (one-step targets) for melodies, instead of c = 2 and the
            agent's defaults.
        seed: of learning and sampling.
        n: melodies of each evaluation.
        prior: a shipped note RNN's name, or the path of one.
        min_distinct: fine-tuning ends early once fewer of the newest melodies are distinct; 0 goes on into the loop.
        only: one part alone.
        molecule_seconds: wall-clock seconds of fine-tuning on molecules; None: as --seconds.
        n_molecules: molecules of each evaluation; None: a fifth of --n, as RDKit takes time.
        molecule_prior: a shipped SMILES prior's name, or the path of one.
        workers: processes that score molecules; None: one for each core that this process may use.
    """
    from benchmarks.demo import Settings, demonstrate

    one_thread()
    demonstrate(
        Settings(
            out=out,
            seconds=seconds,
            paper=paper,
            seed=seed,
            n=n,
            prior=prior,
            min_distinct=min_distinct,
            only=only,
            molecule_seconds=molecule_seconds,
            n_molecules=n_molecules,
            molecule_prior=molecule_prior,
            workers=workers,
        )
    )


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    given = sys.argv[1:] if args is None else args
    if given and given[0] in REMOVED:
        print(f"python -m benchmarks: {given[0]} was removed; use {REMOVED[given[0]]}.", file=sys.stderr)
        raise SystemExit(2)

    from benchmarks.log_z import log_z
    from benchmarks.report.command import report
    from benchmarks.runner.run import list_suites
    from benchmarks.runner.run import run as run_suite
    from benchmarks.speed.command import speed
    from benchmarks.tune import tune

    commands: dict[str, Callable[..., None]] = {
        "demo": demo,
        "run": run_suite,
        "list": list_suites,
        "report": report,
        "tune": tune,
        "log-z": log_z,
        "speed": speed,
    }
    run(commands, "python -m benchmarks", args)


if __name__ == "__main__":
    main()
