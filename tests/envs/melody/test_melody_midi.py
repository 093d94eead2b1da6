"""MIDI: the round trip keeps every onset, pitch and length; foreign files by hand-built examples."""

import os
import time
from contextlib import nullcontext

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from seqtutor_envs.melody.midi import MidiError, canonical, from_midi, to_midi, to_wav, write_midi

TEMPI = (3.6, 33.3, 60.0, 80.0, 97.3, 120.0, 211.7, 6000.0)
melodies = st.lists(st.one_of(st.just(0), st.just(1), st.integers(2, 37)), min_size=1, max_size=80)


def built(*instruments, **keywords):
    """A PrettyMIDI of lists of (start, end, pitch) in seconds; at 120 a minute a sixteenth is 0.125 s."""
    midi = pretty_midi.PrettyMIDI(**keywords)
    for notes in instruments:
        instrument = pretty_midi.Instrument(0)
        instrument.notes = [pretty_midi.Note(90, pitch, start, end) for start, end, pitch in notes]
        midi.instruments.append(instrument)
    return midi


def written(midi, path):
    midi.write(str(path))
    return path


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([14, 1, 16], [14, 1, 16]),
        ([1, 1, 14], [0, 1, 14]),  # before the first note a hold is silence
        ([0, 0, 14], [0, 1, 14]),
        ([14, 0, 0, 1, 0, 16], [14, 0, 1, 1, 1, 16]),
        ([14, 14, 1, 0], [14, 14, 1, 0]),
        ([1], [0]),
        ([], []),
    ],
)
def test_canonical_spells_every_rest_as_one_note_off_and_holds(tokens, expected):
    assert canonical(tokens).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(melodies, st.sampled_from(TEMPI), st.booleans())
def test_round_trip_keeps_every_melody_at_any_tempo(tmp_path_factory, tokens, qpm, through_a_file):
    midi = to_midi(np.array(tokens), qpm)
    if through_a_file:
        midi = written(midi, tmp_path_factory.mktemp("round") / "trip.mid")
    (back,) = from_midi(midi)
    assert back.tolist() == canonical(tokens).tolist()


def test_token_14_sounds_as_middle_c_for_its_length():
    (note,) = to_midi([1, 1, 14, 1, 1, 0], qpm=60).instruments[0].notes
    assert note.pitch == 60
    assert (note.start, note.end) == pytest.approx((0.5, 1.25))  # a sixteenth at 60 a minute is 0.25 s


def test_lowest_and_highest_tokens_are_midi_48_and_83():
    assert [note.pitch for note in to_midi([2, 37]).instruments[0].notes] == [48, 83]


@pytest.mark.parametrize("qpm", [0, -80, 3.5, 1e9, float("nan")])
def test_a_tempo_that_midi_cannot_hold_is_an_error(qpm):
    with pytest.raises(ValueError, match="qpm must be a positive, finite number from"):
        to_midi([14], qpm)


@pytest.mark.parametrize("tokens", [[], [38], [-1], [[14]], [1.5], ["C4"]])
def test_what_is_no_melody_is_an_error(tokens):
    with pytest.raises(ValueError):
        to_midi(tokens)


def test_tempo_changes_do_not_move_notes(tmp_path):
    """Quarter notes C4 D4 E4 of 480 ticks, the second at half the tempo of the first, the third at three times its."""
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000, time=0)])
    for pitch, tempo in ((60, 1_000_000), (62, 333_333), (64, 500_000)):
        track.append(mido.Message("note_on", note=pitch, velocity=80, time=0))
        track.append(mido.Message("note_off", note=pitch, velocity=0, time=480))
        track.append(mido.MetaMessage("set_tempo", tempo=tempo, time=0))
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(tmp_path / "rubato.mid")
    (tokens,) = from_midi(tmp_path / "rubato.mid")
    assert tokens.tolist() == [14, 1, 1, 1, 16, 1, 1, 1, 18, 1, 1, 1]


def test_onsets_and_ends_are_rounded_to_the_step(tmp_path):
    """Played by hand, a sixteenth is 0.125 s: the first note 0.03 s late, the second 0.02 s early and held legato."""
    (tokens,) = from_midi(built([(0.03, 0.27, 60), (0.23, 0.53, 64), (0.5, 0.6, 67)]))
    assert tokens.tolist() == [14, 1, 18, 1, 21]


def test_of_two_thirty_seconds_in_a_step_the_one_on_the_grid_counts():
    (tokens,) = from_midi(built([(0, 0.125, 60), (0.125, 0.1875, 62), (0.1875, 0.25, 64), (0.25, 0.375, 65)]))
    assert tokens.tolist() == [14, 16, 19]


def test_the_top_note_of_a_chord_counts():
    melody = [(i / 4, i / 4 + 0.25, 60 + i) for i in range(8)]
    for below in (52, 40):  # 40 lies below 48..83, and so moves nothing: it is dropped
        (tokens,) = from_midi(built([*melody, (0, 0.25, 55), (1, 1.25, below)]))
        assert tokens.tolist() == [14, 1, 15, 1, 16, 1, 17, 1, 18, 1, 19, 1, 20, 1, 21, 1]


def test_pitches_outside_are_moved_by_the_fewest_octaves():
    (low,) = from_midi(built([(0, 0.125, 40), (0.125, 0.25, 47), (0.25, 0.375, 60)]))
    (high,) = from_midi(built([(0, 0.125, 100), (0.125, 0.25, 84)]))
    assert (low + 46).tolist() == [52, 59, 72]
    assert (high + 46).tolist() == [76, 60]


def test_a_melody_wider_than_three_octaves_is_an_error_that_names_its_pitches():
    with pytest.raises(MidiError, match="40 to 90 do not fit into 48..83"):
        from_midi(built([(0, 0.125, 40), (0.125, 0.25, 90)]))


@pytest.mark.parametrize(
    "notes, reason",
    [
        ([(0, 1, 60), (0.5, 1.5, 64)], "in bar 1 a note begins 4.0 sixteenths before another ends"),
        ([(0, 0.5, 60), (0, 0.5, 64), (0.5, 1, 62), (0.5, 1, 65)], "100% of its onsets are chords"),
        ([(0, 1, 48), (0, 0.5, 72), (0.5, 1, 74)], "in bar 1"),  # a chord whose lower note sounds on
    ],
)
def test_two_voices_are_an_error_with_the_reason(notes, reason):
    with pytest.raises(MidiError, match="polyphonic: ") as error:
        from_midi(built(notes))
    assert reason in str(error.value) and "instrument 1 (Acoustic Grand Piano)" in str(error.value)


def test_a_name_of_several_lines_is_told_in_one(tmp_path):
    midi = built([(0, 1, 60), (0.5, 1.5, 64)])
    midi.instruments[0].name = "my\n\nstrings"
    with pytest.raises(MidiError, match=r"instrument 1 \(my strings\): polyphonic") as error:
        from_midi(written(midi, tmp_path / "a.mid"))
    assert "\n" not in str(error.value)


def test_each_single_line_is_a_melody_and_the_others_are_named():
    midi = built([(0, 0.125, 60)], [(0, 1, 60), (0.5, 1.5, 64)], [(0, 0.25, 62)])
    midi.instruments[1].name = "strings"
    drums = pretty_midi.Instrument(0, is_drum=True)
    drums.notes.append(pretty_midi.Note(90, 38, 0, 5))
    midi.instruments.append(drums)
    with pytest.warns(UserWarning, match=r"instrument 2 \(strings\): polyphonic"):
        first, second = from_midi(midi)
    assert (first.tolist(), second.tolist()) == ([14], [16, 1])


def test_drums_alone_and_no_notes_are_an_error(tmp_path):
    drums = built([(0, 1, 38)])
    drums.instruments[0].is_drum = True
    for midi in (drums, built(), built([])):
        with pytest.raises(MidiError, match="no notes"):
            from_midi(midi)
        with pytest.raises(MidiError, match="no notes"):
            from_midi(written(midi, tmp_path / "none.mid"))


@pytest.mark.parametrize("content", [b"", b"no MIDI", b"MThd\0\0\0\6\0\1\0\1\0\0", b"MThd\0\0\0\6\0\1", bytes(100)])
def test_garbage_bytes_are_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "garbage.mid"
    path.write_bytes(content)
    with pytest.raises(MidiError, match="garbage.mid is not a readable MIDI file"):
        from_midi(path)


def test_a_truncated_file_is_an_error(tmp_path):
    content = written(to_midi([14, 1, 16, 1] * 8), tmp_path / "whole.mid").read_bytes()
    (tmp_path / "half.mid").write_bytes(content[: len(content) // 2])
    with pytest.raises(MidiError):
        from_midi(tmp_path / "half.mid")


def test_a_file_timed_in_film_frames_is_an_error(tmp_path):
    content = bytearray(written(to_midi([14]), tmp_path / "film.mid").read_bytes())
    content[12:14] = b"\xe7\x28"  # the header's division: 25 frames a second, 40 ticks each
    (tmp_path / "film.mid").write_bytes(content)
    with pytest.raises(MidiError, match="film frames"):
        from_midi(tmp_path / "film.mid")


def track(*events, ticks=1):
    """A MIDI file of one track, byte by byte: (ticks before it, message) and the end of the track."""
    content = b""
    for delta, message in (*events, (0, b"\xff\x2f\x00")):
        septets = [delta >> shift & 127 for shift in (21, 14, 7, 0)]
        content += bytes([*(septet | 128 for septet in septets[:-1]), septets[-1]]) + message
    header = b"MThd" + (6).to_bytes(4, "big") + b"\0\0\0\1" + ticks.to_bytes(2, "big")
    return header + b"MTrk" + len(content).to_bytes(4, "big") + content


ON, OFF = b"\x90\x3c\x40", b"\x80\x3c\x40"


def test_a_few_bytes_that_last_for_years_are_no_melody(tmp_path):
    """Nine million quarters, as 36 million tokens: the rules would compute for hours."""
    (tmp_path / "long.mid").write_bytes(track((0, ON), (9_000_000, OFF)))
    begun = time.perf_counter()
    with pytest.raises(MidiError, match="long.mid holds no melody: .*it lasts 36,000,000 sixteenths, more than 16,384"):
        from_midi(tmp_path / "long.mid")
    (tmp_path / "rest.mid").write_bytes(track((9_000_000, b"\xff\x01\x0dend of melody")))
    with pytest.raises(MidiError):
        from_midi(tmp_path / "rest.mid")
    assert time.perf_counter() - begun < 10
    (tmp_path / "longest.mid").write_bytes(track((0, ON), (4_096, OFF)))
    assert from_midi(tmp_path / "longest.mid")[0].tolist() == [14, *[1] * 16_383]


def test_a_thousand_events_of_one_key_at_once_are_refused(tmp_path):
    """pretty_midi's time grows with their square: a megabyte would take hours."""
    for n, is_read in ((31, True), (500, False)):
        (tmp_path / "equal.mid").write_bytes(track((0, ON), (4, OFF), *[(0, ON), (0, OFF)] * n))
        with nullcontext() if is_read else pytest.raises(MidiError, match="more than 64 events of one key at one time"):
            assert from_midi(tmp_path / "equal.mid")[0].tolist() == [14, *[1] * 15]


@pytest.mark.parametrize("content", [track((0, ON), (4, OFF), ticks=0), bytes(2**20 + 1), b"MThd" + bytes(2**21)])
def test_no_ticks_and_too_many_bytes_are_midi_errors(tmp_path, content):
    (tmp_path / "odd.mid").write_bytes(content)
    with pytest.raises(MidiError, match="odd.mid"):
        from_midi(tmp_path / "odd.mid")


def test_a_pipe_is_a_midi_error_and_a_folder_an_error_of_the_disk(tmp_path):
    os.mkfifo(tmp_path / "pipe.mid")
    with pytest.raises(MidiError, match="pipe or a device"):
        from_midi(tmp_path / "pipe.mid")
    with pytest.raises(IsADirectoryError):
        from_midi(tmp_path)


def test_a_sound_of_years_is_refused(tmp_path):
    (tmp_path / "long.mid").write_bytes(track((0, ON), (9_000_000, OFF)))
    with pytest.raises(ValueError, match="lasts at most 3,600 s, not 4,500,000"):
        to_wav(pretty_midi.PrettyMIDI(str(tmp_path / "long.mid")), tmp_path / "long.wav")
    assert not (tmp_path / "long.wav").exists()


def test_a_missing_file_is_no_midi_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        from_midi(tmp_path / "none.mid")


def test_files_are_written_whole_and_leave_nothing_beside_them(tmp_path):
    write_midi([14, 1, 16, 0], tmp_path / "a.mid", qpm=100)
    to_wav([14, 1, 16, 0], tmp_path / "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mid", "a.wav"]
    assert from_midi(tmp_path / "a.mid")[0].tolist() == [14, 1, 16, 0]
    with pytest.raises(ValueError):
        write_midi([99], tmp_path / "a.mid")
    assert from_midi(tmp_path / "a.mid")[0].tolist() == [14, 1, 16, 0]


def test_wav_has_the_pitch_and_no_clicks(tmp_path):
    """A4 (token 23) for a quarter at 60 a minute, then silence: 440 Hz is the strongest frequency."""
    to_wav([23, 1, 1, 1], tmp_path / "a.wav", sample_rate=16000, qpm=60)
    rate, samples = wavfile.read(tmp_path / "a.wav")
    assert (rate, samples.dtype, samples.ndim) == (16000, np.int16, 1)
    assert np.abs(samples).max() == pytest.approx(0.8 * 32767, abs=2)
    sounding = samples[:16000].astype(float)
    assert np.argmax(np.abs(np.fft.rfft(sounding))) == 440  # one second: bins of 1 Hz
    assert abs(samples[0]) < 50 and np.abs(samples[15990:16010]).max() < 50 and not samples[16010:].any()
    loudness = [np.abs(sounding[i : i + 2000]).max() for i in range(0, 16000, 2000)]
    assert loudness == sorted(loudness, reverse=True)


def test_a_rest_is_a_silent_wav(tmp_path):
    to_wav([0, 1, 1, 1], tmp_path / "rest.wav")
    assert not wavfile.read(tmp_path / "rest.wav")[1].any()
