"""Progress bars in a log file: whole lines, one every half minute."""

from __future__ import annotations

import io

import pytest
from ipykernel.iostream import OutStream
from tqdm import tqdm

from seqtutor_envs.files import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_every_half_minute_and_one_at_the_end(clock):
    stream = io.StringIO()
    bar = progress.make_bar(total=100, unit="token", file=stream, mininterval=0, miniters=1)
    for k in range(100):  # a second each: lines are due at 30, 60 and 90
        clock[0] += 1
        bar.update()
        bar.set_postfix({"J": k})
        tqdm.write("warning: x", file=io.StringIO())  # clears and redraws bars of a terminal
    bar.close()
    bar.close()
    lines = stream.getvalue().splitlines()
    assert [line.partition("%")[0].strip() for line in lines] == ["30", "60", "90", "100"]
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue() and stream.getvalue().endswith("\n")


def test_a_bar_that_does_not_stay_leaves_no_last_line(clock):
    stream = io.StringIO()
    for _ in progress.make_bar(range(5), file=stream, leave=False):
        clock[0] += 7
    assert stream.getvalue().count("\n") <= 1 and "100%" not in stream.getvalue()
    assert progress.make_bar(range(5), file=stream, disable=True).close() is None


def test_a_terminal_and_a_notebook_keep_the_bar_that_moves():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert type(progress.make_bar(total=1, file=Terminal(), leave=False)) is tqdm
    # the module of the class of a notebook's stream; without a kernel there is none to be made
    assert OutStream.__module__.startswith("ipykernel.")
    notebook = type("OutStream", (io.StringIO,), {"__module__": OutStream.__module__})()
    assert type(progress.make_bar(total=1, file=notebook, leave=False)) is tqdm
    # ipykernel is imported here, and this stream is none of its
    assert type(progress.make_bar(total=1, file=io.StringIO(), leave=False)) is progress.LogBar
