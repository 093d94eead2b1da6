"""`python -m seqtutor_envs.melody score FILE.mid`: what each rule pays, bar by bar; `prove`: the greatest return."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from seqtutor_envs.command import run, warnings_in_one_line
from seqtutor_envs.files.text import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def score(file: Annotated[Path, tyro.conf.Positional], prior: str = "none") -> None:
    """Print what each of the nine rules paid for each bar of the melodies in a MIDI file, and the totals.

    Each instrument that plays a single line is a melody of its own length, on a grid of sixteenths, 16 to a bar.
    Sums are r_T with all weights 1, before division by c.

    Args:
        file: the MIDI file.
        prior: a shipped prior ("melody") or the path of one, to print log p of the melody as well; "none" for none.
    """
    # imported here: numba and the MIDI reader would slow `--help`
    from seqtutor_envs import checks
    from seqtutor_envs.melody import MelodyTask
    from seqtutor_envs.melody.midi import from_midi
    from seqtutor_envs.metrics import sequence_log_probs
    from seqtutor_envs.prior import load_prior

    with warnings_in_one_line():  # an instrument that is no single line
        melodies = from_midi(file)
    model = None if prior == "none" else load_prior(prior)
    if model is not None:
        checks.same_vocabulary(MelodyTask(), model)
    for number, tokens in enumerate(melodies, start=1):
        lines = [f"{file.name}, melody {number} of {len(melodies)}: {len(tokens)} steps", score_text(tokens)]
        if model is not None:
            log_p = sequence_log_probs(model, tokens[None])[0]
            mean = f"{log_p / len(tokens):.3f} nats per step on average"
            lines.append(f"log p: {mean}, {log_p:.2f} for the melody")
        print(printable("\n".join(lines)), end="\n\n")


def score_text(tokens: NDArray[np.int64]) -> str:
    """Format a table for one melody [T]: a line for each bar, a column for each rule, the sums."""
    import numpy as np
    from tabulate import tabulate

    from seqtutor_envs.melody import MelodyTask
    from seqtutor_envs.melody.vocab import STEPS_PER_BAR

    # a task as long as the file's melody, since some rules look at the distance to the end
    terms = MelodyTask(length=len(tokens)).terms(tokens[None])
    bars = range(0, len(tokens), STEPS_PER_BAR)
    # reduceat sums each bar, also a last one that is not full
    paid = np.stack([np.add.reduceat(term[0], bars) for term in terms.values()], axis=1)  # [bars, 9]
    paid = np.column_stack([paid, paid.sum(axis=1)])
    bars_and_total = [*enumerate(paid, start=1), ("total", paid.sum(axis=0))]
    # "0" for nothing: in nine columns a reader looks for what was paid
    cells = [[name, *(f"{x:.2f}" if abs(x) >= 0.005 else "0" for x in values)] for name, values in bars_and_total]
    heads = zip(*(head.rpartition("_")[::2] for head in ("bar", *terms, "sum")))  # two lines, of a word each
    *lines, total = tabulate([*heads, *cells], tablefmt="plain", disable_numparse=True, stralign="right").split("\n")
    return "\n".join([*lines, "-" * len(total), total])


def prove() -> None:
    """Prove that no melody of 32 steps returns more than the bound that ships, at weights 1. Takes 15 seconds."""
    from seqtutor_envs.melody import MelodyTask
    from seqtutor_envs.melody.max_return import MAX_RETURN
    from seqtutor_envs.melody.max_return_proof import search_all

    # a little lower, to show that the search finds what there is
    above = MAX_RETURN - 0.001
    melodies, task = search_all(above), MelodyTask()
    returns = task.reward(melodies).sum(axis=1)
    if (returns >= MAX_RETURN).any():
        raise RuntimeError(f"A melody returns {returns.max():.4f}: MAX_RETURN is no bound.")
    print(f"No melody of 32 steps returns {MAX_RETURN} or more. These return at least {above:.4f}:")
    for melody, value in zip(melodies, returns.tolist()):
        print(f"{value:.5f}  {task.render_ansi(melody)}")


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    run({"score": score, "prove": prove}, "python -m seqtutor_envs.melody", args)


if __name__ == "__main__":
    main()
