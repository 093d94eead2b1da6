"""Melodies to MIDI files and sound, and back. The only file that imports pretty_midi.

The grid is the file's own: a step is a quarter of its ticks per quarter note, so tempo and its changes do not matter.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

try:
    import mido
    import pretty_midi
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("MIDI files need pretty_midi: pip install pretty_midi", name=missing.name) from None

from seqtutor_envs.checks import Range
from seqtutor_envs.files import FileError, read_bytes, reading, write_atomically
from seqtutor_envs.melody.notes import (
    MAX_STEPS,
    Note,
    canonical,
    checked,
    encode_segments,
    octaves_into_range,
    round_to_step,
    segments,
    snap_to_grid,
)
from seqtutor_envs.melody.vocab import STEPS_PER_BAR, STEPS_PER_QUARTER

__all__ = ["MidiError", "canonical", "from_midi", "read_lines", "to_midi", "to_wav", "write_midi"]

TICKS_PER_QUARTER = 220  # pretty_midi's own default: 55 ticks a step, so every step is a whole tick
SLOWEST_QPM = 3.6  # a MIDI file keeps the tempo as microseconds per quarter in 24 bits: at most 16.8 s
FASTEST_QPM = 6000.0  # 10 ms a quarter: beyond any music, and whole microseconds still hold it to .01%
VELOCITY = 100  # of 127: a firm mezzo-forte; the tokens know no loudness
END_OF_MELODY = "end of melody"  # a text event: MIDI notes alone cannot say that a melody ends with a rest
LEGATO = 1.0  # steps two notes may overlap: keys played legato; more is a second voice
CHORDS = 0.25  # share of onsets with more than one note: a tune with double stops has fewer, an accompaniment more
PEAK = 0.8  # of full scale: headroom for players that resample
PARTIALS = 6  # of the plucked string; the sixth of B5 is 5.9 kHz, below half of any usual sample rate
ATTACK = 2.0  # periods in which the sound swells to 1 - 1/e: 8 ms at middle C
RING = 300.0  # periods of the fundamental in which the first partial falls to 1/e; partial k in 1/k of them


MAX_BYTES = 2**20  # of a MIDI file: 1 MiB, 125,000 notes, which take a quarter of a minute; a long song has 100 kB
MAX_EQUAL_EVENTS = 64  # of one key at one tick: a reader's time grows with their square
MAX_SECONDS = 3_600.0  # of sound: .6 GB at the default rate


class MidiError(FileError):
    """Report a MIDI file that holds no melody; the message says why."""


def to_midi(tokens: Any, qpm: float = 80.0) -> pretty_midi.PrettyMIDI:
    """Convert a melody [T] to MIDI, one instrument, at `qpm` quarter notes a minute.

    `from_midi` gives back `canonical(tokens)`: a rest at the end is kept by a text event where it ends.
    Raises ValueError on tokens that are no melody and on a tempo that MIDI cannot hold.
    """
    tokens = checked(tokens)
    if not len(tokens):
        raise ValueError("A melody of no tokens has no MIDI.")
    qpm = Range(SLOWEST_QPM, FASTEST_QPM).check("qpm", qpm)
    step = 60.0 / qpm / STEPS_PER_QUARTER  # seconds
    midi = pretty_midi.PrettyMIDI(resolution=TICKS_PER_QUARTER, initial_tempo=qpm)
    melody = pretty_midi.Instrument(program=0, name="melody")  # program 0: a piano
    parts = segments(tokens)
    for part in parts:
        if part.pitch is not None:
            melody.notes.append(pretty_midi.Note(VELOCITY, part.pitch, part.start * step, part.end * step))
    midi.instruments.append(melody)
    if parts[-1].pitch is None:
        # an event at the end: MIDI notes cannot say that a rest follows
        midi.text_events.append(pretty_midi.Text(END_OF_MELODY, len(tokens) * step))
    return midi


def from_midi(source: str | os.PathLike[str] | pretty_midi.PrettyMIDI) -> list[NDArray[np.int64]]:
    """Read the melodies in a MIDI file: one token array for each instrument that plays a single line.

    Drums are ignored. Onsets and ends are rounded to sixteenths of the file's own grid; step 0 is the file's start.
    Of a chord the top note counts (`notes.snap_to_grid`). A melody that leaves 48..83 is moved by the fewest whole
    octaves that bring it back. An instrument that is no single line (notes overlap by more than a sixteenth, or more
    than a quarter of its onsets are chords) or does not fit is left out with a warning that says why.

    Raises:
        MidiError: no MIDI file, no notes, or no instrument plays a usable line; the message names each with its reason.
            A melody of more than MAX_STEPS is none.
        OSError: the file cannot be opened.
    """
    midi = source if isinstance(source, pretty_midi.PrettyMIDI) else _read(source)
    lines, problems = _lines(midi)
    # 0 where there is no such event: the melody then ends with its last note
    end = max((_quarters(midi, text.time) for text in midi.text_events if text.text == END_OF_MELODY), default=0.0)
    melodies = []
    for name, line in lines.items():
        parts = snap_to_grid(line)
        try:
            shift = octaves_into_range([part.pitch for part in parts if part.pitch is not None])
            # at least as long as the last note: another program may have moved the event
            length = _checked_length(max(parts[-1].end, round_to_step(end)))
        except ValueError as error:
            problems[name] = str(error)
            continue
        moved = [part._replace(pitch=part.pitch + shift) for part in parts if part.pitch is not None]
        melodies.append(encode_segments(moved, length))
    where = "this MIDI" if isinstance(source, pretty_midi.PrettyMIDI) else source
    if not melodies:
        # a melody of one long rest, as `to_midi` writes it
        if not problems and 0 < round_to_step(end) <= MAX_STEPS:
            return [encode_segments([], round_to_step(end))]
        raise MidiError(where, f"holds no melody: {_listed(problems)}.")
    if problems:
        warnings.warn(f"Left out of {where}: {_listed(problems)}.", stacklevel=2)
    return melodies


def read_lines(path: str | os.PathLike[str]) -> list[list[Note]]:
    """Read the single lines of a MIDI file, as played: what a corpus is made of.

    Raise MidiError as `from_midi` does.
    """
    lines, problems = _lines(_read(path))
    if not lines:
        raise MidiError(path, f"holds no melody: {_listed(problems)}")
    return list(lines.values())


def write_midi(melody: Any, path: str | os.PathLike[str], qpm: float = 80.0) -> None:
    """Write tokens [T] or a PrettyMIDI to a MIDI file, whole or not at all."""
    midi = melody if isinstance(melody, pretty_midi.PrettyMIDI) else to_midi(melody, qpm)
    content = io.BytesIO()
    # into memory first: a file is then written whole or not at all
    midi.write(content)
    write_atomically(Path(path), content.getvalue())


def to_wav(melody: Any, path: str | os.PathLike[str], sample_rate: int = 22050, qpm: float = 80.0) -> None:
    """Play tokens [T] or a PrettyMIDI on a plucked string: a WAV file (mono, 16 bit), written whole or not at all.

    Raises ValueError where it would sound for more than MAX_SECONDS.
    """
    midi = melody if isinstance(melody, pretty_midi.PrettyMIDI) else to_midi(melody, qpm)
    sample_rate = Range(1000, 192_000, whole=True).check("sample_rate", sample_rate)
    if (seconds := midi.get_end_time()) > MAX_SECONDS:
        raise ValueError(f"A sound lasts at most {MAX_SECONDS:,.0f} s, not {seconds:,.0f}: use a higher qpm.")
    # normalize=False: pretty_midi would go to full scale, without PEAK's headroom
    sound = midi.synthesize(fs=sample_rate, wave=_plucked_string, normalize=False)
    loudest = np.abs(sound).max(initial=0.0)
    if loudest > 0:  # a melody of rests is silence
        sound *= PEAK * np.iinfo(np.int16).max / loudest
    content = io.BytesIO()
    wavfile.write(content, sample_rate, sound.astype(np.int16))
    write_atomically(Path(path), content.getvalue())


def _read(path: str | os.PathLike[str]) -> pretty_midi.PrettyMIDI:
    try:
        # the parser lets through whatever broken bytes lead to: EOFError, IndexError, ...
        with reading(path, "is not a readable MIDI file"):
            content = read_bytes(path, MAX_BYTES)
            if content[:4] == b"MThd" and len(content) > 12 and content[12] & 0x80:  # the sign of the header's division
                raise FileError(path, "counts time in film frames, not in beats: its notes have no place on a grid")
            midi = mido.MidiFile(file=io.BytesIO(content))
            _check_events(midi)
            with warnings.catch_warnings():
                # tempo events on a wrong track: the grid needs no tempo
                warnings.simplefilter("ignore", RuntimeWarning)
                return pretty_midi.PrettyMIDI(mido_object=midi)
    except FileError as error:
        raise MidiError(path, error.reason) from error


def _check_events(midi: mido.MidiFile) -> None:
    """Raise ValueError where pretty_midi would compute for minutes, or divide by zero."""
    if not midi.ticks_per_beat:
        raise ValueError("it has no ticks in a quarter note")
    for track in midi.tracks:
        tick, equal = 0, Counter[tuple[int, int, int]]()
        for event in track:
            tick += event.time
            if event.type in ("note_on", "note_off"):
                equal[tick, event.channel, event.note] += 1
        if max(equal.values(), default=0) > MAX_EQUAL_EVENTS:
            raise ValueError(f"it has more than {MAX_EQUAL_EVENTS} events of one key at one time")


def _checked_length(steps: int) -> int:
    """Return the length of a melody. Raise ValueError if it is too long to be scored."""
    if steps > MAX_STEPS:
        raise ValueError(f"it lasts {steps:,} sixteenths, more than {MAX_STEPS:,}")
    return steps


def _lines(midi: pretty_midi.PrettyMIDI) -> tuple[dict[str, list[Note]], dict[str, str]]:
    """Read the notes of each instrument that plays a single line, by name; and the reason why another one does not."""
    lines: dict[str, list[Note]] = {}
    problems: dict[str, str] = {}
    for number, instrument in enumerate(midi.instruments, start=1):
        # ticks, not seconds: a change of tempo must not move a note on the grid
        times = [(_quarters(midi, note.start), _quarters(midi, note.end), note.pitch) for note in instrument.notes]
        line = sorted(Note(start, end - start, pitch) for start, end, pitch in times if end > start)
        if instrument.is_drum or not line:
            continue
        plays = " ".join(instrument.name.split()) or pretty_midi.program_to_instrument_name(instrument.program)
        name = f"instrument {number} ({plays})"
        problem = _second_voice(line)
        if problem:
            problems[name] = problem
        else:
            lines[name] = line
    return lines, problems


def _quarters(midi: pretty_midi.PrettyMIDI, seconds: float) -> float:
    return midi.time_to_tick(seconds) / midi.resolution


def _second_voice(line: list[Note]) -> str | None:
    """Return why notes sorted by onset are no single line, or None if they are."""
    # rounded onsets: two notes a few ticks apart are a chord, not two voices
    onsets, chords = {round_to_step(line[0].onset)}, set()
    sounding_until = line[0].onset + line[0].duration
    for note in line[1:]:
        overlap = (sounding_until - note.onset) * STEPS_PER_QUARTER
        step = round_to_step(note.onset)
        if step in onsets and overlap > 0:
            chords.add(step)
        elif overlap > LEGATO:
            bar = step // STEPS_PER_BAR + 1
            return f"polyphonic: in bar {bar} a note begins {overlap:.1f} sixteenths before another ends"
        onsets.add(step)
        # the longest note so far, not the last: a held note may outlast several others
        sounding_until = max(sounding_until, note.onset + note.duration)
    share = len(chords) / len(onsets)
    return f"polyphonic: {share:.0%} of its onsets are chords" if share > CHORDS else None


def _listed(problems: dict[str, str]) -> str:
    found = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    return found or "it has no notes (drums do not count)"


def _plucked_string(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the waveform at phase [samples], in radians since the pluck. High partials die away faster.

    It swells from zero, so that there is no click. pretty_midi's synthesiser adds a slow decay and a fade-out of up to
    0.1 s.
    """
    periods = phase / (2 * np.pi)
    partials = [np.sin(k * phase) * np.exp(-k * periods / RING) / k**2 for k in range(1, PARTIALS + 1)]
    return np.sum(partials, axis=0) * -np.expm1(-periods / ATTACK)
