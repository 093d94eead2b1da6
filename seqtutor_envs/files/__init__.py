"""Files, texts and imports by name. Writing is atomic. Reading executes nothing, and raises FileError."""

from seqtutor_envs.files.arrays import (
    load_arrays,
    load_npz,
    of_prefix,
    safetensors_path,
    save_arrays,
    with_prefix,
)
from seqtutor_envs.files.names import import_by_name, redirect
from seqtutor_envs.files.reading import (
    FileError,
    check_regular,
    open_zip,
    read_bytes,
    read_chunks,
    read_lines,
    reading,
)
from seqtutor_envs.files.text import finite, hash64, hash_bytes, one_line
from seqtutor_envs.files.writing import replacing, write_atomically

__all__ = [
    "FileError", "check_regular", "finite", "hash64", "hash_bytes", "import_by_name", "load_arrays",
    "load_npz", "of_prefix", "one_line", "open_zip", "read_bytes", "read_chunks", "read_lines", "reading",
    "redirect", "replacing", "safetensors_path", "save_arrays", "with_prefix", "write_atomically",
]
