"""`python -m benchmarks`: demo, run, list, report, tune, compare, compatibility, log-z, moses, authors, speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from seqtutor_envs.command import one_thread, run


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
    """Fine-tune the shipped note RNN and the shipped SMILES prior with Psi-learning;
    OUT/report.html compares each with what it was.

    OUT also gets eight melodies before and eight after (MIDI, WAV, piano rolls), the evaluated molecules as a table and
    the best as structures, learning curves, the tables as text and JSON, and the trained agents. Ctrl-C ends the
    fine-tuning in progress early; the report is then about what was learned.

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
    """Measures the speed of every part, each beside its limit or its rival in the same run: about six minutes.

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
    """The command line."""
    from benchmarks.authors import authors
    from benchmarks.compare import compare
    from benchmarks.compatibility import compatibility
    from benchmarks.log_z import log_z
    from benchmarks.moses import moses
    from benchmarks.report.command import report
    from benchmarks.run import list_suites
    from benchmarks.run import run as run_suite
    from benchmarks.tune import tune

    commands: dict[str, Callable[..., None]] = {"demo": demo, "run": run_suite, "list": list_suites}
    commands |= {"report": report, "tune": tune}
    commands |= {"compare": compare, "speed": speed}
    commands |= {"compatibility": compatibility, "log-z": log_z, "moses": moses, "authors": authors}
    run(commands, "python -m benchmarks", args)


if __name__ == "__main__":
    main()
