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
    "compatibility": "`python -m pytest tests/test_compatibility.py`",
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
        n: melodies that each side is judged by.
        prior: a shipped note RNN's name, or the path of one.
        min_distinct: fine-tuning ends early once fewer of the newest melodies are distinct; 0 goes on into the loop.
        only: one part alone.
        molecule_seconds: seconds by the clock of fine-tuning on molecules; None: as --seconds.
        n_molecules: molecules that each side is judged by; None: a fifth of --n, as RDKit's figures take time.
        molecule_prior: a shipped SMILES prior's name, or the path of one.
        workers: processes that score molecules; None: one for each core that this one may use.
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


def speed(
    out: Path = Path("speed.json"),
    only: tuple[str, ...] = (),
    seconds: float = 1.0,
    threads: int = 1,
    lines: bool = False,
    markdown: Path | None = None,
    prior: str = "melody",
    smiles_prior: str = "smiles",
    workers: int | None = None,
    memory: int = 20_000,
    minutes: float = 10.0,
) -> None:
    """Measure the speed of every part, each beside its limit or its rival in the same run: about six minutes.

    What is compared takes turns in this process, so that a busy machine slows both sides; figures are medians, of CPU
    time unless processes share the work. Ctrl-C writes what was measured so far.

    Args:
        out: the JSON file to write.
        only: sections: prior, environment, single, vec-env, rules, sampling, update, molecules, memory, startup,
            growth, peers, quality; none: all but memory (some minutes) and quality (--minutes and about three more).
        seconds: for each comparison, a hundred or so of them.
        threads: of numpy's and torch's products; CPU time is that of all threads together.
        lines: also show where the time of the environment's step goes, line by line (pip install line_profiler).
        markdown: a file for the tables in Markdown.
        prior: a shipped melody prior's name, or the path of one.
        smiles_prior: a shipped SMILES prior's name, or the path of one.
        workers: scoring processes of molecules; None: one for each core that this one may use.
        memory: molecules that the section "memory" learns from.
        minutes: of one core, that the section "quality" learns for.
    """
    from benchmarks.speed.options import Options
    from benchmarks.speed.report import measure

    options = Options(seconds, prior, smiles_prior, workers, memory, minutes)
    measure(out, options, only, threads, lines, markdown)


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    given = sys.argv[1:] if args is None else args
    if given and given[0] in REMOVED:
        print(f"python -m benchmarks: {given[0]} was removed; use {REMOVED[given[0]]}.", file=sys.stderr)
        raise SystemExit(2)

    from benchmarks.log_z import log_z
    from benchmarks.reporting import report
    from benchmarks.run import list_suites
    from benchmarks.run import run as run_suite
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
