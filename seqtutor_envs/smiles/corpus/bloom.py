"""A Bloom filter (Bloom 1970) of a prior's training molecules: a few megabytes, without their SMILES.

It never misses a string that was added. It takes a small share of the others for known: `false_positive_rate`. Add and
ask canonical SMILES, since two spellings of a molecule are two strings.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import Range
from seqtutor_envs.files import FileError, hash_bytes, load_arrays, reading, save_arrays

SUFFIX = ".bloom"
SCHEME = "blake2b-128, bit i = h1 + i h2 (mod 2^64) mod m"  # in every file: another one would find nothing in it
MAX_HASHES = 64  # of each string: an error of 2^-64 at best; memory grows with them
CHUNK = 2**16  # strings hashed at a time: their bits take 8 MB with 16 hashes


class BloomFilter:
    """Hold a set of strings that can be added to and asked, but not listed.

    Args:
        num_bits: m, rounded up to whole bytes.
        num_hashes: k, how many of them each string sets.

    Attributes:
        count: strings added, repetitions included.
        facts: what else is known of it (the data's name, its licence); JSON, kept by `save`.
    """

    def __init__(self, num_bits: int, num_hashes: int, facts: Mapping[str, Any] | None = None) -> None:
        if num_bits < 1 or not 1 <= num_hashes <= MAX_HASHES:
            wanted = f"A Bloom filter needs bits and 1..{MAX_HASHES} hashes"
            raise ValueError(f"{wanted}, not {num_bits} and {num_hashes}.")
        # whole bytes, rounded up: -(-x // 8)
        self._bytes = np.zeros(-(-num_bits // 8), np.uint8)
        self.num_hashes, self.count, self.facts = num_hashes, 0, dict(facts or {})

    @classmethod
    def sized(cls, capacity: int, bits_per_key: float = 12.0, max_bytes: int = 3_000_000) -> BloomFilter:
        """Make an empty filter for `capacity` strings with the number of hashes that errs least.

        12 bits for each are wrong about 0.3% of unknown strings; `max_bytes` leaves fewer to more than 2 million.
        """
        if capacity < 1:
            raise ValueError(f"A Bloom filter is made for at least one string, not {capacity}.")
        num_bits = min(math.ceil(capacity * bits_per_key), 8 * max_bytes)
        return cls(num_bits, min(max(1, round(num_bits / capacity * math.log(2))), MAX_HASHES))

    @property
    def num_bits(self) -> int:
        """Return m, a multiple of 8."""
        return 8 * len(self._bytes)

    @property
    def false_positive_rate(self) -> float:
        """Estimate the share of unknown strings that `contains` takes for known.

        It is the probability that all k bits of one happen to be set.
        """
        fill = int(np.bitwise_count(self._bytes).sum(dtype=np.int64)) / self.num_bits
        return float(fill**self.num_hashes)

    def add(self, strings: Iterable[str]) -> None:
        """Add strings; any number, one after another."""
        if isinstance(strings, str):
            raise TypeError("add takes several strings; give one as [string].")
        rest = iter(strings)
        # in chunks, so that memory stays flat for any number of strings
        while chunk := list(islice(rest, CHUNK)):
            byte, bit = self._places(chunk)
            # bitwise_or.at: two strings of a chunk may set bits of one byte
            np.bitwise_or.at(self._bytes, byte, bit)
            self.count += len(chunk)

    def contains(self, strings: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each was added, bool [N]: never False for one that was."""
        if isinstance(strings, str):
            raise TypeError("contains takes several strings; give one as [string].")
        known = np.empty(len(strings), np.bool_)
        for start in range(0, len(strings), CHUNK):
            byte, bit = self._places(strings[start : start + CHUNK])
            known[start : start + CHUNK] = ((self._bytes[byte] & bit) != 0).all(axis=1)
        return known

    def novel_share(self, known_share: float) -> float:
        """Estimate the share of strings that were not added from the share that `contains` took for known.

        known = true + fpr (1 - true) solved for 1 - true: (1 - known) / (1 - fpr). Unbiased, but for the cut at 1.
        """
        rate = self.false_positive_rate
        return float(np.minimum(1.0, (1.0 - known_share) / (1.0 - rate))) if rate < 1 else math.nan  # NaN stays NaN

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write PATH.bloom (safetensors), atomically."""
        path = Path(path) if str(path).endswith(SUFFIX) else Path(f"{os.fspath(path)}{SUFFIX}")
        told = {"num_hashes": self.num_hashes, "count": self.count, "false_positive_rate": self.false_positive_rate}
        save_arrays(path, {"bloom": self._bytes}, {"scheme": SCHEME, **told, "facts": self.facts})
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BloomFilter:
        """Read what `save` wrote. Raise FileNotFoundError or FileError with one line."""
        arrays, told = load_arrays(Path(path))
        if told.get("scheme") != SCHEME or arrays.keys() != {"bloom"}:
            raise FileError(path, "holds no Bloom filter that this version can ask; make it anew.")
        with reading(path, "holds no Bloom filter"):
            bits = arrays["bloom"]
            if bits.dtype != np.uint8 or bits.ndim != 1:
                raise TypeError(f"its bits are {bits.dtype} of shape {list(bits.shape)}, not uint8 [bytes]")
            hashes = Range(1, MAX_HASHES, whole=True).check("num_hashes", told["num_hashes"])
            bloom = cls(8 * len(bits), hashes, told["facts"])
            bloom._bytes, bloom.count = bits.copy(), Range(0, 2**63, whole=True).check("count", told["count"])
        return bloom

    def _places(self, strings: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the byte, and the bit in it, of each string's k hashes; both [N, k]."""
        digests = b"".join(hash_bytes(string, 16) for string in strings)
        # "<u8": the same bits on a machine of the other byte order
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        steps = np.arange(self.num_hashes, dtype=np.uint64)
        # double hashing (Kirsch & Mitzenmacher 2006); h2 is made odd, as an h2 of 0 would give one place k times
        places = (halves[:, :1] + steps * (halves[:, 1:] | np.uint64(1))) % np.uint64(self.num_bits)
        return (places >> np.uint64(3)).astype(np.int64), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)
