"""Priors: frozen sequence models learned from data. Numpy in, numpy out.

N sequences, T steps, V tokens; log p in nats. Id V is the start token: fed first, never returned. A state is a tuple of
arrays, each [N, ...], so that rows of it can be taken, stored and put back.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import COUNT, SEED, Range, numbers, positive_integer
from seqtutor_envs.files import FileError, load_arrays, reading, safetensors_path, save_arrays, write_atomically
from seqtutor_envs.prior.recurrent_step import RecurrentStep, log_softmax, sample_tokens
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab

State = tuple[NDArray[Any], ...]
Rows = TypeVar("Rows")
DATA = Path(__file__).parents[1] / "data"
SAMPLING = {"n": Range(0, whole=True), "length": COUNT, "temperature": Range(0.0, 1e6, above=True)}
COLDEST = 1e-6  # a temperature as good as 0: below it log p over it would leave float32
# tokens that `sample` makes room for: at most 100 times the longest sequence of the shipped corpora
LENGTH = Range(1, 100_000, whole=True)


class Prior(ABC):
    """Model p(a | s). A prior of your own defines `vocab`, `length`, `initial_state` and `step`, and inherits the rest.

    Attributes:
        vocab: the tokens.
        length: how many tokens `sample` generates at most.
    """

    vocab: TokenVocab
    length: int

    @abstractmethod
    def initial_state(self, n: int) -> State:
        """Return the state of n sequences that have not consumed the start token; arrays [n, ...]."""

    @abstractmethod
    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        """Feed tokens [N] (0..V, V = start); return new arrays: next rows of log p, float32 [N, V], and the state."""

    @one_thread()
    def log_probs(self, tokens: Tokens, lengths: Tokens | None = None) -> NDArray[np.float32]:
        """Compute the rows of log p for tokens [N, T]: [N, T, V], row t = log p(. | start, tokens[:t]).

        What lies after `lengths` [N] is ignored: filler there may be any number, and rows beyond that length have
        no meaning (they are computed from padding with token 0).
        """
        tokens = padded(tokens, lengths)
        n, horizon = tokens.shape
        rows = np.empty((n, horizon, len(self.vocab)), np.float32)
        state, last = self.initial_state(n), np.full(n, self.vocab.start)
        for t in range(horizon):
            rows[:, t], state = self.step(last, state)
            last = tokens[:, t]
        return rows

    @one_thread()
    def sample(
        self, n: int, seed: int | np.random.Generator, length: int | None = None, temperature: float = 1.0
    ) -> tuple[Tokens, Tokens]:
        """Sample n sequences: tokens [n, T] (start id as filler) and lengths [n], the end token counted.

        T is the longest one's length. Same seed, same tokens. The lower the temperature, the nearer to the most
        probable tokens. With n = 0 both arrays are empty.

        Raises ValueError where a number is out of its range.
        """
        given = {"n": n, "length": self.length if length is None else length, "temperature": temperature}
        n, horizon, temperature = numbers(SAMPLING, given).values()
        rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(SEED.check("seed", seed))
        tokens = np.full((n, horizon), self.vocab.start)
        # without an end token the horizon is reached by all
        lengths = np.full(n, horizon)

        def choose(rows: NDArray[np.float32]) -> Tokens:
            # np.float32: a float64 temperature would promote the rows, and the compiled draw would compile once more
            return sample_tokens(rows / np.float32(max(temperature, COLDEST)), rng)

        for t, live, chosen, _ in draw_sequences(self.step, choose, self.initial_state(n), n, horizon, self.vocab):
            tokens[live, t] = chosen
            lengths[live[chosen == self.vocab.end]] = t + 1
        # as wide as the longest sequence: the horizon is often never reached
        return tokens[:, : lengths.max(initial=0)], lengths


def draw_sequences(
    step: Callable[[Tokens, State], tuple[Rows, State]], choose: Callable[[Rows], Tokens],
    state: State, n: int, horizon: int, vocab: TokenVocab,
) -> Iterator[tuple[int, Tokens, Tokens, Rows]]:
    """Draw n sequences token by token, until each has ended or has `horizon` tokens.

    Yields:
        The step t; the indices [L] of the sequences that are not over; the token [L] that each of them got; and the
        rows by which it was chosen.

    Args:
        step: from the last tokens [L] and the state to rows and the next state, such as Prior.step.
        choose: from rows to tokens [L].
        state: of n sequences that have not consumed the start token.
        n, horizon: see above.
        vocab: gives the start token, and the end token if there is one.
    """
    live, last = np.arange(n), np.full(n, vocab.start)
    for t in range(horizon if n else 0):
        rows, state = step(last, state)
        last = choose(rows)
        yield t, live, last, rows
        going = last != vocab.end
        if not going.all():  # a sequence that is over leaves the batch
            live, last, state = live[going], last[going], tuple(part[going] for part in state)
            if not len(live):
                return


def padded(tokens: Tokens, lengths: Tokens | None) -> Tokens:
    """Fill `tokens` [N, T] with 0 from each row's length on, so that filler of any kind can be fed or looked up."""
    tokens = np.asarray(tokens, dtype=np.int64)
    # 0, any token that can be fed: what comes of filler is ignored
    return tokens if lengths is None else np.where(np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None], tokens, 0)


def token_log_probs(rows: NDArray[np.float32], tokens: Tokens, lengths: Tokens | None = None) -> Floats:
    """Return log p of each token: rows [N, T, V] at tokens [N, T] -> [N, T], zero after a sequence's length."""
    # float64: log p of a sequence is a sum of many
    chosen = np.take_along_axis(rows, padded(tokens, lengths)[:, :, None], axis=2)[:, :, 0].astype(np.float64)
    if lengths is None:
        return chosen
    # not a product with 0: log p of filler may be -inf
    return np.where(np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None], chosen, 0.0)


class RecurrentPrior(Prior):
    """Step a frozen LSTM or GRU in numpy; equal to torch's to 1e-5.

    Args:
        weights: float32 arrays by torch's names (see recurrent_step.py).
        cell: "lstm" or "gru".
        vocab: the tokens; V must be the weights' own.
        length: how many tokens `sample` generates at most.
        card: what is known of it: data, licences, training, validation nll.

    Raises ValueError where the weights do not fit each other or the vocabulary, or are not finite.
    """

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], cell: str, vocab: TokenVocab, length: int,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        # copies: a prior is frozen, whatever the caller does with its arrays
        self.weights = {name: np.array(array, dtype=np.float32) for name, array in weights.items()}
        self._step = RecurrentStep(self.weights, cell)
        if broken := [name for name, array in self.weights.items() if not np.isfinite(array).all()]:
            raise ValueError(f"The weights {broken[0]} are not finite.")
        if len(vocab) != (size := len(self.weights["head.bias"])):
            raise ValueError(f"The weights are for {size} tokens, the vocabulary has {len(vocab)}.")
        self.vocab, self.length, self.cell = vocab, positive_integer("length", length), cell
        self.card = dict(card or {})
        self.hidden_size, self.num_layers = self._step.hidden_size, self._step.num_layers

    def initial_state(self, n: int) -> State:
        return self._step.initial_state(n)

    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        logits, state = self._step(tokens, state)
        return log_softmax(logits), state

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write PATH.safetensors, all that `load` needs, and its facts to read, PATH.json; each atomically."""
        path = safetensors_path(path)
        facts = {name: getattr(self, name) for name in ("cell", "hidden_size", "num_layers", "length")}
        facts |= {"vocabulary": list(self.vocab.tokens), "end": self.vocab.end}
        card = {**self.card, **facts, "weights_sha256": weights_sha256(self.weights)}
        save_arrays(path, self.weights, card)
        write_atomically(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
        return path

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> RecurrentPrior:
        """Load a shipped prior by its name, or a file that `save` wrote. Never execute anything from the file.

        Raises FileNotFoundError or FileError, each with one line that says what to do.
        """
        path = find_prior(name_or_path)
        weights, card = load_arrays(path)
        with reading(path, "holds no prior"):
            if other := [name for name, array in weights.items() if array.dtype != np.float32]:
                raise TypeError(f"{other[0]} is {weights[other[0]].dtype}, not float32")
            length = LENGTH.check("length", card["length"])
            prior = cls(weights, card["cell"], TokenVocab(tuple(card["vocabulary"]), card["end"]), length, card)
        # checked after the shapes, which give the clearer error
        if card.get("weights_sha256") != weights_sha256(prior.weights):
            raise FileError(path, "is damaged: its weights do not have the hash that its card names.")
        return prior


class TablePrior(Prior):
    """Hold an exact prior over all prefixes of a small task.

    Prefixes are numbered breadth first: 0 is the empty one, child(node, a) = node V + 1 + a.

    Args:
        vocab: V tokens.
        logits: [nodes, V], one row for each prefix of 0..length-1 tokens, nodes = sum of V^t.
        length: the horizon.
    """

    def __init__(self, vocab: TokenVocab, logits: NDArray[np.floating[Any]], length: int) -> None:
        length = positive_integer("length", length)
        nodes = sum(len(vocab) ** t for t in range(length))
        if np.shape(logits) != (nodes, len(vocab)):
            found = list(np.shape(logits))
            raise ValueError(f"{length} steps of {len(vocab)} tokens need logits [{nodes}, {len(vocab)}], not {found}.")
        self.vocab, self.length = vocab, length
        # normalised in float64, stored in float32 as every prior's rows are
        exact = np.array(logits, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # checked below
            self._rows = (exact - np.logaddexp.reduce(exact, axis=1, keepdims=True)).astype(np.float32)
        bad = np.flatnonzero(np.isnan(self._rows).any(axis=1))
        if len(bad):
            raise ValueError(f"Row {bad[0]} of a TablePrior's logits gives no probabilities: {exact[bad[0]].tolist()}.")

    def initial_state(self, n: int) -> State:
        return (np.full(n, -1),)  # no node yet: the start token leads to node 0

    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        tokens = np.asarray(tokens, dtype=np.int64)
        # the start token leads to node 0 from anywhere; other tokens to a child of the node
        nodes = np.where(tokens == self.vocab.start, 0, state[0] * len(self.vocab) + 1 + tokens)
        if nodes.max(initial=0) >= len(self._rows):
            raise ValueError(f"This TablePrior has no row after {self.length} tokens, its length: shorten the task.")
        return self._rows[nodes], (nodes,)


def load_prior(prior: str | os.PathLike[str] | Prior) -> Prior:
    """Load a prior by its shipped name or path, once per process; return a Prior object as it is."""
    if isinstance(prior, (str, os.PathLike)):
        path = find_prior(prior)
        # a shared object is safe, since priors have no state of their own
        return _load_once(path, path.stat().st_mtime_ns, path.stat().st_ino)
    missing = [name for name in ("vocab", "initial_state", "step", "log_probs", "sample") if not hasattr(prior, name)]
    if missing:
        kind = type(prior).__name__
        raise TypeError(f"A prior is a name, a path or an object with {', '.join(missing)}; {kind} has none.")
    return prior


@cache
def _load_once(path: Path, mtime_ns: int, inode: int) -> RecurrentPrior:
    """Load a prior, keyed by what changes when its file is written anew.

    That is its time, and its inode if two writings share a clock tick.
    """
    return RecurrentPrior.load(path)


def find_prior(name_or_path: str | os.PathLike[str]) -> Path:
    """Find the file of a shipped name or of a path. Raise FileNotFoundError with one line."""
    shipped = list_shipped()
    if str(name_or_path) in shipped:
        # resolved: two names of one file are one entry of the cache
        return shipped[str(name_or_path)].resolve()
    for path in (Path(name_or_path), safetensors_path(name_or_path)):
        if path.is_file():
            return path.resolve()
    names = ", ".join(sorted(shipped))
    raise FileNotFoundError(f"No prior {str(name_or_path)!r}: give a shipped name ({names}) or a .safetensors file.")


def list_shipped() -> dict[str, Path]:
    """List the shipped priors: name -> file."""
    return {path.stem: path for path in DATA.glob("*.safetensors")}


def weights_sha256(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Compute the hash of the numbers alone, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):  # little-endian float32 below: the same hash on every machine
        digest.update(name.encode() + np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return digest.hexdigest()
