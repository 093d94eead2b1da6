"""Progress bars: one that moves in a terminal or a notebook, and a line every half minute in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from seqtutor_envs.files.text import printable

INTERVAL = 30.0  # seconds between two lines of a log


def make_bar(*args: Any, **options: Any) -> Any:
    """Make a tqdm bar of these arguments for `file` (standard error): `LogBar` where that cannot redraw a line."""
    stream = options.get("file") or sys.stderr
    # a notebook's stream is no terminal, but shows a redrawn line as a terminal does; in a process that has only
    # imported ipykernel, as one that runs notebooks, the stream is an ordinary one
    redraws = stream.isatty() or type(stream).__module__.startswith("ipykernel.")
    return (tqdm if redraws else LogBar)(*args, **options)


class LogBar(tqdm):  # type: ignore[misc]
    """Print the bar as lines of a log: one every INTERVAL, and the last state at the end if the bar is to stay."""

    disable: bool

    def __init__(self, *args: Any, **options: Any) -> None:
        # before tqdm's own constructor, which displays the bar
        self._printed = time.monotonic()
        super().__init__(*args, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print a line if one is due."""
        if time.monotonic() - self._printed >= INTERVAL:
            self._print()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: no line that was printed can be taken back."""

    def close(self) -> None:
        """Print the last state, unless the bar was made with `leave=False`. Safe to call more than once."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)
        if self.leave:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        print(printable(self).strip(), file=self.fp, flush=True)
