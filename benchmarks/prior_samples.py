"""Sample a prior and keep the samples with their returns in a file: for log Z and for the best of n.

N samples, T tokens at most. Sample i is the same whatever N is, so that a file can be made longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.samplers import Weighted
from agents.saving import hash_prior
from seqtutor_envs.command import installed
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import hash_bytes, load_arrays, reading, save_arrays
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior.masking import mask_prior
from seqtutor_envs.task import Task

PART = 10_000  # samples between two writings of the file
UNNAMED = 0  # stands for an invalid string, which has no canonical SMILES
# keywords that change no sample and no return: the prior counts by its hash, and a return is not divided by c
INDIFFERENT = ("workers", "score_timeout", "prior", "c", "obs_mode", "known")


@dataclass(frozen=True)
class PriorSamples:
    """Hold N samples of a prior in one environment.

    Attributes:
        tokens: [N, T], the start id as filler.
        lengths: [N].
        returns: [N], R = sum of r_T, not divided by c.
        names: uint64 [N], hashes of the canonical SMILES, 0 for an invalid string. In other domains: of the tokens.
        facts: what they were drawn from: environment, keywords, prior, seed.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    returns: NDArray[np.float64]
    names: NDArray[np.uint64]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.returns)

    @classmethod
    def load(cls, path: Path, facts: Mapping[str, Any]) -> Self:
        """Read samples from a file. Raises FileNotFoundError, and ValueError if they were drawn from something else."""
        if not path.is_file():
            raise FileNotFoundError(f"No samples of the prior at {path}: `python -m benchmarks log-z` makes them.")
        arrays, was = load_arrays(path)
        for name, value in facts.items():
            if was.get(name) != value:
                raise ValueError(f"{path} was drawn with {name}={was.get(name)}, not {value}: give another file.")
        with reading(path, "holds no samples of a prior"):
            lengths, returns, names = arrays["lengths"].astype(np.int64), arrays["returns"], arrays["names"]
            found = cls(arrays["tokens"].astype(np.int64), lengths, returns, names, was)
            if found.tokens.ndim != 2 or not lengths.shape == returns.shape == names.shape == found.tokens.shape[:1]:
                raise ValueError("its arrays do not fit each other")
        return found

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        arrays = {"tokens": self.tokens.astype(np.uint16), "lengths": self.lengths.astype(np.uint16)}
        save_arrays(path, {**arrays, "returns": self.returns, "names": self.names}, self.facts)

    def first(self, n: int) -> PriorSamples:
        """Return the first n, or all if there are fewer."""
        return PriorSamples(self.tokens[:n], self.lengths[:n], self.returns[:n], self.names[:n], self.facts)


def draw_samples(env_id: str, env_kwargs: Mapping[str, Any], n: int, seed: int, path: Path) -> PriorSamples:
    """Return the first n samples: read the file, sample what it lacks, and write it after each part.

    Ctrl-C loses one part at most.
    """
    if n < 2:
        raise ValueError(f"-n must be at least 2, not {n}.")
    env = make_batch(env_id, env_kwargs)
    try:
        asked = {name: value for name, value in env_kwargs.items() if name not in INDIFFERENT}
        source = {"env": env_id, "env_kwargs": asked, "prior": hash_prior(env.prior), "rdkit": installed("rdkit")}
        facts = {**source, "seed": seed}
        samples = PriorSamples.load(path, facts) if path.exists() else _start_empty(env, facts)
        with make_bar(desc="samples of the prior", initial=min(n, len(samples)), total=n, unit="") as bar:
            while len(samples) < n:
                samples = _extend(samples, env, seed, n)
                samples.save(path)
                bar.update(len(samples) - bar.n)
        return samples.first(n)
    finally:
        env.close()


def make_batch(env_id: str, env_kwargs: Mapping[str, Any]) -> SequenceTutorVectorEnv:
    """Make the native batch that scores the samples. Raises ValueError for an id without one."""
    env = gym.make_vec(env_id, num_envs=1, infos="end", **env_kwargs)
    if not isinstance(env, SequenceTutorVectorEnv):
        raise ValueError(f"{env_id} is no environment of this library.")
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
        found = f"There are {len(firsts):,} distinct molecules in {len(samples):,} samples, fewer than {calls:,}"
        raise ValueError(f"{found}: draw more with `python -m benchmarks log-z -n`.")
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
        samples, before = _start_empty(self.env, {}), -1
        while before < (distinct := len(np.unique(samples.names))) <= self.calls:  # one name may be that of no molecule
            samples, before = _extend(samples, self.env, seed, len(samples) + PART), distinct
        rows, drawn = choose_best(samples, self.calls, n)
        tokens, lengths = samples.tokens[rows], samples.lengths[rows]
        log_p = sequence_log_probs(mask_prior(self.env.prior, self.env.task), tokens, lengths)
        return Weighted(tokens, lengths, log_p + np.log(drawn / n))


def _start_empty(env: SequenceTutorVectorEnv, facts: dict[str, Any]) -> PriorSamples:
    """Return no samples, for `_extend` to begin with."""
    none, empty = np.zeros(0, np.int64), np.zeros((0, env.task.length), np.int64)
    return PriorSamples(empty, none, none.astype(float), none.astype(np.uint64), facts)


def _extend(samples: PriorSamples, env: SequenceTutorVectorEnv, seed: int, n: int) -> PriorSamples:
    """Return the samples and what is wanted, up to n, of one more part."""
    # a part is sampled as a whole, so that its samples do not depend on n
    # begin > 0: the file ends within a part, which is sampled again and its rest taken
    part, begin = divmod(len(samples), PART)
    task = env.task
    drawn, until = mask_prior(env.prior, task).sample(PART, np.random.default_rng((seed, part)), task.length)
    end = min(PART, n - part * PART)
    tokens, lengths = drawn[begin:end], until[begin:end]
    returns = task.reward(tokens, lengths).sum(axis=1)
    filler = np.full((len(tokens), task.length - tokens.shape[1]), task.vocab.start)
    return PriorSamples(
        np.concatenate([samples.tokens, np.concatenate([tokens, filler], axis=1)]),
        np.concatenate([samples.lengths, lengths]),
        np.concatenate([samples.returns, returns]),
        np.concatenate([samples.names, hash_names(name_sequences(task, tokens, lengths))]),
        samples.facts,
    )
