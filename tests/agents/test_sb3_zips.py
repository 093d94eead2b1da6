"""Saved models of stable-baselines3 and sb3-contrib: told apart without unpickling, loaded with trust alone."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from agents import PsiLearning
from agents.evaluate import evaluate, sb3_zips
from seqtutor_envs.files import FileError
from toys.sb3_toys import EXACT, KWARGS, MODELS, algorithm, exact_env, learned


def rewritten(source, target, change):
    """A copy of a zip; `change(name, content)` returns a member's new content, or None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


@pytest.fixture(scope="module")
def ppo_zip(tmp_path_factory):
    path = tmp_path_factory.mktemp("zips") / "ppo.zip"
    learned("PPO").save(path)
    return path


# -- which algorithm --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("obs_mode, steps", [("prefix", 0), ("dict", 0), ("token", 24), ("one_hot", 24)])
def test_each_algorithm_is_known_by_its_zip(name, obs_mode, steps, tmp_path):
    learned(name, exact_env(obs_mode), steps).save(tmp_path / "model")
    known = sb3_zips.identify_algorithm(tmp_path / "model.zip")
    assert sb3_zips.import_class(known) is algorithm(name)


@pytest.mark.parametrize("name", ["PPO", "MaskablePPO", "RecurrentPPO"])
def test_a_policy_class_of_ones_own_hides_no_algorithm(name, tmp_path):
    base = type(learned(name, steps=0).policy)
    own = type("Own", (base,), {"__module__": __name__})
    learned(name, steps=0, policy=own).save(tmp_path / "model")
    assert json.loads(zipfile.ZipFile(tmp_path / "model.zip").read("data"))["policy_class"]["__module__"] == __name__
    assert sb3_zips.import_class(sb3_zips.identify_algorithm(tmp_path / "model.zip")) is algorithm(name)


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled_before_it_is_trusted(ppo_zip, tmp_path):
    def armed(name, content):
        if name != "data":
            return content
        data = json.loads(content)
        for value in data.values():
            if isinstance(value, dict) and ":serialized:" in value:
                value[":serialized:"] = base64.b64encode(pickle.dumps(Bomb(tmp_path / "exploded"))).decode()
        return json.dumps(data)

    path = rewritten(ppo_zip, tmp_path / "bomb.zip", armed)
    assert sb3_zips.identify_algorithm(path) == "stable_baselines3.ppo:PPO"
    with pytest.raises(ValueError, match="holds pickles, and loading one runs whatever code is in it.*--trust"):
        evaluate(path, EXACT, 5, env_kwargs=KWARGS)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(ValueError, match=r"cannot be loaded as PPO \(FileExistsError"):
        evaluate(path, EXACT, 5, env_kwargs=KWARGS, trust=True)
    assert (tmp_path / "exploded").exists(), "the test would notice"


# -- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_figures_of_a_zip_are_those_of_the_model(name, tmp_path):
    model = learned(name)
    model.save(tmp_path / "model")
    expected = evaluate(model, EXACT, 100, 3, KWARGS)
    assert np.isfinite(expected["j"])
    for path in (tmp_path / "model", str(tmp_path / "model.zip")):
        assert evaluate(path, EXACT, 100, 3, KWARGS, trust=True) == expected


def test_loading_leaves_the_global_generators_alone(ppo_zip):
    """The model has a seed, by which stable-baselines3 sets all of them."""

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    model = sb3_zips.load_zip(ppo_zip, trust=True)
    assert states() == before and model.device.type == "cpu" and model.seed == 0


def test_an_algorithm_can_be_named(tmp_path):
    ars = pytest.importorskip("sb3_contrib", reason="ARS is sb3-contrib's, which is optional").ARS
    ars("LinearPolicy", exact_env(), seed=0, device="cpu").save(tmp_path / "ars")
    assert sb3_zips.identify_algorithm(tmp_path / "ars.zip") is None
    with pytest.raises(ValueError, match="name its class, --algorithm module:Class, or load it in a program"):
        evaluate(tmp_path / "ars", EXACT, 5, env_kwargs=KWARGS, trust=True)
    assert type(sb3_zips.load_zip(tmp_path / "ars.zip", True, "sb3_contrib:ARS")) is ars


@pytest.mark.parametrize(
    "name, error, says",
    [
        ("ppo.py", ValueError, "form package.module:name, such as sb3_contrib:ARS; not 'ppo.py'"),
        ("mine.py:PPO", ValueError, "not 'mine.py:PPO'"),
        (
            "no_such_module:PPO",
            ImportError,
            "no_such_module:PPO: there is no module no_such_module in .*: install it, or set",
        ),
        ("stable_baselines3:PPOO", ValueError, "stable_baselines3:PPOO names no class with a method load"),
        ("json:loads", ValueError, "json:loads names no class with a method load"),
        ("stable_baselines3:DQN", ValueError, "cannot be loaded as DQN"),
    ],
)
def test_a_wrong_algorithm_is_one_clear_line(name, error, says, ppo_zip):
    with pytest.raises(error, match=says) as caught:
        sb3_zips.load_zip(ppo_zip, True, name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_library_that_is_missing_is_named(ppo_zip, monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    monkeypatch.delitem(sys.modules, "sb3_contrib.trpo", raising=False)
    with pytest.raises(ImportError, match="TRPO needs the module sb3_contrib.*pip install sb3-contrib"):
        sb3_zips.load_zip(ppo_zip, True, "sb3_contrib.trpo:TRPO")


def test_a_model_that_cannot_be_loaded_says_which_version_wrote_it(ppo_zip, tmp_path):
    path = rewritten(
        ppo_zip,
        tmp_path / "old.zip",
        lambda name, content: {"_stable_baselines3_version": b"0.11.1\n", "policy.pth": b"lost"}.get(name, content),
    )
    with pytest.raises(ValueError, match=r"old.zip, saved by stable-baselines3 0.11.1, cannot be loaded as PPO \("):
        sb3_zips.load_zip(path, True)


# -- files that are none ----------------------------------------------------------------------------------------------


BYTES = {
    "altered": lambda whole: whole.replace(b"action_net.weight", b"Xction_net.weight", 1),
    "text": lambda whole: b"no zip",
    "empty": lambda whole: b"",
}
MEMBERS = {
    "other": lambda name, content: content if name.endswith(".txt") else None,
    "no data": lambda name, content: "{" if name == "data" else content,
    "a list": lambda name, content: "[1]" if name == "data" else content,
}


def damaged(kind, source, folder):
    """A path that is no whole model."""
    path = folder / f"{kind}.zip"
    if kind in BYTES:
        path.write_bytes(BYTES[kind](source.read_bytes()))
    elif kind in MEMBERS:
        rewritten(source, path, MEMBERS[kind])
    return path


@pytest.mark.parametrize(
    "kind, error, says",
    [
        ("missing", FileNotFoundError, "There is no file"),
        ("altered", ValueError, "altered.zip is a damaged zip, .*Bad CRC-32 for file .policy.pth"),
        ("text", ValueError, "text.zip is no zip"),
        ("empty", ValueError, "empty.zip is no zip"),
        ("other", ValueError, "other.zip is no model of stable-baselines3"),
        ("no data", ValueError, "no data.zip is no model of stable-baselines3"),
        ("a list", ValueError, "a list.zip is no model of stable-baselines3"),
    ],
)
def test_a_file_that_is_no_model_is_one_clear_line(kind, error, says, ppo_zip, tmp_path):
    with pytest.raises(error, match=says) as caught:
        evaluate(damaged(kind, ppo_zip, tmp_path), EXACT, 5, trust=True)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_zip_that_was_cut_short_anywhere_is_named_as_that(share, ppo_zip, tmp_path):
    """Its weights are zips themselves, which can be found in what is left."""
    whole = ppo_zip.read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="cut.zip is a damaged zip, perhaps cut short"):
        sb3_zips.identify_algorithm(tmp_path / "cut.zip")


def test_weights_are_searched_and_not_held_and_a_bomb_is_refused_before_trust(ppo_zip, tmp_path):
    large = rewritten(ppo_zip, tmp_path / "large.zip", lambda name, content: content)
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(ppo_zip) as whole:
        archive.writestr("data", whole.read("data"))
        # the name lies across two pieces
        archive.writestr("policy.pth", bytes(2**20 - 5) + b"lstm_actor" + bytes(2**26))
        archive.writestr("_stable_baselines3_version", "2.9.2")
    tracemalloc.start()
    assert sb3_zips.identify_algorithm(large) == sb3_zips.RECURRENT
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    bombs = (("policy.pth", 5_798_205_849, "unpacks to 5,798,"), ("data", 2**27, "bytes of settings"))
    for member, declared, said in bombs:
        with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
            for name in ("data", "policy.pth", "_stable_baselines3_version"):
                archive.writestr(name, "{}")
                archive.filelist[-1].file_size = declared if name == member else 2
        with pytest.raises(FileError, match=said):
            sb3_zips.load_zip(tmp_path / "bomb.zip", trust=False)


@pytest.mark.parametrize("data", ["[" * 100_000, '{"a": ' + "[" * 100_000, b"\xed\xa0\x80", "3"])
def test_settings_that_are_no_json_object_are_no_model(data, ppo_zip, tmp_path):
    path = rewritten(ppo_zip, tmp_path / "odd.zip", lambda name, content: data if name == "data" else content)
    with pytest.raises(FileError, match="odd.zip is no model of stable-baselines3"):
        sb3_zips.identify_algorithm(path)


def test_paths_mean_zips_or_our_own_files(ppo_zip, tmp_path):
    assert sb3_zips.find_zip(ppo_zip) == sb3_zips.find_zip(ppo_zip.with_suffix("")) == ppo_zip
    bare = tmp_path / "bare"
    bare.write_bytes(ppo_zip.read_bytes())
    assert sb3_zips.find_zip(bare) == bare
    PsiLearning(EXACT, n_envs=4).save(tmp_path / "agent")
    for path in (tmp_path, tmp_path / "agent", tmp_path / "agent.safetensors", tmp_path / "none"):
        assert sb3_zips.find_zip(path) is None
    with pytest.raises(FileNotFoundError, match="No agent in .*none: `python -m agents train` writes"):
        evaluate(tmp_path / "none", EXACT, 5)
