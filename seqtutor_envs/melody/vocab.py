"""The melody tokens: one per sixteenth note, the same for data, rules, metrics and MIDI."""

from __future__ import annotations

from seqtutor_envs.vocab import TokenVocab

NOTE_OFF = 0  # ends the sounding note, or a rest that goes on
HOLD = 1  # no event: the sounding note, or the rest, goes on
LOWEST_TOKEN = 2  # the first of the pitches: C3, MIDI 48
PITCH_OFFSET = 46  # token = MIDI pitch - 46, so token 14 is middle C, MIDI 60
STEPS_PER_QUARTER = 4
STEPS_PER_BAR = 16  # of four quarters

NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
OCTAVES = (3, 4, 5)
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)  # semitones above the tonic; above C they are the pitch classes of C major

MELODY_VOCAB = TokenVocab(("off", "hold", *(f"{note}{octave}" for octave in OCTAVES for note in NOTE_NAMES)))
