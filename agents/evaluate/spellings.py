"""KL over what sequences mean, beside KL over the sequences: a molecule has many spellings.

n samples, T steps; natural logs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.evaluate.checks import ask_log_probs
from agents.evaluate.evaluation import Samples
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import Tokens


def compute_kl_over_molecules(
    agent: Any, env: SequenceTutorVectorEnv, samples: Samples, spellings: int, seed: int
) -> dict[str, float]:
    """Estimate KL(pi || p) over molecules from samples of the agent.

    pi(m) is the sum of pi over the spellings of molecule m; here over the sampled one and some random ones. The true KL
    over molecules is at most that over strings. The estimate falls towards it as spellings grow: an agent that spells a
    molecule in one way where the prior has many is far from the prior in strings only.

    Args:
        agent: with log_prob.
        env: as `evaluation.make_env` made it.
        samples: n of the agent.
        spellings: random ones of each sample; equal ones count once.
        seed: of them.

    Returns:
        kl_molecules and kl_molecules_se in nats, and spellings, the mean number of distinct ones.

    Raises:
        ValueError: the task has no other spellings, or the agent does not know log pi.
    """
    if not hasattr(agent, "log_prob"):
        raise ValueError(f"{type(agent).__name__} knows no log pi of given sequences, which other spellings need.")
    tokens, lengths, owners = spell(env.task, samples, spellings, np.random.default_rng(seed))
    log_pi = ask_log_probs(agent, tokens, lengths)
    log_p = sequence_log_probs(mask_prior(env.prior, env.task), tokens, lengths)
    sums = np.full((2, len(samples.lengths)), -np.inf)
    for row, values in zip(sums, (log_pi, log_p)):
        np.logaddexp.at(row, owners, values)
    ratios = sums[0] - sums[1]
    error = float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    mean = float(np.mean(np.bincount(owners)))
    return {"kl_molecules": float(ratios.mean()), "kl_molecules_se": error, "spellings": mean}


def spell(task: Task, samples: Samples, n: int, rng: np.random.Generator) -> tuple[Tokens, Tokens, Tokens]:
    """Return each sample and its distinct other spellings: tokens [m, T], lengths [m], and whose each is, [m].

    Spellings that the vocabulary or the horizon does not hold are left out: no policy can generate them.
    """
    rows: list[Tokens] = []
    owners: list[int] = []
    for owner, (sampled, length) in enumerate(zip(samples.tokens, samples.lengths.tolist())):
        found = {sampled[:length].tobytes(): sampled[:length]}
        alone = sampled[None, :length], np.array([length]), np.zeros(1)
        for text in task.derive("spelling", *alone, n, rng):
            try:
                row = task.encode(text)
            except ValueError:
                continue
            if len(row) <= task.length:
                found.setdefault(row.tobytes(), row)
        rows += found.values()
        owners += [owner] * len(found)
    tokens = np.full((len(rows), max(map(len, rows))), task.vocab.start)
    for filled, row in zip(tokens, rows):
        filled[: len(row)] = row
    return tokens, np.array([len(row) for row in rows]), np.array(owners)
