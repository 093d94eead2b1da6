"""Arrays and facts in a file: whole or not at all, and back as they were."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from seqtutor_envs.files import (
    hash64,
    hash_bytes,
    import_by_name,
    load_arrays,
    of_prefix,
    safetensors_path,
    save_arrays,
    with_prefix,
    write_atomically,
)


def failing(*args):
    raise OSError("No space left on device")


def test_content_and_folders_are_written(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    for content in (b"first", b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("where, name", [(os, "replace"), (Path, "write_bytes")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, where, name, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    before = os.listdir(tmp_path)
    monkeypatch.setattr(where, name, failing)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == before
    assert old is None or path.read_bytes() == old


@contextmanager
def room(size):
    """Let no file of this process grow beyond so many bytes: writing ends half-way, as on a full disk."""
    resource = pytest.importorskip("resource", reason="only Unix limits the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with room(1_000), pytest.raises(OSError) as error:
        write_atomically(path, bytes(100_000))
    assert error.value.filename == str(path) and error.value.strerror == "File too large"
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"
    with room(1_000), pytest.raises(OSError) as error:
        save_arrays(path, {"x": np.zeros(10_000)}, {})
    assert error.value.filename == str(path) and path.read_bytes() == b"old"


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []
    replace = os.replace

    def watched(source, target):
        seen.append((path.read_bytes(), Path(source).read_bytes(), Path(source).parent))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_atomically(path, b"new")
    assert seen == [(b"old", b"new", tmp_path)]  # beside it: a rename from another disk would be a copy


ARRAYS = {
    "float": np.linspace(0, 1, 7, dtype=np.float32).reshape(7, 1),
    "double": np.array([np.pi, -np.inf]),
    "int": np.arange(4, dtype=np.int64),
    "scalar": np.array(3.0, dtype=np.float32),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "every other": np.arange(10)[::2],
}
FACTS = {"text": "é\n\"'", "none": None, "list": [1, 2.5, {"deep": True}], "float": 0.1 + 0.2}


def test_arrays_and_facts_come_back(tmp_path):
    save_arrays(tmp_path / "file", ARRAYS, FACTS)
    arrays, facts = load_arrays(tmp_path / "file")
    assert facts == FACTS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)
        arrays[name][...] = 0  # one's own: the file stays as it is
    np.testing.assert_array_equal(load_arrays(tmp_path / "file")[0]["int"], ARRAYS["int"])


def test_other_files_are_refused_by_name(tmp_path):
    save_arrays(tmp_path / "whole", ARRAYS, FACTS)
    (tmp_path / "short").write_bytes((tmp_path / "whole").read_bytes()[:-5])
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").touch()
    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    save_file({"a": np.zeros(3)}, tmp_path / "other facts", metadata={"facts": "[1"})
    for name in ("short", "text", "empty", "foreign", "other facts"):
        with pytest.raises(ValueError, match=f"{name} was not written by this library, or is damaged") as error:
            load_arrays(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "given, expected",
    [
        ("a", "a.safetensors"),
        ("a.v1", "a.v1.safetensors"),
        ("a.safetensors", "a.safetensors"),
        ("x.y/a", "x.y/a.safetensors"),
    ],
)
def test_the_ending_is_added_once(given, expected):
    assert safetensors_path(given) == safetensors_path(Path(given)) == Path(expected)


def test_prefixes_are_put_on_and_taken_off():
    together = with_prefix("a", {"x": 1, "y": 2}) | with_prefix("ab", {"x": 3})
    assert together == {"a.x": 1, "a.y": 2, "ab.x": 3}
    assert of_prefix("a", together) == {"x": 1, "y": 2}
    assert of_prefix("ab", together) == {"x": 3}
    assert of_prefix("b", together) == {}


def test_hashes_are_those_of_the_b2sum_command():
    """`printf CCO | b2sum -l 64` and `-l 128`, as files of earlier versions hold them, bytes of an int lowest first."""
    assert hash_bytes("CCO").hex() == "6d200b6f6c9553c3"
    assert hash_bytes("CCO", 16).hex() == "0c06e880517ec7d4bb17db19c33d30e1"
    assert hash64("CCO") == int("c353956c6f0b206d", 16)
    assert hash64("\udc80") != hash64("\udc81")  # what is left of bytes that are no UTF-8


def test_a_name_is_imported_with_its_dots():
    assert import_by_name("os.path:join", "a:b") is os.path.join
    assert import_by_name("pathlib:Path.cwd", "a:b")() == Path.cwd()
    with pytest.raises(ImportError, match="nowhere_at_all:x: there is no module nowhere_at_all in "):
        import_by_name("nowhere_at_all:x", "a:b")


def test_modules_of_the_current_directory_are_found_if_asked(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("answer = 42")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with pytest.raises(ImportError, match="there is no module only_here"):
        import_by_name("only_here:answer", "a:b")
    assert import_by_name("only_here:answer", "a:b", search_here=True) == 42
