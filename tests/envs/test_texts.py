"""Texts from files and users, made safe for a terminal and for a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from seqtutor_envs.command import report_errors, warnings_in_one_line
from seqtutor_envs.files.text import printable, spreadsheet_cell

CLEAR, TITLE, TURN = "\x1b[2J\x1b[31m", "\x1b]0;owned\x07", "\u202egnp.exe"


@pytest.mark.parametrize(
    "text, shown",
    [
        (CLEAR, r"\x1b[2J\x1b[31m"),
        (TITLE, r"\x1b]0;owned\x07"),
        ("\x9b31m\x7f\r\x00\x08", r"\x9b31m\x7f\r\x00\x08"),  # CSI as one character, delete, return, backspace
        (TURN, r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("broken \udcff name", r"broken \udcff name"),  # as Python spells bytes of a file's name
        ("Ψ ≥ 2\tx\nü −1 ♪ 日本", "Ψ ≥ 2\tx\nü −1 ♪ 日本"),
        ("", ""),
        (3, "3"),
    ],
)
def test_a_terminal_gets_no_control_characters(text, shown):
    assert printable(text) == shown


def test_errors_and_warnings_of_commands_are_printable(capsys):
    import warnings

    for raised in (ValueError(CLEAR), FileNotFoundError(2, "No such file", f"x{TITLE}.smi"), KeyboardInterrupt(TURN)):
        with pytest.raises(SystemExit), report_errors("program"):
            raise raised
    with warnings_in_one_line():
        warnings.warn(f"RDKit: {CLEAR}", stacklevel=1)
    printed = capsys.readouterr().err
    assert r"\x1b[2J" in printed and r"\x1b]0;owned\x07.smi" in printed and r"\u202egnp" in printed
    assert not set("\x1b\x07\u202e") & set(printed)


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=CC", "--", "-C"])
def test_a_spreadsheet_runs_no_cell(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1.5, 3, None, "-1.5", "+2e-3", "-inf", "[Na+]", "C=C", "c1ccccc1", "a-b", "", "'x"])
def test_numbers_and_molecules_stay(value):
    assert spreadsheet_cell(value) is value


def test_every_molecule_is_read_back():
    molecules = ["C=C", "[H][H]", "[Na+].[Cl-]", "c1ccccc1", "*C", "N#N", "O=C=O", "[C@@H](N)(C)O"]
    text = io.StringIO()
    csv.writer(text).writerows([spreadsheet_cell(one), -1.5] for one in molecules)
    assert [row for row in csv.reader(io.StringIO(text.getvalue()))] == [[one, "-1.5"] for one in molecules]
