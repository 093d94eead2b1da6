"""Metrics of melodies: the paper's Table 1, notes and intervals, and the paper's objective in nats.

N melodies, T steps each, V tokens. Fractions are in 0..1; what is undefined is NaN. log p and log pi in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqtutor_envs.melody.paper_table import PAPER_TABLE_1
from seqtutor_envs.melody.rhythm import compute_distances
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.metrics import evaluate_samples
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task

__all__ = ["PAPER_TABLE_1", "table"]


def table(
    tokens: Any,
    prior: Prior | None = None,
    log_probs: Any = None,
    task: Task | None = None,
    c: float = 2.0,
    reference: Any = None,
) -> dict[str, float]:
    """Compute Table 1 of the paper for melodies [N, T], their rhythm, and how far they meet the objective.

    Shares of all N T steps: `excessively_repeated` (rule 3), which is the sum of `repeated_pitches` (the token a is a
    pitch) and `long_holds` (a is a hold or an off); `not_in_key` (1); `in_motif` (5); `in_repeated_motif` (6).
    Shares of the melodies: `starts_with_tonic` (middle C at step 0), `unique_maximum`, `unique_minimum` (9), `distinct`
    (`distinct_melodies` / N). `leaps_resolved` is resolved / (resolved + doubled) (8). `autocorrelation_1`, `_2`, `_3`
    are means of rule 4's coefficient over the whole melody, without the melodies where it is undefined because all
    tokens are equal. `distinct_melodies` and `distinct_4grams` (four tokens in a row) are counts.

    Of notes and intervals (`seqtutor_envs.melody.rhythm`; a note lasts from its onset until the next onset, an off or
    the melody's end): shares of the notes `sixteenths`, `eighths`, `dotted_eighths`, `quarters` and `longer_notes`;
    `holds`, the share of steps that hold; means over melodies of `notes`, `pitches` (different ones) and `pitch_range`
    (semitones from the lowest to the highest note, of melodies that have a note); `length_entropy` and
    `interval_entropy`, in nats, of note lengths in steps and of moves in semitones, up and down apart, over all
    melodies together; `commonest_opening`, the share of melodies that begin with the commonest eight tokens. With a
    `reference`, `length_distance` and `interval_distance`: the total variation distance, 0 to 1, of those two
    distributions from the reference's.

    `task_return`, `term_<name>`, `log_p`, `log_p_per_step`, `kl` and `j`: see `seqtutor_envs.metrics.evaluate_samples`.

    Args:
        tokens: [N, T], N and T at least 1.
        prior: p, over the melody tokens.
        log_probs: [N], log pi of each whole melody; needs the prior.
        task: what `task_return`, `term_<name>` and `j` are about; its length must be T. Default: the nine rules,
            weight 1. The other rows are the nine rules' own, whatever the task.
        c: temperature of J.
        reference: [M, T'], melodies to compare with, such as `prior.sample(10_000, seed=0)[0]`.

    Raises:
        ValueError: shapes, tokens, lengths, vocabularies or c that do not fit.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or not tokens.size:
        raise ValueError(f"Melodies must have shape [N, T], N and T at least 1, not {list(tokens.shape)}.")
    task = MelodyTask(length=tokens.shape[1]) if task is None else task
    if task.length != tokens.shape[1]:
        raise ValueError(f"The melodies have {tokens.shape[1]} steps, the task's length is {task.length}.")
    row = evaluate_samples(task, tokens, None, prior, log_probs, c)
    row["distinct_melodies"] = row.pop("distinct_sequences")
    if not isinstance(task, MelodyTask):
        # a task of the user's has no such rows, so the nine rules' task adds them
        row = MelodyTask(length=task.length).metrics(tokens) | row
    if reference is not None:
        reference = np.asarray(reference)
        row |= compute_distances(task.checked(tokens), MelodyTask(length=reference.shape[-1]).checked(reference))
    return row
