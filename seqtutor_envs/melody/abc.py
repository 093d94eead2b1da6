"""Tunes in ABC, the notation of folk tune books, as a line of notes. Source: the ABC standard 2.1, abcnotation.com/wiki.

Ours beside music21's reader, because on these books that one loses notes behind decorations and broken rhythm beside ties,
and forgets accidentals within the bar. Read is what makes a melody: the first voice, the top note of a chord, no grace notes,
repeats not expanded. Letters that mean nothing here (decorations, slurs) are passed over.
"""

from __future__ import annotations

import re
from fractions import Fraction

from seqtutor_envs.melody.notes import Note

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MIDDLE_OCTAVE = 60  # MIDI pitch of the letter C; c is an octave above
ACCIDENTALS = {"^": 1, "_": -1, "=": 0}
FIFTHS = {letter: i - 1 for i, letter in enumerate("FCGDAEB")}  # sharps in the major key of each letter
MODES = {"maj": 0, "ion": 0, "": 0, "m": -3, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5}  # sharps more
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of q; 5, 7 and 9 depend on the metre
COMPOUND_METRES = (Fraction(6, 8), Fraction(9, 8), Fraction(12, 8))

FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # "d:|" at the start of a line is a note and a bar
LENGTH = r"(\d*)(/*)(\d*)"
PITCH = r"([_^=]*)([A-Ga-g])([,']*)"
TEXT = re.compile(r'"[^"]*"|![^!\s]*!|\{[^}]*\}|%.*')  # annotations, named decorations, grace notes, comments
TOKEN = re.compile(
    rf"""\[(?P<field>[A-Za-z]:[^\]]*)\]
    | \((?P<p>[2-9])(?::(?P<q>\d*))?(?::(?P<r>\d*))?
    | \[(?P<chord>[^\]\[|:\d]?(?:[^\]\[|:])*[A-Ga-g][^\]\[|:]*)\](?P<chord_length>\d*/*\d*)
    | (?P<note>{PITCH}{LENGTH})
    | (?P<rest>[xzZ]){LENGTH}
    | (?P<broken>>+|<+)
    | (?P<tie>-)
    | (?P<bar>\||::)""",
    re.VERBOSE,
)


def tunes(text: str) -> list[str]:
    """The tunes of an ABC file, each with the fields that stand before the first."""
    header, *found = re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    return [header + tune for tune in found]


def title(tune: str) -> str:
    """Number and title of a tune, as written."""
    fields = [re.search(rf"^{field}:[ \t]*(.*)", tune, flags=re.MULTILINE) for field in "XT"]
    return " ".join(match[1].strip() for match in fields if match)


def read(tune: str) -> list[Note]:
    """The notes of one tune. Raises ValueError where a key, metre or length cannot be read."""
    reader = _Reader()
    for line in tune.splitlines():
        line = TEXT.sub("", line)
        field = FIELD.match(line)
        if field:
            reader.field(field[1], field[2].strip())
        elif reader.key is not None:  # the key ends the header
            reader.music(line)
    return reader.notes


class _Reader:
    """What is in force at a place in a tune."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.time = Fraction(0)  # quarters
        self.key: dict[str, int] | None = None  # letter -> semitones
        self.metre = Fraction(1)
        self.unit: Fraction | None = None  # of a whole note; by the metre if no field says it
        self.voices: list[str] = []  # the last one is being read, the first one is wanted
        self.in_bar: dict[tuple[str, str], int] = {}  # (letter, octave marks) -> semitones, until the bar line
        self.tie: tuple[str, str, int] | None = None  # letter, octave marks, semitones
        self.broken = Fraction(1)  # for the next note
        self.tuplet: tuple[Fraction, int] = (Fraction(1), 0)  # factor, notes it still holds for

    def field(self, name: str, value: str) -> None:
        if name == "K":
            self.key = _key(value, self.key)
        elif name == "M":
            self.metre = _metre(value)
        elif name == "L":
            self.unit = _fraction(value)
        elif name == "V" and self.key is not None:
            voice = value.split()[0] if value.split() else ""
            self.voices = [self.voices[0] if self.voices else voice, voice]

    def music(self, line: str) -> None:
        for token in TOKEN.finditer(line):
            if token["field"]:
                self.field(token["field"][0], token["field"][2:].strip())
            elif self.voices and self.voices[0] != self.voices[-1]:
                continue
            elif token["p"]:
                self._tuplet(int(token["p"]), token["q"], token["r"])
            elif token["chord"]:
                self._chord(token["chord"], token["chord_length"])
            elif token["note"]:
                self._sound([re.match(PITCH, token["note"])], _length(re.sub(f"^{PITCH}", "", token["note"])))
            elif token["rest"]:
                length = _length(token[0][1:])
                self._sound([], length * self.metre / self._unit() if token["rest"] == "Z" else length)
            elif token["broken"]:
                self._broken(token["broken"])
            elif token["tie"]:
                self.tie = self.last
            elif token["bar"]:
                self.in_bar = {}
