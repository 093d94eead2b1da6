"""Corpora: the preparation on hand-worked notes, MIDI folders with good and bad files, .npz files, books of tunes."""

import sys

import numpy as np
import pytest

from seqtutor_envs.melody.corpus import (
    COLLECTIONS,
    from_midi_folder,
    from_music21,
    from_npz,
    major_key,
    prepare,
    split_of,
)
from seqtutor_envs.melody.midi import write_midi
from seqtutor_envs.melody.notes import Note, round_to_step
from toys.melody_toys import write_bad_files

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]  # C major from C4


TRIPLETS = "33% of onsets on the grid of sixteenths, fewer than 90%"


def quarters(pitches, start=0.0):
    return [Note(start + i, 1.0, pitch) for i, pitch in enumerate(pitches)]


def spelled(pitches, length=4):
    """Tokens of pitches of `length` steps each."""
    return [token for pitch in pitches for token in [pitch - 46] + [1] * (length - 1)]


def only(notes, **keywords):
    melodies, reasons = prepare(notes, **keywords)
    assert len(melodies) == 1 and not reasons
    assert melodies[0].dtype == np.uint8
    return melodies[0].tolist()


def reason(notes, **keywords):
    melodies, (said,) = prepare(notes, **keywords)
    assert not melodies
    return said


def test_a_scale_in_c_stays_as_it_is():
    assert only(quarters(SCALE)) == spelled(SCALE)


def test_a_melody_in_d_becomes_c():
    assert only(quarters([pitch + 2 for pitch in SCALE])) == spelled(SCALE)


def test_octaves_go_to_the_centre_and_a_tie_goes_up():
    assert only(quarters([pitch + 36 for pitch in SCALE])) == spelled(SCALE)  # 60..72: centre 66, nearest 65.5
    low = [48, 50, 52, 53, 55, 57, 59, 57]  # 48..59, centre 53.5: 12 from 65.5 up; C4..B4 has centre 65.5
    assert only(quarters(low)) == spelled([pitch + 12 for pitch in low])
    tie = [48, 50, 52, 53, 55, 57, 59, 71]  # 48..71, centre 59.5: as far from 65.5 as 71.5 is
    assert only(quarters(tie)) == spelled([pitch + 12 for pitch in tie])


def test_without_transposition_key_and_octave_stay_unless_out_of_range():
    notes = [pitch + 2 for pitch in SCALE]
    assert only(quarters(notes), transpose=False) == spelled(notes)
    assert only(quarters([pitch + 12 for pitch in notes]), transpose=False) == spelled(notes)  # 86 is beyond 83


def test_leading_silence_goes_and_short_rests_stay():
    notes = quarters(SCALE[:4], start=5.0) + quarters(SCALE[4:], start=10.0)  # a rest of one quarter between
    assert only(notes) == spelled(SCALE[:4]) + [0, 1, 1, 1] + spelled(SCALE[4:])


def test_sixteen_silent_steps_split_and_fifteen_do_not():
    again = quarters([64, 62, 60, 67, 69, 71, 72, 60], start=12.0)  # 8 quarters, then 4 quarters = 16 steps of silence
    first, second = prepare(quarters(SCALE) + again)[0]
    assert first.tolist() == spelled(SCALE)
    assert second.tolist() == spelled([64, 62, 60, 67, 69, 71, 72, 60])
    (together,) = prepare(quarters(SCALE) + [note._replace(onset=note.onset - 0.25) for note in again])[0]
    assert len(together) == 32 + 15 + 32


def test_top_note_of_chords_and_no_grace_notes():
    chords = [note._replace(pitch=note.pitch - 12) for note in quarters(SCALE)]
    grace = [Note(2.0, 0.0, 80)]
    assert only(quarters(SCALE) + chords + grace) == spelled(SCALE)


def test_onsets_and_ends_are_rounded_to_the_step():
    played = [Note(note.onset + 0.05, 0.93, note.pitch) for note in quarters(SCALE)]  # a step is 0.25
    assert only(played) == spelled(SCALE)


def test_a_long_melody_is_cut_at_1024_steps():
    melody = only(quarters(SCALE * 40))  # 320 quarters = 1,280 steps
    assert melody == spelled(SCALE * 32)
    held = only([Note(0.0, 1.0, 60), Note(1.0, 1.0, 64), Note(2.0, 1.0, 67), Note(3.0, 300.0, 71)])
    assert held == [14, 1, 1, 1, 18, 1, 1, 1, 21, 1, 1, 1, 25] + [1] * 1011


@pytest.mark.parametrize(
    "notes, said",
    [
        (quarters(SCALE)[:7], "28 steps, fewer than 32"),
        (quarters([60, 62, 64] * 4), "3 different pitches, fewer than 4"),
        ([Note(i / 3, 1 / 3, SCALE[i % 8]) for i in range(30)], TRIPLETS),
        (quarters(range(60, 72)), "58% of notes in the best major key, fewer than 85%"),
        (quarters([48, 60, 62, 64, 72, 84, 84, 84]), "its pitches 48 to 84 do not fit into 48..83 by octaves"),
    ],
)
def test_what_is_left_out_is_told(notes, said):
    assert reason(notes) == said


def test_nine_in_ten_onsets_on_the_grid_are_enough():
    notes = [Note(i + (0.125 if i in (3,) else 0.0), 0.5, SCALE[i % 8]) for i in range(10)]
    assert len(prepare(notes)[0]) == 1
    notes[5] = notes[5]._replace(onset=5.125)
    assert reason(notes) == "80% of onsets on the grid of sixteenths, fewer than 90%"


def test_halves_of_a_step_are_rounded_up():
    melodies, _ = prepare(quarters(SCALE * 2) + [Note(16.125, 0.5, 60)])
    assert melodies[0].tolist() == spelled(SCALE * 2) + [0, 14, 1]  # 16.125 quarters = 64.5 steps, its end 66.5
    assert round_to_step(8.12) == 32


@pytest.mark.parametrize(
    "pitches, tonic, share",
    [
        ([60, 62, 64, 65, 67, 69, 71], 0, 1.0),
        ([62, 64, 66, 67, 69, 71, 73], 2, 1.0),
        ([60, 62, 64, 66, 67, 69, 70], 7, 6 / 7),  # all but one in G and in F, two of either triad; G is nearer below
        ([60, 64, 67, 69, 67, 62, 60], 0, 1.0),  # C, F and G hold all: it ends on C
        ([60, 64, 67, 69, 67, 62, 67], 7, 1.0),  # ends on G
        ([60, 64, 67, 60, 69, 62], 0, 1.0),  # ends on D: C E G C are more of C's triad than of F's or G's
    ],
)
def test_major_key_and_its_ties(pitches, tonic, share):
    assert major_key(pitches) == (tonic, pytest.approx(share))
    for up in range(1, 12):
        assert major_key([pitch + up for pitch in pitches])[0] == (tonic + up) % 12


def test_the_split_hangs_on_the_opening_alone():
    opening = np.array(spelled(SCALE), dtype=np.uint8)
    other_end = np.concatenate([opening, [30, 31, 1]]).astype(np.uint8)
    other_rhythm = np.array(spelled(SCALE, length=2), dtype=np.int64)
    transposed = np.array(spelled([pitch + 5 for pitch in SCALE]), dtype=np.uint8)
    assert {split_of(tokens) for tokens in (other_end, other_rhythm, transposed)} == {split_of(opening)}


def test_the_split_is_about_90_5_5():
    rng = np.random.default_rng(0)
    splits = np.bincount([split_of(rng.integers(2, 38, 32)) for _ in range(20_000)]) / 20_000
    assert splits == pytest.approx([0.9, 0.05, 0.05], abs=0.008)  # 5 standard errors of 0.05


def tune(*pitches):
    return np.array(spelled(pitches))


def fill(folder):
    """Two melodies, one of them twice, and one file for each way to be of no use. Returns name -> reason."""
    (folder / "deep" / "er").mkdir(parents=True)
    write_midi(tune(*SCALE), folder / "a.mid")
    write_midi(tune(*(pitch + 2 for pitch in SCALE)), folder / "a in D.MID")
    write_midi(tune(*reversed(SCALE)), folder / "deep" / "er" / "b.midi")
    (folder / "notes.txt").write_text("no music")
    return write_bad_files(folder)


def test_a_folder_gives_its_melodies_and_tells_what_it_skipped(tmp_path):
    reasons = fill(tmp_path)
    corpus = from_midi_folder(tmp_path, progress=False)
    assert [corpus.melody(i).tolist() for i in range(len(corpus))] == [spelled(SCALE), spelled(SCALE[::-1])]
    assert corpus.source_names == (tmp_path.name,) and corpus.counts() == {tmp_path.name: 2}
    assert {path.rsplit("/", 1)[-1] for path, _ in corpus.skipped} == set(reasons)
    for path, said in corpus.skipped:
        assert reasons[path.rsplit("/", 1)[-1]] in said
    assert len(from_midi_folder(tmp_path, transpose=False, progress=False)) == 3


def test_a_folder_without_use_is_an_error_with_counts_and_reasons(tmp_path):
    with pytest.raises(NotADirectoryError):
        from_midi_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="No .mid or .midi file"):
        from_midi_folder(tmp_path)
    for i in range(25):
        (tmp_path / f"{i:02}.mid").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="25 MIDI files in .*, 25 skipped") as error:
        from_midi_folder(tmp_path, progress=False)
    assert "19.mid: is not a readable" in str(error.value) and "and 5 more" in str(error.value)


def npz(path, **changes):
    """Three melodies of two sources, one in each split."""
    arrays = {
        "tokens": np.array([14, 1, 16, 18, 0, 21, 1], dtype=np.uint8),
        "offsets": np.array([0, 3, 5, 7]),
        "source": np.array([0, 1, 0], dtype=np.uint8),
        "source_names": np.array(["ours", "theirs"]),
        "split": np.array([2, 0, 1], dtype=np.uint8),
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return path


def test_npz_keeps_melodies_sources_and_split(tmp_path):
    corpus = from_npz(npz(tmp_path / "three.npz"))
    assert [corpus.melody(i).tolist() for i in range(3)] == [[14, 1, 16], [18, 0], [21, 1]]
    assert corpus.source_names == ("ours", "theirs") and corpus.source.tolist() == [0, 1, 0]
    assert [[m.tolist() for m in corpus.melodies(s)] for s in ("train", "validation", "test")] == [
        [[18, 0]],
        [[21, 1]],
        [[14, 1, 16]],
    ]


def test_npz_leaves_out_a_source(tmp_path):
    corpus = from_npz(npz(tmp_path / "three.npz"), exclude=["ours"])
    assert len(corpus) == 1 and corpus.source_names == ("theirs",) and corpus.split.tolist() == [0]
    with pytest.raises(ValueError, match="no source 'hers'; its sources are: ours, theirs"):
        from_npz(tmp_path / "three.npz", exclude=["hers"])
    with pytest.raises(ValueError, match="nothing is left"):
        from_npz(tmp_path / "three.npz", exclude=["ours", "theirs"])


def test_npz_without_source_and_split(tmp_path):
    corpus = from_npz(npz(tmp_path / "bare.npz", source=None, source_names=None, split=None))
    assert corpus.source_names == ("bare",)
    assert corpus.split.tolist() == [split_of(corpus.melody(i)) for i in range(3)]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"tokens": None}, "no array 'tokens'; it has: offsets, source"),
        ({"offsets": None}, "no array 'offsets'"),
        ({"source_names": None}, "no array 'source_names'"),
        ({"tokens": np.ones(7)}, "'tokens' must be one row of whole numbers, not float64"),
        ({"tokens": np.array([14, 1, 38, 1, 1, 1, 1])}, "must be in 0..37, not 1..38"),
        ({"offsets": np.array([0, 3, 3, 7])}, "'offsets' must rise from 0 to the 7 tokens"),
        ({"offsets": np.array([0, 3, 5, 8])}, "'offsets' must rise from 0 to the 7 tokens"),
        ({"source": np.array([0, 2, 0])}, "'source' must give each of the 3 melodies a number in 0..1"),
        ({"split": np.array([0, 1])}, "'split' must give each of the 3 melodies a number in 0..2"),
        ({"offsets": np.array([0, 2**62, 2**63 - 1, -(2**63), 7])}, "'offsets' must rise"),  # np.diff overflows here
        ({"tokens": np.ones(20_000, np.uint8), "offsets": np.array([0, 1, 2, 20_000])}, "of 16,384 tokens each"),
        ({"source_names": np.array("ours")}, "'source_names' must be a row of 1..256 names"),
        ({"source_names": np.array([1, 2])}, "'source_names' must be a row of 1..256 names"),
        ({"source_names": np.array([str(i) for i in range(300)])}, "'source_names' must be a row of 1..256 names"),
    ],
)
def test_a_wrong_npz_is_an_error_that_names_the_array(tmp_path, changes, said):
    with pytest.raises(ValueError) as error:
        from_npz(npz(tmp_path / "wrong.npz", **changes))
    assert said in str(error.value) and "wrong.npz" in str(error.value)


def test_an_npz_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "pickle.npz", tokens=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not an .npz of plain arrays"):
        from_npz(tmp_path / "pickle.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="not an .npz of plain arrays"):
        from_npz(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        from_npz(tmp_path / "none.npz")


BOOK = """% a file header
X:1
T:The Scale
M:4/4
L:1/4
K:D
DEFG|ABcd|]

X:2
T:No key
L:1/4
DEFG

X:3
T:Too short
M:2/4
K:G
GABc|]
"""


class StandIn:
    """music21.corpus as far as it is used: collections of ABC files."""

    def __init__(self, folder):
        self.folder = folder

    def getComposer(self, name):
        return sorted((self.folder / name).glob("*.abc"))


@pytest.fixture
def books(tmp_path, monkeypatch):
    for name, folder in COLLECTIONS.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.abc").write_text(BOOK)
    monkeypatch.setitem(sys.modules, "music21", StandIn(tmp_path))
    monkeypatch.setitem(sys.modules, "music21.corpus", StandIn(tmp_path))
    return tmp_path


def test_music21_collections_give_their_tunes_once_and_tell_what_they_skipped(books):
    corpus = from_music21(progress=False)
    assert corpus.counts() == {"oneills": 1}  # the others hold the same tune
    assert corpus.melody(0).tolist() == spelled(SCALE)
    assert [name for name, _ in corpus.skipped[:2]] == ["oneills.abc: 2 No key", "oneills.abc: 3 Too short"]
    assert [said for _, said in corpus.skipped[:2]] == ["it has no key (K:), so no music", "4 steps, fewer than 32"]


def test_books_without_a_usable_tune_are_an_error(books):
    for path in books.glob("*/*.abc"):
        path.write_text(BOOK.replace("K:D", "C:D"))
    with pytest.raises(ValueError, match="Nothing usable: 9 tunes in 3 files of oneills, ryans, airds, 9 skipped"):
        from_music21(progress=False)


def test_without_music21_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    monkeypatch.setitem(sys.modules, "music21.corpus", None)
    with pytest.raises(ImportError, match=r"pip install 'seqtutor\[corpus\]'") as error:
        from_music21()
    assert "\n" not in str(error.value)
