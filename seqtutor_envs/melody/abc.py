"""Read tunes in ABC, the notation of folk tune books, as notes. Source: the ABC standard 2.1, abcnotation.com.

We do not use music21's reader: on these books it drops notes behind some decorations, misses broken rhythm beside ties
and forgets accidentals within the bar. This one reads what makes a melody: the first voice and the top note of a chord.
It skips grace notes, does not expand repeats, and ignores decorations and slurs.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from seqtutor_envs.files import one_line
from seqtutor_envs.melody.notes import Note

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MIDDLE_C = 60  # MIDI pitch of the letter C; c is an octave above
ACCIDENTALS = {"^": 1, "_": -1, "=": 0}
SHARPS_ORDER = "FCGDAEB"  # flats come in the opposite order
MODES = {  # by their first three letters -> sharps more than in the major key of the same tonic
    "": 0, "maj": 0, "ion": 0, "m": -3, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5,
}  # fmt: skip
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of q; for 5, 7 and 9 the metre decides
COMPOUND_METRES = (Fraction(6, 8), Fraction(9, 8), Fraction(12, 8))
MAX_BYTES = 2**24  # of a file of tunes: 16 MiB, ten times music21's largest book
MAX_TUNE = 2**16  # characters: a hundred times a tune of 64 bars
MAX_LINE = 2**12  # characters: brackets that do not close take time with the square of a line
MAX_DIGITS = 3  # of a number; sums of fractions with longer ones take minutes
MAX_SIGNS = 6  # slashes or angle brackets of one note: a 64th of its length
QUARTERS = 4  # in a whole note, of which ABC's lengths are fractions

FIELD = re.compile(r"([A-Za-z]):(?![|:])(.*)")  # "d:|" at the start of a line is a note and a bar
TEXT = re.compile(r'"[^"]*"|![^!\s]*!|\{[^}]*\}|%.*')  # annotations, named decorations, grace notes, comments
NOTE = re.compile(r"([_^=]*)([A-Ga-g])([,']*)(\d*/*\d*)")
TOKEN = re.compile(
    r"""\[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
    | \((?P<tuplet>[2-9])(?::(?P<time>\d*))?(?::(?P<reach>\d*))?
    | \[(?P<chord>(?!\d)[^\]\[|:]+)\](?P<chord_length>\d*/*\d*)
    | (?P<note>[_^=]*[A-Ga-g][,']*\d*/*\d*)
    | (?P<rest>[xzZ])(?P<rest_length>\d*/*\d*)
    | (?P<broken>>+|<+)
    | (?P<tie>-)
    | (?P<bar>\||::)""",
    re.VERBOSE,
)


class Written(NamedTuple):
    """Hold a note as written: what an accidental or a tie refers to."""

    letter: str
    octave: str  # commas and apostrophes
    alteration: int  # semitones

    @property
    def pitch(self) -> int:
        octaves = self.letter.islower() + self.octave.count("'") - self.octave.count(",")
        return MIDDLE_C + SEMITONES[self.letter.upper()] + 12 * octaves + self.alteration


def tunes(text: str) -> list[str]:
    """List the tunes of an ABC file, each with the fields that stand before the first."""
    header, *found = re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    # a book's common fields (L:, M:) stand before its first tune and hold for all
    return [header + tune for tune in found]


def title(tune: str) -> str:
    """Return the number and title of a tune, as written."""
    fields = [re.search(rf"^{field}:[ \t]*(.*)", tune, flags=re.MULTILINE) for field in "XT"]
    return " ".join(match[1].strip() for match in fields if match)


def read(tune: str) -> list[Note]:
    """Read the notes of one tune.

    Raise ValueError if it has no key (the music begins there), a length is no fraction, or it is too long or broken.
    """
    if len(tune) > MAX_TUNE:
        raise ValueError(f"it has more than {MAX_TUNE:,} characters")
    reader = _Reader()
    for line in tune.splitlines():
        if len(line) > MAX_LINE:
            raise ValueError(f"it has a line of more than {MAX_LINE:,} characters")
        line = TEXT.sub("", line)
        # fields before notes: "C:Trad." at the start of a line names a composer and is no note C
        field = FIELD.match(line)
        try:
            if field:
                reader.field(field[1], field[2].strip())
            # before the key there is no music, only text
            elif reader.key is not None:
                reader.music(line)
        except (ArithmeticError, IndexError) as error:  # a length of 1/0, a tie before any note
            raise ValueError(f"it cannot be read ({one_line(error)})") from error
    if reader.key is None:
        raise ValueError("it has no key (K:), so no music")
    return reader.notes


class _Reader:
    """Hold what is in force at a place in a tune, and the notes up to it."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.time = Fraction(0)  # quarters
        self.key: dict[str, int] | None = None  # upper-case letter -> semitones
        self.metre = Fraction(1)
        self.unit_field: Fraction | None = None
        self.voices: list[str] = []  # the first is read, the others are passed over
        self.voice = ""
        self.in_bar: dict[tuple[str, str], int] = {}  # (letter, octave) -> semitones, until the bar line
        self.last: Written | None = None  # what sounded last; None for a rest
        self.tied: Written | None = None
        self.last_duration = Fraction(0)
        self.broken = Fraction(1)  # factor for the next note
        self.tuplet = Fraction(1)  # factor
        self.in_tuplet = 0  # notes it still holds for

    @property
    def unit(self) -> Fraction:
        """Return the length of a plain letter, in whole notes."""
        # the standard's default: short notes in metres below 3/4
        return self.unit_field or (Fraction(1, 16) if self.metre < Fraction(3, 4) else Fraction(1, 8))

    def field(self, name: str, value: str) -> None:
        if name == "K":
            self.key = _key(value, self.key or {})
        elif name == "M":
            match = re.search(r"(\d+)/(\d+)", value)
            # C and C| are 4/4 and 2/2
            self.metre = Fraction(_number(match[1]), _number(match[2])) if match else Fraction(1)
        elif name == "L":
            self.unit_field = _fraction(value)
        elif name == "V" and self.key is not None:
            self.voice = value.split()[0] if value else ""
            self.voices.append(self.voice)

    def music(self, line: str) -> None:
        for token in TOKEN.finditer(line):
            if token["field"]:
                self.field(token["field"], token["value"].strip())
            # other voices are read for their fields only, so that a return to the first is seen
            elif self.voices and self.voice != self.voices[0]:
                continue
            elif token["tuplet"]:
                self.start_tuplet(int(token["tuplet"]), token["time"], token["reach"])
            elif token["chord"]:
                written = NOTE.findall(token["chord"])
                inner = _length(written[0][3]) if written else Fraction(0)  # no note: another bracket, without length
                self.sound([self.written(*note[:3]) for note in written], inner * _length(token["chord_length"]))
            elif token["note"]:
                *note, length = NOTE.findall(token["note"])[0]
                self.sound([self.written(*note)], _length(length))
            elif token["rest"]:
                whole_bars = self.metre / self.unit if token["rest"] == "Z" else 1
                self.sound([], _length(token["rest_length"]) * whole_bars)
            elif token["broken"]:
                self.break_rhythm(token["broken"])
            elif token["tie"]:
                self.tied = self.last
            else:
                # a bar line, or "::", ends accidentals
                self.in_bar = {}

    def written(self, accidentals: str, letter: str, octave: str) -> Written:
        """Read a note with its alteration.

        That is its own accidental, else that of the note tied to it, the bar's, the key's.
        """
        place = (letter, octave)
        if accidentals:
            self.in_bar[place] = sum(ACCIDENTALS[sign] for sign in accidentals)
        elif self.tied and self.tied[:2] == place:
            return self.tied
        assert self.key is not None
        return Written(letter, octave, self.in_bar.get(place, self.key.get(letter.upper(), 0)))

    def sound(self, written: list[Written], length: Fraction) -> None:
        """Read a note, a chord or (no notes) a rest of `length` units."""
        duration = length * self.unit * QUARTERS * self.broken * self.tuplet
        top = max(written, key=lambda note: note.pitch, default=None)
        # These books also write slurs as ties: only a tie between equal pitches makes one note of two.
        if top and self.tied and self.tied.pitch == top.pitch:
            self.notes[-1] = self.notes[-1]._replace(duration=self.notes[-1].duration + float(duration))
        elif top:
            self.notes.append(Note(float(self.time), float(duration), top.pitch))
        self.time += duration
        # a tie or a broken rhythm holds for one note, so both are reset after each
        self.last, self.last_duration, self.tied, self.broken = top, duration, None, Fraction(1)
        self.in_tuplet -= 1
        if self.in_tuplet <= 0:
            self.tuplet = Fraction(1)

    def break_rhythm(self, signs: str) -> None:
        """Apply a>b: the first half as long again, the second half as long; with n signs the rest is 1/2**n."""
        short = _power(signs)
        first, self.broken = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        # the note before was read already: the broken rhythm changes it after the fact
        change = self.last_duration * (first - 1)
        if self.last:
            self.notes[-1] = self.notes[-1]._replace(duration=self.notes[-1].duration + float(change))
        self.time += change

    def start_tuplet(self, notes: int, time: str | None, reach: str | None) -> None:
        """Apply (p:q:r: p notes in the time of q, for the next r."""
        free = 3 if self.metre in COMPOUND_METRES else 2
        self.tuplet = Fraction(_number(time) if time else TUPLETS.get(notes, free), notes)
        self.in_tuplet = _number(reach) if reach else notes


def _key(value: str, before: dict[str, int]) -> dict[str, int]:
    """Read the alterations of a K: field. A field without a tonic (a clef) leaves those before."""
    match = re.match(r"([A-G])([#b]?)[ \t]*([A-Za-z]*)(.*)", value)
    # bagpipes' two sharps are implied, not written
    if value.lower().startswith("hp"):  # Highland pipes
        return {"F": 1, "C": 1}
    if value.lower().startswith("none"):
        return {}
    if not match:
        return before
    # each step along FCGDAEB is a sharp more; C, at place 1, has none
    tonic_sharps = SHARPS_ORDER.index(match[1]) - 1 + 7 * ((match[2] == "#") - (match[2] == "b"))
    sharps = tonic_sharps + MODES.get(match[3][:3].lower(), 0)
    key = dict.fromkeys(SHARPS_ORDER[:sharps], 1) if sharps > 0 else dict.fromkeys(SHARPS_ORDER[::-1][:-sharps], -1)
    for signs, letter in re.findall(r"([_^=]+)([A-Ga-g])", match[4]):
        key[letter.upper()] = sum(ACCIDENTALS[sign] for sign in signs)
    return key


def _length(text: str) -> Fraction:
    """Read a length behind a note: "3", "/", "//", "/4", "3/2" or nothing, in units."""
    number, slashes, below = re.fullmatch(r"(\d*)(/*)(\d*)", text).groups()  # type: ignore[union-attr]
    return _number(number or "1") * (Fraction(1, _number(below)) if below else _power(slashes))


def _power(signs: str) -> Fraction:
    """Return 1 / 2^n for n signs."""
    if len(signs) > MAX_SIGNS:
        raise ValueError(f"it has {len(signs)} signs {signs[0]!r} in a row, more than {MAX_SIGNS}")
    return Fraction(1, 2 ** len(signs))


def _number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(text)} digits, more than {MAX_DIGITS}")
    return int(text)


def _fraction(text: str) -> Fraction:
    match = re.fullmatch(r"(\d+)(?:/([1-9]\d*))?", text.replace(" ", ""))
    if not match:
        raise ValueError(f"its unit length L:{text} is no fraction")
    return Fraction(_number(match[1]), _number(match[2] or "1"))
