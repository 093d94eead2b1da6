"""Metrics of sequences from any policy, and estimates of the paper's objective, J = E[R / c] - KL(pi || p), in nats.

N sequences, T tokens at most. `<name>_se` is the standard error of the mean beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.prior import Prior, padded, token_log_probs
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.rewards import reward
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Floats, Tokens

ROWS = 2**16  # tokens evaluated at a time: the prior's rows for them take 10 MB with 38 tokens
CHECKED = 64  # sequences of them whose rows are checked to sum to one: so few cost nothing


def evaluate_samples(
    task: Task,
    tokens: Tokens,
    lengths: Tokens | None = None,
    prior: Prior | None = None,
    log_probs: Floats | None = None,
    c: float = 1.0,
    task_metrics: bool = True,
) -> dict[str, float]:
    """Evaluate sequences by the metrics of every domain and the task's own `metrics`.

    | metric | needs | meaning |
    |---|---|---|
    | `distinct_sequences`, `distinct` | | how many sequences differ, and their share |
    | `task_return` | | mean of R, the sum of r_T, not divided by c |
    | `term_<name>` | | mean of the sum of a raw term, for each term of the task |
    | `log_p` | prior | mean log p of a sequence |
    | `log_p_per_step` | prior | log p per token, over all tokens |
    | `kl` | log_probs | mean of log pi - log p: an estimate of the KL to p if the sequences are samples of pi |
    | `j` | log_probs | mean of R / c + log p - log pi: an estimate of J if the sequences are samples of pi |

    `task_return`, `log_p`, `kl` and `j` have their standard errors beside them, as `<name>_se`.

    Args:
        tokens, lengths: [N, T] and [N], N at least 1; what lies after a length is ignored.
        prior: p, over the task's tokens.
        log_probs: [N], log pi of each whole sequence; needs the prior.
        c: temperature of J.
        task_metrics: whether to compute the task's own, which for molecules take longer than all the others.

    Raises:
        ValueError: shapes, tokens, vocabularies or c that do not fit.
    """
    tokens = task.checked(padded(tokens, lengths))
    n = len(tokens)
    # float64: sums over many tokens of float32 would lose digits that a standard error shows
    log_pi = None if log_probs is None else np.asarray(log_probs, dtype=np.float64)
    if not tokens.size:
        raise ValueError(f"There is nothing to evaluate in tokens of shape {list(tokens.shape)}.")
    if log_pi is not None and log_pi.shape != (n,):
        raise ValueError(f"log_probs must be log pi of each sequence, [{n}], not {list(log_pi.shape)}.")
    if log_pi is not None and prior is None:
        raise ValueError("KL and J compare log_probs with log p: pass prior= as well.")
    if prior is not None:
        checks.same_vocabulary(task, prior)
    c = checks.temperature(c)
    # -1 in place of filler: sequences that differ only after their end are the same
    distinct = num_distinct(np.where(padding(tokens, lengths), -1, tokens))
    row: dict[str, float] = {"distinct_sequences": distinct, "distinct": distinct / n}
    returns, sums = np.zeros(n), dict.fromkeys(task.weights, 0.0)
    # in parts: a large sample's table of terms would not fit into memory
    for part in parts(*tokens.shape):
        for name, term in task.terms(tokens[part], None if lengths is None else lengths[part]).items():
            per_sequence = term.sum(axis=1)
            returns[part] += task.weights[name] * per_sequence
            sums[name] += float(per_sequence.sum())
    row |= mean_and_error("task_return", returns) | {f"term_{name}": total / n for name, total in sums.items()}
    if prior is not None:
        # the environment's p, renormalised over what the task allows: else J would not match the rewards
        log_p = sequence_log_probs(mask_prior(prior, task), tokens, lengths)
        steps = n * tokens.shape[1] if lengths is None else int(np.sum(lengths))
        row |= mean_and_error("log_p", log_p) | {"log_p_per_step": float(log_p.sum()) / steps}
        if log_pi is not None:
            row |= mean_and_error("kl", log_pi - log_p) | mean_and_error("j", reward(log_p, returns, c) - log_pi)
    return row | task.metrics(tokens, lengths) if task_metrics else row


def sequence_log_probs(prior: Prior, tokens: Tokens, lengths: Tokens | None = None) -> Floats:
    """Return log p of whole sequences [N, T] -> [N], a bounded number of rows at a time."""
    result = np.empty(len(tokens))
    for part in parts(*tokens.shape):
        until = None if lengths is None else lengths[part]
        rows = prior.log_probs(tokens[part], until)
        inside = ~padding(tokens[part], until)[:CHECKED]  # rows after an end have no meaning
        checks.check_normalised(rows[:CHECKED][inside], "The prior's step")
        result[part] = token_log_probs(rows, tokens[part], until).sum(axis=1)
    return result


def num_distinct(rows: NDArray[Any]) -> int:
    """Count the distinct rows of [N, ...]: numpy's `unique` would sort them, which takes seven times as long."""
    return len({row.tobytes() for row in rows})


def parts(n: int, horizon: int) -> Iterator[slice]:
    """Cut n sequences into slices that hold at most ROWS tokens each, or one sequence."""
    size = max(1, ROWS // horizon)
    return (slice(start, start + size) for start in range(0, n, size))


def padding(tokens: Tokens, lengths: Tokens | None) -> NDArray[np.bool_]:
    """Mark what lies after each sequence's length, [N, T]."""
    if lengths is None:
        return np.zeros(tokens.shape, bool)
    return np.arange(tokens.shape[1]) >= np.asarray(lengths)[:, None]


def mean_and_error(name: str, values: Floats) -> dict[str, float]:
    """Compute the mean of independent values [N], and its standard error; NaN where N is too small."""
    mean = values.mean() if len(values) else np.nan
    # ddof=1: an unbiased variance; with one value there is none
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {name: float(mean), f"{name}_se": float(error)}
