"""Sample a prior and keep the best: an agent that does not learn. Names and counts of the sequences that were scored.

N samples, T tokens at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.samplers import Weighted
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import hash_bytes
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.registry import native_class
from seqtutor_envs.task import Task

PART = 10_000  # samples that are drawn at once, with a seed of their own
UNNAMED = 0  # stands for an invalid string, which has no canonical SMILES


class PriorSamples(NamedTuple):
    """Hold N samples of a prior in one environment.

    Attributes:
        tokens: [N, T], the start id as filler.
        lengths: [N].
        returns: [N], R = sum of r_T, not divided by c.
        names: uint64 [N], hashes of the canonical SMILES, 0 for an invalid string. In other domains: of the tokens.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    returns: NDArray[np.float64]
    names: NDArray[np.uint64]


def make_batch(env_id: str, env_kwargs: Mapping[str, Any]) -> SequenceTutorVectorEnv:
    """Make the native batch that scores the samples. Raises ValueError for an id without one."""
    if native_class(env_id) is None:
        raise ValueError(f"{env_id} is no environment of this library.")
    env = gym.make_vec(env_id, num_envs=1, infos="end", **env_kwargs)
    assert isinstance(env, SequenceTutorVectorEnv)
    return env


def name_sequences(task: Task, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[str]:
    """Name each sequence: its canonical SMILES, "" for no molecule; in other domains its tokens."""
    scorer = getattr(task, "scorer", None)  # of molecules, whose newest scores are at hand
    if scorer is None:
        return [name for name, _ in task.identities(tokens, lengths)]
    return [score.canonical or "" for score in scorer(task.smiles(tokens, lengths))]  # type: ignore[attr-defined]


def hash_names(names: Sequence[str]) -> NDArray[np.uint64]:
    """Hash each name to 64 bits; "" to 0."""
    digests = (hash_bytes(name) if name else bytes(8) for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)


class Scored(BaseCallback):
    """Collect the hashes of the distinct molecules, or sequences, that an agent of ours learned from, in `names`."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[int] = set()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        task, newest = self.model.task, self.model.newest  # type: ignore[attr-defined]
        self.names.update(hash_names(name_sequences(task, newest.tokens, newest.lengths)).tolist())
        # invalid strings are no molecule that was scored
        self.names.discard(UNNAMED)


def choose_best(samples: PriorSamples, calls: int, k: int) -> tuple[NDArray[np.int64], int]:
    """Select the k best by return of the first `calls` distinct molecules, and count the samples drawn for them.

    Rows are in the order of their returns, the best first. What is no molecule costs no call. Keeping the best share
    k / drawn of a prior's samples is a policy itself, p given that R is among them, whose KL to p is log(drawn / k).

    Raises ValueError where there are fewer distinct molecules than calls, or fewer calls than k.
    """
    _, firsts = np.unique(samples.names, return_index=True)
    firsts = np.sort(firsts[samples.names[firsts] != UNNAMED])
    if not 1 <= k <= calls:
        raise ValueError(f"The best {k} of {calls} molecules: ask for at least as many as are kept, and one at least.")
    if len(firsts) < calls:
        found = f"{len(samples.names):,} samples of the prior hold {len(firsts):,} distinct molecules"
        raise ValueError(f"{found}, not {calls:,}: ask for fewer calls.")
    # in the order of sampling: what the first `calls` evaluations of a scorer would see
    asked = firsts[:calls]
    return asked[np.argsort(-samples.returns[asked], kind="stable")[:k]], int(asked[-1]) + 1


class BestOfPrior:
    """Sample the n best, by task return, of the first `calls` distinct samples of a prior. It does not learn.

    Always keeping the share n / drawn of the samples is a policy, p given that R is among them; so log pi = log p +
    log(drawn / n), and KL(pi || p) = log(drawn / n).

    Args:
        env: whose prior and task.
        calls: distinct samples that are scored.
    """

    def __init__(self, env: SequenceTutorVectorEnv, calls: int) -> None:
        self.env, self.calls = env, calls

    def sample(self, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the n best: tokens [n, T] and lengths [n]. Raises ValueError if there are too few distinct samples."""
        return self.sample_with_log_prob(n, seed)[:2]

    def sample_with_log_prob(self, n: int, seed: int) -> Weighted:
        """Return the n best with log pi [n] of each."""
        parts: list[PriorSamples] = []
        names: set[int] = set()
        before = -1
        # one name may be that of no molecule; a part without a new name says that there are no more
        while before < len(names) <= self.calls:
            before = len(names)
            parts.append(draw_part(self.env, seed, len(parts)))
            names.update(parts[-1].names.tolist())
        samples = PriorSamples(*(np.concatenate(column) for column in zip(*parts)))
        rows, drawn = choose_best(samples, self.calls, n)
        tokens, lengths = samples.tokens[rows], samples.lengths[rows]
        log_p = sequence_log_probs(mask_prior(self.env.prior, self.env.task), tokens, lengths)
        return Weighted(tokens, lengths, log_p + np.log(drawn / n))


def draw_part(env: SequenceTutorVectorEnv, seed: int, part: int) -> PriorSamples:
    """Draw PART samples, which depend on the seed and on the number of the part alone."""
    task = env.task
    rng = np.random.default_rng((seed, part))
    drawn, lengths = mask_prior(env.prior, task).sample(PART, rng, task.length)
    # as wide as the horizon, so that parts can be joined
    tokens = np.full((PART, task.length), task.vocab.start)
    tokens[:, : drawn.shape[1]] = drawn
    returns = task.reward(drawn, lengths).sum(axis=1)
    return PriorSamples(tokens, lengths, returns, hash_names(name_sequences(task, drawn, lengths)))
