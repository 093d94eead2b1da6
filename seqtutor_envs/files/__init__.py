"""Files, texts and imports by name. Writing is atomic; reading executes nothing from the file."""

from seqtutor_envs.files.arrays import load_arrays, of_prefix, safetensors_path, save_arrays, with_prefix
from seqtutor_envs.files.names import import_by_name, redirect
from seqtutor_envs.files.text import finite, hash64, hash_bytes, one_line
from seqtutor_envs.files.writing import replacing, write_atomically

__all__ = [
    "finite", "hash64", "hash_bytes", "import_by_name", "load_arrays", "of_prefix", "one_line", "redirect", "replacing",
    "safetensors_path", "save_arrays", "with_prefix", "write_atomically",
]
