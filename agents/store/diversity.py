"""Diversity: a memory of generated sequences, which lowers the reward of what was generated before. Off by default.

It belongs to the agent, not to the task: a reward that depends on history would break `terms`, files and J, which stay
the task's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.store.replay import Sequences
from seqtutor_envs.checks import SCORE, Range
from seqtutor_envs.files import hash64
from seqtutor_envs.files.expected import expect_array, expect_names
from seqtutor_envs.task import Task

RANGES = {"seen": Range(0.0, 1.0), "bucket_size": Range(0, whole=True), "min_return": SCORE}


@dataclass(frozen=True)
class DiversitySettings:
    """Set how strict the memory is (ours; bucket and lowest score as in REINVENT's filters, Blaschke et al. 2020)."""

    seen: float = 0.5  # share of the task reward that a sequence loses for each time it was seen before, up to all
    bucket_size: int = 25  # sequences of one kind (molecules of one Murcko scaffold) that are paid; 0: no limit
    min_return: float = 0.4  # return R below which a sequence takes no place in a bucket

    def __post_init__(self) -> None:
        for name, found in RANGES.items():
            object.__setattr__(self, name, found.check(f"diversity: {name}", getattr(self, name)))


class Diversity:
    """Count sequences and their kinds by the task's `identities`.

    Args:
        task: gives the identities.
        settings: see DiversitySettings.
        c: temperature by which task rewards were divided.
    """

    def __init__(self, task: Task, settings: DiversitySettings, c: float) -> None:
        self.task, self.settings, self.c = task, settings, c
        self.seen: dict[int, int] = {}  # hash of a name -> times seen
        self.kinds: dict[int, int] = {}  # hash of a kind -> sequences in its bucket

    def lower_rewards(self, sequences: Sequences) -> Sequences:
        """Return the sequences with the rewards to learn from; count them, in order."""
        returns = sequences.task_rewards.sum(axis=1) * self.c
        share = np.ones(len(returns), np.float32)
        # in order: of two equal sequences in one rollout, the second was seen before
        for i, (name, kind) in enumerate(self.task.identities(sequences.tokens, sequences.lengths)):
            # "" names what never counts as seen, such as an invalid molecule
            if name:
                share[i] = self._share(name, kind, float(returns[i]))
        return replace(sequences, task_rewards=sequences.task_rewards * share[:, None])

    def _share(self, name: str, kind: str, task_return: float) -> float:
        # the share a sequence keeps: less for each time it was seen, none once its kind's bucket is full
        key = hash64(name)
        times = self.seen.get(key, 0)
        self.seen[key] = times + 1
        share = max(0.0, 1.0 - self.settings.seen * times)
        if not kind or not self.settings.bucket_size or task_return < self.settings.min_return:
            return share
        bucket = hash64(kind)
        crowd = self.kinds.get(bucket, 0)
        # a repetition takes no second place in the bucket
        if not times:
            self.kinds[bucket] = crowd + 1
        return share if crowd < self.settings.bucket_size else 0.0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays, for a checkpoint."""
        return {
            # unsigned, since a hash uses all 64 bits
            f"{name}.{part}": np.fromiter(values, np.uint64, len(memory))
            for name, memory in (("seen", self.seen), ("kinds", self.kinds))
            for part, values in (("keys", memory.keys()), ("counts", memory.values()))
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if these cannot be counts."""
        expect_names(arrays, {f"{name}.{part}" for name in ("seen", "kinds") for part in ("keys", "counts")})
        memories = []
        for name in ("seen", "kinds"):
            shape = np.shape(arrays[f"{name}.keys"])[:1]  # as many counts as keys
            keys, counts = (expect_array(arrays, f"{name}.{part}", shape, np.uint64) for part in ("keys", "counts"))
            memories.append(dict(zip(keys.tolist(), counts.tolist())))
        self.seen, self.kinds = memories


def make_diversity(task: Task | None, diversity: Mapping[str, Any] | bool | None, c: float) -> Diversity | None:
    """Make the memory for an agent's `diversity=`.

    None or False: no memory. True: the default settings. A mapping: these settings, the others at their defaults.

    Raises:
        ValueError: a name is no setting, or there is no task that can tell sequences apart.
    """
    if diversity is None or diversity is False:
        return None
    if task is None:
        raise ValueError("diversity= needs an environment with a `task`, which tells sequences apart.")
    settings = {} if diversity is True else dict(diversity)
    unknown = sorted(set(settings) - set(DiversitySettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(DiversitySettings.__dataclass_fields__)
        raise ValueError(f"diversity= has no setting {unknown[0]!r}; the settings are: {known}.")
    return Diversity(task, DiversitySettings(**settings), c)
