"""Load models that stable-baselines3 or sb3-contrib saved, and identify the algorithm from the zip.

A zip holds weights and `data`: JSON, with pickles for what JSON cannot hold. The algorithm's name is not in it: it is
identified by the keys of `data`. Nothing is unpickled unless `load_zip` is called with `trust`.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from seqtutor_envs.files import FileError, import_by_name, one_line, open_zip, read_chunks

# keys that only this algorithm's data has, the first that fits; PPO's kin is told apart below
SIGNS = (
    ("sb3_contrib.qrdqn:QRDQN", {"n_quantiles", "exploration_fraction"}),
    ("stable_baselines3.dqn:DQN", {"exploration_fraction"}),
    ("sb3_contrib.trpo:TRPO", {"cg_max_steps"}),
    ("stable_baselines3.ppo:PPO", {"clip_range", "n_epochs"}),
    ("stable_baselines3.a2c:A2C", {"gae_lambda", "vf_coef", "normalize_advantage"}),
)
RECURRENT, MASKABLE = "sb3_contrib.ppo_recurrent:RecurrentPPO", "sb3_contrib.ppo_mask:MaskablePPO"
LSTM = b"lstm_actor"  # in the names of a recurrent policy's weights, which are plain text in the file
MAX_DATA = 2**26  # bytes of JSON: 64 MiB, a thousand times what a model with images as observations has
MAGIC = b"PK\x03\x04"  # how a zip begins


def find_zip(path: Path) -> Path | None:
    """Return the zip at `path`, or at `path` + ".zip" if only that exists; None if there is no zip."""
    if path.is_dir():
        return None
    if path.suffix == ".zip":
        return path
    if path.is_file():
        return path if _begins_as_zip(path) else None
    longer = path.with_name(f"{path.name}.zip")
    return longer if longer.is_file() else None


def identify_algorithm(path: Path) -> str | None:
    """Identify the algorithm that wrote a zip, as "module:Class", without unpickling; None if it is not a known one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is not a model.
    """
    data, recurrent = _read_zip(path)
    found = next((name for name, keys in SIGNS if keys <= data.keys()), None)
    if found != "stable_baselines3.ppo:PPO":
        return found
    if recurrent:  # a policy of the user's own has these names too
        return RECURRENT
    # MaskablePPO has PPO's keys: only the modules of its policy and buffer tell
    classes = (data.get("policy_class"), data.get("rollout_buffer_class"))
    modules = [str(one.get("__module__")) for one in classes if isinstance(one, dict)]
    return MASKABLE if any(module.startswith("sb3_contrib.common.maskable") for module in modules) else found


def load_zip(path: Path, trust: bool, algorithm: str | None = None) -> Any:
    """Load the model in a zip, on the CPU. No global random generator is changed, although SB3 seeds them.

    Args:
        path: of the zip.
        trust: whether to run the code that the zip may hold; without it nothing is loaded.
        algorithm: "module:Class", if it is none of the seven that are known by their zips.

    Raises:
        FileNotFoundError, ValueError, ImportError: in one line.
    """
    name = identify_algorithm(path) if algorithm is None else algorithm
    if not trust:
        raise ValueError(
            f"{path} is a stable-baselines3 model: it holds pickles, and loading one runs whatever code is in it."
            " If you trust where it comes from, add --trust (in a program trust=True)."
        )
    if name is None:
        raise ValueError(
            f"Which algorithm wrote {path} cannot be told from it: name its class, --algorithm module:Class, or load it"
            " in a program and pass the model to agents.evaluate.evaluate."
        )
    algorithm_class = import_class(name)
    try:
        with keep_generators():
            return algorithm_class.load(path, device="cpu")
    except Exception as error:  # unpickling can raise anything
        with zipfile.ZipFile(path) as archive:
            wrote = archive.read("_stable_baselines3_version").decode().strip()
        what = f"{path}, saved by stable-baselines3 {wrote}, cannot be loaded as {name.split(':')[1]}"
        raise ValueError(f"{what} ({one_line(error)[:200]}).") from error


def import_class(name: str) -> Any:
    """Import the class that "module:Class" names; it must have a method `load`.

    Raises:
        ValueError, ImportError: in one line.
    """
    try:
        found = import_by_name(name, "sb3_contrib:ARS")
    except ImportError as error:
        if not name.startswith("sb3_contrib"):
            raise
        raise ImportError(f"{name} needs the module sb3_contrib: pip install sb3-contrib.") from error
    except AttributeError:
        found = None
    if not (isinstance(found, type) and hasattr(found, "load")):
        raise ValueError(f"{name} names no class with a method load.")
    return found


def _read_zip(path: Path) -> tuple[dict[str, Any], bool]:
    """Read the data of a zip, with its pickles as text, and whether its weights are those of a recurrent policy."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with open_zip(path) as archive:
            if min((member.header_offset for member in archive.infolist()), default=0):
                raise zipfile.BadZipFile("its end is missing")  # what was read is weights, themselves a zip within it
            if archive.getinfo("data").file_size > MAX_DATA:
                raise FileError(path, f"has more than {MAX_DATA:,} bytes of settings: it is no model.")
            data = json.loads(archive.read("data"))
            with archive.open("policy.pth") as weights:
                recurrent = _holds(LSTM, weights)
            archive.getinfo("_stable_baselines3_version")
    except (FileError, PermissionError):
        raise
    except (KeyError, ValueError, RuntimeError):  # no such member, no JSON, encrypted or JSON of too many levels
        data, recurrent = None, False
    except Exception as error:  # zipfile raises anything for broken bytes
        damage = f"is a damaged zip, perhaps cut short ({error}): save or copy it again"
        raise FileError(path, f"{damage if _begins_as_zip(path) else 'is no zip'}.") from None
    if not isinstance(data, dict):
        raise FileError(path, "is no model of stable-baselines3, which holds data, policy.pth and a version.")
    return data, recurrent


def _holds(text: bytes, stream: IO[bytes]) -> bool:
    """Return whether a text is in a stream, which is read to its end: only there its checksum is compared."""
    found, last = False, b""
    for chunk in read_chunks(stream):
        found = found or text in last + chunk
        last = chunk[-len(text) :]  # the text may lie across two pieces
    return found


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def keep_generators() -> Iterator[None]:
    """Put the global generators of Python, numpy and torch back as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        # no devices: the model is loaded on the CPU, so generators of GPUs are not touched
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
