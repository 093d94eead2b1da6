"""Training melodies for a prior: from a folder of MIDI files, from music21's corpus, from an .npz of tokens.

One preparation serves all music (`prepare`): each line becomes melodies on the grid of sixteenths in C major or its
modes, 48..83, without long silences. M melodies lie end to end in one array.
"""

from __future__ import annotations

import io
import itertools
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files import FileError, load_npz, read_bytes, write_atomically
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.melody import abc
from seqtutor_envs.melody.notes import (
    MAX_STEPS,
    Note,
    Segment,
    encode_segments,
    is_on_grid,
    octaves_into_range,
    round_to_step,
    snap_to_grid,
)
from seqtutor_envs.melody.vocab import LOWEST_TOKEN, MAJOR_SCALE, MELODY_VOCAB, STEPS_PER_BAR

SILENCE = STEPS_PER_BAR  # steps of silence that end one melody and begin another: a whole bar
SHORTEST = 32  # steps: the paper's episode
LONGEST = 1024  # steps: 64 bars; what follows is cut off
FEWEST_PITCHES = 4  # different ones: fewer is a drone or a signal
ON_GRID_SHARE = 0.9  # of onsets: below, the music is in triplets or played freely, and rounding would invent rhythms
IN_KEY_SHARE = 0.85  # of notes in the best major key: below, the melody modulates or is chromatic
OPENING = 7  # pitch intervals whose hash decides the split, so that variants of one tune stay on one side
TONIC_TRIAD = (0, 4, 7)
SPLITS = ("train", "validation", "test")
MIDI_SUFFIXES = (".mid", ".midi")
MOST_SHOWN = 20  # reasons in an error
MAX_MELODIES = 2**21  # of an .npz: each takes 110 bytes beside its tokens; large collections have fewer
MAX_SOURCES = 256  # their numbers are kept in a byte
VALIDATION_FROM, TEST_FROM = 90, 95  # of 100: about 90 / 5 / 5

COLLECTIONS = {  # name -> folder in music21's corpus; public domain by age, encoded by volunteers
    "oneills": "oneills1850",  # O'Neill's Music of Ireland, 1850 melodies, 1903
    "ryans": "ryansMammoth",  # Ryan's Mammoth Collection, 1883
    "airds": "airdsAirs",  # Aird's Selection of Scotch, English, Irish and Foreign Airs, 1778-1801
}


@dataclass(frozen=True)
class Corpus:
    """Hold M melodies, with their sources and their split.

    Attributes:
        tokens: uint8, all melodies end to end.
        offsets: int64 [M + 1]; melody i is `tokens[offsets[i] : offsets[i + 1]]`.
        source: uint8 [M], index into `source_names`.
        source_names: where melodies come from.
        split: uint8 [M], index into SPLITS.
        skipped: what gave no melody (a file, a tune) and why.
    """

    tokens: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    source: NDArray[np.uint8]
    source_names: tuple[str, ...]
    split: NDArray[np.uint8]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def melody(self, i: int) -> NDArray[np.uint8]:
        """Return tokens [T_i] of melody i."""
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    def melodies(self, split: str) -> list[NDArray[np.uint8]]:
        """Return all melodies of one split: "train", "validation" or "test"."""
        return [self.melody(int(i)) for i in np.flatnonzero(self.split == SPLITS.index(split))]

    def counts(self) -> dict[str, int]:
        """Count the melodies of each source."""
        return {name: int((self.source == i).sum()) for i, name in enumerate(self.source_names)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `from_npz` reads, whole or not at all; `skipped` is not kept."""
        content = io.BytesIO()
        names = np.array(self.source_names)
        np.savez_compressed(
            content, tokens=self.tokens, offsets=self.offsets, source=self.source, source_names=names, split=self.split
        )
        write_atomically(Path(path), content.getvalue())


def from_npz(path: str | os.PathLike[str], exclude: Iterable[str] = ()) -> Corpus:
    """Read a corpus from an .npz with `tokens` and `offsets` and, if there, `source` with `source_names` and `split`.

    Without a source all melodies are of one that is named after the file; without a split the opening decides
    (`split_of`). Nothing in the file is executed. The melodies are taken as they are.

    Args:
        exclude: names of sources to leave out.

    Raises:
        FileError: the file is no .npz, or unpacks to too much, or an array (it is named) is missing or wrong.
        ValueError: a name in `exclude` is no source.
    """
    path = Path(path)
    arrays = load_npz(path)
    tokens, offsets = (_integers(path, arrays, name) for name in ("tokens", "offsets"))
    # offsets checked before use: a slice beyond the array would silently be shorter. Not np.diff: it can overflow.
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(tokens) or (offsets[1:] <= offsets[:-1]).any():
        raise FileError(path, f"is wrong: 'offsets' must rise from 0 to the {len(tokens)} tokens, one step a melody.")
    if len(offsets) > MAX_MELODIES or np.diff(offsets).max() > MAX_STEPS:
        most = f"{MAX_MELODIES:,} melodies of {MAX_STEPS:,} tokens each"
        raise FileError(path, f"is too large: at most {most} are read.")
    if tokens.min() < 0 or tokens.max() >= len(MELODY_VOCAB):
        found = f"{tokens.min()}..{tokens.max()}"
        raise FileError(path, f"is wrong: 'tokens' must be in 0..{len(MELODY_VOCAB) - 1}, not {found}.")
    melodies = [melody.astype(np.uint8) for melody in np.split(tokens, offsets[1:-1])]
    names, source = [path.stem], np.zeros(len(melodies), dtype=np.int64)
    if "source" in arrays:
        given = _require(path, arrays, "source_names")
        if given.ndim != 1 or given.dtype.kind != "U" or not 0 < len(given) <= MAX_SOURCES:
            raise FileError(path, f"is wrong: 'source_names' must be a row of 1..{MAX_SOURCES} names.")
        names = [str(name) for name in given]
        source = _labels(path, arrays, "source", len(melodies), len(names))
    split = np.array([split_of(melody) for melody in melodies])
    if "split" in arrays:
        split = _labels(path, arrays, "split", len(melodies), len(SPLITS))
    excluded = set(exclude)
    if excluded - set(names):
        raise ValueError(f"{path} has no source {min(excluded - set(names))!r}; its sources are: {', '.join(names)}.")
    kept = [i for i in range(len(melodies)) if names[source[i]] not in excluded]
    if not kept:
        raise ValueError(f"{path}: nothing is left without {', '.join(sorted(excluded))}.")
    return _make_corpus([(names[source[i]], melodies[i]) for i in kept], split=split[kept])


def from_midi_folder(folder: str | os.PathLike[str], transpose: bool = True, progress: bool = True) -> Corpus:
    """Make a corpus from all .mid and .midi files in a folder and below, prepared as `prepare` says.

    A file that is unreadable, empty or polyphonic or gives no melody is left out and stands in `skipped` with the
    reason. Of the others every instrument that plays a single line (`midi.from_midi`) gives its melodies.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: no file, or none of them usable; the message counts them and gives reasons.
    """
    from seqtutor_envs.melody.midi import read_lines

    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"No .mid or .midi file in {folder} or below.")
    source = folder.resolve().name
    # partial, not a lambda: a lambda in a loop would read the last path only
    items = [(source, str(path), partial(read_lines, path)) for path in paths]
    return _collect(items, transpose, f"{len(paths)} MIDI files in {folder}", progress)


def from_music21(progress: bool = True) -> Corpus:
    """Make a corpus from the tune books in an installed music21 (the extra `[corpus]`), prepared as `prepare` says.

    Only the files are music21's, the reader is `abc`. A tune that cannot be read or gives no melody is left out and
    stands in `skipped` with the reason.

    Raises:
        ImportError: music21 is not installed; the message says how to.
        ValueError: none has a usable tune.
    """
    try:
        from music21.corpus import getComposer
    except ImportError as error:
        raise ImportError("Tunes from music21 need the extra 'corpus': pip install 'seqtutor[corpus]'") from error
    books = [(name, Path(path)) for name, folder in COLLECTIONS.items() for path in sorted(getComposer(folder))]
    items = [
        (name, f"{path.name}: {abc.title(tune)}", lambda tune=tune: [abc.read(tune)])
        for name, path in books
        # errors="replace": old books hold Latin-1 in titles, which no note needs
        for tune in abc.tunes(read_bytes(path, abc.MAX_BYTES).decode("utf-8", errors="replace"))
    ]
    return _collect(items, True, f"{len(items)} tunes in {len(books)} files of {', '.join(COLLECTIONS)}", progress)


def prepare(notes: Iterable[Note], transpose: bool = True) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Extract the melodies in one line of music. Return them, and the reasons for which other stretches are left out.

    Top note of a chord, grace notes (without duration) dropped, onsets and ends rounded to the step; split where 16 or
    more steps are silent. A stretch begins with its first note, ends with its last, is cut at 1,024 steps, and is kept
    if it has at least 32 steps, 4 pitches, 90% of onsets on the grid and 85% of notes in the best major key. It is
    transposed so that this key becomes C, then by whole octaves to the centre of 48..83.

    Args:
        transpose: False keeps the key, and the octave too unless the melody leaves 48..83.
    """
    notes = [note for note in notes if note.duration > 0]
    # onsets, not notes: a chord must not weigh more than a single note
    onsets = sorted({note.onset for note in notes})
    melodies, reasons = [], []
    for stretch in _stretches(snap_to_grid(notes)):
        first, last = stretch[0].start, stretch[-1].end
        exact = [is_on_grid(onset) for onset in onsets if first <= round_to_step(onset) < last]
        try:
            melodies.append(_melody(stretch, sum(exact) / len(exact), transpose))
        except ValueError as error:
            reasons.append(str(error))
    return melodies, reasons


def major_key(pitches: Sequence[int]) -> tuple[int, float]:
    """Find the tonic (0 = C .. 11 = B) of the major key that holds most of the pitches, and the share it holds.

    Ties, as in a melody without fourth or seventh: the key whose tonic ends the melody; then that with more notes of
    its tonic triad; then that whose tonic lies least below the last note. So the key moves with a transposed melody.
    """
    counts = Counter(pitch % 12 for pitch in pitches)
    last = pitches[-1] % 12

    def rank(tonic: int) -> tuple[int, bool, int, int]:
        held = sum(counts[(tonic + degree) % 12] for degree in MAJOR_SCALE)
        triad = sum(counts[(tonic + degree) % 12] for degree in TONIC_TRIAD)
        return held, tonic == last, triad, -((last - tonic) % 12)

    tonic = max(range(12), key=rank)
    return tonic, rank(tonic)[0] / len(pitches)


def split_of(tokens: NDArray[Any]) -> int:
    """Return 0 train, 1 validation, 2 test: by a hash of the first seven pitch intervals, the same on every machine."""
    pitches = tokens[tokens >= LOWEST_TOKEN][: OPENING + 1].astype(np.int8)
    # CRC-32, not hash(): Python's differs from process to process
    # intervals, not pitches: a transposed variant has the same opening
    bucket = zlib.crc32(np.diff(pitches).tobytes()) % 100
    return int(bucket >= VALIDATION_FROM) + int(bucket >= TEST_FROM)


def _stretches(line: list[Segment]) -> list[list[Segment]]:
    """Cut the line into pieces between silences."""
    cuts = [i for i in range(1, len(line)) if line[i].start - line[i - 1].end >= SILENCE]
    return [line[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(line)]) if begin < end]


def _melody(stretch: list[Segment], grid_share: float, transpose: bool) -> NDArray[np.uint8]:
    """Encode one stretch as tokens. Raise ValueError with the reason where it is none to learn from."""
    first = stretch[0].start
    # moved to start at 0 before the cut, so that LONGEST counts from the first note
    parts = [part._replace(start=part.start - first) for part in stretch if part.start - first < LONGEST]
    length = min(parts[-1].end, LONGEST)
    pitches = [part.pitch for part in parts if part.pitch is not None]
    if length < SHORTEST:
        raise ValueError(f"{length} steps, fewer than {SHORTEST}")
    if len(set(pitches)) < FEWEST_PITCHES:
        raise ValueError(f"{len(set(pitches))} different pitches, fewer than {FEWEST_PITCHES}")
    if grid_share < ON_GRID_SHARE:
        raise ValueError(f"{grid_share:.0%} of onsets on the grid of sixteenths, fewer than {ON_GRID_SHARE:.0%}")
    tonic, share = major_key(pitches)
    if share < IN_KEY_SHARE:
        raise ValueError(f"{share:.0%} of notes in the best major key, fewer than {IN_KEY_SHARE:.0%}")
    shift = -tonic if transpose else 0
    shift += octaves_into_range([pitch + shift for pitch in pitches], centred=transpose)
    moved = [part._replace(pitch=pitch + shift) for part, pitch in zip(parts, pitches)]
    return encode_segments(moved, length).astype(np.uint8)


def _melodies(lines: Iterable[Iterable[Note]], transpose: bool) -> list[NDArray[np.uint8]]:
    """Collect the melodies of one file or tune. Raise ValueError with the reasons if there is none."""
    prepared = [prepare(line, transpose) for line in lines]
    melodies = [melody for kept, _ in prepared for melody in kept]
    if not melodies:
        reasons = Counter(reason for _, reasons in prepared for reason in reasons)
        told = [f"{reason} ({n} times)" if n > 1 else reason for reason, n in reasons.items()]
        raise ValueError("; ".join(told) or "no notes")
    return melodies


def _collect(
    items: Sequence[tuple[str, str, Callable[[], list[list[Note]]]]], transpose: bool, what: str, progress: bool
) -> Corpus:
    """Make a corpus of items: the source, the name, and what reads the lines. Leave out exact duplicates but the first.

    Raises ValueError with the reasons where no item gives a melody.
    """
    found: dict[bytes, tuple[str, NDArray[np.uint8]]] = {}
    skipped: list[tuple[str, str]] = []
    for source, name, read in make_bar(items, desc="reading melodies", disable=not progress):
        try:
            for melody in _melodies(read(), transpose):
                # setdefault: of equal melodies the first keeps its source
                found.setdefault(melody.tobytes(), (source, melody))
        except (OSError, ValueError) as error:
            # the name says which file it is
            skipped.append((name, error.reason if isinstance(error, FileError) else str(error)))
    if not found:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:MOST_SHOWN])
        more = f"\n  and {len(skipped) - MOST_SHOWN} more" if len(skipped) > MOST_SHOWN else ""
        raise ValueError(f"Nothing usable: {what}, {len(skipped)} skipped.{reasons}{more}")
    return _make_corpus(list(found.values()), skipped=skipped)


def _make_corpus(
    found: Sequence[tuple[str, NDArray[np.uint8]]], split: Any = None, skipped: Sequence[tuple[str, str]] = ()
) -> Corpus:
    """Make a corpus of (source, melody). Without a split, the opening of each melody decides."""
    sources, melodies = zip(*found)
    names = tuple(dict.fromkeys(sources))
    return Corpus(
        tokens=np.concatenate(melodies),
        offsets=np.cumsum([0, *map(len, melodies)], dtype=np.int64),
        source=np.array([names.index(name) for name in sources], dtype=np.uint8),
        source_names=names,
        split=np.array([split_of(melody) for melody in melodies] if split is None else split, dtype=np.uint8),
        skipped=tuple(skipped),
    )


def _require(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise FileError(path, f"has no array {name!r}; it has: {', '.join(arrays)[:400] or 'none'}.")
    return arrays[name]


def _integers(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.integer[Any]]:
    array = _require(path, arrays, name)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        found = f"{array.dtype} of shape {list(array.shape)}"
        raise FileError(path, f"is wrong: {name!r} must be one row of whole numbers, not {found}.")
    return array


def _labels(path: Path, arrays: dict[str, NDArray[Any]], name: str, length: int, kinds: int) -> NDArray[np.int64]:
    labels = _integers(path, arrays, name)
    if len(labels) != length or labels.min() < 0 or labels.max() >= kinds:
        raise FileError(path, f"is wrong: {name!r} must give each of the {length} melodies a number in 0..{kinds - 1}.")
    return labels.astype(np.int64)
