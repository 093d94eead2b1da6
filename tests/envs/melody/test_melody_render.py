"""Renderings: the text by hand, the picture by its shape and by what must change it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from seqtutor_envs.melody.render import IN_KEY, MARKER, OUT_OF_KEY, piano_roll, render_ansi, render_rgb

ROOT = Path(__file__).parents[3]
C4, D4, DS4, E4 = 14, 16, 17, 18


@pytest.mark.parametrize(
    "tokens, text",
    [
        ([], "(no notes yet)"),
        ([C4], "C4:1/16"),
        ([C4, 1, 1, 1, D4, 1, 0, 1, DS4, 1, 1], "C4:1/4 D4:1/8 rest:1/8 D#4:3/16"),
        ([1, 1, 2, 37], "rest:1/8 C3:1/16 B5:1/16"),
        ([0, 0, 1, 0], "rest:1/4"),
        ([C4] + [1] * 15, "C4:1"),
        ([C4] + [1] * 15 + [E4], "C4:1 | E4:1/16"),
        ([1] * 12 + [C4] + [1] * 7 + [E4], "rest:3/4 C4:1/4~ | ~C4:1/4 E4:1/16"),
        ([C4] + [1] * 35, "C4:1~ | ~C4:1~ | ~C4:1/4"),
        ([C4, 0] + [1] * 17, "C4:1/16 rest:15/16 | rest:3/16"),
    ],
)
def test_text_names_notes_durations_and_bars(tokens, text):
    assert render_ansi(np.array(tokens, dtype=int)) == text


def coloured(picture, colour):
    """Where a pixel has exactly this colour, [H, W]."""
    return (picture == np.round(np.array(to_rgb(colour)) * 255)).all(axis=2)


def test_every_picture_has_the_same_size_and_type():
    for tokens, episode_return, length in (
        ([], 0.0, 32),
        ([1] * 32, -1234567.891, 32),
        ([2, 37] * 16, 1.0, 32),
        ([C4] * 100, 2.0, 100),
    ):
        picture = render_rgb(tokens, episode_return, length)
        assert picture.shape == (480, 960, 3) and picture.dtype == np.uint8


def test_equal_melodies_give_equal_pictures_and_others_do_not():
    melody = [C4, 1, D4, 1]
    picture = render_rgb(melody, -3.5)
    assert (render_rgb(np.array(melody), -3.5) == picture).all()
    for tokens, episode_return, length in (
        ([C4, 1, E4, 1], -3.5, 32),
        ([C4, 1, D4, D4], -3.5, 32),
        ([C4, 1, D4, 1, 1], -3.5, 32),
        (melody, -3.6, 32),
        (melody, -3.5, 64),
    ):
        assert (render_rgb(tokens, episode_return, length) != picture).any()


def test_colours_tell_the_key_and_the_mark_tells_the_step():
    natural, sharp = (render_rgb([token] + [1] * 31, 0.0) for token in (C4, DS4))
    assert coloured(natural, IN_KEY).sum() > 5000 and not coloured(natural, OUT_OF_KEY).any()
    assert coloured(sharp, OUT_OF_KEY).sum() > 5000 and not coloured(sharp, IN_KEY).any()
    assert not coloured(sharp, MARKER).any()  # complete
    marked = coloured(render_rgb([C4] * 8, 0.0), MARKER)
    assert np.flatnonzero(marked.any(axis=0)).mean() == pytest.approx((0.06 + 0.92 * 8 / 32) * 960, abs=2)


def test_longer_notes_are_wider_and_higher_notes_higher():
    def box(tokens):
        blue = coloured(render_rgb(tokens, 0.0), IN_KEY)
        rows, columns = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
        return rows.mean(), len(columns)

    (low, short), (high, long) = box([C4, 0] + [1] * 30), box([E4] + [1] * 15 + [0] * 16)
    assert high < low  # rows count downwards
    assert long == pytest.approx(16 * short, rel=0.15)


def test_rolls_of_many_melodies_share_one_figure():
    figure = Figure(figsize=(8, 4))
    for i, tokens in enumerate(([C4] * 32, [C4, 1] * 512)):
        ax = figure.add_subplot(2, 1, i + 1)
        piano_roll(ax, tokens)
        assert ax.get_xlim() == (0, len(tokens))
        assert {label.get_text() for label in ax.get_yticklabels()} >= {"C4", "G4"}
    FigureCanvasAgg(figure).draw()


def test_matplotlib_is_imported_for_a_picture_only_and_pyplot_never():
    code = """if True:
        import sys
        from seqtutor_envs.melody import corpus, render
        render.render_ansi([14, 1])
        assert not {"matplotlib", "pretty_midi", "music21", "torch", "numba"} & set(sys.modules)
        render.render_rgb([14, 1], 0.0)
        assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
