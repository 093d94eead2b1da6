"""`python -m seqtutor_envs.melody score FILE.mid`: what each rule pays a melody, bar by bar."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from seqtutor_envs.command import run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seqtutor_envs.prior import Prior


def score(file: Annotated[Path, tyro.conf.Positional], prior: str = "none") -> None:
    """Print what each of the nine rules paid for each bar of the melodies in a MIDI file, and the totals.

    Each instrument that plays a single line is a melody of its own length, on a grid of sixteenths, 16 to a bar.
    Sums are r_T with all weights 1, before division by c.

    Args:
        file: the MIDI file.
        prior: a shipped prior ("melody") or the path of one, to print log p of the melody as well; "none" for none.
    """
    from seqtutor_envs.melody.midi import from_midi
    from seqtutor_envs.prior import load_prior

    with warnings.catch_warnings(record=True) as left_out:
        warnings.simplefilter("always")
        melodies = from_midi(file)
    for warning in left_out:
        print(f"Note: {warning.message}", file=sys.stderr)
    model = None if prior == "none" else load_prior(prior)
    for number, tokens in enumerate(melodies, start=1):
        lines = [f"{file.name}, melody {number} of {len(melodies)}: {len(tokens)} steps", score_text(tokens)]
        if model is not None:
            lines.append(log_p_text(tokens, model))
        print("\n".join(lines), end="\n\n")


def score_text(tokens: NDArray[np.int64]) -> str:
    """Format a table for one melody [T]: a line for each bar, a column for each rule, the sums."""
    import numpy as np

    from seqtutor_envs.melody import MelodyTask
    from seqtutor_envs.melody.vocab import STEPS_PER_BAR

    terms = MelodyTask(length=len(tokens)).terms(tokens[None])
    bars = range(0, len(tokens), STEPS_PER_BAR)
    paid = np.stack([np.add.reduceat(term[0], bars) for term in terms.values()], axis=1)  # [bars, 9]
    paid = np.column_stack([paid, paid.sum(axis=1)])
    lines = [_cells(str(bar), values) for bar, values in enumerate(paid, start=1)]
    return _aligned(["bar", *terms, "sum"], [*lines, _cells("total", paid.sum(axis=0))])


def log_p_text(tokens: NDArray[np.int64], prior: Prior) -> str:
    """Format one line: log p of a melody [T]. Raise ValueError on a prior over other tokens."""
    from seqtutor_envs import checks
    from seqtutor_envs.metrics import sequence_log_probs
    from seqtutor_envs.melody import MelodyTask

    checks.same_vocabulary(MelodyTask(), prior)
    log_p = sequence_log_probs(prior, tokens[None])[0]
    return f"log p: {log_p / len(tokens):.3f} nats per step on average, {log_p:.2f} for the melody"


def _cells(name: str, values: NDArray[np.float64]) -> list[str]:
    return [name, *(f"{value:.2f}" if abs(value) >= 0.005 else "0" for value in values)]


def _aligned(heads: list[str], rows: list[list[str]]) -> str:
    """Align columns to the right; a head is written one word a line, the last row under a rule."""
    words = [head.split("_") for head in heads]
    height = max(map(len, words))
    columns = [[""] * (height - len(head)) + head + [row[k] for row in rows] for k, head in enumerate(words)]
    widths = [max(map(len, column)) for column in columns]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)).rstrip() for line in zip(*columns)]
    return "\n".join([*lines[:-1], "-" * len(lines[-1]), lines[-1]])


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    run({"score": score}, "python -m seqtutor_envs.melody", args)


if __name__ == "__main__":
    main()
