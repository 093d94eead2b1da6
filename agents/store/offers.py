"""Sequences from elsewhere, such as a user's molecules or another sampler's: checked, scored and counted.

n sequences, T steps, V tokens; log p in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from agents.rollouts import Terms, compute_task_rewards, has_own_dynamics
from agents.store.replay import Sequences, make_empty_sequences, select
from agents.store.store import Store
from seqtutor_envs import checks
from seqtutor_envs.metrics import padding, parts
from seqtutor_envs.prior import Prior, token_log_probs
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.task import Task
from seqtutor_envs.vector_env import SequenceTutorVectorEnv
from seqtutor_envs.vocab import Tokens


class Refused(NamedTuple):
    """Count the sequences that were refused, each under the first of these reasons that holds."""

    not_tokenised: int = 0  # the vocabulary lacks one of its tokens
    too_long: int = 0  # longer than the horizon, the end token counted
    unfinished: int = 0  # ends neither with its first end token nor at the horizon
    known: int = 0  # in the store, or earlier among the same sequences
    forbidden: int = 0  # the prior or the task forbids one of its tokens: log p is at LOG_PROB_FLOOR
    unscored: int = 0  # the task's budget of scores is spent, before them or among them


def offer(
    sequences: Sequence[Any] | tuple[Tokens, Tokens], env: SequenceTutorVectorEnv, prior: Prior, store: Store
) -> tuple[Sequences, Terms, Refused]:
    """Check and score sequences from elsewhere; return those that the store can take, in order, and count the others.

    With the n that it returns come their raw terms, each summed over steps, [n].

    It adds nothing to the store. Only what it returns is scored. If that spends the task's budget of scores, it returns
    none: which of them were scored before the end is not known.

    Args:
        sequences: texts, each as the task's `encode` takes it, such as a list of SMILES; or a tuple of two arrays,
            tokens [n, T'] and lengths [n], where what lies after a length is ignored.
        env: a native batch, whose task gives the rewards and whose c divides them.
        prior: of that environment, with the task's masks (`seqtutor_envs.prior.masking.mask_prior`).
        store: refuses what is in it.

    Raises:
        ValueError: the environment may pay other rewards than its task; or no sequences of this task's tokens.
    """
    if not has_own_dynamics(env):
        kind = type(env).__name__
        raise ValueError(f"Sequences from elsewhere are scored by a native batch without wrappers, not by {kind}.")
    task = env.task
    given = split_rows(*sequences) if holds_arrays(sequences) else encode_texts(sequences, task)
    tokenised = [row for row in given if row is not None]
    short = [row for row in tokenised if len(row) <= task.length]
    finished = [row for row in short if is_finished(row, task)]
    filled = fill_rows(finished, task)
    new = select(filled, store.find_new(filled))
    possible = select_possible(compute_rows(new, prior))
    scored, terms = score(possible, env)
    return scored, terms, Refused(
        not_tokenised=len(given) - len(tokenised),
        too_long=len(tokenised) - len(short),
        unfinished=len(short) - len(finished),
        known=len(finished) - len(new.lengths),
        forbidden=len(new.lengths) - len(possible.lengths),
        unscored=len(possible.lengths) - len(scored.lengths),
    )


def holds_arrays(sequences: Any) -> TypeGuard[tuple[Tokens, Tokens]]:
    """Return whether sequences are a tuple of tokens and lengths, not texts."""
    return isinstance(sequences, tuple) and len(sequences) == 2 and isinstance(sequences[0], np.ndarray)


def encode_texts(texts: Sequence[Any], task: Task) -> list[Tokens | None]:
    """Return the tokens of each text, None where it has none. Raise ValueError at one text instead of several."""
    if isinstance(texts, (str, bytes)):
        raise ValueError(f"Sequences come as a list, such as [{texts!r}], not as one text.")
    rows: list[Tokens | None] = []
    for text in texts:
        try:
            rows.append(task.encode(text))
        except ValueError:  # counted by `offer`
            rows.append(None)
    return rows


def split_rows(tokens: Tokens, lengths: Tokens) -> list[Tokens | None]:
    """Return each of tokens [n, T] up to its length. Raise ValueError where shapes, dtypes or lengths do not fit."""
    lengths = np.asarray(lengths)
    # no dtype here: asking for int64 would turn 1.7 into 1 without a word
    integers = tokens.dtype.kind in "iu" and lengths.dtype.kind in "iu"
    if not integers or tokens.ndim != 2 or lengths.shape != tokens.shape[:1]:
        found = f"{tokens.dtype} {list(tokens.shape)} and {lengths.dtype} {list(lengths.shape)}"
        raise ValueError(f"Sequences are integers, tokens [n, T] and lengths [n], not {found}.")
    if ((lengths < 1) | (lengths > tokens.shape[1])).any():
        raise ValueError(f"Lengths must be in 1..{tokens.shape[1]}, not {lengths.min()}..{lengths.max()}.")
    return [row[:length].astype(np.int64) for row, length in zip(tokens, lengths.tolist())]


def is_finished(row: Tokens, task: Task) -> bool:
    """Return whether tokens [t], at most the horizon, are a sequence that the environment can generate to its end."""
    ends = [] if task.vocab.end is None else np.flatnonzero(row == task.vocab.end).tolist()
    return ends == [len(row) - 1] or (not ends and len(row) == task.length)


def fill_rows(rows: list[Tokens], task: Task) -> Sequences:
    """Put rows of tokens into sequences as wide as the horizon. Raise ValueError where a token is not the task's."""
    filled = make_empty_sequences(len(rows), task.length, len(task.vocab))
    for n, row in enumerate(rows):
        filled.tokens[n, : len(row)], filled.lengths[n] = row, len(row)
    return replace(filled, tokens=task.checked(filled.tokens))


def compute_rows(sequences: Sequences, prior: Prior) -> Sequences:
    """Return n sequences with their rows of log p, as the environment shows them."""
    tokens, lengths, rows = sequences.tokens, sequences.lengths, np.zeros_like(sequences.prior_log_probs)
    # in parts: a prior's own arrays for many sequences would not fit into memory
    for part in parts(*tokens.shape):
        width = int(lengths[part].max())
        rows[part, :width] = np.maximum(prior.log_probs(tokens[part, :width], lengths[part]), LOG_PROB_FLOOR)
    checks.check_log_probs(rows, "The prior's step")
    rows[padding(tokens, lengths)] = 0.0  # filler, as in rollouts
    return replace(sequences, prior_log_probs=rows)


def select_possible(sequences: Sequences) -> Sequences:
    """Leave out sequences with a token that the prior or the task forbids."""
    by_step = token_log_probs(sequences.prior_log_probs, sequences.tokens, sequences.lengths)
    return select(sequences, (by_step > LOG_PROB_FLOOR).all(axis=1))


def score(sequences: Sequences, env: SequenceTutorVectorEnv) -> tuple[Sequences, Terms]:
    """Return n sequences with their task rewards, and their terms; none where the budget is spent, or by them."""
    # neither asked for nothing, nor where nothing can be scored
    if len(sequences.lengths) and not env.task.spent:
        rewards, terms = compute_task_rewards(env, sequences)
        if not env.task.spent:
            return replace(sequences, task_rewards=rewards), terms
    return select(sequences, np.zeros(len(sequences.lengths), bool)), {}
