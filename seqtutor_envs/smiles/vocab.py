"""SMILES <-> tokens, atom by atom: two-letter atoms, bracket atoms and %nn ring bonds are one token each.

The grammar is OpenSMILES with RDKit's additions (dative bonds, ring bonds above 99, any bond `~`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.vocab import TokenVocab

END = "<end>"  # its text in a vocabulary; no SMILES holds it
# Br and Cl before B and C; all other two-letter atoms stand in brackets
TOKEN = re.compile(r"\[[^\[\]]*\]|Br|Cl|%\(\d{1,5}\)|%\d\d|->|<-|[BCNOPSFIbcnops*]|[-=#$:~/\\.()0-9>]")


def tokenize(smiles: str) -> list[str]:
    """Split into the tokens whose texts joined are `smiles` again.

    Raise ValueError that names the first character of none.
    """
    tokens = TOKEN.findall(smiles)
    # findall skips what it cannot read, so the lengths tell whether anything was skipped
    if sum(map(len, tokens)) != len(smiles):
        at = 0
        while match := TOKEN.match(smiles, at):
            at = match.end()
        raise ValueError(f"{smiles[at]!r} at position {at + 1} of {smiles!r} begins no SMILES token.")
    return tokens


def smiles_vocab(tokens: Iterable[str], base: TokenVocab | None = None) -> TokenVocab:
    """Make a vocabulary of these tokens in the order of their texts, after those of `base`; the end token last."""
    first = [] if base is None else [token for token in base.tokens if token != END]
    # sorted: the same tokens give the same ids, in whatever order a file names them
    ordered = [*first, *sorted({*tokens} - {END, *first})]
    return TokenVocab((*ordered, END), end=len(ordered))


def find_relative(token: str) -> str:
    """Return the atom without brackets that a token is of, such as "N" for "[NH3+]"; "" for what is no bracket atom."""
    match = re.match(r"\[\d*([A-Z][a-z]?|[a-z]{1,2})", token)
    return match[1] if match else ""


def find_elements(vocab: TokenVocab) -> set[str]:
    """Return the symbols of the elements that a vocabulary can write, H only if it has a token of its own."""
    symbols = [token.lstrip("[").lstrip("0123456789") for token in vocab.tokens if token != END]
    return {match[0].capitalize() for symbol in symbols if (match := re.match("[A-Z][a-z]?|[a-z]{1,2}", symbol))}


def encode(vocab: TokenVocab, smiles: str) -> NDArray[np.int64]:
    """Return the ids of the tokens of a SMILES, the end token last.

    Raise ValueError naming one that `vocab` does not have.
    """
    tokens = tokenize(smiles)
    lacking = next((token for token in tokens if token not in vocab.tokens), None)
    if lacking is not None:
        known = ", ".join(vocab.tokens)
        raise ValueError(f"{lacking!r} in {smiles!r} is not one of this vocabulary's {len(vocab)} tokens: {known}.")
    return vocab.encode([*tokens, END])


def decode(vocab: TokenVocab, ids: Iterable[int]) -> str:
    """Return the SMILES of these ids, up to the end token or to the filler (the start id) of a shorter sequence."""
    until_end = takewhile(lambda i: i not in (vocab.end, vocab.start), map(int, ids))
    return "".join(vocab.tokens[i] for i in until_end)
