"""ABC: tunes worked out by hand."""

import pytest

from seqtutor_envs.melody import abc

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]  # C major from C4


def heard(music, header="M:4/4\nL:1/8\nK:C"):
    """(onset, duration, pitch) in eighths of an ABC tune."""
    return [(2 * note.onset, 2 * note.duration, note.pitch) for note in abc.read(f"X:1\n{header}\n{music}\n")]


@pytest.mark.parametrize(
    "music, expected",
    [
        ("C,CcC'", [(0, 1, 48), (1, 1, 60), (2, 1, 72), (3, 1, 72)]),
        ("c'2 c/ c/4 c// c3/2", [(0, 2, 84), (2, 0.5, 72), (2.5, 0.25, 72), (2.75, 0.25, 72), (3, 1.5, 72)]),
        ("Cz2x/D", [(0, 1, 60), (3.5, 1, 62)]),
        ("Z2|C", [(16, 1, 60)]),  # two bars of eight eighths
        ("^CC|C =C_B,^^F", [(0, 1, 61), (1, 1, 61), (2, 1, 60), (3, 1, 60), (4, 1, 58), (5, 1, 67)]),
        ("^Cc", [(0, 1, 61), (1, 1, 72)]),  # an accidental holds in its own octave
        ("C>D E<F G>>A", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 0.5, 64), (2.5, 1.5, 65), (4, 1.75, 67), (5.75, 0.25, 69)]),
        ("C>-D (E>)F", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 1.5, 64), (3.5, 0.5, 65)]),
        ("z>D C<z E", [(1.5, 0.5, 62), (2, 0.5, 60), (4, 1, 64)]),
        ("C-C|C-D", [(0, 2, 60), (2, 1, 60), (3, 1, 62)]),  # the second is a slur
        ("^C-|C C", [(0, 2, 61), (2, 1, 60)]),  # a tie carries its accidental over the bar line
        ("C-z C", [(0, 1, 60), (2, 1, 60)]),
        ("[CEG]2 [C2E2]/D", [(0, 2, 67), (2, 1, 64), (3, 1, 62)]),
        ('{cd}C "Am"D "a|b"E !trill!F HG ~A .B Tc', [(i, 1, p) for i, p in enumerate(SCALE)]),
        ("|:C:|[1D:|[2E|]", [(0, 1, 60), (1, 1, 62), (2, 1, 64)]),  # repeats are not expanded
        ("C [K:G]F [L:1/4]F % F", [(0, 1, 60), (1, 1, 66), (2, 2, 66)]),
        ("C\nK:D\nd:|\nw:la la\nF", [(0, 1, 60), (1, 1, 74), (2, 1, 66)]),
        ("V:1\nCD\nV:2\nEF\nV:1\nG", [(0, 1, 60), (1, 1, 62), (2, 1, 67)]),
        ("C`D", [(0, 1, 60), (1, 1, 62)]),
    ],
)
def test_abc_by_hand(music, expected):
    assert heard(music) == expected


@pytest.mark.parametrize(
    "music, header, ends",
    [
        ("(3CDE F", "M:4/4\nL:1/8\nK:C", [2 / 3, 4 / 3, 2, 3]),
        ("(3:2:4CDEF G", "M:4/4\nL:1/8\nK:C", [2 / 3, 4 / 3, 2, 8 / 3, 11 / 3]),
        ("(2CD E", "M:6/8\nL:1/8\nK:C", [1.5, 3, 4]),
        ("(5CDEFG A", "M:4/4\nL:1/8\nK:C", [0.4, 0.8, 1.2, 1.6, 2, 3]),
        ("(5CDEFG A", "M:6/8\nL:1/8\nK:C", [0.6, 1.2, 1.8, 2.4, 3, 4]),
        ("CD", "M:2/4\nK:C", [0.5, 1]),  # below 3/4 the letter is a sixteenth
        ("CD", "M:3/4\nK:C", [1, 2]),
        ("CD", "M:C|\nK:C", [1, 2]),
    ],
)
def test_abc_tuplets_and_default_lengths(music, header, ends):
    assert [onset + duration for onset, duration, _ in heard(music, header)] == pytest.approx(ends)


@pytest.mark.parametrize(
    "key, altered",
    [
        ("C", {}),
        ("G", {"F": 1}),
        ("Gm", {"B": -1, "E": -1}),
        ("D mix", {"F": 1}),
        ("Ador", {"F": 1}),
        ("E Minor", {"F": 1}),
        ("Bb", {"B": -1, "E": -1}),
        ("F#m", {"F": 1, "C": 1, "G": 1}),
        ("F lydian", {}),
        ("Ephr", {}),
        ("HP", {"F": 1, "C": 1}),
        ("none", {}),
        ("D exp _b", {"F": 1, "C": 1, "B": -1}),
        ("Eb clef=treble", {"B": -1, "E": -1, "A": -1}),
    ],
)
def test_abc_keys(key, altered):
    plain = {"C": 60, "D": 62, "E": 64, "F": 65, "G": 67, "A": 69, "B": 71}
    assert [pitch for _, _, pitch in heard("CDEFGAB", f"L:1/8\nK:{key}")] == [
        pitch + altered.get(letter, 0) for letter, pitch in plain.items()
    ]


def test_abc_a_length_that_is_no_fraction_is_an_error():
    with pytest.raises(ValueError, match="L:fast"):
        heard("C", "L:fast\nK:C")


@pytest.mark.parametrize(
    "music, header",
    [
        ("C1/0", "K:C"),  # a ZeroDivisionError
        ("C", "M:4/0\nK:C"),
        ("C99999999", "K:C"),  # what its sum with others takes grows with the digits
        ("C" + "/" * 100_0, "K:C"),  # 1 / 2^1000
        ("C" + ">" * 1_000 + "D", "K:C"),
        ("(3:9999:C", "K:C"),
        ("{" * 5_000, "K:C"),  # brackets that do not close: time with the square of the line
        ("C|\n" * 50_000, "K:C"),
    ],
)
def test_abc_that_would_take_long_or_cannot_be_read_is_an_error(music, header):
    with pytest.raises(ValueError, match="^it "):
        heard(music, header)


def test_abc_file_header_belongs_to_every_tune_and_titles_are_told():
    first, second = abc.tunes("L:1/4\n\nX: 1\nT: One\nK:C\nC\n\nX:2\nK:C\nL:1/8\nC\n")
    assert (abc.title(first), abc.title(second)) == ("1 One", "2")
    assert (abc.read(first)[0].duration, abc.read(second)[0].duration) == (1.0, 0.5)
