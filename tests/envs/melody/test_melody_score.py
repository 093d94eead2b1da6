"""`python -m seqtutor_envs.melody score FILE.mid`."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqtutor_envs.melody.__main__ import main
from seqtutor_envs.melody.midi import to_midi, write_midi
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.vocab import TokenVocab
from toys.melody_toys import write_bad_files

HEADS = "bar key tonic repetition autocorrelation motif motif interval leap extremes sum".split()
# a bar of quarters C D E G and a bar that begins with a C# and rests from its second quarter on
TUNE = [14, 1, 1, 1, 16, 1, 1, 1, 18, 1, 1, 1, 21, 1, 1, 1] + [15, 1, 1, 1, 0] + [1] * 11


def uniform_prior(path: Path, vocab: TokenVocab) -> Path:
    """A saved prior whose weights are all 0, so that p = 1/V at every step."""
    v, h = len(vocab), 2
    shapes = {
        "rnn.weight_ih_l0": (4 * h, v + 1), "rnn.weight_hh_l0": (4 * h, h), "rnn.bias_ih_l0": (4 * h,),
        "rnn.bias_hh_l0": (4 * h,), "head.weight": (v, h), "head.bias": (v,),
    }
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return RecurrentPrior(weights, "lstm", vocab, length=32).save(path)


def test_score_prints_each_bar_and_the_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_midi(np.array(TUNE), tmp_path / "tune.mid")
    main(["score", str(tmp_path / "tune.mid")])
    title, _, heads, first, second, rule, total, _ = capsys.readouterr().out.split("\n")[:8]
    assert title == "tune.mid, melody 1 of 1: 32 steps"
    assert heads.split() == HEADS and set(rule) == {"-"}
    bars = [dict(zip(HEADS[:4], line.split()[:4])) for line in (first, second, total)]
    # C at step 0: 3. Steps 28..31 are holds: not middle C at 28, a hold at 29, 30, 31: 9
    assert bars[0] == {"bar": "1", "key": "0", "tonic": "3.00", "repetition": "0"}
    # C#: -1. The eleven holds after the off count 3 to 13 holds before them, the off being skipped: seven times above 6
    assert bars[1] == {"bar": "2", "key": "-1.00", "tonic": "9.00", "repetition": "-700.00"}
    assert bars[2] == {"bar": "total", "key": "-1.00", "tonic": "12.00", "repetition": "-700.00"}
    # intervals of bar 1: three holds each after C .3, D .075, E .075 and G .3; C-D and D-E .08, E-G 0: 5 * 2.41
    # bar 2: G-C# 0, fourteen holds after C# .075, an off .05: 5 * 1.1
    assert [line.split()[7] for line in (first, second, total)] == ["12.05", "5.50", "17.55"]
    # extremes: the C and, of all tokens, the G occur once; no leap; no eight tokens hold three pitches
    assert [line.split()[8:10] for line in (first, second, total)] == [["0", "0"], ["0", "6.00"], ["0", "6.00"]]
    for line in (first, second, total):
        assert float(line.split()[-1]) == pytest.approx(sum(map(float, line.split()[1:-1])), abs=0.05)
    assert len({len(line) for line in (heads, first, second, rule, total)}) == 1  # aligned


def test_every_melody_of_the_file_has_its_own_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi = to_midi(np.array(TUNE[:16]))
    midi.instruments += to_midi(np.array([26, 1, 1, 1, 28, 1])).instruments
    midi.write(str(tmp_path / "two.mid"))
    main(["score", str(tmp_path / "two.mid")])
    out = capsys.readouterr().out
    assert "two.mid, melody 1 of 2: 16 steps" in out and "two.mid, melody 2 of 2: 6 steps" in out


def test_a_melody_shorter_than_a_bar_and_one_that_ends_within_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_midi(np.array([14]), tmp_path / "one.mid")
    write_midi(np.array(TUNE[:16] + [14, 1]), tmp_path / "eighteen.mid")
    main(["score", str(tmp_path / "one.mid")])
    # one step: C at step 0 3; C is the only token, so highest and lowest: 6
    paid = capsys.readouterr().out.split("\n")[3].split()[1:]
    assert paid == ["0", "3.00", "0", "0", "0", "0", "0", "0", "6.00", "9.00"]
    main(["score", str(tmp_path / "eighteen.mid")])
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].endswith("18 steps") and [line.split()[0] for line in lines[3:5]] == ["1", "2"]


def test_prior_adds_the_mean_log_p(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_midi(np.array(TUNE), tmp_path / "tune.mid")
    prior = uniform_prior(tmp_path / "flat", MELODY_VOCAB)
    main(["score", str(tmp_path / "tune.mid"), "--prior", str(prior)])
    step = -math.log(38)
    expected = f"log p: {step:.3f} nats per step on average, {32 * step:.2f} for the melody"
    assert expected in capsys.readouterr().out.split("\n")


@pytest.mark.parametrize(
    "name, word", [("missing.mid", "missing.mid"), ("garbage.mid", "MIDI"), ("silent.mid", "notes"), ("", "irectory")]
)
def test_a_file_without_a_melody_is_one_line_and_exit_code_2(
    name: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bad_files(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["score", str(tmp_path / name)])
    captured = capsys.readouterr()
    assert exit.value.code == 2 and captured.out == ""
    assert captured.err.startswith("python -m seqtutor_envs.melody: ") and word in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("letters, word", [(None, "nowhere"), ("ab", "same vocabulary")])
def test_a_prior_that_does_not_fit_is_one_line_and_exit_code_2(
    letters: str | None, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_midi(np.array(TUNE), tmp_path / "tune.mid")
    prior = uniform_prior(tmp_path / "letters", TokenVocab(tuple(letters))) if letters else "nowhere"
    with pytest.raises(SystemExit) as exit:
        main(["score", str(tmp_path / "tune.mid"), "--prior", str(prior)])
    captured = capsys.readouterr()
    assert exit.value.code == 2 and captured.out == ""
    assert captured.err.count("\n") == 1 and word in captured.err


def test_an_instrument_that_is_no_line_is_a_note_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi = to_midi(np.array(TUNE))
    chords = to_midi(np.array(TUNE)).instruments[0]
    chords.notes += to_midi(np.array(TUNE) + 4 * (np.array(TUNE) > 1)).instruments[0].notes
    midi.instruments.append(chords)
    midi.write(str(tmp_path / "chords.mid"))
    main(["score", str(tmp_path / "chords.mid")])
    captured = capsys.readouterr()
    assert "melody 1 of 1" in captured.out
    assert captured.err.startswith("warning: ") and "polyphonic" in captured.err and captured.err.count("\n") == 1


def test_the_module_runs_and_its_help_needs_no_numba(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['melody', 'score', '--help']; import runpy\n"
        "try: runpy.run_module('seqtutor_envs.melody', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code and not {'numba', 'torch', 'pretty_midi'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "MIDI file" in result.stdout
