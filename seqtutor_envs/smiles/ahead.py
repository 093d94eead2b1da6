"""Scoring that goes on in processes while this one does something else: a thread waits for them in its stead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

Score = Callable[[Sequence[str]], Sequence[Any]]  # strings -> as many answers, by other processes


class Ahead:
    """`give` strings, do something else, `take` all answers. One thread may use it, and `score` for itself only between
    `take` and the next `give`."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: list[str] = []
        self._given: set[str] = set()
        self._answers: dict[str, Any] = {}
        self._error: BaseException | None = None

    def give(self, smiles: Sequence[str]) -> None:
        """Strings to be scored, each once; those that were given since the last `take` are left out."""
        new = [text for text in dict.fromkeys(smiles) if text not in self._given]
        self._given.update(new)
        with self._lock:
            self._waiting += new
            if self._thread is None and self._waiting:
                # a daemon: where a molecule hangs, the interpreter ends all the same
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def take(self) -> dict[str, Any]:
        """Waits for what was given; the answer of each string. Raises what `score` has raised."""
        thread = self._thread
        if thread is not None:
            thread.join()
        answers, error = self._answers, self._error
        self._answers, self._error, self._given = {}, None, set()
        if error is not None:
            raise error
        return answers

    def _run(self) -> None:
        """Scores what has come meanwhile, until nothing has."""
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, []
                if not batch:
                    self._thread = None
                    return
            try:
                self._answers.update(zip(batch, self._score(batch), strict=True))
            except BaseException as error:  # not swallowed: `take` raises it where somebody sees it
                self._error = error
