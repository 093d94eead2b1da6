"""What the tests of melodies share: MIDI files that hold no melody."""

from __future__ import annotations

import numpy as np
import pretty_midi

from seqtutor_envs.melody.midi import to_midi, write_midi

SCALE = [14, 16, 18, 19, 21, 23, 25, 26]  # C major from C4, as tokens
QUARTERS = np.array([token for pitch in SCALE for token in (pitch, 1, 1, 1)])


def write_bad_files(folder):
    """Write a MIDI file for each way to be of no use, and return what is said of each, {name: reason}."""
    (folder / "garbage.mid").write_bytes(b"this is no music" * 20)
    (folder / "nothing.midi").write_bytes(b"")
    write_midi(QUARTERS[:16], folder / "short.mid")
    pretty_midi.PrettyMIDI().write(str(folder / "silent.mid"))
    drums, chords = to_midi(QUARTERS), to_midi(QUARTERS)
    drums.instruments[0].is_drum = True
    drums.write(str(folder / "drums.mid"))
    notes = chords.instruments[0].notes
    notes += [pretty_midi.Note(90, note.pitch + 4, note.start, note.end) for note in notes]
    chords.write(str(folder / "chords.mid"))
    return {
        "garbage.mid": "not a readable MIDI file",
        "nothing.midi": "not a readable MIDI file",
        "short.mid": "16 steps, fewer than 32",
        "silent.mid": "no notes",
        "drums.mid": "no notes",
        "chords.mid": "polyphonic: 100% of its onsets are chords",
    }
