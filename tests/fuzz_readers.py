"""Fuzz every reader of a data file: only its documented error may come out, soon and without much memory.

`python -m tests.fuzz_readers` runs 20,000 cases of each reader, a quarter of an hour of one core; `--cases N`,
`--readers NAME ...` and `--seed S` choose others. Exit status 1 if anything else came out.
`python -m tests.fuzz_readers --show NAME SEED CASE FILE` writes a case to a file.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import tempfile
import warnings
import zipfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from seqtutor_envs.bounds import find_bounds, known
from seqtutor_envs.files import FileError, load_arrays, save_arrays
from seqtutor_envs.prior import RecurrentPrior, weights_sha256
from seqtutor_envs.prior.recurrent_step import GATES
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.corpus.reading import MOSES_FILE, read_columns, read_moses, read_records
from seqtutor_envs.vocab import TokenVocab

sys.path.insert(0, str(Path(__file__).parent))  # as pytest has it
from toys import fuzzing  # noqa: E402

CASES = 20_000
MOLECULES = (
    "CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "[NH4+].[Cl-]", "C1CC2CC1CC2", "FC(F)(F)c1ncc[nH]1",
)  # fmt: skip
TUNES = (
    "X:1\nT:One\nM:6/8\nL:1/8\nK:Dmix\n|:d2A (3FGA|[DFA]>B c-c {g}f/2|!trill!z2 ^c'_B,|\nV:2\nD8|\n\n"
    "X:2\nK:C\n(5:4:5CDEFG\n"
)


def _saved(write: Any, suffix: str = "") -> bytes:
    """Return what `write` writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


# -- arrays, priors, Bloom filters ------------------------------------------------------------------------------------


def _prior(cell: str) -> bytes:
    rng = np.random.default_rng(0)
    gates, hidden, vocab = GATES[cell], 4, TokenVocab(("a", "b", "c"), 2)
    shapes = {
        "rnn.weight_ih_l0": (gates * hidden, len(vocab) + 1), "rnn.weight_hh_l0": (gates * hidden, hidden),
        "rnn.bias_ih_l0": (gates * hidden,), "rnn.bias_hh_l0": (gates * hidden,),
        "head.weight": (len(vocab), hidden), "head.bias": (len(vocab),),
    }  # fmt: skip
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    prior = RecurrentPrior(weights, cell, vocab, 6, {"note": "fuzz", "sources": [{"name": "x", "licence": "y"}]})
    return _saved(prior.save, ".safetensors")


def _mutate_prior(content: bytes, rng: random.Random) -> bytes:
    """Change a prior as its writer could have done, its hash included, so that only the checks can refuse it."""
    changed = fuzzing.mutate_safetensors(content, rng)
    if rng.random() < 0.5:
        return changed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        path.write_bytes(changed)
        try:
            arrays, facts = load_arrays(path)
            facts["weights_sha256"] = weights_sha256(arrays)
            save_arrays(path, arrays, facts)
        except (FileError, ValueError, TypeError, RecursionError):
            return changed
        return path.read_bytes()


def _use_prior(path: Path) -> None:
    prior = RecurrentPrior.load(path)
    tokens, lengths = prior.sample(3, 0, length=5)
    assert np.isfinite(prior.log_probs(tokens, lengths)).all() or np.abs(prior.weights["head.bias"]).max() > 1e30


def _use_bloom(path: Path) -> None:
    bloom = BloomFilter.load(path)
    bloom.contains(MOLECULES * 2_000)
    bloom.add(MOLECULES)
    assert 0 <= bloom.false_positive_rate <= 1


def _bloom() -> bytes:
    bloom = BloomFilter.sized(100)
    bloom.add(MOLECULES)
    return _saved(bloom.save, ".bloom")


# -- zips -------------------------------------------------------------------------------------------------------------


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def _mutate_zip(content: bytes, rng: random.Random) -> bytes:
    """Damage one member, and keep the zip around it valid; one in ten is packed by another method, or very large."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    if members[name][:1] in b"{[":
        members[name] = fuzzing.dump(fuzzing.mutate_json(json.loads(members[name]), rng), rng)
    elif members[name][:2] == b"\x1f\x8b":
        members[name] = gzip.compress(fuzzing.mutate_bytes(gzip.decompress(members[name]), rng), 1)
    elif rng.random() < 0.02:
        members[name] = bytes(2**24)
    else:
        members[name] = fuzzing.mutate_bytes(members[name], rng)
    if rng.random() < 0.1:
        members[rng.choice(("more", name + "x"))] = members.pop(name)
    return _zip(members, rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def _npz() -> bytes:
    from seqtutor_envs.melody.corpus import Corpus

    tokens, split = np.array([14, 1, 16, 18, 0, 21, 1], np.uint8), np.array([2, 0, 1], np.uint8)
    corpus = Corpus(tokens, np.array([0, 3, 5, 7]), np.array([0, 1, 0], np.uint8), ("ours", "theirs"), split)
    return _saved(corpus.save, ".npz")


def _mutate_npz(content: bytes, rng: random.Random) -> bytes:
    """Change dtype, shape or numbers of one array."""
    if rng.random() < 0.5:
        return _mutate_zip(content, rng)
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    name = rng.choice(list(arrays))
    array = arrays[name]
    dtypes = (np.uint8, np.int8, np.uint64, np.int64, np.float32, np.complex64, "U3", "S2", "M8[s]", bool)
    kind = rng.randrange(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == 0:
            array = np.zeros(rng.choice(((), (0,), (3, 1), (1, 1, 1), (70_000,))), rng.choice(dtypes))
        elif kind == 1 and array.dtype.kind != "U":
            array = array.astype(rng.choice(dtypes))
        elif kind == 2:
            array = np.repeat(array, rng.choice((0, 2, 1_000)))
        elif kind == 3 and array.dtype.kind != "U":
            array = array.astype(np.int64)
            array[rng.randrange(len(array))] = rng.choice((-(2**63), -1, 0, 2**31, 2**63 - 1, 2**62))
        else:
            del arrays[name]
    arrays |= {name: array} if name in arrays else {}
    content_ = io.BytesIO()
    np.savez_compressed(content_, **arrays)
    return content_.getvalue()


def _use_npz(path: Path) -> None:
    from seqtutor_envs.melody.corpus import from_npz

    corpus = from_npz(path)
    assert sum(corpus.counts().values()) == len(corpus) and corpus.tokens.max() < 38


def _sb3_data() -> bytes:
    pickled = {"__module__": "x", ":serialized:": "gASV"}
    return json.dumps({"clip_range": 0.2, "n_epochs": 4, "policy_class": pickled}).encode()


def _use_sb3_zip(path: Path) -> None:
    from agents.evaluate.sb3_zips import identify_algorithm

    identify_algorithm(path)


# -- molecules --------------------------------------------------------------------------------------------------------


def _table(separator: str) -> bytes:
    rows = [("id", "smiles", "name"), *((str(i), one, f'"a ""{i}"""') for i, one in enumerate(MOLECULES))]
    return "\n".join([separator.join(row) for row in (*rows, ("9", "CC", '"two\nlines"'))]).encode()


def _mutate_packed(content: bytes, rng: random.Random) -> bytes:
    """Damage the text in a gzip; one in a hundred has a line of 40 MB."""
    text = gzip.decompress(content)
    return gzip.compress(text + b"C" * 40_000_000 if rng.random() < 0.01 else fuzzing.mutate_bytes(text, rng), 1)


def _use_records(path: Path) -> None:
    from seqtutor_envs.smiles.corpus import Rules, read_corpus

    read_columns(path)
    records = list(read_records(path))
    try:
        read_corpus(records[:50], Rules(standardize="none"))
    except ValueError as error:  # of records, not of a file
        if not str(error).startswith("no molecule in"):
            raise RuntimeError(repr(error)) from error


def _use_molecules(path: Path) -> None:
    """Read a text's lines as molecules, wherever a user's string reaches RDKit."""
    from seqtutor_envs.smiles import chem
    from seqtutor_envs.smiles.chem import comparison
    from seqtutor_envs.smiles.chem.constraints import Constraints
    from seqtutor_envs.smiles.chem.standardize import parent

    strings = path.read_bytes().decode("latin-1").split("\n")[:20]
    valid = chem.properties(strings)["valid"]
    for string in [one for one, is_valid in zip(strings, valid) if is_valid]:
        molecule = chem.parse(string)
        comparison.find_failed_filter(molecule), comparison.fragments(molecule), comparison.scaffold(molecule)
        try:
            parent(molecule)
        except ValueError:
            pass
    try:
        Constraints(require=strings[0]).unmet(chem.parse("CC"))
    except ValueError:
        pass


# -- melodies ---------------------------------------------------------------------------------------------------------


def _midis() -> list[bytes]:
    from seqtutor_envs.melody.midi import to_midi, write_midi

    midi = to_midi([14, 1, 16, 18, 0, 1, 21, 1])
    midi.instruments *= 2
    return [_saved(partial(write_midi, melody), ".mid") for melody in ([14, 1, 16, 0, 1], midi)]


def _mutate_midi(content: bytes, rng: random.Random) -> bytes:
    """Write a track of random events, some at odd times; the file around them is valid."""
    ticks, events = rng.choice((0, 1, 2, 220, 480, 32_767)), bytearray()
    longest = rng.choice((1, 120, 2**14, 2**28 - 1))

    def add(*message: int) -> None:
        delta = rng.choice((0, 0, ticks // 4, rng.randrange(longest))) if rng.random() < 0.98 else longest
        septets = [delta >> shift & 127 for shift in (21, 14, 7, 0)]
        events.extend([*(septet | 128 for septet in septets[:-1]), septets[-1], *message])

    for _ in range(rng.choice((1, 10, 100, 400))):
        kind, pitch = rng.randrange(25), rng.choice((60, 60, 62, 64, 71, rng.randrange(128)))
        if kind < 20:
            add((0x90 if kind % 2 else 0x80) | rng.choice((0, 0, 0, 9, 15)), pitch, rng.choice((0, 64, 127)))
        elif kind == 20:  # tempo, time and key signatures, mostly impossible ones; texts
            data = rng.choice((b"end of melody", rng.randbytes(rng.randrange(9))))
            add(0xFF, rng.choice((0x01, 0x03, 0x51, 0x05, rng.choice((0x01, 0x58, 0x59)))), len(data), *data)
        elif kind < 23:
            add(0xC0, rng.randrange(128))
        else:
            add(0xE0, rng.randrange(128), rng.randrange(128))
    add(0xFF, 0x2F, 0)
    track = b"MTrk" + len(events).to_bytes(4, "big") + bytes(events)
    header = b"MThd" + (6).to_bytes(4, "big") + rng.choice((b"\0\0", b"\0\1")) + b"\0\1" + ticks.to_bytes(2, "big")
    return header + track


def _use_midi(path: Path) -> None:
    from seqtutor_envs.melody.__main__ import score_text
    from seqtutor_envs.melody.corpus import prepare
    from seqtutor_envs.melody.midi import from_midi, read_lines

    for tokens in from_midi(path)[:2]:
        score_text(tokens[:4_000])
    for line in read_lines(path):
        prepare(line)


def _use_tunes(path: Path) -> None:
    from seqtutor_envs.files import read_bytes
    from seqtutor_envs.melody import abc
    from seqtutor_envs.melody.corpus import prepare

    for tune in abc.tunes(read_bytes(path, abc.MAX_BYTES).decode("utf-8", errors="replace")):
        try:
            prepare(abc.read(tune))
        except ValueError as error:  # of a tune, not of a file
            if type(error) is not ValueError:
                raise
        abc.title(tune)


# -- suites -----------------------------------------------------------------------------------------------------------


def _suite() -> bytes:
    from benchmarks.suites import SUITES

    suite = SUITES["smoke"]
    experiments = [asdict(one) for one in suite.experiments[:2]]
    return json.dumps({"name": suite.name, "question": suite.question, "experiments": experiments}).encode()


def _use_suite(path: Path) -> None:
    from benchmarks.suite_files import load_suite

    load_suite(path)


def _mutate_suite(content: bytes, rng: random.Random) -> bytes:
    return fuzzing.dump(fuzzing.mutate_json(json.loads(content), rng), rng)


def _use_bounds(path: Path) -> None:
    find_bounds("SeqTutor-Melody-v0", {}, path)


def make_reader(name: str) -> fuzzing.Reader:
    """Make what one reader's cases need."""
    return READERS[name]()


READERS: dict[str, Any] = {
    "bounds": lambda: fuzzing.Reader([known.SHIPPED.read_bytes()], _use_bounds, ".json", _mutate_suite),
    "prior": lambda: fuzzing.Reader([_prior("lstm"), _prior("gru")], _use_prior, ".safetensors", _mutate_prior),
    "bloom": lambda: fuzzing.Reader([_bloom()], _use_bloom, ".bloom", fuzzing.mutate_safetensors),
    "npz": lambda: fuzzing.Reader([_npz()], _use_npz, ".npz", _mutate_npz),
    "midi": lambda: fuzzing.Reader(_midis(), _use_midi, ".mid", _mutate_midi),
    "abc": lambda: fuzzing.Reader([TUNES.encode()], _use_tunes, ".abc"),
    "smi": lambda: fuzzing.Reader(["\n".join(MOLECULES).encode()], _use_records, ".smi"),
    "csv": lambda: fuzzing.Reader(
        [_table(","), b"\xef\xbb\xbf" + _table(";"), _table(",").decode().encode("utf-16")], _use_records, ".csv",
    ),
    "csv.gz": lambda: fuzzing.Reader([gzip.compress(_table(","))], _use_records, ".csv.gz", _mutate_packed),
    "wheel": lambda: fuzzing.Reader(
        [_zip({MOSES_FILE.format("train"): gzip.compress(b"SMILES\nCC\nCCO\n"), "moses/x": b"x"})],
        lambda path: list(read_moses(path)), ".whl", _mutate_zip,
    ),
    "sb3 zip": lambda: fuzzing.Reader(
        [_zip({"data": _sb3_data(), "policy.pth": b"PK\x03\x04mlp", "_stable_baselines3_version": b"2.9.2"})],
        _use_sb3_zip, ".zip", _mutate_zip,
    ),
    "molecules": lambda: fuzzing.Reader(["\n".join(MOLECULES).encode()], _use_molecules, ".txt"),
    "suite": lambda: fuzzing.Reader([_suite()], _use_suite, ".json", _mutate_suite),
}  # fmt: skip


def fuzz_readers(names: tuple[str, ...], cases: int, seed: int) -> list[str]:
    """Run cases of these readers, print their counts, and return what was found."""
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            command = (sys.executable, "-m", "tests.fuzz_readers", "--child")
            totals, findings = fuzzing.fuzz(command, name, seed, range(cases), Path(folder) / name.replace(" ", "_"))
            counts = ", ".join(f"{count:,} {what}" for what, count in totals.items())
            print(f"{name}: {cases:,} cases: {counts}, {len(findings)} findings", flush=True)
            print("".join(f"  {finding}\n" for finding in findings), end="", flush=True)
            found += findings
    return found


def run_child(name: str, seed: str, start: str, stop: str, place: str) -> None:
    """Run cases in this process, for `fuzzing.fuzz`."""
    warnings.simplefilter("ignore")
    fuzzing.run_cases(name, make_reader(name), FileError, int(seed), range(int(start), int(stop)), Path(place))


def main(
    readers: Annotated[tuple[str, ...], "which; all by default"] = tuple(READERS), cases: int = CASES, seed: int = 0
) -> None:
    """Fuzz readers of data files.

    Args:
        readers: names of READERS.
        cases: of each reader.
        seed: of the mutations.
    """
    if fuzz_readers(readers, cases, seed):
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(*sys.argv[2:])
    elif sys.argv[1:2] == ["--show"]:
        shown, of_seed, number, file = sys.argv[2:]
        Path(file).write_bytes(fuzzing.make_case(shown, make_reader(shown), int(of_seed), int(number)))
    else:
        import tyro

        tyro.cli(main)
