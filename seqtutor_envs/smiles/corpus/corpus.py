"""Training molecules for a prior: a file's usable records as tokens, and the reasons why the others are left out.

M molecules lie end to end in one array, each with its end token. They are written as in the file, unless they are
standardised or lose their stereo: then as RDKit's canonical SMILES.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import positive_integer
from seqtutor_envs.files import hash64
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.smiles.chem import canonical_of, parse, too_large
from seqtutor_envs.smiles.chem.standardize import CHANGES, fragments, parent, without_stereo
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.corpus.reading import Record
from seqtutor_envs.smiles.vocab import END, smiles_vocab, tokenize
from seqtutor_envs.vocab import TokenVocab

HELD_OUT = 10_000  # molecules to validate on, or a tenth of fewer than ten times as many
RARE = 10  # molecules: a token in fewer is named, since it is hardly learned and slows every step
NAMED = 3  # records of each reason that are shown
SHOWN = 60  # characters of a record's text
KNOWN_AT_ONCE = 50_000  # strings that the Bloom filter takes at a time

EMPTY, NOT_SMILES, SALT, NOT_STANDARD = "empty", "not SMILES", "more than one fragment", "not standardised"
TOO_LONG, UNKNOWN, REPEATED = "too long", "unknown token", "repeated"


@dataclass(frozen=True)
class Rules:
    """Decide which molecules are taken, and how.

    Attributes:
        standardize: "parent" takes the cleaned-up, largest, neutral fragment (chem/standardize.py) in place of the
            molecule.
        salts: "skip" leaves out what has more than one fragment in the file.
        max_length: tokens, the end token counted.
        stereo: "drop" takes the molecule without its stereo centres and double bonds' directions.
    """

    standardize: Literal["none", "parent"] = "none"
    salts: Literal["keep", "skip"] = "keep"
    max_length: int = 100
    stereo: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        positive_integer("max_length", self.max_length)


class RareToken(NamedTuple):
    """Name a token in few molecules, and the line of the first."""

    token: str
    molecules: int
    line: int


@dataclass(frozen=True)
class MoleculeCorpus:
    """Hold M molecules as tokens, and what was left out.

    Attributes:
        tokens: uint8 or uint16, all molecules end to end, each with its end token.
        offsets: int64 [M + 1]; molecule i is `tokens[offsets[i] : offsets[i + 1]]`.
        hashes: uint32 [M], CRC-32 of each string: the smallest ones are held out.
        keys: uint64, sorted; a hash of each distinct canonical SMILES.
        vocab: its tokens, the end token last.
        records: how many the file had.
        skipped: reason -> number of records.
        examples: the first few of each reason, ready to be read.
        changes: what standardisation changed -> number of molecules; several may have changed in one.
        rare: tokens in fewer than RARE molecules, unless the vocabulary was given.
    """

    tokens: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    vocab: TokenVocab
    records: int
    skipped: dict[str, int]
    examples: tuple[str, ...]
    changes: dict[str, int]
    rare: tuple[RareToken, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def split(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return the sequences to train on and to validate on, each in the file's order.

        Held out are those with the smallest hashes, so that a molecule stays on its side when the file grows a little.
        """
        held_out = np.zeros(len(self), bool)
        # stable: equal hashes keep the file's order, so the split is the same everywhere
        held_out[np.argsort(self.hashes, kind="stable")[: min(HELD_OUT, max(1, len(self) // 10))]] = True
        sides: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        for out, (begin, end) in zip(held_out.tolist(), pairwise(self.offsets.tolist())):
            sides[out].append(self.tokens[begin:end])
        return sides

    def known(self, canonical: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each of N canonical SMILES is one of these molecules; a wrong yes in 10^13."""
        # hashes instead of strings: 8 bytes a molecule
        return np.isin(np.array([hash64(smiles) for smiles in canonical], np.uint64), self.keys)


class _Skipped(ValueError):
    """Signal a record that is left out, with the reason and details."""


def read_corpus(
    records: Iterable[Record],
    rules: Rules = Rules(),
    vocab: TokenVocab | None = None,
    bloom: BloomFilter | None = None,
    total: int | None = None,
    progress: bool = False,
    base: TokenVocab | None = None,
) -> MoleculeCorpus:
    """Make a corpus from the records of a file; about 13 s for 100,000, most of it RDKit's.

    A record is left out, counted by its reason and named if it is one of the first, where it is empty, is not SMILES
    to RDKit or to the tokeniser, breaks a rule, has a token that is not in a given vocabulary, or was there before in
    the same spelling.

    Args:
        vocab: a fixed vocabulary, its end token last; None: that of the molecules themselves.
        bloom: is given the canonical SMILES of all molecules that are taken.
        total: how many records there are, for the progress bar.
        base: a vocabulary to which the molecules' other tokens are added, instead of a fixed one.

    Raises ValueError if nothing is left; the message counts the reasons.
    """
    builder = _CorpusBuilder(rules, vocab, base)
    waiting: list[str] = []
    bar = make_bar(records, desc="reading molecules", total=total, unit="", unit_scale=True, disable=not progress)
    for line, text in bar:
        try:
            waiting.append(builder.add(line, text))
        except _Skipped as why:
            builder.skip(line, text, *why.args)
        if bloom is not None and len(waiting) >= KNOWN_AT_ONCE:
            bloom.add(waiting)
            waiting = []
    if bloom is not None:
        bloom.add(waiting)
    return builder.build()


class _CorpusBuilder:
    """Collect what has been read so far."""

    def __init__(self, rules: Rules, vocab: TokenVocab | None, base: TokenVocab | None) -> None:
        self.rules, self.vocab, self.base = rules, vocab, base
        first = vocab or base
        self.ids = {token: i for i, token in enumerate(first.tokens if first else (END,))}  # new ones as they come
        self.first_lines: dict[str, int] = {}  # of new tokens
        self.molecules_with: Counter[str] = Counter()  # a token
        # arrays, since a list of a billion ids would not fit into memory
        self.tokens, self.offsets, self.hashes, self.keys = array("H"), array("q", [0]), array("L"), array("Q")
        self.texts: set[str] = set()
        self.records = 0
        self.skipped: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, line: int, text: str) -> str:
        """Take a record and return its canonical SMILES. Raise _Skipped."""
        self.records += 1
        if not text:
            raise _Skipped(EMPTY)
        if too_large(text):
            raise _Skipped(TOO_LONG, f"{len(text):,} characters, or branches too deep for RDKit")
        molecule = parse(text)
        if molecule is None:
            raise _Skipped(NOT_SMILES)
        # fragments of the file's molecule, before standardisation takes the largest
        if self.rules.salts == "skip" and fragments(molecule) > 1:
            raise _Skipped(SALT)
        changes: tuple[str, ...] = ()
        if self.rules.standardize == "parent":
            try:
                molecule, changes = parent(molecule)
            except ValueError:
                raise _Skipped(NOT_STANDARD) from None
        if self.rules.stereo == "drop":
            molecule = without_stereo(molecule)
        canonical = canonical_of(molecule)
        text = text if (self.rules.standardize, self.rules.stereo) == ("none", "keep") else canonical
        try:
            tokens = tokenize(text)
        except ValueError:
            raise _Skipped(NOT_SMILES) from None
        if len(tokens) + 1 > self.rules.max_length:
            raise _Skipped(TOO_LONG, f"{len(tokens) + 1} tokens with the end, more than {self.rules.max_length}")
        if text in self.texts:
            raise _Skipped(REPEATED)
        # a molecule is taken whole or not at all: no token gets an id before all of them may have one
        new = [token for token in tokens if token not in self.ids]
        if new and self.vocab is not None:
            raise _Skipped(UNKNOWN, repr(new[0]))
        for token in new:
            self.ids.setdefault(token, len(self.ids))
            self.first_lines.setdefault(token, line)
        self.molecules_with.update(set(tokens))
        self.tokens.extend([self.ids[token] for token in (*tokens, END)])
        self.offsets.append(len(self.tokens))
        self.hashes.append(zlib.crc32(text.encode()))
        self.keys.append(hash64(canonical))
        self.texts.add(text)
        self.changes.update(changes or ["unchanged"])
        return canonical

    def skip(self, line: int, text: str, reason: str, more: str = "") -> None:
        """Count a record that is left out."""
        self.skipped[reason] += 1
        if self.skipped[reason] <= NAMED:
            shown = repr(text[:SHOWN]) + ("..." if len(text) > SHOWN else "")
            self.examples.append(f"line {line}: {reason}{f' ({more})' if more else ''}{f': {shown}' if text else ''}")

    def build(self) -> MoleculeCorpus:
        """Return the corpus, its vocabulary in order. Raise ValueError if it is empty."""
        if not self.texts:
            raise ValueError(f"no molecule in {self.records} records: {format_counts(self.skipped) or 'it is empty'}")
        vocab = self.vocab or smiles_vocab(self.ids, self.base)
        # ids were given as tokens came; those of a vocabulary follow the tokens' order
        # min_scalar_type: one byte a token where the vocabulary allows it
        ids = np.array([vocab.tokens.index(token) for token in self.ids], np.min_scalar_type(len(vocab) - 1))
        rare = [RareToken(token, self.molecules_with[token], line) for token, line in self.first_lines.items()]
        standardised = self.rules.standardize == "parent"
        return MoleculeCorpus(
            tokens=ids[np.frombuffer(self.tokens, np.uint16)],
            offsets=np.frombuffer(self.offsets, np.int64),
            hashes=np.array(self.hashes, np.uint32),
            keys=np.unique(np.frombuffer(self.keys, np.uint64)),
            vocab=vocab,
            records=self.records,
            skipped=dict(self.skipped.most_common()),
            examples=tuple(self.examples),
            changes={name: self.changes[name] for name in (*CHANGES, "unchanged")} if standardised else {},
            rare=tuple(sorted((each for each in rare if each.molecules < RARE), key=lambda each: (*each[1:], each[0]))),
        )


def format_counts(reasons: Mapping[str, int]) -> str:
    """Format reasons with their numbers, in a message."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
