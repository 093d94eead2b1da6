"""The moving pictures are small, and their command makes them."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from toys.commands import ROOT

FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 1_000_000
# 32 notes; a frame for each token and one for the properties; the prior and six temperatures
FRAMES = {"melody": range(32, 33), "molecule": range(10, 102), "leaving-the-prior": range(7, 8)}


def load_command():
    spec = importlib.util.spec_from_file_location("make_gifs", FOLDER / "make_gifs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(path, frames):
    with Image.open(path) as picture:
        assert picture.format == "GIF" and picture.size == (800, 450) and picture.n_frames in frames
        assert picture.info["loop"] == 0  # for ever
        shown = []
        for k in range(picture.n_frames):
            picture.seek(k)
            shown.append(np.asarray(picture.convert("RGB")))
    assert (shown[0][0] == 255).all(), "white paper, whatever the page's colour"
    assert all((one != other).any() for one, other in zip(shown, shown[1:]))
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", FRAMES)
def test_a_stored_picture_moves_and_is_small(name):
    check(FOLDER / f"{name}.gif", FRAMES[name])


def test_the_command_makes_all_of_them(tmp_path):
    load_command().main(["--tokens", "2000", "--out", str(tmp_path)])
    assert {path.stem for path in tmp_path.iterdir()} == set(FRAMES)
    for name, frames in FRAMES.items():
        check(tmp_path / f"{name}.gif", frames)


def test_an_unknown_picture_is_refused(capsys):
    with pytest.raises(SystemExit):
        load_command().main(["melodie"])
    assert "melody, molecule, leaving-the-prior" in capsys.readouterr().err
