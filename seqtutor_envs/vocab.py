"""The vocabulary of a domain: token texts and token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]  # token ids; also what is counted in tokens: lengths and steps
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TokenVocab:
    """Name the tokens of one domain; a token's id is its place in `tokens`.

    Attributes:
        tokens: text of each of the V tokens.
        end: id of the token that ends a sequence, or None where the horizon alone ends it.

    Raises ValueError unless the tokens are distinct strings, and the end is one of them.
    """

    tokens: tuple[str, ...]
    end: int | None = None

    def __post_init__(self) -> None:
        # strings before the set: a list in a damaged file has no hash
        if not all(isinstance(text, str) for text in self.tokens) or len(set(self.tokens)) != len(self.tokens):
            raise ValueError("A vocabulary's tokens must be distinct strings.")
        if self.end is not None and not (isinstance(self.end, (int, np.integer)) and 0 <= self.end < len(self)):
            raise ValueError(f"A vocabulary's end must be None or one of its ids 0..{len(self) - 1}, not {self.end!r}.")
        object.__setattr__(self, "tokens", tuple(self.tokens))  # a list would equal no other vocabulary's tuple

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def start(self) -> int:
        """Return id V: fed to the prior before the first step, never an action."""
        return len(self.tokens)

    def encode(self, texts: Iterable[str]) -> Tokens:
        """Return the token ids of the given texts. Raise ValueError naming the first unknown one."""
        # a dict: tuple.index would search the vocabulary for every token
        ids = {text: i for i, text in enumerate(self.tokens)}
        texts = list(texts)
        unknown = next((text for text in texts if text not in ids), None)
        if unknown is not None:
            known = ", ".join(self.tokens)
            raise ValueError(f"{unknown!r} is not one of this vocabulary's {len(self)} tokens: {known}.")
        return np.array([ids[text] for text in texts], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the texts of the given token ids (each in 0..V-1)."""
        # tolist first: numpy integers are slow indices of a tuple
        return [self.tokens[i] for i in (ids.tolist() if isinstance(ids, np.ndarray) else ids)]

    def decode_rows(self, ids: Tokens, lengths: Tokens) -> list[list[str]]:
        """Apply `decode` to each of ids [N, T] up to lengths [N]; what lies beyond may be the start id."""
        # "" stands for the start id V, so that filler can be looked up and cut off after
        rows = np.array([*self.tokens, ""], dtype=object)[ids].tolist()
        return [row if length == len(row) else row[:length] for row, length in zip(rows, lengths.tolist())]
