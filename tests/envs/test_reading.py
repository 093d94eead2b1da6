"""Files that strangers made: one error in one line, before memory or time is spent."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys.recurrent_toys import TEXTS, random_prior

from seqtutor_envs.files import FileError, load_arrays, load_npz, read_bytes, reading, save_arrays
from seqtutor_envs.files.arrays import MAX_HEADER
from seqtutor_envs.prior import RecurrentPrior, weights_sha256
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.vocab import TokenVocab


def safetensors(dtype: str, shape: list[int], body: bytes, facts: str = "{}") -> bytes:
    """A safetensors file of one array, written by hand."""
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(body)]}
    header = json.dumps({"__metadata__": {"facts": facts}, "a": entry}).encode()
    return struct.pack("<Q", len(header)) + header + body


@pytest.mark.parametrize(
    "content",
    [
        safetensors("F32", [1], bytes(4), "[" * 100_000 + "]" * 100_000),  # a RecursionError in json
        safetensors("BF16", [2], bytes(4)),
        safetensors("F8_E4M3", [4], bytes(4)),
        safetensors("F8_E5M2", [4], bytes(4)),
        safetensors("F32", [1], bytes(4), "[1]"),
        safetensors("F32", [1], bytes(4), '"text"'),
        safetensors("F32", [1], bytes(4), "\ud800"),
    ],
)
def test_a_safetensors_file_that_is_not_ours_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        load_arrays(path)
    assert caught.value.path == path and "damaged" in caught.value.reason
    assert str(caught.value).startswith(f"{path} was not written by this library") and "\n" not in str(caught.value)


def test_a_header_is_not_parsed_if_it_is_huge(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(safetensors("F32", [1], bytes(4), " " * MAX_HEADER + "{}"))
    with pytest.raises(FileError, match="its header has 4,194,"):
        load_arrays(path)


def changed_prior(tmp_path: Path, arrays: dict[str, Any] | None = None, **facts: Any) -> Path:
    """A prior's file with other arrays or facts; its hash is right."""
    path = random_prior("lstm", 1, end=len(TEXTS) - 1).save(tmp_path / "prior")
    weights, card = load_arrays(path)
    weights |= arrays or {}
    save_arrays(path, weights, {**card, "weights_sha256": weights_sha256(weights), **facts})
    return path


@pytest.mark.parametrize(
    "facts, said",
    [
        ({"vocabulary": ["a"] * len(TEXTS)}, "distinct strings"),
        ({"vocabulary": [1, *TEXTS[1:]]}, "distinct strings"),
        ({"vocabulary": [["a"], *TEXTS[1:]]}, "distinct strings"),
        ({"end": len(TEXTS)}, "end must be None or one of its ids"),
        ({"end": 1.5}, "end must be None or one of its ids"),
        ({"end": "x"}, "end must be None or one of its ids"),
        ({"cell": ["lstm"]}, "unhashable"),
        ({"length": 10**12}, "length must be an integer from 1 to 100,000"),
        ({"length": 0}, "length must be an integer from 1 to 100,000"),
        ({"length": True}, "length must be an integer from 1 to 100,000"),
        ({"length": "32"}, "length must be an integer from 1 to 100,000"),
    ],
)
def test_a_prior_with_impossible_facts_is_refused(tmp_path: Path, facts: dict[str, Any], said: str) -> None:
    with pytest.raises(FileError, match=said):
        RecurrentPrior.load(changed_prior(tmp_path, **facts))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prior_with_weights_that_are_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    bias = np.zeros(len(TEXTS), np.float32)
    bias[1] = value
    with pytest.raises(FileError, match="head.bias are not finite"):
        RecurrentPrior.load(changed_prior(tmp_path, {"head.bias": bias}))


def test_a_prior_in_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="head.bias is float64, not float32"):
        RecurrentPrior.load(changed_prior(tmp_path, {"head.bias": np.zeros(len(TEXTS))}))


def test_a_vocabulary_is_distinct_strings() -> None:
    for tokens, end in ((("a", "a"), None), ((1, 2), None), (("a", "b"), 2), (("a", "b"), -1)):
        with pytest.raises(ValueError, match="vocabulary's"):
            TokenVocab(tokens, end)  # type: ignore[arg-type]
    assert TokenVocab(("a", "b"), 1).end == 1
    assert TokenVocab(["a", "b"]) == TokenVocab(("a", "b"))  # type: ignore[arg-type]


def test_a_bloom_filter_with_a_billion_hashes_is_refused_before_memory_is_spent(tmp_path: Path) -> None:
    path = BloomFilter.sized(100).save(tmp_path / "known")
    arrays, facts = load_arrays(path)
    tracemalloc.start()
    wrong: list[dict[str, Any]] = [{"num_hashes": n} for n in (10**9, 0, -1, 2.5, True, None, "8")]
    wrong += [{"count": -1}, {"count": 1.5}, {"facts": 3}, {"facts": "x"}]
    for changed in wrong:
        save_arrays(path, arrays, {**facts, **changed})
        with pytest.raises(FileError, match="holds no Bloom filter"):
            BloomFilter.load(path).contains(["CC"] * 1_000)
    for bits in (np.zeros((2, 2), np.uint8), np.zeros(4, np.float32), np.zeros(0, np.uint8)):
        save_arrays(path, {"bloom": bits}, facts)
        with pytest.raises(FileError, match="holds no Bloom filter"):
            BloomFilter.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    save_arrays(path, arrays, facts)
    loaded = BloomFilter.load(path)
    loaded.add(["CC"])  # its bits can be set
    assert loaded.contains(["CC"]).all()


# -- npz and zips -----------------------------------------------------------------------------------------------------


def forged_zip(path: Path, declared: int, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A small zip whose directory says that its member has so many bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("tokens.npy", b"x")
        archive.filelist[0].file_size = declared
    return path


def test_a_zip_that_unpacks_to_too_much_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="unpacks to 5,798,205,849 bytes, and at most 1,073,741,824 are read"):
        load_npz(forged_zip(tmp_path / "bomb.npz", 5_798_205_849))
    with pytest.raises(FileError, match="another method than deflate"):
        load_npz(forged_zip(tmp_path / "lzma.npz", 1, zipfile.ZIP_LZMA))


def test_an_array_is_not_made_room_for_if_its_numbers_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "shape.npz"
    header = repr({"descr": "|u1", "fortran_order": False, "shape": (10**9,)}).ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tokens.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    tracemalloc.start()
    with pytest.raises(FileError, match="not an .npz of plain arrays"):
        load_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_an_npz_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    a = np.arange(6).reshape(2, 3)
    arrays = {"a": a, "b": np.asfortranarray(a / 2), "c": np.array(["x", "yz"])}
    np.savez_compressed(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    for name, array in load_npz(tmp_path / "a.npz").items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])


# -- what is shared ---------------------------------------------------------------------------------------------------


def test_pipes_devices_folders_and_missing_files_are_one_line_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FileError, match="pipe or a device"):
            read_bytes(path, 10)
        with pytest.raises(FileError, match="pipe or a device"):
            load_arrays(path)
    for read in (load_arrays, load_npz):
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")


def test_a_file_is_not_read_if_it_is_larger_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    assert len(read_bytes(tmp_path / "a", 11)) == 11
    with pytest.raises(FileError, match="has 11 bytes, and at most 10 are read"):
        read_bytes(tmp_path / "a", 10)


def test_the_error_crosses_processes_and_is_a_value_error() -> None:
    error = pickle.loads(pickle.dumps(FileError("a.mid", "is damaged")))
    assert isinstance(error, ValueError) and str(error) == "a.mid is damaged" and error.reason == "is damaged"


def test_errors_of_the_disk_and_of_readers_within_stay_as_they_are() -> None:
    for inner in (PermissionError(13, "Permission denied", "a"), FileError("b", "is damaged")):
        with pytest.raises(type(inner)) as caught, reading("a", "cannot be read"):
            raise inner
        assert caught.value is inner
    for other in (OSError("running status"), RecursionError("too deep"), MemoryError(), IndexError("1\n2")):
        with pytest.raises(FileError, match="^a cannot be read "), reading("a", "cannot be read"):
            raise other
