"""Store: the distinct sequences that an agent has seen, bounded, drawn by rank, uniformly or newest first.

N sequences stored, B of them drawn or added, T steps, V tokens. A return is R / c in nats, the sum of a sequence's task
rewards. Two sequences are the same if their tokens up to their lengths are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.store.replay import Sequences, make_empty_sequences, select
from seqtutor_envs.checks import COUNT, Range, one_of
from seqtutor_envs.files.expected import expect_array, expect_names, expect_range
from seqtutor_envs.prior import token_log_probs
from seqtutor_envs.vocab import Floats

DRAWS = ("rank", "uniform", "newest")
MORE = Range(0, 2**16, whole=True)
RANGES = {
    "capacity": COUNT, "rank_weight": Range(0.0, 1e6, above=True), "own": Range(0.0, 1.0), "spellings": MORE,
    "children": MORE, "tries": COUNT, "parents": COUNT,
}  # fmt: skip
MOST_ARRIVED = 2**60  # sequences; far from where counting them would leave int64


class Origin(IntEnum):
    """Say where a sequence comes from. Checkpoints hold the numbers."""

    OWN = 0  # sampled from the agent
    GIVEN = 1  # by the user
    SPELLING = 2  # another spelling of a stored molecule
    CHILD = 3  # of a genetic algorithm
    PARTICLE = 4  # of sequential Monte Carlo


@dataclass(frozen=True)
class StoreSettings:
    """Set what a store keeps and how it is drawn from."""

    capacity: int = 1024  # sequences
    draw: str = "rank"  # one of DRAWS
    rank_weight: float = 0.01  # k of `rank_probabilities` (Tripp et al. 2020; Genetic GFN, Kim et al. 2024)
    # for the learner:
    own: float = 0.5  # share of an update's sequences that are fresh samples of the agent's
    spellings: int = 0  # other spellings of the best molecules that each round adds; they cost no call
    children: int = 0  # made of the best by a graph GA (extra `ga`) and scored, in the first round; in the last none
    tries: int = 16  # children made for each that is scored, among which a surrogate and log p have the choice
    parents: int = 100  # the best, of which spellings and children are made

    def __post_init__(self) -> None:
        for name, found in RANGES.items():
            object.__setattr__(self, name, found.check(f"store: {name}", getattr(self, name)))
        one_of("store: draw", self.draw, DRAWS)


def rank_probabilities(n: int, rank_weight: float) -> Floats:
    """Compute the probabilities [n] of ranks 0 (the best) to n - 1, proportional to 1 / (k n + rank).

    k is `rank_weight`: the smaller, the more of the probability the first ranks have. Source: Tripp et al. 2020
    (Sample-Efficient Optimization in the Latent Space). There equal returns share a rank; here, as in Genetic GFN (Kim
    et al. 2024), they do not: of 1,024 sequences of which ten are paid, these ten would have 2% of the probability,
    not 15%.
    """
    weights = 1.0 / (rank_weight * n + np.arange(n))
    return np.asarray(weights / weights.sum())


class Store:
    """Keep at most `capacity` distinct sequences.

    What leaves a full store depends on the draw. "rank" keeps the greatest returns; of equal ones the newer leaves, so
    that what is stored does not change places with what is no better. "uniform" and "newest" drop the oldest.

    A checkpoint holds the rows of log p as they are, because a prior computes them in batches, to the last bit only in
    the same batch; but not the filler after a sequence's end. 1,024 molecules of the shipped prior take 4 MB.

    Args:
        horizon, vocab_size: T and V of the sequences.
        settings: see StoreSettings.

    Attributes:
        size: N.
        stored: the sequences, [capacity, ...], of which the first N count; not in order.
        origins, born: [capacity], where a sequence came from, and the number of the round in which it did.
        log_p: [capacity], of the whole sequence by the prior, in nats.
        returns: [capacity].
    """

    def __init__(self, horizon: int, vocab_size: int, settings: StoreSettings | None = None) -> None:
        self.settings = settings = StoreSettings() if settings is None else settings
        self.horizon, self.vocab_size = horizon, vocab_size
        self.size = self.arrived = 0
        self.stored = make_empty_sequences(settings.capacity, horizon, vocab_size)
        self.origins, self.born = np.zeros(settings.capacity, np.int8), np.zeros(settings.capacity, np.int64)
        self.log_p, self.returns = np.zeros(settings.capacity), np.zeros(settings.capacity)
        # a place in the order in which all sequences ever came in: rounds alone would leave ties
        self._arrivals = np.zeros(settings.capacity, np.int64)
        self._keys: list[bytes] = []  # of the stored sequences
        self._known: set[bytes] = set()

    # ---------------------------------------------------------------- in

    def add(self, sequences: Sequences, origin: Origin, born: int) -> NDArray[np.bool_]:
        """Store what is not stored yet. Return which of the B sequences were new, [B].

        A sequence that is known keeps its first origin and age. One that is new but has no place, as its return is too
        small, counts as new; it will again if it comes again.

        Raises ValueError where the sequences are longer than the horizon or have another vocabulary.

        Args:
            sequences: [B, T'] with T' <= T.
            origin: of all of them.
            born: number of the round.
        """
        sequences = self._fit(sequences)
        keys = find_keys(sequences)
        new = mark_new(keys, self._known)
        rows = np.flatnonzero(new)
        kept, slots = self._find_places(sum_rewards(sequences)[rows])
        arrivals = self.arrived + kept
        self.arrived += len(rows)
        self._put(sequences, [keys[row] for row in rows[kept]], rows[kept], slots)
        self.origins[slots], self.born[slots], self._arrivals[slots] = origin, born, arrivals
        return new

    def find_new(self, sequences: Sequences) -> NDArray[np.bool_]:
        """Return which of B sequences are not stored, [B]; of equal ones the first only."""
        return mark_new(find_keys(sequences), self._known)

    def _fit(self, sequences: Sequences) -> Sequences:
        """Return B sequences as wide as the horizon, with nothing but zeros after their ends."""
        n, width, vocab_size = sequences.prior_log_probs.shape
        if vocab_size != self.vocab_size or width > self.horizon:
            ours = f"This store holds sequences of at most {self.horizon} steps of {self.vocab_size} tokens"
            raise ValueError(f"{ours}, not of {width} steps of {vocab_size}: make a store for this prior and task.")
        fitted = make_empty_sequences(n, self.horizon, self.vocab_size)
        inside = np.arange(self.horizon) < sequences.lengths[:, None]
        for array, given in zip(fitted.arrays(), sequences.arrays(), strict=True):
            if array.ndim == 1:
                array[:] = given
            else:
                array[inside] = given[inside[:, :width]]
        return fitted

    def _find_places(self, returns: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of n new sequences, by their returns [n], are kept, and the slot of each of these."""
        size, capacity = self.size, self.settings.capacity
        together = np.concatenate([self.returns[:size], returns])
        arrivals = np.concatenate([self._arrivals[:size], self.arrived + np.arange(len(returns))])
        by_rank = self.settings.draw == "rank"
        stays = np.zeros(len(together), bool)
        stays[(sort_by_return(together, arrivals) if by_rank else np.argsort(-arrivals))[:capacity]] = True
        kept, left = np.flatnonzero(stays[size:]), np.flatnonzero(~stays[:size])
        # places of those that leave, then empty ones
        return kept, np.concatenate([left, np.arange(size, size + len(kept) - len(left))])

    def _put(self, sequences: Sequences, keys: list[bytes], rows: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Put the given rows of sequences into slots; `keys` are those of the rows."""
        for array, given in zip(self.stored.arrays(), sequences.arrays(), strict=True):
            array[slots] = given[rows]
        for slot, key in zip(slots.tolist(), keys, strict=True):
            if slot < len(self._keys):
                self._known.remove(self._keys[slot])
                self._keys[slot] = key
            else:
                self._keys.append(key)
        self._known.update(keys)
        self.size = len(self._keys)
        put = select(self.stored, slots)
        self.log_p[slots] = token_log_probs(put.prior_log_probs, put.tokens, put.lengths).sum(axis=1)
        self.returns[slots] = sum_rewards(put)

    def rescale(self, factor: float) -> None:
        """Multiply all rewards, which are r_T / c, as where c has changed."""
        self.stored.task_rewards[:] *= np.float32(factor)
        self.returns[:] = sum_rewards(self.stored)

    # ---------------------------------------------------------------- out

    def sample(self, n: int, rng: np.random.Generator) -> Sequences:
        """Sample n sequences, cut to the longest of them.

        "rank" draws with replacement, by `rank_probabilities`; equal returns rank by age, the older first. "uniform"
        draws without replacement, "newest" takes the newest; both give all that is stored where that is less than n.

        Raises ValueError where nothing is stored.
        """
        if not self.size:
            raise ValueError("There is nothing to sample: the store is empty until something is added.")
        if self.settings.draw == "uniform":
            slots = rng.permutation(self.size)[:n]
        elif self.settings.draw == "newest":
            slots = np.argsort(-self._arrivals[: self.size])[:n]
        else:
            ranks = rng.choice(self.size, n, p=rank_probabilities(self.size, self.settings.rank_weight))
            slots = self._sort_slots()[ranks]
        return select(self.stored, slots).cut()

    def best(self, n: int) -> Sequences:
        """Return the n stored sequences of the greatest returns, or all if there are fewer, best first; not cut."""
        return select(self.stored, self._sort_slots()[:n])

    def diagnostics(self, rounds: int) -> dict[str, float]:
        """Describe what is stored, for the training log; empty while nothing is.

        `size`; `share_own`, `share_given` and so on, by origin; `mean_age` in rounds; `return_std` and `best_return` in
        nats.

        Args:
            rounds: number of the present round.
        """
        if not self.size:
            return {}
        stored = slice(self.size)
        shares = {f"share_{origin.name.lower()}": float(np.mean(self.origins[stored] == origin)) for origin in Origin}
        returns = {"return_std": float(self.returns[stored].std()), "best_return": float(self.returns[stored].max())}
        return {"size": float(self.size)} | shares | {"mean_age": float(rounds - self.born[stored].mean())} | returns

    def _sort_slots(self) -> NDArray[np.int64]:
        return sort_by_return(self.returns[: self.size], self._arrivals[: self.size])

    # ---------------------------------------------------------------- checkpoints

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored, for a checkpoint: per step without filler, S steps of all sequences together."""
        stored = slice(self.size)
        inside = np.arange(self.horizon) < self.stored.lengths[stored, None]
        steps = {name: getattr(self.stored, name)[stored][inside] for name in self._step_dtypes()}
        of_each: dict[str, NDArray[Any]] = {"origins": self.origins, "born": self.born, "arrivals": self._arrivals}
        return {
            **steps,
            "lengths": self.stored.lengths[stored],
            **{name: array[stored] for name, array in of_each.items()},
            "arrived": np.array([self.arrived]),
            "shape": np.array([self.horizon, self.vocab_size]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `arrays` returned. Raise ValueError if these cannot be sequences of this store."""
        expect_names(arrays, {*self._step_dtypes(), "lengths", "origins", "born", "arrivals", "arrived", "shape"})
        shape = tuple(expect_array(arrays, "shape", (2,), np.int64).tolist())
        if shape != (self.horizon, self.vocab_size):
            wanted = f"{self.horizon} steps of {self.vocab_size} tokens"
            raise ValueError(f"the store is of at most {shape[0]} steps of {shape[1]} tokens, not {wanted}")
        size = len(np.atleast_1d(arrays["lengths"]))
        if size > self.settings.capacity:
            raise ValueError(f"the store holds {size:,} sequences, more than its capacity {self.settings.capacity:,}")
        (arrived,) = expect_array(arrays, "arrived", (1,), np.int64).tolist()
        expect_range("arrived", arrays["arrived"], size, MOST_ARRIVED)
        origins = expect_array(arrays, "origins", (size,), np.int8)
        born, arrivals = (expect_array(arrays, name, (size,), np.int64) for name in ("born", "arrivals"))
        expect_range("origins", origins, min(Origin), max(Origin))
        expect_range("arrivals", arrivals, 0, arrived - 1)
        read = self._read_steps(arrays, size)
        keys = find_keys(read)
        if len(set(keys)) < size or len(np.unique(arrivals)) < size:
            raise ValueError("the store holds a sequence twice")
        self._keys, self._known = [], set()
        self.arrived, slots = arrived, np.arange(size)
        self._put(read, keys, slots, slots)
        self.origins[:size], self.born[:size], self._arrivals[:size] = origins, born, arrivals

    def _read_steps(self, arrays: Mapping[str, NDArray[Any]], size: int) -> Sequences:
        lengths = expect_array(arrays, "lengths", (size,), np.int64)
        expect_range("lengths", lengths, 1, self.horizon)
        read = replace(make_empty_sequences(size, self.horizon, self.vocab_size), lengths=lengths)
        inside = np.arange(self.horizon) < lengths[:, None]
        for name, dtype in self._step_dtypes().items():
            array = getattr(read, name)
            array[inside] = expect_array(arrays, name, (int(lengths.sum()), *array.shape[2:]), dtype)
        expect_range("tokens", read.tokens, 0, self.vocab_size - 1)
        return read

    def _step_dtypes(self) -> dict[str, np.dtype[Any]]:
        return {name: array.dtype for name, array in vars(self.stored).items() if array.ndim > 1}


def sum_rewards(sequences: Sequences) -> Floats:
    """Return R / c of B sequences, [B]."""
    # float64 first: a sum that casts as it goes works in buffers, and its last bits depend on the other rows
    return sequences.task_rewards.astype(np.float64).sum(axis=1)


def sort_by_return(returns: Floats, arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices [n] of sequences, the greatest return first; of equal ones that which came first."""
    return np.lexsort((arrivals, -returns))


def find_keys(sequences: Sequences) -> list[bytes]:
    """Return for each of B sequences the bytes that only the same tokens have."""
    return [row[:length].tobytes() for row, length in zip(sequences.tokens, sequences.lengths.tolist())]


def mark_new(keys: Sequence[Hashable], known: AbstractSet[Hashable]) -> NDArray[np.bool_]:
    """Mark the keys [B] that are not known and stand for the first time."""
    new, before = np.zeros(len(keys), bool), set[Hashable]()
    for row, key in enumerate(keys):
        new[row] = key not in known and key not in before
        before.add(key)
    return new


def make_store(settings: Mapping[str, Any] | bool | None, horizon: int, vocab_size: int) -> Store | None:
    """Make the store for an agent's `store=`.

    None or False: no store. True: the default settings. A mapping: these settings, the others at their defaults.

    Raises ValueError where a name is no setting, or a value cannot be.
    """
    if settings is None or settings is False:
        return None
    given = {} if settings is True else dict(settings)
    unknown = sorted(set(given) - set(StoreSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(StoreSettings.__dataclass_fields__)
        raise ValueError(f"store= has no setting {unknown[0]!r}; the settings are: {known}.")
    return Store(horizon, vocab_size, StoreSettings(**given))
