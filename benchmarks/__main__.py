"""`python -m benchmarks demo | compare | speed`."""

from __future__ import annotations

from pathlib import Path

from seqtutor_envs.command import one_thread, run


def demo(
    out: Path = Path("demo"),
    seconds: float = 60.0,
    paper: bool = False,
    seed: int = 0,
    n: int = 10_000,
    prior: str = "melody",
    min_distinct: float = 0.995,
) -> None:
    """Fine-tunes the shipped note RNN with Psi-learning, and compares the two in OUT/report.html.

    OUT also gets eight melodies before and eight after (MIDI, WAV, piano rolls), the learning curve, the tables as text
    and JSON, and the trained agent. Ctrl-C ends the fine-tuning early; the report is then about what was learned.

    Args:
        out: the folder to write; files of an earlier demo in it are replaced.
        seconds: CPU seconds of fine-tuning, on one core.
        paper: the paper's c = 0.5, gamma = 0.5, lam = 0 (one-step targets) instead of c = 2 and the agent's defaults.
        seed: of learning and sampling.
        n: melodies that each side is judged by.
        prior: a shipped prior's name, or the path of one.
        min_distinct: fine-tuning ends early once fewer of the newest melodies are distinct; 0 goes on into the loop.
    """
    from benchmarks.demo import Settings, demonstrate

    one_thread()
    demonstrate(Settings(out, seconds, paper, seed, n, prior, min_distinct))


def speed(out: Path = Path("speed.json"), seconds: float = 3.0, prior: str = "melody") -> None:
    """Measures the speed of environment, cells and agent, and prints it as ratios. Under a minute of CPU time.

    What is compared runs in turns in this process, so that a busy machine slows both sides; CPU time, one thread.

    Args:
        out: the JSON file to write.
        seconds: CPU seconds for each of the eleven comparisons.
        prior: a shipped prior's name, or the path of one.
    """
    from benchmarks.speed.report import measure_all

    one_thread()
    measure_all(out, seconds, prior)


def main(args: list[str] | None = None) -> None:
    """The command line."""
    from benchmarks.compare import compare

    run({"demo": demo, "compare": compare, "speed": speed}, "python -m benchmarks", args)


if __name__ == "__main__":
    main()
