"""`python -m benchmarks demo | compare | compatibility | log-z | moses | authors | speed`."""

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
    """Fine-tunes the shipped note RNN and the shipped SMILES prior with Psi-learning;
    OUT/report.html compares each with what it was.

    OUT also gets eight melodies before and eight after (MIDI, WAV, piano rolls), the judged molecules as a table and
    the best as structures, learning curves, the tables as text and JSON, and the trained agents. Ctrl-C ends the
    fine-tuning in progress early; the report is then about what was learned.

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
            out,
            seconds,
            paper,
            seed,
            n,
            prior,
            min_distinct,
            only,
            molecule_seconds,
            n_molecules,
            molecule_prior,
            workers,
        )
    )


def speed(
    out: Path = Path("speed.json"),
    seconds: float = 3.0,
    prior: str | None = None,
    domain: Literal["melody", "smiles", "vec-env"] = "melody",
    workers: int | None = None,
    memory: int = 0,
) -> None:
    """Measures the speed of environment, cells and agent, and prints it as ratios. Under a minute of CPU time.

    What is compared runs in turns in this process, so that a busy machine slows both sides; CPU time, one thread. Of
    molecules: scoring, sampling and the whole loop beside RDKit alone, in wall time. Of vec-env: what stable-baselines3
    steps, beside its own DummyVecEnv.

    Args:
        out: the JSON file to write.
        seconds: for each of the eleven comparisons (of molecules, six; of vec-env, four).
        prior: a shipped prior's name, or the path of one; none: the domain's own (of vec-env, melody; with smiles,
            molecules are written).
        domain: what is measured.
        workers: scoring processes of molecules; none: one for each core.
        memory: also learn from so many molecules, and say how much memory is in use meanwhile.
    """
    from benchmarks.speed.report import measure_all

    one_thread()
    measure_all(out, seconds, prior, domain, workers, memory)


def main(args: list[str] | None = None) -> None:
    """The command line."""
    from benchmarks.authors import authors
    from benchmarks.compare import compare
    from benchmarks.compatibility import compatibility
    from benchmarks.log_z import log_z
    from benchmarks.moses import moses

    commands: dict[str, Callable[..., None]] = {"demo": demo, "compare": compare, "speed": speed}
    commands |= {"compatibility": compatibility, "log-z": log_z, "moses": moses, "authors": authors}
    run(commands, "python -m benchmarks", args)


if __name__ == "__main__":
    main()
