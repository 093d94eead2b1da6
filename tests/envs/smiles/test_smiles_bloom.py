"""The Bloom filter: nothing is forgotten, errors are as rare as it says, the bits are those of its written scheme."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from seqtutor_envs.files import load_arrays, save_arrays
from seqtutor_envs.smiles.corpus.bloom import BloomFilter

KEYS = [f"C{i}" for i in range(20_000)]
OTHERS = [f"N{i}" for i in range(100_000)]


@pytest.fixture(scope="module")
def bloom() -> BloomFilter:
    bloom = BloomFilter.sized(len(KEYS))
    bloom.add(iter(KEYS))
    return bloom


def test_all_that_was_added_is_known(bloom: BloomFilter) -> None:
    assert bloom.contains(KEYS).all() and bloom.count == len(KEYS)


def test_errors_are_as_rare_as_it_says(bloom: BloomFilter) -> None:
    k, load = bloom.num_hashes, len(KEYS) / bloom.num_bits
    assert k == 8 and bloom.false_positive_rate == pytest.approx((1 - math.exp(-k * load)) ** k, rel=0.05)
    wrong = int(bloom.contains(OTHERS).sum())
    expected = bloom.false_positive_rate * len(OTHERS)
    assert 250 < expected < 380
    assert abs(wrong - expected) < 3.9 * math.sqrt(expected)  # 1 in 10,000


def test_bits_are_those_of_the_written_scheme() -> None:
    bloom, expected = BloomFilter(1000, 5), [0] * 1000
    for string in ("CCO", "c1ccccc1", "[13CH4]"):
        digest = hashlib.blake2b(string.encode(), digest_size=16).digest()
        first, second = (int.from_bytes(half, "little") for half in (digest[:8], digest[8:]))
        for i in range(5):
            expected[(first + i * (second | 1)) % 2**64 % 1000] = 1
    bloom.add(["CCO", "c1ccccc1", "[13CH4]"])
    assert np.unpackbits(bloom._bytes, bitorder="little").tolist() == expected
    assert bloom.false_positive_rate == pytest.approx((sum(expected) / 1000) ** 5)


def test_the_order_and_the_division_of_what_is_added_are_indifferent(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = BloomFilter(5000, 4), BloomFilter(5000, 4)
    whole.add(KEYS[:500])
    monkeypatch.setattr("seqtutor_envs.smiles.corpus.bloom.CHUNK", 7)
    parts.add(KEYS[499::-1])
    assert (whole._bytes == parts._bytes).all() and whole.count == parts.count
    assert (whole.contains(KEYS[:2000]) == parts.contains(KEYS[:2000])).all()


def test_the_size_of_moses_training_set_takes_less_than_three_megabytes(tmp_path: Path) -> None:
    path = BloomFilter.sized(1_584_663).save(tmp_path / "moses")
    assert path.name == "moses.bloom" and BloomFilter(8, 1).save(tmp_path / "a.b.bloom").name == "a.b.bloom"
    assert path.stat().st_size < 3_000_000
    large = BloomFilter.sized(10**8)
    assert large.num_bits == 24_000_000 and large.num_hashes == 1


def test_other_files_are_refused(bloom: BloomFilter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        BloomFilter.load(tmp_path / "none.bloom")
    junk = tmp_path / "junk.bloom"
    junk.write_bytes(b"junk")
    with pytest.raises(ValueError, match="not written by this library"):
        BloomFilter.load(junk)
    arrays, facts = load_arrays(bloom.save(tmp_path / "older"))
    save_arrays(junk, arrays, {**facts, "scheme": "sha1"})
    with pytest.raises(ValueError, match="no Bloom filter that this version can ask"):
        BloomFilter.load(junk)


def test_novel_share_takes_the_errors_out() -> None:
    bloom = BloomFilter(8, 1)
    bloom._bytes[:] = 0b00110011
    assert bloom.false_positive_rate == 0.5
    assert bloom.novel_share(0.75) == 0.5  # half of the novel half passed for known
    assert bloom.novel_share(1.0) == 0.0 and bloom.novel_share(0.5) == 1.0
    assert bloom.novel_share(0.4) == 1.0  # by chance
    assert math.isnan(bloom.novel_share(math.nan))
    bloom._bytes[:] = 255
    assert math.isnan(bloom.novel_share(1.0))


def test_nothing_and_mistakes() -> None:
    bloom = BloomFilter(100, 3)
    bloom.add([])
    assert bloom.contains([]).shape == (0,) and bloom.false_positive_rate == 0 and not bloom.contains(["C"]).any()
    with pytest.raises(TypeError, match=r"\[string\]"):
        bloom.add("CCO")
    with pytest.raises(TypeError, match=r"\[string\]"):
        bloom.contains("CCO")
    with pytest.raises(ValueError, match="at least one"):
        BloomFilter.sized(0)
    with pytest.raises(ValueError, match="needs bits"):
        BloomFilter(0, 1)
